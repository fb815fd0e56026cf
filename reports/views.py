"""What the templates show, worked out from the model: groups, medians, shares and words, so that templates only print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from statistics import median

from reports.choice import chosen
from reports.model import (
    CELL_STATES,
    GRADES,
    STATES,
    BalanceRow,
    CalibrationCell,
    Cause,
    LightEntry,
    NightPage,
    State,
    Status,
    TruthRow,
    Verdict,
)
from reports.text import DASH, NARROW, age, clock, number, plural, quantity
from reports.verdict import grade_counts, light_counts

LISTED_LIGHTS = 1000  # rows of the table of all lights
OPEN_SHEETS = 72  # up to so many lights the contact sheets are open from the start
SHOWN_FILES = 12  # files named in the open; the rest is folded away
MAILED_TILES = frozenset({"Median FWHM", "Calibrations"})  # the others stand in the mail's sentence, needs or balance
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
STATE_WORDS: dict[str, str] = {
    "done": "done",
    "degraded": "degraded",
    "waiting": "waiting",
    "rejected": "rejected",
    "set_aside": "set aside",
    "failed": "failed",
}
STATE_MEANINGS: dict[State, str] = {
    "done": "used as it should be",
    "degraded": "reduced, but a calibration was scaled, modelled or skipped (grade C or D)",
    "waiting": "needs something that is not there yet",
    "rejected": "cannot be used: the file's own fault",
    "set_aside": "needs nothing: duplicates, foreign and ignored files, frames that a recipe left out",
}
GRADE_MEANINGS = {
    "A": "within plan",
    "B": "acceptable: older, another temperature, or changed",
    "C": "risky: scaled or modelled",
    "D": "a step was skipped",
}


@dataclass(frozen=True)
class Share:
    """One part of a stacked bar; ``start`` and ``size`` in percent."""

    label: str
    css: str
    count: int
    start: float
    size: float


@dataclass(frozen=True)
class Tile:
    """One key number at the head of the page."""

    label: str
    value: str
    detail: str
    tone: Status | str = ""


@dataclass(frozen=True)
class LightGroup:
    """Lights of one instrument, target, filter and exposure."""

    title: str
    lights: tuple[LightEntry, ...]
    shown: tuple[LightEntry, ...]  # those with a picture
    grades: tuple[tuple[str, int], ...]
    fwhm: str
    background: str
    depth: str
    unmade: int


@dataclass(frozen=True)
class CellGroup:
    """Calibrations of one instrument and kind."""

    title: str
    cells: tuple[CalibrationCell, ...]


def title(page: NightPage) -> str:
    """``Night of 3 July 2013`` or the campaign's name."""
    if page.kind != "night":
        return f"{page.kind.capitalize()} {page.night}"
    day = _date(page.night)
    return f"Night of {day.day} {MONTHS[day.month - 1]} {day.year}" if day else f"Night {page.night}"


def span(page: NightPage) -> str:
    """From when to when the page's files were taken."""
    day = _date(page.night) if page.kind == "night" else None
    if day is None:
        return ""
    morning = day + timedelta(days=1)
    return f"local noon {day.day} {MONTHS[day.month - 1]} to {morning.day} {MONTHS[morning.month - 1]}"


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def shares(parts: Iterable[tuple[str, str, int]]) -> tuple[Share, ...]:
    """Stacked bar of (label, css class, count): sizes in percent that add up to 100."""
    used = [part for part in parts if part[2] > 0]
    total = sum(count for _, _, count in used)
    made: list[Share] = []
    at = 0.0
    for label, css, count in used:
        size = 100.0 * count / total
        made.append(Share(label=label, css=css, count=count, start=round(at, 3), size=round(size, 3)))
        at += size
    return tuple(made)


def row_shares(row: BalanceRow) -> tuple[Share, ...]:
    """A balance row as a stacked bar."""
    return shares((STATE_WORDS[state], f"s-{state}", row.count(state)) for state in STATES)


def total_row(rows: Sequence[BalanceRow]) -> BalanceRow:
    """All rows of the balance added up."""
    sums = {state: sum(row.count(state) for row in rows) for state in STATES}
    return BalanceRow(instrument="", kind="all", seen=sum(row.seen for row in rows), **sums)


def tiles(page: NightPage, verdict: Verdict) -> tuple[Tile, ...]:
    """The key numbers at the head: what an observer asks first."""
    lights, reduced = light_counts(page)
    made: list[Tile] = []
    if lights:
        risky = sum(grade_counts(page)[2:])
        tone = (
            "attention"
            if risky
            else "good"
            if reduced == lights
            else "bad"
            if reduced < lights / 2
            else "attention"
            if reduced < 0.9 * lights
            else ""
        )
        made.append(Tile("Lights reduced", f"{number(reduced, 0)}{NARROW}/ {number(lights, 0)}", _grade_words(page), tone))
    made += _quality_tiles(page)
    if page.calibrations:
        here = sum(cell.state in ("existed", "late") for cell in page.calibrations)
        missing = sum(cell.state == "missing" for cell in page.calibrations)
        borrowed = len(page.calibrations) - here - missing
        detail = (
            ", ".join(f"{count} {word}" for count, word in ((borrowed, "borrowed"), (missing, "missing")) if count) or "all from this night"
        )
        made.append(Tile("Calibrations", f"{here}{NARROW}/{NARROW}{len(page.calibrations)}", detail, "attention" if missing else "good"))
    failed = sum(cause.count for cause in page.causes if cause.state == "failed")
    lost = page.total("rejected") + failed
    made.append(Tile("Rejected or failed", number(lost, 0), _lost_words(page), "attention" if failed else "" if lost else "good"))
    made.append(
        Tile(
            "Files seen",
            number(page.seen, 0),
            "balance closes" if _closes(page) else "balance does NOT close",
            "" if _closes(page) else "bad",
        )
    )
    urgent = sum(action.level in ("problem", "warning") for action in verdict.actions)
    return (*made, Tile("Needs a person", number(urgent, 0), "see below" if urgent else "nothing", "attention" if urgent else "good"))


