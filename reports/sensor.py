"""The report of a sensor: page, tables, figures, data sheet and summary, all in one folder; command and service write the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nightcrew.errors import Refused, RejectedInput
from nightcrew.sensor.characterise import SensorResult, SetUpResult, window_of
from nightcrew.sensor.frames import SensorFrame, Window
from nightcrew.sensor.hot_growth import HotGrowth, HotList, growth
from nightcrew.sensor.hot_lists import WARM_COLUMNS, hot_list, read_hot_lists
from nightcrew.sensor.sensor_data import SensorData
from nightcrew.sensor.transfer_curve import NO_BRIGHT_FAT
from reports import sensor_gains, sensor_tables
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisStatus, AnalysisTable
from reports.sensor_figures import charts_of, drawn
from reports.sensor_quantities import growth_quantities, quantities
from reports.sensor_sheet import write_sheet
from reports.summary import Quantity, Summary
from reports.text import adaptive, plural, quantity

RECIPE = "sensor_characterisation"
SAME_OF_MANY = ("no second flat of its level", "no finite pixel")
SAME_GAIN = 1e-3
"""Regions whose gains differ by less have one gain."""
KEY = ("gain", "full_well", "prnu", "linearity_error", "doubling_temperature", "read_noise", "dark_current", "max_practical_exposure")
FILES = (
    ("data_set.csv", "one row a frame: statistics of the crop"),
    ("data_summary.csv", "noises by temperature and exposure, in photonica's columns"),
    ("groups.csv", "groups of frames with their verdicts"),
    ("transfer_curve.csv", "every point of every transfer curve"),
    ("covariances.csv", "the covariance model's matrix a"),
    ("dark.csv", "dark levels, noises and non-uniformity"),
    ("hot_pixels.csv", "hot pixels with their rates"),
    ("warm_pixels.csv", "hot pixels and those near to the threshold, with errors: what a later result is compared with"),
    ("data_sheet.pdf", "one page with the main numbers and curves"),
    ("data_sheet.html", "the same for a browser"),
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the page has to know besides the result: the set's name, files that are no frames, commands."""

    title: str
    left_out: Sequence[tuple[str, str]] = ()
    previous: Path | None = None  # folder of an earlier result, whose hot pixels are compared
    commands: tuple[str, ...] = ()


def write_report(result: SensorResult, frames: Sequence[SensorFrame], standing: Standing, out: Path) -> AnalysisPage:
    """Write all files of the report but the page itself into ``out`` and return the page (:func:`reports.analysis.write_analysis`)."""
    out.mkdir(parents=True, exist_ok=True)
    data = tables_of(result, frames)
    standing = replace(standing, left_out=(*standing.left_out, *result.unreadable, *data.left_out))
    sensor_tables.save_frame(out, "data_set", data.data_set.drop(columns="data"))
    summary_table = data.data_summary
    sensor_tables.save_frame(out, "data_summary", summary_table)
    sensor_tables.save_table(out, "groups", sensor_tables.GROUP_COLUMNS, sensor_tables.group_rows(result))
    sensor_tables.save_table(out, "transfer_curve", sensor_tables.CURVE_COLUMNS, sensor_tables.curve_rows(result))
    sensor_tables.save_table(out, "covariances", sensor_tables.COVARIANCE_COLUMNS, sensor_tables.covariance_rows(result))
    sensor_tables.save_table(out, "dark", sensor_tables.DARK_COLUMNS, sensor_tables.dark_rows(result))
    sensor_tables.save_table(out, "hot_pixels", sensor_tables.HOT_COLUMNS, sensor_tables.hot_rows(result))
    sensor_tables.save_table(out, "warm_pixels", WARM_COLUMNS, sensor_tables.warm_rows(result))
    charts = charts_of(result, summary_table)
    figures = drawn(charts, out)
    grown = () if standing.previous is None else grown_since(result, standing.previous)
    summary = summary_of(result, frames, grown, () if standing.previous is None else not_compared(result, grown))
    page = _page(result, summary, figures, standing, grown)
    write_sheet(page, charts, figures, out)
    return page


def tables_of(result: SensorResult, frames: Sequence[SensorFrame]) -> SensorData:
    """photonica's tables of the same frames; those that the crop does not fit, or that cannot be read, are in its ``left_out``."""
    options = result.options
    unreadable = {name for name, _ in result.unreadable}
    gains = {s.set_up: gain for s in result.set_ups if (gain := _crop_gain(s, result)) is not None}
    data = SensorData(
        options.crop,
        options.offset_correction,
        options.pedestal,
        temperature_tolerance_c=options.temperature_tolerance_c,
        gain_e_per_adu=gains or None,
    )
    for frame in frames:
        if frame.name in unreadable:
            continue
        try:
            data.add(frame)
        except (Refused, RejectedInput) as error:
            data.left_out.append((frame.name, f"not in the tables: {error}"))
    data.calcStats()
    return data


