"""Tests that share an expensive fixture run in one worker.

``pytest -n 2 --dist loadgroup`` gives every test to whichever worker is free, so a night that a module's tests look at would be
made once in each of them.  Tests with a fixture of wider scope than a function become a group of their module (or of the folder
whose ``conftest.py`` has the fixture).

A run in which a test that ``docs/reliability.md`` relies on was skipped fails, unless the page says after its name what it needs:
``(needs root)``.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The gate judges a change by the same examples every time; new ones are looked for with `make explore`, and what it finds becomes
# an example of the test.
_SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)  # a busy machine is no fault of the code
settings.register_profile("gate", _SLOW, derandomize=True)
settings.register_profile("explore", _SLOW, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

_WIDE = ("module", "package", "session")

# Two workers keep two processors busy; libraries that share their work out again (OpenMP, BLAS) only wait for each other there.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when numpy and astroscrappy are loaded, which nothing above does


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group what belongs together, unless the test says itself to which group it belongs."""
    for item in items:
        place = _home_of_wide_fixtures(item)
        if place and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(place))


@pytest.fixture
def undrawn_figures() -> Iterator[None]:
    """No figure is drawn in this test; see ``tests.support.undrawn``."""
    from tests.support.undrawn import undrawn

    with undrawn():
        yield


def _home_of_wide_fixtures(item: pytest.Item) -> str:
    """The shortest path of a module or folder of ours whose shared fixture the test uses, "" without one."""
    info = getattr(item, "_fixtureinfo", None)
    defined = () if info is None else info.name2fixturedefs.values()
    homes = {one.baseid for some in defined for one in some if one.scope in _WIDE and one.baseid.startswith("tests")}
    return min(homes, key=len, default="")


SKIPPED = "nightcrew/skipped"  # in pytest's cache
_NAMED = re.compile(r"`(tests/[\w/]+\.py::\w+)`( \(needs [^)]+\))?")
_outcomes: dict[str, set[str]] = defaultdict(set)


@cache
def relied_on() -> frozenset[str]:
    """The tests of docs/reliability.md that must run everywhere."""
    page = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
    found = _NAMED.findall(page.read_text(encoding="utf-8"))
    return frozenset(name for name, _ in found) - {name for name, needs in found if needs}


def name_of(nodeid: str) -> str:
    """The test's name without its parameters, and without the group that xdist adds to the end (``--dist loadgroup``)."""
    return nodeid.partition("[")[0].partition("@")[0]


def skipped_without_leave(outcomes: dict[str, set[str]]) -> list[str]:
    """The tests relied on of which nothing but skips came (``outcomes`` by name, of all their parameters)."""
    return sorted(name for name in relied_on() if outcomes.get(name) == {"skipped"})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What became of each test."""
    if report.when == "call" or report.outcome != "passed":
        _outcomes[name_of(report.nodeid)].add(report.outcome)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A promise whose test was skipped is not shown, nor by running again what failed beside it: ``tests.again`` reads which."""
    skipped = skipped_without_leave(_outcomes)
    cache = getattr(session.config, "cache", None)
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set(SKIPPED, skipped)
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which they are."""
    for name in skipped_without_leave(_outcomes):
        terminalreporter.write_line(f"FAILED {name}: docs/reliability.md relies on it, and it was skipped")
