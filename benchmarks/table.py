"""Lines of the benchmark's table: what was measured, against what limit, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measurement.  ``at_least`` or ``at_most`` is its limit, none of both: only reported.  ``value`` None: not shown, for ``note``."""

    work: str
    what: str
    value: float | None
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``ok``, ``SHORT``, ``reported`` or ``NOT SHOWN``."""
        if self.value is None or math.isnan(self.value):
            return "NOT SHOWN"
        if self.at_least is None and self.at_most is None:
            return "reported"
        short = (self.at_least is not None and self.value < self.at_least) or (self.at_most is not None and self.value > self.at_most)
        return "SHORT" if short else "ok"

    @property
    def limit(self) -> str:
        """The limit for people."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


def ratio(work: str, what: str, above_s: float, below_s: float, *, at_least: float | None = None, at_most: float | None = None) -> Line:
    """The line of two times."""
    note = f"{above_s:.3g} s / {below_s:.3g} s"
    return Line(work=work, what=what, value=above_s / below_s, at_least=at_least, at_most=at_most, note=note)


def absent(work: str, what: str, anchor: str) -> Line:
    """A line that cannot be measured because its anchor is not installed."""
    return Line(work=work, what=what, value=None, at_least=0.0, note=f"{anchor} is absent")


def as_text(lines: Sequence[Line]) -> str:
    """An aligned table; also valid Markdown."""
    head = ["work", "what", "measured", "limit", "verdict", "note"]
    rows = [[line.work, line.what, _number(line), line.limit, line.verdict, line.note] for line in lines]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def text(row: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return "\n".join([text(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(text, rows)])


def _number(line: Line) -> str:
    if line.value is None or math.isnan(line.value):
        return "-"
    digits = 0 if abs(line.value) >= 100 else 1 if abs(line.value) >= 10 else 2 if abs(line.value) >= 0.1 else 4
    return f"{line.value:.{digits}f} {line.unit}".strip()


def failed(lines: Sequence[Line], *, allow_absent: bool) -> bool:
    """Whether a limit was missed, or (unless allowed) something with a limit could not be shown."""
    missing = any(line.verdict == "NOT SHOWN" for line in lines)
    return any(line.verdict == "SHORT" for line in lines) or (missing and not allow_absent)