def _crop_gain(set_up: SetUpResult, result: SensorResult) -> float | None:
    """Gain of the crop of a set-up's frames, in e-/ADU; None where it is not known, or where the crop spans regions that differ in it."""
    try:
        crop = window_of(set_up.groups[0].frames[0], result.options)
    except Refused:
        return None
    found = [region.gain for region in set_up.regions if any(_overlap(window, crop) for window in region.region.windows)]
    gains = [gain for gain in found if gain is not None]
    if not gains or len(gains) < len(found):
        return None
    weights = [1 / gain.error**2 if gain.error > 0 else 1.0 for gain in gains]
    mean = sum(w * gain.value for w, gain in zip(weights, gains, strict=True)) / sum(weights)
    return mean if all(abs(gain.value - mean) <= max(3 * gain.error, SAME_GAIN * mean) for gain in gains) else None


def _overlap(one: Window, other: Window) -> bool:
    return one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1


def grown_since(result: SensorResult, folder: Path) -> tuple[HotGrowth, ...]:
    """Hot pixels against those of an earlier result: same set-up, same region, temperatures that agree within the tolerance."""
    earlier = read_hot_lists(folder)
    found = []
    tolerance_c = 2 * result.options.temperature_tolerance_c
    places = [(one.set_up.label, region) for one in result.set_ups for region in one.regions]
    for label, region in places:
        name = region.region.name
        for series in region.darks:
            now = hot_list(series, None if region.gain is None else region.gain.value, region.region.windows)
            before = _nearest(earlier, (label, name), series.temperature_c, tolerance_c)
            if now is not None and before is not None:
                found.append(growth(label, name, series.temperature_c, before, now))
    return tuple(found)


def _nearest(
    earlier: Mapping[tuple[str, str, float | None], HotList], place: tuple[str, str], warm: float | None, tolerance_c: float
) -> HotList | None:
    mine = {then: pixels for (*where, then), pixels in earlier.items() if tuple(where) == place}
    if warm is None:
        return mine.get(None)
    known = {then: pixels for then, pixels in mine.items() if then is not None and abs(then - warm) <= tolerance_c}
    return known[min(known, key=lambda then: abs(then - warm))] if known else None


def not_compared(result: SensorResult, grown: Sequence[HotGrowth]) -> tuple[str, ...]:
    """Which darks of this result have none to be compared with in the earlier one."""
    done = {(one.set_up, one.region, one.temperature_c) for one in grown}
    return tuple(
        f"{region.region.name}: the earlier result has no hot pixels {_at(series.temperature_c)} of this set-up: their growth is not known"
        for one in result.set_ups
        for region in one.regions
        for series in region.darks
        if series.hot is not None and (one.set_up.label, region.region.name, series.temperature_c) not in done
    )


def _at(temperature_c: float | None) -> str:
    return "of unknown temperature" if temperature_c is None else f"at {temperature_c:g} C"


def summary_of(
    result: SensorResult, frames: Sequence[SensorFrame], grown: Sequence[HotGrowth] = (), remarks: Sequence[str] = ()
) -> Summary:
    """The machine-readable summary; ``remarks`` go to its warnings."""
    grade, reasons = grade_of(result)
    inputs = tuple({"name": frame.name, "sha256": frame.sha256} for frame in frames)
    everything = (*quantities(result), *growth_quantities(grown, several=len(result.set_ups) > 1))
    warnings = tuple(dict.fromkeys((*reasons, *_warnings(result), *remarks)))
    return Summary(recipe=RECIPE, inputs=inputs, grade=grade, quantities=everything, warnings=warnings)


