"""What the page of a campaign says first: verdict, status, grade, and what a person should look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nightcrew.irradiation.operation import Operation
from nightcrew.irradiation.results import Analysis
from reports.analysis import AnalysisStatus
from reports.campaign_summary import KEY_QUANTITIES
from reports.summary import Quantity
from reports.text import plural

_TELL = (  # words of the remarks that a person should see
    "the folder says",
    "restart",
    "never changes",
    "nothing in common",
    "no log and no folder",
    "cannot be used",
    "was not used",
    "were not used",
    "taken as UTC",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class PagePart:
    """One campaign of the page.  ``folder``: where its files lie below the page's, with a slash at the end ("" for the same)."""

    name: str
    plan: str
    folder: str
    analysis: Analysis | None
    operation: tuple[Operation, ...]
    absent: tuple[str, ...]
    remarks: tuple[str, ...]
    left_out: Mapping[str, str]


def grade_of(parts: Sequence[PagePart], quantities: Sequence[Quantity]) -> tuple[Literal["A", "B", "C"], list[str]]:
    """How far the numbers can be trusted, and why not farther.

    C: no key quantity was determined (frames before the beam alone, or nothing at all).  B: one of them is undetermined, or something
    makes them less sure than their errors say (``Analysis.doubts``).  Plans that make masters alone, and sequences, ask for none of them.
    """
    asked = [part for part in parts if part.plan not in ("standard", "irradiation", "operation")]
    doubts = [f"{text}." for part in parts if part.analysis is not None for text in part.analysis.doubts]
    if not asked:
        return ("B" if doubts else "A"), doubts
    values = {name: [one.value for one in quantities if one.name == name] for name in KEY_QUANTITIES}
    lacking = [name for name, found in values.items() if not found or None in found]
    if all(value is None for found in values.values() for value in found):
        return "C", ["No key quantity was determined.", *doubts]
    if lacking:
        doubts.insert(0, f"Key quantities that are undetermined, at least in part: {', '.join(lacking)}.")
    return ("B" if doubts else "A"), doubts


def status_of(parts: Sequence[PagePart]) -> AnalysisStatus:
    if all(part.analysis is None and not part.operation for part in parts):
        return "bad"
    return "attention" if any(needs_of(part) for part in parts) else "good"


def verdict_of(part: PagePart, several: bool) -> str:
    head = f"{part.name}: " if several else ""
    if part.analysis is None:
        return (
            f"{head}{plural(len(part.operation), 'operation sequence')} analysed."
            if part.operation
            else f"{head}Nothing could be analysed."
        )
    analysis = part.analysis
    frames = sum(len(one.group.frames) for one in analysis.masters)
    if part.plan in ("standard", "irradiation"):
        return f"{head}{plural(frames, 'frame')} in {plural(len(analysis.masters), 'master')}."
    doses = [one.group.dose_krad for one in analysis.masters]
    text = f"{head}{plural(frames, 'frame')} up to {max(doses, default=0.0):.4g} kRad"
    slope = next((s for s in analysis.slopes if s.kind == "BIAS" and math.isfinite(s.value)), None)
    if slope is not None:
        text += f"; the bias changes by {_pm(slope.value, slope.error)} adu/kRad"
    fit = analysis.main_fit
    if fit is not None and math.isfinite(fit.values["beta"]):
        text += f", the dark current by {_pm(fit.values['beta'], fit.errors['beta'])} adu/s/kRad"
    if analysis.hot.growth is not None and not analysis.hot.growth.why:
        found = analysis.hot.growth
        text += f", {_pm(found.per_krad, found.per_krad_error)} hot pixels a kRad"
    return text + "."


def _pm(value: float, error: float) -> str:
    """A value with its error, rounded to the error's second digit."""
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{min(digits, 8)}f} \N{PLUS-MINUS SIGN} {error:.{min(digits, 8)}f}"


def needs_of(part: PagePart) -> list[str]:
    """What a person should look at, most urgent first."""
    found = []
    if part.analysis is not None:
        raw = [one for one in part.analysis.masters if not one.corrected]
        if raw:
            found.append(f"{plural(len(raw), 'master')} of darks keep their bias ({raw[0].why}); take biases with them.")
        fit = part.analysis.main_fit
        if fit is not None and fit.scale > 1 and part.plan not in ("standard", "irradiation"):
            found.append(
                f"The joint model does not describe the levels within their errors; its errors were widened {fit.scale:.3g} times."
            )
    if part.left_out:
        name, reason = next(iter(sorted(part.left_out.items())))
        found.append(f"{plural(len(part.left_out), 'frame')} left out, first {name}: {reason}.")
    return found + [f"{text}." for text in part.remarks if any(word in text for word in _TELL)]
