"""``python -m tests.faults``: every fault in its long form, a line each, and the counts as a table; not 0 when one was not survived.

Each test of this folder is a fault; the first line of its docstring says what is injected.  What it says with
``record_property`` is its evidence: ``evidence`` (a sentence), ``kills``, ``nights``, ``faults`` (how many, when a test injects
several).  Further arguments go to pytest (``python -m tests.faults -k disk``).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ELSEWHERE = (
    "service/test_after_sigkill.py",  # the running service, killed part by part
    "service/test_postgresql.py",  # and cut off
    "tasks/test_plate_solutions.py",  # a solver that fails, hangs, answers nonsense or is not there
    "astrometry/test_solve.py",
)
_WORDS = {"passed": "survived", "failed": "NOT SURVIVED", "skipped": "not injected"}


@dataclass
class Told:
    """One fault and what became of it."""

    what: str
    outcome: str = "passed"
    evidence: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """The line of the summary."""
        return f"{_WORDS[self.outcome]:<12}  {self.what}: {self.evidence or 'its assertions hold'} ({self.seconds:.0f} s)"


class Summary:
    """A plugin that collects what the tests tell."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """What each test injects."""
        for item in items:
            document = getattr(getattr(item, "function", None), "__doc__", None) or ""
            words = document.strip().splitlines()[0].rstrip(".") if document.strip() else item.name.removeprefix("test_").replace("_", " ")
            given = getattr(item, "callspec", None)
            self.told[item.nodeid] = Told(words if given is None else f"{words} [{given.id}]")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What became of it."""
        told = self.told[report.nodeid]
        told.seconds += report.duration
        if report.failed or (report.skipped and told.outcome == "passed"):
            told.outcome = report.outcome
        if report.skipped and isinstance(report.longrepr, tuple):
            told.evidence = report.longrepr[2]
        if report.failed:
            told.evidence = str(getattr(report.longrepr, "reprcrash", report.longrepr)).splitlines()[0][:300]
        if report.when == "call":
            for name, value in report.user_properties:
                if name == "evidence" and report.passed:
                    told.evidence = str(value)
                elif isinstance(value, int):
                    told.counts[name] = told.counts.get(name, 0) + value

    def count(self, name: str) -> int:
        """The sum of a count over all tests."""
        return sum(told.counts.get(name, 0) for told in self.told.values())

    def table(self, seconds: float) -> list[str]:
        """The counts, as ``docs/reliability.md`` shows them."""
        every = list(self.told.values())
        faults = sum(told.counts.get("faults", 1) for told in every if told.outcome == "passed")
        rows = [
            ("date", time.strftime("%Y-%m-%d")),
            ("faults injected and survived", str(faults)),
            ("not survived", str(sum(told.outcome == "failed" for told in every))),
            ("not injected here", str(sum(told.outcome == "skipped" for told in every))),
            ("kills by SIGKILL", str(self.count("kills"))),
            ("nights with kills", str(self.count("nights"))),
            ("minutes", f"{seconds / 60:.0f}"),
        ]
        return ["| last long run | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]


def main(arguments: list[str]) -> int:
    """Run, and print the summary."""
    summary = Summary()
    begun = time.monotonic()
    folders = [str(HERE), *(str(HERE.parent / name) for name in ELSEWHERE)]
    own = [*folders, "-q", "--no-header", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers --strict-config --timeout=900"]
    code = int(pytest.main([*own, *arguments], plugins=[summary]))
    ran = {name: told for name, told in summary.told.items() if told.seconds}
    summary.told = ran
    lines = [*(told.line for told in ran.values()), "", *summary.table(time.monotonic() - begun)]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
