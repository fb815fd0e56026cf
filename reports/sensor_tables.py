"""Tables of a sensor's report: shown on its page and saved as CSV beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.io import atomic
from nightcrew.sensor.characterise import RegionResult, SensorResult, SetUpResult
from nightcrew.sensor.emva1288 import Linear1288
from nightcrew.sensor.flats import FlatResult
from nightcrew.sensor.groups import Group
from nightcrew.sensor.hot_counts import hot_interval
from nightcrew.sensor.hot_growth import COUNTS, HotGrowth
from nightcrew.sensor.hot_lists import hot_list, windows_text
from reports.analysis import AnalysisSection, AnalysisTable, Cell
from reports.sensor_where import dark_rate_e
from reports.summary import Quantity
from reports.tables import csv_text
from reports.values import Column, NumberTable

if TYPE_CHECKING:
    import pandas as pd

Rows = tuple[tuple[Cell, ...], ...]
UNEVEN = ("part", "PRNU / %", "DSNU / e-")
WARM_APART_C = 0.3
"""Two results' temperatures that differ by more are told: 4 % of a dark rate."""
LIMITS = {"max_practical_exposure": "maximum practical", "min_practical_exposure": "minimum practical"}


def save_table(out: Path, name: str, columns: tuple[str, ...], rows: Rows) -> None:
    """Write ``out/name.csv``; what is not finite is empty."""
    clean = tuple(tuple(None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in row) for row in rows)
    table = NumberTable(name=name, columns=tuple(Column(name=column) for column in columns), rows=clean)
    atomic.write_text(out / f"{name}.csv", csv_text(table), overwrite=True)


def save_frame(out: Path, name: str, table: pd.DataFrame) -> None:
    """Write a DataFrame as photonica does, index first; texts are quoted so that no spreadsheet takes them for formulas."""
    columns = ("", *(str(column) for column in table.columns))
    rows = tuple(
        (int(str(index)), *(_cell(value) for value in row)) for index, row in zip(table.index, table.itertuples(index=False), strict=True)
    )
    save_table(out, name, columns, rows)


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"({', '.join(str(part) for part in value)})"
    if isinstance(value, int):
        return value
    number = float(str(value))
    return int(number) if number.is_integer() and "." not in str(value) else number


GROUP_COLUMNS = ("set-up", "kind", "temperature / C", "exposure / s", "filter", "flooded", "frames", "verdict")


def group_rows(result: SensorResult) -> Rows:
    """Every group with its count and verdict."""
    return tuple(
        (g.set_up.label, g.kind, g.temperature_c, g.exposure_s, g.filter, "yes" if g.flooded else "", len(g.frames), g.verdict)
        for g in result.grouping.groups
    )


def groups(result: SensorResult) -> AnalysisTable:
    """The groups for the page: one row for all exposures of a kind and temperature; groups.csv holds each by itself."""
    together: dict[tuple[Cell, ...], list[Group]] = {}
    for group in result.grouping.groups:
        set_up = group.set_up.label if len(result.set_ups) > 1 else ""
        kind = f"{group.kind}, flooded" if group.flooded else group.kind
        together.setdefault((set_up, kind, group.temperature_c, group.filter), []).append(group)
    rows = tuple((*key, _exposures(found), sum(len(g.frames) for g in found), _verdict(found)) for key, found in together.items())
    columns = ("set-up", "kind", "temperature / C", "filter", "exposures / s", "frames", "verdict")
    kept = [place for place in range(len(columns)) if columns[place] != "set-up" or len(result.set_ups) > 1]
    shown = tuple(tuple(row[place] for place in kept) for row in rows)
    return AnalysisTable(title="Groups of frames", columns=tuple(columns[place] for place in kept), rows=shown)


def _exposures(found: list[Group]) -> str:
    times = sorted({group.exposure_s for group in found})
    if len(times) <= 4:
        return ", ".join(f"{time:g}" for time in times)
    return f"{times[0]:g} to {times[-1]:g} ({len(times)})"


def _verdict(found: list[Group]) -> str:
    few = [group for group in found if group.reason]
    if not few:
        return "enough"
    if len(found) == 1:
        return found[0].reason
    return f"{len(few)} of {len(found)} exposures have one frame alone: one more of each would show its noise"