def grade_of(result: SensorResult) -> tuple[str, tuple[str, ...]]:
    """A: measured; B: something stands in for what was missing; C: no gain was measured; D: nothing was."""
    reasons: list[str] = []
    grade = "A"
    regions = [region for set_up in result.set_ups for region in set_up.regions]
    if not regions:
        return "D", tuple(remark for set_up in result.set_ups for remark in set_up.remarks) or ("no usable frame",)
    if result.grouping.remarks:
        grade = "B"
        reasons += result.grouping.remarks
    for set_up in result.set_ups:
        whose = f"{set_up.set_up.label}: " if len(result.set_ups) > 1 and set_up.regions else ""
        if set_up.remarks:
            grade = max(grade, "B")
            reasons += [f"{whose}{remark}" for remark in set_up.remarks]
        if any(flat.curve.bias is None for region in set_up.regions for flat in region.flats):
            grade = max(grade, "B")
            reasons.append(f"{whose}flats without a pair of biases: the read noise is not that of biases")
        few = [flat for region in set_up.regions for flat in region.flats if flat.curve.fit is not None and flat.curve.fit.a00 is None]
        if few:
            grade = max(grade, "B")
            least = min(int(flat.curve.fitted.sum()) for flat in few)
            reasons.append(f"{whose}the gain rests on {sensor_gains.levels_of(least)}: {NO_BRIGHT_FAT}")
        for region in set_up.regions:
            doubts = [doubt for flat in region.flats for doubt in flat.doubts]
            if doubts:
                grade = max(grade, "B")
                reasons += [f"{whose}{region.region.name}: {doubt}" for doubt in doubts]
            falling = [series.reason for series in region.darks if series.points and series.reason]
            if falling:
                grade = max(grade, "B")
                reasons += [f"{whose}{region.region.name}: {reason}" for reason in falling]
            if region.gain is None or region.gain.source != "measured":
                grade = "C"
                reasons.append(f"{whose}{region.region.name}: no gain measured: {region.gain_reason}")
    return grade, tuple(dict.fromkeys(reasons))


def _warnings(result: SensorResult) -> tuple[str, ...]:
    notes = [*result.grouping.remarks]
    for set_up in result.set_ups:
        for region in set_up.regions:
            notes += sensor_gains.warnings(region)
            for flat in region.flats:
                told = [remark for remark in flat.curve.remarks if NO_BRIGHT_FAT not in remark]  # the grade's reason says it
                notes += [f"{region.region.name}: {remark}" for remark in few_words(told)]
    few = [group.label for group in result.grouping.groups if group.reason]
    if few:
        more = " ..." if len(few) > 4 else ""
        notes.append(f"{plural(len(few), 'group')} of one frame alone, without a noise of its own: {', '.join(few[:4])}{more}")
    return tuple(dict.fromkeys(notes))


def few_words(remarks: Sequence[str]) -> list[str]:
    """Remarks that say the same of many frames (``name: what``) as one, with the first names."""
    frames: dict[str, list[str]] = {}
    for remark in remarks:
        name, apart, what = remark.partition(": ")
        frames.setdefault(what if apart and what in SAME_OF_MANY else remark, []).append(name)
    return [
        f"{names[0]}: {what}"
        if what in SAME_OF_MANY and len(names) == 1
        else f"{plural(len(names), 'flat')}, {what}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
        if what in SAME_OF_MANY
        else what
        for what, names in frames.items()
    ]


def _page(
    result: SensorResult, summary: Summary, figures: Mapping[str, Sequence[AnalysisFigure]], standing: Standing, grown: Sequence[HotGrowth]
) -> AnalysisPage:
    found = {one.name for one in summary.quantities}
    status, verdict = _verdict(summary, result)
    return AnalysisPage(
        kind="sensor",
        title=standing.title,
        verdict=verdict,
        status=status,
        needs_person=summary.warnings[:12],
        summary=summary,
        key_quantities=tuple(name for name in KEY if name in found),
        sections=(
            *_sections(result, figures, standing),
            *((sensor_tables.limits_section(summary.quantities),) if result.set_ups else ()),
            *((sensor_tables.growth_section(grown),) if grown else ()),
        ),
        files=FILES,
        commands=standing.commands,
    )


def _verdict(summary: Summary, result: SensorResult) -> tuple[AnalysisStatus, str]:
    """One sentence with the numbers that people ask for first."""
    gain, noise, rate = (_first(summary, name) for name in ("gain", "read_noise", "dark_current"))
    parts = []
    if gain is not None:
        one_level = sensor_gains.levels_of(1)
        alone = f" (from {one_level})" if gain.note.startswith(one_level) else ""
        parts.append(f"gain {quantity(gain.value, 'e-/ADU', 3, gain.error)}{alone}")
    if noise is not None:
        parts.append(f"read noise {quantity(noise.value, 'e-', 2, noise.error)}")
    if rate is not None:
        parts.append(f"dark current {adaptive(rate.value)} e-/s at {rate.where.get('temperature_c', 'unknown')} C")
    missing = [name for name in ("gain", "read_noise") if _first(summary, name) is None]
    if not result.set_ups:
        return "bad", "No usable frame: nothing could be measured"
    if missing:
        why = next((one.note for one in summary.quantities if one.name == missing[0] and one.note), "")
        words = " and ".join(name.replace("_", " ") for name in missing)
        told = f"; {', '.join(parts)}" if parts else ""
        return "attention", f"{words.capitalize()} could not be measured: {why}{told}"
    text = f"{', '.join(parts)}"
    return ("attention" if summary.grade != "A" else "good"), text[0].upper() + text[1:]


