"""One line of a comparison with truth, the verdict over all, and the lines that several subjects share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

FLAGGED_LEAST = 0.95
FALSE_MOST = 0.001


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the comparison.  ``rule`` says in words what ``passed`` means, tolerance and its origin included."""

    name: str
    recovered: float | None
    truth: float | None
    unit: str
    rule: str
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """All items; the night passes when each does."""

    items: tuple[Item, ...]

    @property
    def passed(self) -> bool:
        """True when there are items and none failed."""
        return bool(self.items) and all(item.passed for item in self.items)

    @property
    def failed(self) -> tuple[Item, ...]:
        """The items that did not pass."""
        return tuple(item for item in self.items if not item.passed)

    def rows(self) -> list[dict[str, str | float | bool | None]]:
        """The items as plain dictionaries, for JSON and tables."""
        return [dataclasses.asdict(item) for item in self.items]


def count_item(name: str, recovered: int, truth: int, note: str = "") -> Item:
    return Item(
        name=name,
        recovered=float(recovered),
        truth=float(truth),
        unit="",
        rule="equal",
        passed=recovered == truth,
        note=note if recovered != truth else "",
    )


def relative_item(name: str, recovered: float | None, truth: float, tolerance: float, unit: str, why: str) -> Item:
    if recovered is None:
        return Item(name=name, recovered=None, truth=truth, unit=unit, rule="measured", passed=False, note="not measured")
    passed = bool(abs(recovered / truth - 1) <= tolerance)
    return Item(name=name, recovered=recovered, truth=truth, unit=unit, rule=f"within {100 * tolerance:.2g} % ({why})", passed=passed)


def flagged_items(name: str, hits: int, planted: int, false: int, others: int) -> list[Item]:
    share, wrong = hits / planted if planted else 1.0, false / others if others else 0.0
    return [
        Item(
            name=f"{name} flagged",
            recovered=share,
            truth=1.0,
            unit="",
            rule=f"at least {FLAGGED_LEAST:.0%}",
            passed=share >= FLAGGED_LEAST,
            note=f"{hits} of {planted}",
        ),
        Item(
            name=f"{name} flagged falsely",
            recovered=wrong,
            truth=0.0,
            unit="",
            rule=f"at most {FALSE_MOST:.1%}",
            passed=wrong <= FALSE_MOST,
            note=f"{false} of {others} pixels",
        ),
    ]
