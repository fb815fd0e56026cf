"""Tests that share an expensive fixture run in one worker.

``pytest -n 2 --dist loadgroup`` gives every test to whichever worker is free, so a night that a module's tests look at would be
made once in each of them.  Tests with a fixture of wider scope than a function become a group of their module (or of the folder
whose ``conftest.py`` has the fixture).
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# The gate judges a change by the same examples every time; new ones are looked for with `make explore`, and what it finds becomes
# an example of the test.
_SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)  # a busy machine is no fault of the code
settings.register_profile("gate", _SLOW, derandomize=True)
settings.register_profile("explore", _SLOW, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

_WIDE = ("module", "package", "session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group what belongs together, unless the test says itself to which group it belongs."""
    for item in items:
        place = _home_of_wide_fixtures(item)
        if place and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(place))


def _home_of_wide_fixtures(item: pytest.Item) -> str:
    """The shortest path of a module or folder of ours whose shared fixture the test uses, "" without one."""
    info = getattr(item, "_fixtureinfo", None)
    defined = () if info is None else info.name2fixturedefs.values()
    homes = {one.baseid for some in defined for one in some if one.scope in _WIDE and one.baseid.startswith("tests")}
    return min(homes, key=len, default="")