CURVE_COLUMNS = (
    "set-up",
    "region",
    "temperature / C",
    "filter",
    "exposure / s",
    "signal / adu",
    "variance / adu^2",
    "variance error / adu^2",
    "fitted",
    "model / adu^2",
    "residual / sigma",
    "pairs",
    "pixels",
    "clipped",
    "saturated fraction",
    "banded",
)


def curve_rows(result: SensorResult) -> Rows:
    """Every point of every transfer curve."""
    return tuple(
        row for set_up in result.set_ups for region in set_up.regions for flat in region.flats for row in _points(set_up, region, flat)
    )


def _points(set_up: SetUpResult, region: RegionResult, flat: FlatResult) -> Iterator[tuple[Cell, ...]]:
    curve, used = flat.curve, 0
    for point, fitted in zip(curve.points, curve.fitted, strict=True):
        model = residual = None
        if fitted and curve.fit is not None:
            model, residual, used = float(curve.fit.model[used]), float(curve.fit.residual[used]), used + 1
        yield (
            set_up.set_up.label,
            region.region.name,
            flat.temperature_c,
            point.filter,
            point.exposure_s,
            point.signal,
            point.variance,
            point.variance * point.relative_error if point.variance > 0 else None,
            "yes" if fitted else "no",
            model,
            residual,
            len(point.pairs),
            int(point.pixels),
            sum(pair.clipped for pair in point.pairs),
            point.saturated_fraction,
            "yes" if any(pair.bands is not None and pair.bands.found for pair in point.pairs) else "no",
        )


COVARIANCE_COLUMNS = ("set-up", "region", "temperature / C", "lag y / px", "lag x / px", "a / (1/e-)", "error / (1/e-)", "noise / adu^2")


def covariance_rows(result: SensorResult) -> Rows:
    """The matrix a of the covariance model, lag by lag."""
    rows: list[tuple[Cell, ...]] = []
    for set_up in result.set_ups:
        for region in set_up.regions:
            for flat in region.flats:
                fit = flat.curve.fit
                if fit is None or fit.a is None or fit.a_error is None or fit.noise_covariances is None:
                    continue
                for i in range(fit.a.shape[0]):
                    for j in range(fit.a.shape[1]):
                        noise = fit.floor if i == j == 0 else float(fit.noise_covariances[i, j])
                        values = (float(fit.a[i, j]), float(fit.a_error[i, j]), noise)
                        rows.append((set_up.set_up.label, region.region.name, flat.temperature_c, i, j, *values))
    return tuple(rows)


DARK_COLUMNS = (
    "set-up",
    "region",
    "temperature / C",
    "exposure / s",
    "frames",
    "level / adu",
    "level error / adu",
    "temporal variance / adu^2",
    "dsnu / adu",
    "cosmic rays / px",
)


def dark_rows(result: SensorResult) -> Rows:
    """Every point of every dark series."""
    return tuple(
        (
            s.set_up.label,
            r.region.name,
            d.temperature_c,
            p.exposure_s,
            p.frames,
            p.level,
            p.level_error,
            p.temporal_variance,
            p.dsnu,
            p.rays,
        )
        for s in result.set_ups
        for r in s.regions
        for d in r.darks
        for p in d.points
    )


RATE_COLUMNS = (
    "region",
    "temperature / C",
    "rate / (adu/s)",
    "median / (adu/s)",
    "rate a stored pixel / (e-/s)",
    "error / (e-/s)",
    "hot pixels",
    "from",
    "to",
    "remark",
)


def dark_rates(set_up: SetUpResult) -> AnalysisTable:
    """Dark rates by region and temperature."""
    rows = []
    for region in set_up.regions:
        for series in region.darks:
            rate, error = dark_rate_e(region, series.rate_adu_per_s, series.rate_error_adu_per_s)
            hot = None if series.hot is None else int(series.hot.y.size)
            adu = (series.rate_adu_per_s, series.median_rate_adu_per_s)
            between = hot_interval(series, None if region.gain is None else region.gain.value)
            ends = (None, None) if isinstance(between, str) else (int(between.low), int(between.high))
            rows.append((region.region.name, series.temperature_c, *adu, rate, error, hot, *ends, series.reason))
    note = "Hot pixels are left out of the rates. From and to: 95 % interval of their number."
    return AnalysisTable(title="Dark rates", columns=RATE_COLUMNS, rows=tuple(rows), note=note)