def _closes(page: NightPage) -> bool:
    return all(row.missing == 0 for row in page.balance)


def _grade_words(page: NightPage) -> str:
    counts = [f"{count} {name}" for name, count in zip(GRADES, grade_counts(page), strict=True) if count]
    return "grades " + ", ".join(counts) if counts else ""


def _lost_words(page: NightPage) -> str:
    waiting = page.total("waiting")
    return f"and {waiting} waiting" if waiting else "none waiting"


def _quality_tiles(page: NightPage) -> list[Tile]:
    sharp = finite(light.fwhm_px for light in page.lights)
    return [Tile("Median FWHM", quantity(median(sharp), "px", 2), f"{number(min(sharp))} to {number(max(sharp))}")] if sharp else []


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that exist and are finite."""
    return [value for value in values if value is not None and math.isfinite(value)]


def middle(values: Iterable[float | None], unit: str, digits: int) -> str:
    """The median for people; a dash when there is none."""
    known = finite(values)
    return quantity(median(known), unit, digits) if known else DASH


def listed_lights(lights: Sequence[LightEntry]) -> list[LightEntry]:
    """The rows of the table of all lights, in order of time: all, or as many as a page bears, those that are not well first."""
    return chosen(sorted(lights, key=lambda light: (light.time_utc, light.name)), LISTED_LIGHTS, lambda light: light.state != "done")


def light_groups(lights: Sequence[LightEntry]) -> tuple[LightGroup, ...]:
    """Lights by instrument, target, filter and exposure, in the order of their first time."""
    several = len({light.instrument for light in lights}) > 1

    def key(light: LightEntry) -> tuple[str, str, str, float]:
        return (light.instrument, light.target, light.filter, light.exposure_s or 0.0)

    made = []
    for _, members in groupby(sorted(lights, key=lambda light: (key(light), light.time_utc, light.name)), key=key):
        made.append(_light_group(tuple(members), several))
    return tuple(sorted(made, key=lambda group: (group.lights[0].time_utc == "", group.lights[0].time_utc, group.title)))


def _light_group(lights: tuple[LightEntry, ...], several: bool) -> LightGroup:
    first = lights[0]
    parts = [
        first.target or "unnamed target",
        first.filter or "no filter",
        quantity(first.exposure_s, "s", 0 if (first.exposure_s or 0) >= 10 else 2),
    ]
    if several:
        parts.append(first.instrument)
    graded = [light.grade for light in lights if light.grade]
    return LightGroup(
        title=" · ".join(parts) if first.time_utc or first.target else _not_a_frame(lights, first.instrument if several else ""),
        lights=lights,
        shown=tuple(light for light in lights if light.thumbnail is not None),
        grades=tuple((grade, graded.count(grade)) for grade in GRADES if grade in graded),
        fwhm=middle((light.fwhm_px for light in lights), "px", 2),
        background=middle((light.background for light in lights), first.background_unit, 2),
        depth=middle((light.depth_mag for light in lights), "", 2),
        unmade=sum(light.state in ("waiting", "rejected") for light in lights),
    )


def _not_a_frame(lights: Sequence[LightEntry], instrument: str) -> str:
    """What to call lights of which the ledger keeps no header: cut short, damaged, or not read yet."""
    words = "rejected when read" if all(light.state == "rejected" for light in lights) else "not read yet"
    return f"{words} · {instrument}" if instrument else words


def cell_groups(cells: Sequence[CalibrationCell]) -> tuple[CellGroup, ...]:
    """The calibration grid by instrument and kind, in the order given."""
    several = len({cell.instrument for cell in cells}) > 1
    made = []
    for (instrument, kind), members in groupby(cells, key=lambda cell: (cell.instrument, cell.kind)):
        made.append(CellGroup(title=f"{kind} · {instrument}" if several else kind, cells=tuple(members)))
    return tuple(made)


def cell_legend(cells: Sequence[CalibrationCell]) -> tuple[tuple[str, int], ...]:
    """How many calibrations are in each state."""
    return tuple((state, sum(cell.state == state for cell in cells)) for state in CELL_STATES)


def cell_detail(cell: CalibrationCell) -> str:
    """Age, origin and users of a calibration in one line."""
    parts = [age(cell.age_days)]
    if cell.state == "borrowed" and cell.origin:
        parts.append(f"from {cell.origin}")
    if cell.users:
        parts.append(plural(cell.users, "light"))
    return ", ".join(part for part in parts if part)


def truth_digits(row: TruthRow) -> int:
    """Decimals of a comparison: none when both values are counts."""
    return 0 if all(float(value).is_integer() for value in (row.recovered, row.truth) if value is not None) else row.digits


def by_state(causes: Sequence[Cause], *states: str) -> tuple[Cause, ...]:
    """Causes in some states, the commonest first within each state."""
    wanted = [cause for cause in causes if cause.state in states]
    return tuple(sorted(wanted, key=lambda cause: (states.index(cause.state), -cause.count, cause.cause)))


def course(lights: Sequence[LightEntry]) -> str:
    """First and last time of the lights, UTC."""
    times = sorted(light.time_utc for light in lights if light.time_utc)
    return f"{clock(times[0])} to {clock(times[-1])} UTC" if times else ""
