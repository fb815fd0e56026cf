"""What the dose costs: dynamic range, magnitude error and limit, maps and zones, converters, a star, pre against post."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nightcrew.irradiation.costs import (
    Cost,
    bit_depths,
    cost_maps,
    costs,
    of_longest,
    photometric_precision,
    relative,
    star_course,
    star_forecast,
)
from nightcrew.irradiation.masters import Master, read_map
from nightcrew.irradiation.precision import METRICS, Relative, zones
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.star_noise import Star
from nightcrew.irradiation.tokens import STAGES
from reports.campaign_plots import Axis, Series, curve_png, map_png, panels_png, stage_series
from tasks.campaign_files import Tree

DOSE = Axis(label="dose / kRad")
ZONES = ("Q1", "Q2", "Q3", "Q4")


def write_precision(tree: Tree, analysis: Analysis, folder: str, star: Star, predict_krad: Sequence[float] = ()) -> list[str]:
    """All of ``pixel_precision/``, and of ``plots/`` and ``analysis/`` what is about precision; sentences on what there is not."""
    made = costs(analysis)
    absent: list[str] = []
    if not made:
        return ["There is no dark with a bias of its own, so nothing can be said about the precision."]
    _write_photometric(tree, folder, made)
    _write_pixels(tree, folder, of_longest(made))
    _write_ranges(tree, folder, made)
    _write_relative(tree, folder, relative(of_longest(made)), absent)
    _write_stage_changes(tree, folder, analysis, absent)
    _write_bit_depths(tree, folder, analysis, of_longest(made), absent)
    _write_star(tree, folder, analysis, star, predict_krad, absent)
    return absent


def _write_photometric(tree: Tree, folder: str, made: Sequence[Cost]) -> None:
    points = photometric_precision(made)
    rows = [{"DOSE": p.dose_krad, "MAG_ERR": p.magnitude.mean, "MAG_ERR_STD": p.magnitude.std, "STAGE": p.stage} for p in points]
    tree.table(
        f"{folder}photometric_precision.csv", ("DOSE", "MAG_ERR", "MAG_ERR_STD", "STAGE"), rows, "magnitude error at half of the head-room"
    )
    series = stage_series((p.stage, p.dose_krad, p.magnitude.mean, p.magnitude.std) for p in points)
    picture = curve_png(series, DOSE, Axis(label="magnitude error / mag"), "photometric precision, S = (65536 - bias) / 2")
    tree.bytes(f"{folder}plots/photometric_precision_vs_dose.png", picture, "magnitude error against dose")
    tree.arrays(
        f"{folder}plots/photometric_precision_vs_dose.npz",
        "the plotted numbers",
        dose=[p.dose_krad for p in points],
        mag_err=[p.magnitude.mean for p in points],
        mag_err_std=[p.magnitude.std for p in points],
    )


def _labels(made: Sequence[Cost]) -> list[str]:
    """``5kR`` by the dose of the step; with the stage where another stage has the dose, and a number where even that is there twice."""
    doses = [f"{one.step_dose_krad:.6g}kR" for one in made]
    named = [f"{dose}_{one.stage}" if doses.count(dose) > 1 else dose for dose, one in zip(doses, made, strict=True)]
    return [f"{name}_N{named[:place].count(name) + 1}" if name in named[:place] else name for place, name in enumerate(named)]


def _write_pixels(tree: Tree, folder: str, made: Sequence[Cost]) -> None:
    rows: list[dict[str, object]] = []
    quarters: list[tuple[Cost, tuple[float, ...], tuple[float, ...]]] = []
    for label, (one, maps) in zip(_labels(made), cost_maps(made), strict=True):
        for name, image, unit in (
            ("mag_err", maps.magnitude, "mag"),
            ("adu_err16", maps.adu_16, "adu"),
            ("adu_err12", maps.adu_12, "adu12"),
        ):
            place = f"{folder}pixel_precision/{name}_{label}"
            tree.image(
                f"{place}.fits",
                image,
                f"{name} of every pixel",
                unit=unit,
                cards=[("DOSE", one.dose_krad, "kRad"), ("STAGE", one.stage, "")],
            )
            mean = float(np.nanmean(image))
            tree.bytes(
                f"{place}.png",
                map_png((image - mean) / mean, f"{name} {label}: (x - mean) / mean, mean {mean:.4g}", "", centred=True),
                "map",
            )
        good, counts = maps.magnitude[np.isfinite(maps.magnitude)], maps.adu_16
        rows.append(
            {
                "DOSE": one.step_dose_krad,
                "MAG_MEAN": float(good.mean()) if good.size else None,
                "MAG_STD": float(good.std()) if good.size else None,
                "ADU_MEAN": float(np.nanmean(counts)),
                "ADU_STD": float(np.nanstd(counts)),
                "STAGE": one.stage,
            }
        )
        quarters.append((one, zones(maps.magnitude), zones(maps.adu_16)))
    columns = ("DOSE", "MAG_MEAN", "MAG_STD", "ADU_MEAN", "ADU_STD", "STAGE")
    tree.table(f"{folder}pixel_precision/pixel_precision_stats.csv", columns, rows, "precision of the pixels by dose")
    for short, title, unit in (("mag", "magnitude error", "mag"), ("adu", "error of a count", "adu")):
        _write_course(tree, folder, short, title, unit, rows)
        _write_zones(tree, folder, short, f"{title} / {unit}", [(one, mag if short == "mag" else adu) for one, mag, adu in quarters])


def _write_course(tree: Tree, folder: str, short: str, title: str, unit: str, rows: Sequence[dict[str, object]]) -> None:
    def column(name: str) -> list[float]:
        return [float(value) if isinstance(value := row[name], float) else math.nan for row in rows]

    dose, mean, std = column("DOSE"), column(f"{short.upper()}_MEAN"), column(f"{short.upper()}_STD")
    stages = [str(row["STAGE"]) for row in rows]
    series = stage_series(zip(stages, dose, mean, std, strict=True))
    picture = curve_png(series, DOSE, Axis(label=f"{title} / {unit}"), f"{title} of the pixels, bars = std over pixels")
    name = f"{short}_err_vs_dose"
    arrays = {"dose": dose, f"{short}_mean": mean, f"{short}_std": std}
    for place in ("plots", "pixel_precision"):
        tree.bytes(f"{folder}{place}/{name}.png", picture, f"{title} against dose")
        tree.arrays(f"{folder}{place}/{name}.npz", "the plotted numbers", **arrays)


def _write_zones(tree: Tree, folder: str, short: str, label: str, made: Sequence[tuple[Cost, tuple[float, ...]]]) -> None:
    dose = [one.step_dose_krad for one, _ in made]
    series = [Series(label=zone, x=dose, y=[values[place] for _, values in made]) for place, zone in enumerate(ZONES)]
    name = f"{folder}pixel_precision/zone_{short}_error"
    tree.bytes(f"{name}.png", curve_png(series, DOSE, Axis(label=label), "mean of the four quadrants"), "four quadrants")
    tree.arrays(f"{name}.npz", "the plotted numbers", dose=dose, **{zone: [v[place] for _, v in made] for place, zone in enumerate(ZONES)})


def _write_ranges(tree: Tree, folder: str, made: Sequence[Cost]) -> None:
    """One entry a stage, dose and exposure: exposures are not averaged."""
    place = f"{folder}analysis/"
    tree.arrays(
        f"{place}dynamic_range.npz",
        "dynamic range of every stage, dose and exposure",
        dose=[c.dose_krad for c in made],
        exposure_s=[c.exposure_s for c in made],
        stage=np.array([c.stage for c in made], dtype="U9"),
        bias_mean=[c.bias.mean for c in made],
        dark_mean=[c.dark.mean for c in made],
        dynamic_range_16=[c.range.dynamic_range_16 for c in made],
        dynamic_range_12=[c.range.dynamic_range_12 for c in made],
        noise_adu=[c.range.noise_adu for c in made],
        noise_mag=[c.range.noise_mag for c in made],
        reduction_16=[c.range.reduction_percent for c in made],
        reduction_12=[c.range.reduction_percent for c in made],
        base_level_16=[c.range.base_level_16 for c in made],
        base_level_12=[c.range.base_level_12 for c in made],
        magnitude_loss=[c.range.magnitude_loss for c in made],
        magnitude_loss_error=[c.range.magnitude_loss_error for c in made],
        temporal_noise_adu=[c.temporal_noise_adu for c in made],
    )
    for bits in (16, 12):
        unit = "adu" if bits == 16 else "adu12"
        _by_exposure(tree, f"{place}dynamic_range_vs_dose_{bits}", made, f"dynamic_range_{bits}", f"dynamic range / {unit}")
        _by_exposure(tree, f"{place}baseline_vs_dose_{bits}", made, f"base_level_{bits}", f"bias + dark / {unit}")
    _by_exposure(tree, f"{place}magnitude_vs_dose", made, "magnitude_loss", "loss of the magnitude limit / mag", "magnitude_loss_error")


def _by_exposure(tree: Tree, name: str, made: Sequence[Cost], what: str, label: str, error: str = "") -> None:
    series = []
    for exposure in sorted({one.exposure_s for one in made}):
        some = [one for one in made if one.exposure_s == exposure]
        bars = [getattr(one.range, error) for one in some] if error else None
        series.append(
            Series(label=f"{exposure:.4g} s", x=[o.dose_krad for o in some], y=[getattr(o.range, what) for o in some], error=bars)
        )
    tree.bytes(f"{name}.png", curve_png(series, DOSE, Axis(label=label), label.split(" / ", maxsplit=1)[0]), label)
    values = [getattr(one.range, what) for one in made]
    tree.arrays(
        f"{name}.npz", "the plotted numbers", dose=[o.dose_krad for o in made], exposure_s=[o.exposure_s for o in made], value=values
    )


def _write_relative(tree: Tree, folder: str, rows: Sequence[Relative], absent: list[str]) -> None:
    place = f"{folder}analysis/"
    tree.arrays(
        f"{place}relative_precision.npz",
        "noise and magnitude error less those before the beam",
        stage=np.array([row.stage for row in rows], dtype="U9"),
        dose=[row.dose_krad for row in rows],
        **{metric: [getattr(row, metric) for row in rows] for metric in METRICS},
    )
    for what, title in (("noise", "noise"), ("mag", "magnitude error")):
        for bits in (16, 12):
            metric = f"{what}{bits}_diff"
            name = f"{place}relative_{'noise' if what == 'noise' else 'mag_err'}_vs_dose_{bits}"
            unit = "mag" if what == "mag" else f"adu{'' if bits == 16 else '12'}"
            series = stage_series((row.stage, row.dose_krad, getattr(row, metric), 0.0) for row in rows)
            tree.bytes(
                f"{name}.png",
                curve_png(series, DOSE, Axis(label=f"{title} - pre / {unit}"), f"{title}, change against pre"),
                f"change of the {title}",
            )
            tree.arrays(f"{name}.npz", "the plotted numbers", **_relative_arrays(rows, metric))
    if not any(row.stage == "pre" for row in rows):
        absent.append("Without frames before the beam there is nothing to compare the precision with.")
    if any(row.stage == "post" for row in rows):
        _write_pre_post(tree, f"{place}pre_vs_post_relative_precision", rows)
    else:
        absent.append("Without frames after the beam pre and post cannot be compared.")


def _relative_arrays(rows: Sequence[Relative], metric: str) -> dict[str, object]:
    arrays: dict[str, object] = {}
    for stage in STAGES:
        some = [row for row in rows if row.stage == stage]
        if some:
            arrays |= {
                f"{stage}_dose": [row.dose_krad for row in some],
                f"{stage}_{metric.upper()}": [getattr(row, metric) for row in some],
            }
    return arrays


def _write_pre_post(tree: Tree, name: str, rows: Sequence[Relative]) -> None:
    means = {
        f"{stage}_{metric.upper()}": float(np.mean([getattr(row, metric) for row in rows if row.stage == stage] or [math.nan]))
        for stage in ("pre", "post")
        for metric in METRICS
    }
    panels = []
    for unit, some in (("adu", METRICS[:2]), ("mag", METRICS[2:])):
        series = [
            Series(label=stage, x=list(range(len(some))), y=[means[f"{stage}_{metric.upper()}"] for metric in some])
            for stage in ("pre", "post")
        ]
        panels.append((series, Axis(label=f"change / {unit}")))
    tree.bytes(f"{name}.png", panels_png(panels, Axis(label="0: 16 bits, 1: 12 bits"), "pre and post against pre"), "pre against post")
    tree.arrays(f"{name}.npz", "the plotted numbers", **means)


def _write_stage_changes(tree: Tree, folder: str, analysis: Analysis, absent: list[str]) -> None:
    """First irradiated - pre, last irradiated - post: numbers, and maps in % of the reference's mean."""
    place = f"{folder}analysis/"
    rows = []
    for shift in analysis.shifts:
        name = "first_vs_pre" if shift.transition == "first_pre" else "post_vs_last"
        row = {"CALTYPE": shift.kind, "CMP": name, "DIFF": shift.value, "EXPTIME": shift.exposure_s if shift.kind == "DARK" else None}
        rows.append({**row, "DIFF_ERROR": shift.error, "WHY": shift.why})
        if shift.why:
            absent.append(f"No {name} of {shift.kind.lower()} {shift.exposure_s:g} s: {shift.why}.")
    columns = ("CALTYPE", "CMP", "DIFF", "EXPTIME", "DIFF_ERROR", "WHY")
    tree.table(f"{place}stage_differences.csv", columns, rows, "irradiated less reference: positive when the irradiated level is higher")
    longest = max((s.exposure_s for s in analysis.shifts if s.kind == "DARK"), default=0.0)
    values: dict[str, list[float]] = {}
    for kind, exposure in (("BIAS", 0.0), ("DARK", longest)):
        some = [s for s in analysis.shifts if s.kind == kind and s.exposure_s == exposure]
        values[kind] = [next((s.value for s in some if s.transition == t), math.nan) for t in ("first_pre", "last_post")]
        _write_change_maps(tree, place, analysis, kind, exposure)
    doses = [one.group.dose_krad for one in analysis.masters if one.group.stage == "radiating"] or [math.nan]
    ends = [min(doses), max(doses)]
    tree.arrays(f"{place}stage_base_diff.npz", "irradiated less reference", dose=ends, bias_diff=values["BIAS"], dark_diff=values["DARK"])
    for kind in ("BIAS", "DARK"):
        series = [Series(label="irradiated - reference", x=ends, y=values[kind])]
        picture = curve_png(series, DOSE, Axis(label="difference / adu"), f"{kind.lower()}: first - pre, last - post")
        tree.bytes(f"{place}stage_base_diff_{kind.lower()}.png", picture, "irradiated less reference")