HOT_COLUMNS = ("set-up", "region", "temperature / C", "y", "x", "rate / (adu/s)", "rate / (e-/s)")


def hot_rows(result: SensorResult) -> Rows:
    """Every hot pixel, brightest first in each series."""
    rows: list[tuple[Cell, ...]] = []
    for set_up in result.set_ups:
        for region in set_up.regions:
            gain = region.gain.value if region.gain is not None else None
            for series in region.darks:
                if series.hot is None:
                    continue
                for y, x, rate in zip(series.hot.y.tolist(), series.hot.x.tolist(), series.hot.rate_adu_per_s.tolist(), strict=True):
                    where = (set_up.set_up.label, region.region.name, series.temperature_c)
                    rows.append((*where, y, x, rate, None if gain is None else rate * gain))
    return tuple(rows)


def warm_rows(result: SensorResult) -> Rows:
    """Hot pixels and those nearer to the threshold than to the mean of the others, after a row without a pixel for each series."""
    rows: list[tuple[Cell, ...]] = []
    for set_up in result.set_ups:
        for region in set_up.regions:
            for series in region.darks:
                found = hot_list(series, region.gain.value if region.gain is not None else None, region.region.windows)
                if found is None:
                    continue
                where = (set_up.set_up.label, region.region.name, series.temperature_c)
                bars = (found.threshold_adu_per_s, found.typical_adu_per_s, windows_text(found.windows))
                rows.append((*where, None, None, None, None, *bars))
                for (y, x), rate in found.rate_adu_per_s.items():
                    rows.append((*where, y, x, rate, found.error_adu_per_s.get((y, x)), *bars))
    return tuple(rows)


def limits_section(quantities: Sequence[Quantity]) -> AnalysisSection:
    """Exposure limits over temperature, flood and filter, from the summary's quantities."""
    rows: list[tuple[Cell, ...]] = []
    for one in quantities:
        if one.name not in LIMITS:
            continue
        where = one.where
        light = f"{where.get('filter', 'light')} of {where['rate_e_per_s']} e-/s" if "rate_e_per_s" in where else ""
        binned = f"binned {where['binning']}" if where.get("binning", "1x1") != "1x1" else "not binned" if "binning" in where else ""
        flood = f"after a flood, darks of {where['exposure_s']} s" if where.get("flooded") else ""
        condition = ", ".join(filter(None, (light, flood, binned)))
        place = " ".join(filter(None, (str(where.get("set_up", "")), str(where.get("region", "")))))
        rows.append((LIMITS[one.name], place, _number(where.get("temperature_c")), condition, one.value, one.error, one.note))
    columns = ("limit", "region", "temperature / C", "condition", "exposure / s", "error / s", "remark")
    text = (
        "Maximum: the dark current's shot noise reaches the read noise, t = read\u00b2 / dark rate.",
        "Minimum: the light's shot noise reaches n read noises, t = n\u00b2 read\u00b2 / rate.",
    )
    table = AnalysisTable(title="Exposure limits", columns=columns, rows=tuple(rows))
    return AnalysisSection(title="Exposure limits", text=text, tables=(table,))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def growth_section(grown: Sequence[HotGrowth]) -> AnalysisSection:
    """Hot pixels against an earlier result: a row for each way in which pixels may change."""
    several = len({one.set_up for one in grown}) > 1
    columns = ("region", "temperature / C", "then / C", "change", "found", "from", "to", "level / %", "remark")
    rows = [(one.set_up, *row) if several else row for one in grown for row in _growth_rows(one)]
    note = (
        "Grown: at least 1.5 times the earlier rate; shrunk: at most 1/1.5 of it. Of both results the higher threshold counts for both. "
        "From and to: interval of how many pixels truly changed so; noise alone lifts pixels over the threshold and takes others below it."
    )
    shown = ("set-up", *columns) if several else columns
    table = AnalysisTable(title="Hot pixels then and now", columns=shown, rows=tuple(rows), note=note)
    return AnalysisSection(title="Growth of the hot pixels", tables=(table,))