def _first(summary: Summary, name: str) -> Quantity | None:
    return next((one for one in summary.quantities if one.name == name and one.value is not None), None)


def _sections(result: SensorResult, figures: Mapping[str, Sequence[AnalysisFigure]], standing: Standing) -> list[AnalysisSection]:
    made = [_frames_section(result, standing)]
    several = len(result.set_ups) > 1
    for place, set_up in enumerate(result.set_ups):
        name = f"{set_up.set_up.label or 'camera'}: " if several else ""
        made += [
            AnalysisSection(
                title=f"{name}Photon transfer",
                text=sensor_gains.texts(set_up),
                tables=(_curve_table(set_up), *((gains,) if (gains := sensor_gains.table(set_up)) is not None else ())),
                figures=tuple(figures.get(f"{place} transfer", ())),
            ),
            AnalysisSection(
                title=f"{name}Linearity and EMVA 1288",
                tables=sensor_tables.emva(set_up),
                figures=tuple(figures.get(f"{place} linearity", ())),
            ),
            AnalysisSection(
                title=f"{name}Dark signal",
                text=_dark_text(set_up),
                tables=(sensor_tables.dark_rates(set_up),),
                figures=tuple(figures.get(f"{place} dark", ())),
            ),
            AnalysisSection(title=f"{name}Fixed pattern and defects", figures=tuple(figures.get(f"{place} pattern", ()))),
        ]
    return [section for section in made if section.tables or section.figures or section.text]


def _frames_section(result: SensorResult, standing: Standing) -> AnalysisSection:
    out = (*standing.left_out, *result.grouping.left_out)
    table = AnalysisTable(title="Not used", columns=("file", "reason"), rows=tuple(out))
    text = f"{plural(sum(len(g.frames) for g in result.grouping.groups), 'frame')} in {plural(len(result.grouping.groups), 'group')}."
    return AnalysisSection(title="Frames", text=(text,), tables=(sensor_tables.groups(result), *((table,) if out else ())))


def _curve_table(set_up: SetUpResult) -> AnalysisTable:
    columns = (
        "region",
        "temperature / C",
        "gain / (e-/adu)",
        "error",
        "bootstrap",
        "model",
        "chi^2",
        "freedom",
        "turn-off / adu",
        "remark",
    )
    rows = []
    for region in set_up.regions:
        for flat in region.flats:
            curve, fit = flat.curve, flat.curve.fit
            turn = curve.turn_off.middle if curve.turn_off is not None else None
            chi2 = fit.chi2 if fit is not None and fit.freedom > 0 else None
            values = (fit.gain, curve.gain_error, fit.bootstrap_gain, fit.method, chi2, fit.freedom) if fit else (None,) * 6
            rows.append((region.region.name, flat.temperature_c, *values, turn, "; ".join((curve.reason, *curve.remarks)).strip("; ")))
    return AnalysisTable(title="Transfer curves", columns=columns, rows=tuple(rows))


def _dark_text(set_up: SetUpResult) -> tuple[str, ...]:
    text = []
    for region in set_up.regions:
        fit = region.arrhenius
        if not isinstance(fit, str):
            doubling = quantity(fit.doubling_k, "K", 2 if fit.doubling_error_k >= 0.01 else 3, max(fit.doubling_error_k, 0.001))
            text.append(f"{region.region.name}: the dark rate doubles every {doubling} at {fit.middle_c:.1f} C.")
        for residual in region.residuals:
            trapped = residual.trapped
            warm = "" if residual.temperature_c is None else f" at {residual.temperature_c:.1f} C"
            if trapped is not None:
                signal = quantity(trapped.signal_e, "e-", 2, residual.trapped_error_e)
                share = f"{100 * trapped.fraction:.2f} %"
                text.append(
                    f"{region.region.name}: after a flood {signal} more in {residual.exposure_s:g} s{warm}, {share} of the dark signal."
                )
            elif residual.reason:
                text.append(f"{region.region.name}: trapped charge{warm} is not known: {residual.reason}.")
    return tuple(text)