def _write_change_maps(tree: Tree, place: str, analysis: Analysis, kind: str, exposure_s: float) -> None:
    found: dict[str, Master] = {}
    for one in sorted(analysis.masters, key=lambda one: one.group.dose_krad):
        group = one.group
        if group.kind != kind or not one.corrected or group.visit or group.temperature_bin != analysis.main_bin:
            continue
        if kind == "DARK" and not math.isclose(group.exposure_s, exposure_s, rel_tol=1e-6):
            continue
        if group.stage == "radiating":
            found.setdefault("first", one)
            found["last"] = one
        else:
            found[group.stage] = one
    for name, irradiated, reference in (("first_vs_pre", "first", "pre"), ("post_vs_last", "last", "post")):
        if irradiated not in found or reference not in found or found[irradiated].stack.shape != found[reference].stack.shape:
            continue
        base = read_map(found[reference].path)
        percent = 100 * (read_map(found[irradiated].path) - base) / np.float32(np.nanmean(base, dtype=np.float64))
        stem = f"{place}{kind.lower()}_{name}"
        tree.arrays(f"{stem}.npz", "the map, % of the reference's mean", diff_percent=percent)
        title = f"{kind.lower()} {irradiated} - {reference}"
        tree.bytes(f"{stem}.png", map_png(percent, title, "% of the mean", centred=True), "irradiated less reference")
        tree.bytes(f"{stem}_log.png", map_png(percent, title, "% of the mean", centred=True, log=True), "the same, logarithmic colours")