def _growth_rows(one: HotGrowth) -> Iterator[tuple[Cell, ...]]:
    counts: dict[str, Cell] = {"before": one.before, "now": one.now, "new": one.new, "gone": one.gone, "grown": one.grown}
    counts |= {"shrunk": one.shrunk, "median_ratio": one.median_ratio}
    remark = growth_remark(one)
    for name, value in counts.items():
        found = one.intervals.get(name)
        ends = (None, None, None) if found is None else (found.low, found.high, 100 * found.level)
        yield one.region, one.temperature_c, one.before_c, name.replace("_", " "), value, *ends, remark if name in COUNTS else ""


def growth_remark(one: HotGrowth) -> str:
    """What stands against comparing, and why intervals are missing."""
    apart = abs((one.temperature_c or 0.0) - (one.before_c or 0.0)) if None not in (one.temperature_c, one.before_c) else 0.0
    warmer = f"{apart:.2g} C apart: dark rates go with the temperature" if apart > WARM_APART_C else ""
    where = "only pixels that both results looked at count" if one.windows_differ else ""
    unknown = "" if one.windows_known else "the earlier result does not tell which pixels it looked at: others may be called new"
    return "; ".join(filter(None, (warmer, where, unknown, f"no interval: {one.why}" if one.why else "")))


def emva(set_up: SetUpResult) -> tuple[AnalysisTable, ...]:
    """EMVA 1288, a row a region and temperature: noise and range, signal-to-noise ratio and linearity, and parts of the non-uniformity."""
    where = ("region", "temperature / C")
    noise = ("K / (DN/e-)", "dark noise / e-", "threshold / e-", "saturation / e-", "remark")
    ratio = ("SNR max / dB", "dynamic range / dB", "linearity error / %", "from / %", "to / %")
    found = [((region.region.name, flat.temperature_c), flat) for region in set_up.regions for flat in region.flats]
    note = "Relative form: the light is measured by the exposure. All pixels count, defects and shading too, as the standard asks."
    ends = "From and to: 95 % interval of the linearity error without noise."
    hidden = "What is empty is below what noise leaves."
    rows = tuple((*place, *_noise_cells(flat)) for place, flat in found)
    ratios = tuple((*place, *_ratio_cells(flat)) for place, flat in found)
    parts = tuple((*place, *row) for place, flat in found for row in _parts(flat))
    return (
        AnalysisTable(title="EMVA 1288", columns=(*where, *noise), rows=rows, note=note),
        *([AnalysisTable(title="EMVA 1288: range and linearity", columns=(*where, *ratio), rows=ratios, note=ends)] if ratios else []),
        *([AnalysisTable(title="EMVA 1288: non-uniformity", columns=(*where, *UNEVEN), rows=parts, note=hidden)] if parts else []),
    )


def _noise_cells(flat: FlatResult) -> tuple[Cell, ...]:
    e = flat.emva
    if not isinstance(e, Linear1288):
        return (*(None,) * 4, e)
    open_end = "" if e.saturated else f"saturation was not reached: above {e.highest_e:.0f} e-"
    light = f"filter {flat.emva_filter}" if len(flat.filters) > 1 else ""
    return e.gain_dn_per_e, e.dark_noise_e, e.threshold_e, e.saturation_e, "; ".join(filter(None, (light, open_end)))


def _ratio_cells(flat: FlatResult) -> tuple[Cell, ...]:
    e = flat.emva
    if not isinstance(e, Linear1288):
        return (None,) * 5
    between = e.linearity_interval
    ends = (None, None) if between is None else (between.low, between.high)
    return e.snr_max_db, e.dynamic_range_db, e.linearity_error_percent, *ends


def _parts(flat: FlatResult) -> Iterator[tuple[Cell, ...]]:
    light, dark = flat.uniformity.split, flat.uniformity.dark_split
    if light is None and dark is None:
        return
    for place, part in enumerate(("total", "row", "column", "pixel")):
        yield part, *(None if one is None else (one.total, one.row, one.column, one.pixel)[place] for one in (light, dark))
