"""The night in numbers for programs: ``summary.json`` beside the page."""

from __future__ import annotations

from collections.abc import Iterator

from reports.model import STATES, NightPage, Verdict
from reports.summary import Plain, Quantity, Summary, determined
from reports.text import visible

RECIPE = "night_report"


def night_summary(page: NightPage, verdict: Verdict) -> Summary:
    """The balance, the qualities of lights and masters, trends and truth of one page as quantities with units."""
    graded = [light.grade for light in page.lights if light.grade and light.state in ("done", "degraded")]
    return Summary(
        recipe=RECIPE,
        inputs=({"night": page.night, "digest": page.provenance.inputs_digest},),
        grade=max(graded, default=""),
        quantities=tuple(_once([*_counts(page), *_masters(page), *_lights(page), *_plates(page), *_trends(page), *_truth(page)])),
        warnings=tuple(action.text for action in verdict.actions if action.level in ("problem", "warning")),
    )


def _once(quantities: list[Quantity]) -> Iterator[Quantity]:
    seen: set[tuple[str, str]] = set()
    known: dict[int, str] = {}  # the quantities of a light share where they were measured
    for quantity in quantities:
        place = id(quantity.where)
        if place not in known:
            known[place] = repr(sorted(quantity.where.items()))
        key = (quantity.name, known[place])
        if key not in seen:
            seen.add(key)
            yield quantity


def _counts(page: NightPage) -> Iterator[Quantity]:
    for row in page.balance:
        where: dict[str, Plain] = {"instrument": row.instrument, "kind": row.kind}
        yield Quantity(name="files_seen", value=row.seen, unit="count", where=where)
        for state in STATES:
            yield Quantity(name=f"files_{state}", value=row.count(state), unit="count", where=where)


def _masters(page: NightPage) -> Iterator[Quantity]:
    for master in page.masters:
        where: dict[str, Plain] = {"master": master.name, "instrument": master.instrument, "kind": master.kind}
        why = master.reason or "not measured"
        yield determined("master_level", master.level_adu, why, unit=master.level_unit, where=where)
        yield determined("master_noise", master.noise_adu, why, unit=master.level_unit, where=where)


def _lights(page: NightPage) -> Iterator[Quantity]:
    for light in page.lights:
        if light.state not in ("done", "degraded"):
            continue
        where: dict[str, Plain] = {"file": light.name, "instrument": light.instrument, "time_utc": light.time_utc}
        why = light.reason or "too few stars to measure"
        yield determined("fwhm", light.fwhm_px, why, unit="px", where=where)
        yield determined("background", light.background, why, unit=light.background_unit, where=where)
        yield determined("depth", light.depth_mag, why, unit="mag", where=where)


def _plates(page: NightPage) -> Iterator[Quantity]:
    for plate in page.plates:
        where: dict[str, Plain] = {"instrument": plate.instrument}
        counts = (("from_header", plate.from_header), ("solved", plate.solved), ("unsolved", plate.unsolved))
        for name, count in counts:
            yield Quantity(name=f"plates_{name}", value=count, unit="count", where=where)
        why = plate.unavailable or "no light was to be solved"
        yield determined("plates_failure_rate", plate.failure_percent, why, unit="percent", where=where)
        yield determined("plates_rms", plate.rms_arcsec, "none was solved", unit="arcsec", where=where)


def _trends(page: NightPage) -> Iterator[Quantity]:
    for trend in page.trends:
        if trend.tonight and trend.points:
            point = trend.points[-1]
            where: dict[str, Plain] = {"instrument": trend.instrument, "quantity": trend.quantity, "outside": trend.outside}
            yield determined("trend", point.value, "not measured", error=point.error, unit=trend.unit, where=where)


def _truth(page: NightPage) -> Iterator[Quantity]:
    for row in page.truth:
        where: dict[str, Plain] = {"quantity": visible(row.name), "truth": row.truth, "passed": row.passed}
        yield determined("recovered", row.recovered, "not recovered", unit=row.unit, where=where)