def _write_bit_depths(tree: Tree, folder: str, analysis: Analysis, made: Sequence[Cost], absent: list[str]) -> None:
    found = bit_depths(analysis, made)
    if not found:
        absent.append("Single frames tell no temporal noise, so there is no sweep over bit depths.")
        return
    names = ("dose_krad", "bits", "step_adu16", "noise_steps", "dynamic_range_steps", "dynamic_range_db", "magnitude_error")
    rows = [{name.upper(): getattr(one, name) for name in names} for one in found]
    tree.table(f"{folder}analysis/bit_depth.csv", [name.upper() for name in names], rows, "other converters on the same detector")
    series = [
        Series(
            label=f"{bits} bits", x=[o.dose_krad for o in found if o.bits == bits], y=[o.magnitude_error for o in found if o.bits == bits]
        )
        for bits in sorted({one.bits for one in found})
    ]
    picture = curve_png(series, DOSE, Axis(label="magnitude error / mag"), "converters of other widths, at half of the head-room")
    tree.bytes(f"{folder}analysis/bit_depth.png", picture, "magnitude error by bit depth")
    tree.arrays(f"{folder}analysis/bit_depth.npz", "the plotted numbers", **{name: [getattr(o, name) for o in found] for name in names})


def _write_star(tree: Tree, folder: str, analysis: Analysis, star: Star, predict_krad: Sequence[float], absent: list[str]) -> None:
    found, why = star_forecast(analysis, star, predict_krad)
    reasons = {one.why for one in found if one.why} | ({why} if why else set())
    absent += [f"No forecast for a star: {reason}." for reason in sorted(reasons)]
    names = (
        "dose_krad",
        "magnitude_error",
        "magnitude_error_error",
        "limiting_magnitude",
        "limiting_magnitude_error",
        "dark_e_per_s",
        "peak_adu",
    )
    rows = [{name.upper(): getattr(one, name) for name in names} for one in found]
    tree.table(
        f"{folder}analysis/star_forecast.csv", [name.upper() for name in names], rows, "a star through the full noise, with its band"
    )
    good = [one for one in found if not one.why]
    if not good:
        return
    course = star_course(analysis, star, predict_krad)
    panels = []
    for what, label in (("magnitude_error", "magnitude error / mag"), ("limiting_magnitude", "limit / mag")):
        series = [
            Series(
                label="" if line else label.split(" /")[0],
                x=[one.dose_krad for one in some],
                y=[getattr(one, what) for one in some],
                error=[getattr(one, f"{what}_error") for one in some],
                line=line,
                colour="#0072b2",
            )
            for some, line in ((course, True), (good, False))
        ]
        panels.append((series, Axis(label=label)))
    title = f"star of {star.magnitude:g} mag, {star.exposure_s:g} s, aperture {star.aperture_radius_px:g} px, with its band"
    tree.bytes(f"{folder}analysis/star_forecast.png", panels_png(panels, DOSE, title), "forecast for a star")
    arrays = {name: [getattr(o, name) for o in good] for name in names}
    tree.arrays(
        f"{folder}analysis/star_forecast.npz",
        "the plotted numbers, and the course between them",
        **arrays,
        **{f"course_{name}": [getattr(o, name) for o in course] for name in names},
    )
