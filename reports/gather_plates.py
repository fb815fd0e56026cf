"""Where the lights of a night have their world coordinates from, and why some have none."""

from __future__ import annotations

from collections import Counter
from statistics import median

from nightcrew.ledger import history
from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.plates import RECIPE, SOLVED
from nightcrew.recipes.parameters import PlateParameters
from reports.gather_files import likeness
from reports.model import PlateEntry
from reports.night_data import ScopeData

_NOT_TRIED = "not asked yet, or the night is an old one (`nightcrew rerun` asks)"


def plates(data: ScopeData, parameters: PlateParameters | None) -> tuple[PlateEntry, ...]:
    """The plate solutions of a scope's current lights; none when plate solving is off or no light was reduced."""
    lights = data.current("reduce_light")
    if parameters is None or not lights:
        return ()
    sources = [_source(row) for row in lights]
    solutions = {row.key: row.metrics for row in data.current(RECIPE) if row.metrics.get("source") == SOLVED}
    solved = [solutions[row.key] for row, source in zip(lights, sources, strict=True) if source == SOLVED and row.key in solutions]
    barred = {row.key: f"not used: {row.barred_because}" for row in data.current(RECIPE) if row.barred_because}
    failed = {planned.key: planned.reason for planned in data.plan.with_status("failed") if planned.recipe == RECIPE}
    put_off = {planned.key: planned.reason for planned in data.plan.with_status("pending") if planned.recipe == RECIPE}
    failed |= {key: reason for key, reason in put_off.items() if reason.startswith(history.PUT_OFF)}  # it was asked
    known = {**put_off, **failed, **barred}
    why = [known.get(row.key, parameters.unavailable or _NOT_TRIED) for row, source in zip(lights, sources, strict=True) if not source]
    entry = PlateEntry(
        instrument=data.instrument,
        from_header=sources.count("header"),
        solved=sources.count(SOLVED),
        blind=sum(one["how"] == "blind" for one in solved),
        astray=sum((one["from_pointing_deg"] or 0.0) > parameters.radius_deg for one in solved),
        failed=sum(row.key in failed for row, source in zip(lights, sources, strict=True) if not source),
        unsolved=len(why),
        rms_arcsec=median(one["rms_arcsec"] for one in solved) if solved else None,
        unavailable=parameters.unavailable,
        reasons=_counted(why),
    )
    return (entry,)


def _source(row: ProductRow) -> str:
    """Of a light's coordinates: ``header``, ``solved``, or "" without any."""
    wcs = row.metrics.get("wcs") or {}
    return str(wcs.get("source", "header")) if wcs.get("valid") else ""


def _counted(reasons: list[str]) -> tuple[tuple[str, int], ...]:
    """The reasons with their counts, the most frequent first; those that differ in numbers only count together."""
    first: dict[str, str] = {}
    for reason in reasons:
        first.setdefault(likeness(reason), reason)
    counts = Counter(likeness(reason) for reason in reasons)
    return tuple((first[alike], count) for alike, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
