"""Results against dose: summary of all groups, curves with their fitted laws, tables of the laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.least_squares import Fit
from nightcrew.irradiation.masters import Master
from nightcrew.irradiation.response import Level, RateModel, chosen, exposures, frame_rates, on_rate, std_on_mean
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.tokens import STAGES
from reports.campaign_plots import COLOURS, Axis, Series, curve_png, fitted, panels_png, stage_series
from tasks.campaign_files import Tree, short

F8 = NDArray[np.float64]
DOSE, MEAN, STD = Axis(label="dose / kRad"), Axis(label="mean / adu"), Axis(label="std / adu")
SUMMARY = (
    "STAGE",
    "CALTYPE",
    "DOSE",
    "EXPTIME",
    "MEAN",
    "STD",
    "DOSE_RATE",
    "DOSE_RATE_STD",
    "DOSE_ERROR",
    "DOSE_RATE_FRAMES",
    "MEAN_ERROR",
    "NOISE",
    "TEMP",
    "NFRAMES",
    "BIASSUB",
)


def write_dose(tree: Tree, analysis: Analysis, folder: str) -> list[str]:
    """``dose_summary.csv``, ``masters/``, and all of ``plots/`` and the laws of ``analysis/``; sentences on what is not determined."""
    absent: list[str] = []
    rates = _rates_of_frames(analysis)
    rows = [_summary_row(one, rates) for one in analysis.masters]
    tree.table(f"{folder}dose_summary.csv", SUMMARY, rows, "every group with its dose and level")
    for one in analysis.masters:
        tree.link(f"{folder}masters/{_legacy_name(one, analysis)}.fits", one.path, "master")
    levels = analysis.levels()
    for kind in ("BIAS", "DARK", "FLAT"):
        for exposure, suffix in curves(levels, kind):
            _write_curve(tree, folder, kind, suffix, chosen(levels, kind=kind, exposure_s=exposure))
            if kind != "FLAT":
                some = chosen(levels, kind=kind, exposure_s=exposure)
                _write_mean_std(tree, folder, kind, suffix, some)
        longest = max(exposures(chosen(levels, kind=kind)), default=0.0)
        for exposure, suffix in curves(levels, kind):
            some = chosen(levels, kind=kind, exposure_s=exposure)
            _write_rate_effect(tree, folder, kind.lower() + suffix, some)
            if suffix and exposure == longest:
                _write_rate_effect(tree, folder, kind.lower(), some)
    _write_dose_models(tree, folder, analysis, levels)
    _write_rate_models(tree, folder, analysis, levels, absent)
    return absent


def curves(levels: Sequence[Level], kind: str) -> list[tuple[float | None, str]]:
    """(exposure, part of the file's name) of each curve of a kind: darks one an exposure, others one."""
    if kind == "DARK":
        return [(exposure, f"_E{short(exposure)}s") for exposure in exposures(chosen(levels, kind=kind))]
    return [(None, "")] if chosen(levels, kind=kind) else []


def _legacy_name(master: Master, analysis: Analysis) -> str:
    """``master_<kind>_<stage>_D<dose>kR_E<exposure>``, with temperature and visit where that is not unique."""
    group = master.group
    exposure = "none" if group.kind == "BIAS" else f"{group.exposure_s:.6g}"
    temperature = f"_T{group.temperature_c:.1f}" if len(analysis.bins) > 1 and math.isfinite(group.temperature_c) else ""
    visit = f"_V{group.visit}" if group.visit else ""
    return f"master_{group.kind.lower()}_{group.stage}_D{group.dose_krad:.6g}kR_E{exposure}{temperature}{visit}"


def _rates_of_frames(analysis: Analysis) -> dict[str, float | None]:
    """The older suite's rate of each frame: against the frame before it in time, across all kinds."""
    timed = [f for f in analysis.campaign.frames if f.time_s is not None and math.isfinite(analysis.campaign.doses[f.relative].dose_krad)]
    timed.sort(key=lambda f: (f.time_s or 0.0, f.relative))
    found = frame_rates([analysis.campaign.doses[f.relative].dose_krad for f in timed], [f.time_s or 0.0 for f in timed])
    return {frame.relative: rate for frame, rate in zip(timed, found, strict=True)}


def _summary_row(master: Master, rates: dict[str, float | None]) -> dict[str, object]:
    group, level = master.group, master.level()
    own = [one.rate_krad_per_s for one in group.doses]
    old = [rate for frame in group.frames if (rate := rates.get(frame.relative)) is not None]
    return {
        "STAGE": group.stage,
        "CALTYPE": group.kind,
        "DOSE": group.dose_krad,
        "EXPTIME": None if group.kind == "BIAS" else group.exposure_s,
        "MEAN": level.mean,
        "STD": master.std,
        "DOSE_RATE": group.rate_krad_per_s,
        "DOSE_RATE_STD": float(np.std(own)) if own else None,
        "DOSE_ERROR": group.dose_error_krad,
        "DOSE_RATE_FRAMES": float(np.mean(old)) if old else None,
        "MEAN_ERROR": level.mean_error,
        "NOISE": level.noise,
        "TEMP": group.temperature_c,
        "NFRAMES": len(group.frames),
        "BIASSUB": master.bias is not None,
    }


def _by_stage(levels: Sequence[Level]) -> dict[str, F8]:
    arrays: dict[str, F8] = {}
    for stage in STAGES:
        some = [one for one in levels if one.stage == stage]
        if some:
            arrays[f"{stage}_dose"] = np.array([one.dose_krad for one in some])
            arrays[f"{stage}_mean"] = np.array([one.mean for one in some])
            arrays[f"{stage}_std"] = np.array([one.std for one in some])
    return arrays


def _write_curve(tree: Tree, folder: str, kind: str, suffix: str, levels: Sequence[Level]) -> None:
    name = f"{folder}plots/{kind.lower()}_mean_vs_dose{suffix}"
    series = stage_series((one.stage, one.dose_krad, one.mean, one.std) for one in levels)
    tree.bytes(
        f"{name}.png", curve_png(series, DOSE, MEAN, f"{kind.lower()}{suffix.replace('_', ' ')}: level, bars = std"), "level against dose"
    )
    tree.arrays(f"{name}.npz", "the plotted numbers", **_by_stage(levels))


def _line(fit: Fit, x: F8) -> tuple[F8, F8]:
    return fit.predict({"intercept": np.ones_like(x), "slope": x})


def _of(fit: Fit, name: str) -> float:
    return fit.value(name) if fit.n else math.nan


def _write_mean_std(tree: Tree, folder: str, kind: str, suffix: str, levels: Sequence[Level]) -> None:
    beam, quiet = [one for one in levels if one.stage == "radiating"], [one for one in levels if one.stage != "radiating"]
    fit_ir, fit_no = std_on_mean(beam), std_on_mean(quiet)
    mean, std = np.array([one.mean for one in levels]), np.array([one.std for one in levels])
    line_ir, line_no = (fit.predict({"intercept": np.ones_like(mean), "slope": mean})[0] for fit in (fit_ir, fit_no))
    name = f"{folder}plots/{kind.lower()}_mean_std_vs_dose{suffix}"
    dose = np.array([one.dose_krad for one in levels])
    panels = [
        (stage_series((one.stage, one.dose_krad, one.mean, one.mean_error) for one in levels), MEAN),
        (stage_series((one.stage, one.dose_krad, one.std, 0.0) for one in levels), STD),
    ]
    tree.bytes(f"{name}.png", panels_png(panels, DOSE, f"{kind.lower()}{suffix.replace('_', ' ')}"), "level and scatter against dose")
    tree.arrays(
        f"{name}.npz",
        "the plotted numbers and the law STD = slope MEAN + intercept, irradiating and not",
        dose=dose,
        mean=mean,
        std=std,
        fit_ir=line_ir,
        fit_no=line_no,
        slope_ir=_of(fit_ir, "slope"),
        intercept_ir=_of(fit_ir, "intercept"),
        slope_no=_of(fit_no, "slope"),
        intercept_no=_of(fit_no, "intercept"),
    )
    _write_std_model(tree, folder, kind, suffix, (beam, fit_ir, "irradiating"), (quiet, fit_no, "not"))


def _write_std_model(tree: Tree, folder: str, kind: str, suffix: str, *laws: tuple[Sequence[Level], Fit, str]) -> None:
    series: list[Series] = []
    residuals: list[Series] = []
    arrays: dict[str, F8] = {}
    for place, (levels, fit, label) in enumerate(laws):
        colour = (COLOURS["radiating"], COLOURS["pre"])[place]
        mean, std = np.array([one.mean for one in levels]), np.array([one.std for one in levels])
        key = "ir" if label == "irradiating" else "no"
        arrays |= {f"mean_{key}": mean, f"std_{key}": std}
        series.append(Series(label=label, x=mean, y=std, colour=colour))
        if len(mean) and math.isfinite(_of(fit, "slope")):
            model = fit.predict({"intercept": np.ones_like(mean), "slope": mean})[0]
            order = np.argsort(mean)
            series.append(Series(label=f"law, {label}", x=mean[order], y=model[order], line=True, colour=colour))
            residuals.append(Series(label=label, x=mean, y=std - model, colour=colour))
            arrays |= {f"residual_{key}": std - model}
    name = f"{folder}plots/std_model_{kind.lower()}{suffix}"
    shown = residuals or [Series(label="", x=[], y=[])]
    tree.bytes(
        f"{name}.png",
        curve_png(series, MEAN, STD, f"{kind.lower()}: std against mean", residuals=shown, residual_label="rest / adu"),
        "STD on MEAN",
    )
    tree.arrays(f"{name}.npz", "the plotted numbers", **arrays)


def _write_rate_effect(tree: Tree, folder: str, label: str, levels: Sequence[Level]) -> None:
    name = f"{folder}plots/dose_rate_effect_{label}"
    arrays: dict[str, object] = {}
    panels: list[list[Series]] = [[], []]
    for key, some, colour in (
        ("ir", [one for one in levels if one.stage == "radiating"], COLOURS["radiating"]),
        ("no", [one for one in levels if one.stage != "radiating"], COLOURS["pre"]),
    ):
        known = [one for one in some if math.isfinite(one.rate_krad_per_s)]
        rate = np.array([one.rate_krad_per_s for one in known])
        fits = on_rate(known)
        for place, (what, fit) in enumerate(zip(("mean", "std"), fits, strict=True)):
            values = np.array([getattr(one, what) for one in known])
            arrays |= {f"rate_{key}": rate, f"{what}_{key}": values}
            arrays |= {f"slope_{what}_{key}": _of(fit, "slope"), f"intercept_{what}_{key}": _of(fit, "intercept")}
            panels[place].append(Series(label="irradiating" if key == "ir" else "not", x=rate, y=values, colour=colour))
            if math.isfinite(_of(fit, "slope")):
                panels[place].append(fitted("line", rate.tolist(), partial(_line, fit), colour))
    tree.bytes(
        f"{name}.png", panels_png([(panels[0], MEAN), (panels[1], STD)], Axis(label="dose rate / kRad/s"), label), "against dose rate"
    )
    tree.arrays(f"{name}.npz", "the plotted numbers and lines; NaN where the rate does not change", **arrays)


def _write_dose_models(tree: Tree, folder: str, analysis: Analysis, levels: Sequence[Level]) -> None:
    rows = []
    for kind, exposure, fit in analysis.dose_models:
        some = chosen(levels, kind=kind, exposure_s=exposure)
        rows.append(
            {
                "CALTYPE": kind,
                "SLOPE": _of(fit, "slope"),
                "INTERCEPT": _of(fit, "intercept"),
                "EXPTIME": exposure,
                "SLOPE_ERROR": fit.error("slope"),
                "INTERCEPT_ERROR": fit.error("intercept"),
                "WHY": "; ".join(fit.why.values()),
            }
        )
        suffix = f"_E{short(exposure)}s" if exposure is not None else ""
        _write_law(tree, f"{folder}analysis/dose_model_{kind.lower()}{suffix}", some, fit)
        if kind in ("BIAS", "DARK"):
            _write_law(tree, f"{folder}analysis/base_level_trend_{kind.lower()}{suffix}", some, fit)
            if kind == "DARK" and exposure == max(exposures(chosen(levels, kind="DARK"))):
                _write_law(tree, f"{folder}analysis/base_level_trend_dark", some, fit)
    columns = ("CALTYPE", "SLOPE", "INTERCEPT", "EXPTIME", "SLOPE_ERROR", "INTERCEPT_ERROR", "WHY")
    tree.table(f"{folder}analysis/dose_model.csv", columns, rows, "MEAN = SLOPE DOSE + INTERCEPT")
    # the older suite averaged the exposures here, which mixes different things: one row an exposure instead
    tree.table(
        f"{folder}analysis/base_level_trend.csv", columns, [row for row in rows if row["CALTYPE"] != "FLAT"], "trend of the base level"
    )


def _write_law(tree: Tree, name: str, levels: Sequence[Level], fit: Fit) -> None:
    series = stage_series((one.stage, one.dose_krad, one.mean, one.mean_error) for one in levels)
    doses = [one.dose_krad for one in levels]
    mean = np.array([one.mean for one in levels])
    model = np.full(len(doses), math.nan)
    residuals = [Series(label="", x=[], y=[])]
    if math.isfinite(_of(fit, "slope")):
        columns = {"intercept": np.ones(len(doses)), "slope": np.array(doses)}
        model = fit.predict(columns)[0]
        series.append(fitted("line and its band", doses, partial(_line, fit), "#555555"))
        residuals = [Series(label="", x=doses, y=mean - model, error=[one.mean_error for one in levels], colour="#555555")]
    title = f"{levels[0].kind.lower()}{f' {levels[0].exposure_s:g} s' if levels[0].kind == 'DARK' else ''}"
    tree.bytes(f"{name}.png", curve_png(series, DOSE, MEAN, title, residuals=residuals, residual_label="rest / adu"), "law over dose")
    tree.arrays(
        f"{name}.npz",
        "the plotted numbers",
        dose=doses,
        mean=mean,
        error=[one.mean_error for one in levels],
        model=model,
        rest=mean - model,
    )


def _write_rate_models(tree: Tree, folder: str, analysis: Analysis, levels: Sequence[Level], absent: list[str]) -> None:
    rows = []
    for model in analysis.rate_models:
        some = [
            o for o in chosen(levels, kind=model.kind, stage="radiating", exposure_s=model.exposure_s) if math.isfinite(o.rate_krad_per_s)
        ]
        if not some:
            absent.append(f"No {model.kind.lower()} in the beam has a known dose rate, so there is no law over dose and rate.")
            continue
        rows.append(_rate_row(model))
        absent += [f"{model.kind.lower()}: {why}." for why in model.mean.why.values()]
        suffix = f"_E{short(model.exposure_s)}s" if model.exposure_s is not None else ""
        _write_rate_picture(tree, f"{folder}analysis/dose_rate_model_{model.kind.lower()}{suffix}", some, model)
    columns = ("CALTYPE", "A0", "A1", "A2", "B0", "B1", "B2", "EXPTIME", "A0_ERROR", "A1_ERROR", "A2_ERROR", "NOTE")
    tree.table(
        f"{folder}analysis/dose_rate_model.csv", columns, rows, "MEAN = A0 + A1 DOSE + A2 DOSE_RATE, STD likewise with B; in the beam"
    )


def _rate_row(model: RateModel) -> dict[str, object]:
    row: dict[str, object] = {"CALTYPE": model.kind, "EXPTIME": model.exposure_s}
    for place in range(3):
        row |= {f"A{place}": model.mean.value(f"a{place}"), f"B{place}": model.std.value(f"b{place}")}
        row[f"A{place}_ERROR"] = model.mean.error(f"a{place}")
    row["NOTE"] = "; ".join([*model.mean.why.values(), *(f"{name} {text}" for name, text in model.mean.notes.items())])
    return row


def _write_rate_picture(tree: Tree, name: str, levels: Sequence[Level], model: RateModel) -> None:
    columns = {
        "a0": np.ones(len(levels)),
        "a1": np.array([o.dose_krad for o in levels]),
        "a2": np.array([o.rate_krad_per_s for o in levels]),
    }
    mean = np.array([o.mean for o in levels])
    found = model.mean.predict(columns)[0]
    series = [
        Series(label="in the beam", x=columns["a1"], y=mean, error=[o.mean_error for o in levels], colour=COLOURS["radiating"]),
        Series(label="law over dose and rate", x=columns["a1"], y=found, line=True, colour="#555555"),
    ]
    rest = [Series(label="", x=columns["a1"], y=mean - found, colour="#555555")]
    picture = curve_png(series, DOSE, MEAN, f"{model.kind.lower()}: law over dose and rate", residuals=rest, residual_label="rest / adu")
    tree.bytes(f"{name}.png", picture, "law over dose and dose rate")
    tree.arrays(f"{name}.npz", "the plotted numbers", dose=columns["a1"], rate=columns["a2"], mean=mean, model=found, rest=mean - found)
