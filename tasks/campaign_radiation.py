"""Results of a campaign stage by stage: statistics of every frame, masters, courses in time, differences between stages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nightcrew.irradiation.frames import Frame
from nightcrew.irradiation.masters import Master, read_map
from nightcrew.irradiation.response import chosen, exposures
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.tokens import STAGES
from reports.campaign_plots import Axis, Series, curve_png, map_png, panels_png, stage_series
from tasks.campaign_files import Tree, short

STATS = ("PATH", "FRAME", "GROUP", "TEMP", "MEAN", "STD")
SUMMARY = ("STAGE", "CALTYPE", "GROUP", "MEAN_RAD", "MEAN_VAL", "STD_VAL")


def write_stages(tree: Tree, analysis: Analysis, folder: str = "") -> list[str]:
    """All of the stages' files; sentences on what there is not."""
    absent = []
    for stage in STAGES:
        inside = [one for one in analysis.masters if one.group.stage == stage]
        if not inside:
            absent.append(f"There is no frame of the stage {stage}.")
            continue
        _write_stage(tree, f"{folder}{stage}/", stage, inside, analysis)
    _write_differences(tree, analysis, folder)
    return absent


def _write_stage(tree: Tree, place: str, stage: str, masters: Sequence[Master], analysis: Analysis) -> None:
    numbers = {id(one): n for n, one in enumerate(masters)}
    for kind, columns in (("BIAS", STATS), ("DARK", (*STATS, "T_EXP", "BIASSUB"))):
        own = [one for one in masters if one.group.kind == kind]
        if not own:
            continue
        rows = [row for one in own for row in _frame_rows(one, numbers[id(one)])]
        tree.table(f"{place}stats_{kind.lower()}.csv", columns, rows, f"every {kind.lower()} of the stage {stage}")
        _write_course(tree, f"{place}mean_std_{kind.lower()}_vs_time", kind, rows, stage)
        _write_intensity(tree, f"{place}plots/{kind.lower()}_intensity", rows, f"{kind.lower()}, {stage}")
        for exposure in sorted({one.group.exposure_s for one in own} if kind == "DARK" else set()):
            some = [row for one in own if one.group.exposure_s == exposure for row in _frame_rows(one, numbers[id(one)])]
            text = f"{exposure:.1f}" if math.isclose(round(exposure, 1), exposure, rel_tol=1e-6) else f"{exposure:.6g}"
            name = f"{place}plots/dark_intensity_{text}s"
            _write_intensity(tree, name, some, f"dark {exposure:.6g} s, {stage}")
    tree.table(
        f"{place}group_summary.csv", SUMMARY, [_group_row(one, n) for one, n in zip(masters, numbers.values(), strict=True)], "groups"
    )
    for one in masters:
        if one.group.kind in ("BIAS", "DARK"):
            name = stage_name(one, masters, analysis.bins[one.group.temperature_bin])
            tree.link(f"{place}{name}.fits", one.path, "master")
            tree.arrays(f"{place}{name}.npz", "the master with what the model needs", **_master_arrays(one))


def stage_name(master: Master, masters: Sequence[Master], temperature_c: float) -> str:
    """``master_dark_T20.0`` (of its temperature bin), with what else tells the stage's masters of that kind and bin apart."""
    group = master.group
    same = [one.group for one in masters if one.group.kind == group.kind and one.group.stage == group.stage]
    alike = [one for one in same if one.temperature_bin == group.temperature_bin]
    text = f"master_{group.kind.lower()}_T{temperature_c if math.isfinite(temperature_c) else 0:.1f}"
    if len({round(one.exposure_s, 9) for one in alike}) > 1 and group.kind != "BIAS":
        text += f"_E{group.exposure_s:.6g}"
    if len({one.dose_krad for one in alike if one.exposure_s == group.exposure_s}) > 1:
        text += f"_D{group.dose_krad:.6g}kR"
    return text + (f"_V{group.visit}" if len({one.visit for one in alike}) > 1 else "")


def _master_arrays(master: Master) -> dict[str, object]:
    group = master.group
    return {
        "image_data": read_map(master.path),
        "frame_type": np.array(group.kind),
        "t_exp": np.float64(group.exposure_s),
        "dose_rate": np.float64(group.rate_krad_per_s),
        "dose_total": np.float64(group.dose_krad),
        "temperature": np.float64(group.temperature_c),
    }


def _frame_rows(master: Master, number: int) -> list[dict[str, object]]:
    """Every frame of a group, darks less the level of the bias that was removed from their master."""
    group, offset = master.group, 0.0
    if master.bias is not None:
        offset = master.bias.mean + master.bias_shift_adu
    spread = master.bias.stack if master.bias is not None else None
    rows: list[dict[str, object]] = []
    for frame, numbers in zip(group.frames, master.stack.numbers, strict=True):
        fixed = max(numbers.std**2 - _fixed(spread), 0.0)
        rows.append(
            {
                "PATH": frame.relative,
                "FRAME": frame.number,
                "GROUP": number,
                "TEMP": frame.temperature_c,
                "MEAN": numbers.mean - offset,
                "STD": math.sqrt(fixed),
                "T_EXP": frame.exposure_s,
                "exposure": group.exposure_s,
                "BIASSUB": master.bias is not None,
                "time": _time(frame),
            }
        )
    return rows


def _fixed(bias: object) -> float:
    """Variance of the fixed pattern that the removed bias took with it (its spread over pixels less its noise), ADU^2."""
    from nightcrew.irradiation.stacks import Stack

    if not isinstance(bias, Stack) or not bias.variance >= 0:
        return 0.0
    return max(bias.raw_std**2 - bias.variance, 0.0)


def _time(frame: Frame) -> float:
    return frame.time_s if frame.time_s is not None else float(frame.number or 0)


def _group_row(master: Master, number: int) -> dict[str, object]:
    group = master.group
    return {
        "STAGE": group.stage,
        "CALTYPE": group.kind,
        "GROUP": number,
        "MEAN_RAD": group.dose_krad,
        "MEAN_VAL": master.mean,
        "STD_VAL": master.std,
    }


def _in_time(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(rows, key=lambda row: (float(str(row["time"])), str(row["PATH"])))


def _course(rows: Sequence[dict[str, object]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ordered = _in_time(rows)
    time = np.array([float(str(row["time"])) for row in ordered])
    columns = [np.array([float(str(row[name])) for row in ordered]) for name in ("MEAN", "STD")]
    return time - (time[0] if len(time) else 0.0), columns[0], columns[1]


def _write_course(tree: Tree, name: str, kind: str, rows: Sequence[dict[str, object]], stage: str) -> None:
    time, mean, std = _course(rows)
    exposures = np.array([float(str(row["exposure"])) if kind == "DARK" else 0.0 for row in _in_time(rows)])
    mine = {f"{seconds:g} s" if kind == "DARK" else kind.lower(): exposures == seconds for seconds in np.unique(exposures).tolist()}
    panels = [
        ([Series(label=label, x=time[some], y=values[some]) for label, some in mine.items()], Axis(label=f"{what} / adu"))
        for what, values in (("mean", mean), ("std", std))
    ]
    tree.bytes(
        f"{name}.png",
        panels_png(panels, Axis(label="time from the first frame / s"), f"{kind.lower()}, {stage}"),
        "level and scatter in time",
    )
    tree.arrays(f"{name}.npz", "the plotted numbers", time=time, mean=mean, std=std)


def _write_intensity(tree: Tree, name: str, rows: Sequence[dict[str, object]], title: str) -> None:
    time, mean, std = _course(rows)
    series = [Series(label=title, x=time, y=mean, error=std)]
    tree.bytes(
        f"{name}.png",
        curve_png(series, Axis(label="time from the first frame / s"), Axis(label="mean, std over pixels / adu"), title),
        title,
    )
    tree.arrays(f"{name}.npz", "the plotted numbers", time=time, mean=mean, std=std)
    table = [{"time": t, "mean": m, "std": s} for t, m, s in zip(time.tolist(), mean.tolist(), std.tolist(), strict=True)]
    tree.table(f"{name}.csv", ("time", "mean", "std"), table, "the plotted numbers")


def _write_differences(tree: Tree, analysis: Analysis, folder: str) -> None:
    """Second stage minus first, for every kind, temperature and exposure that both have (in the beam: the highest dose)."""
    last: dict[tuple[str, str, int, float], Master] = {}
    for one in analysis.masters:
        group = one.group
        if group.kind in ("BIAS", "DARK") and one.corrected and not group.visit:
            key = (group.stage, group.kind, group.temperature_bin, 0.0 if group.kind == "BIAS" else round(group.exposure_s, 9))
            if key not in last or last[key].group.dose_krad < group.dose_krad:
                last[key] = one
    for first, second in (("pre", "radiating"), ("pre", "post"), ("radiating", "post")):
        for (stage, kind, place, exposure), one in sorted(last.items(), key=lambda item: str(item[0])):
            other = last.get((second, kind, place, exposure))
            if stage != first or other is None or one.stack.shape != other.stack.shape:
                continue
            temperature = analysis.bins[place] if math.isfinite(analysis.bins[place]) else 0.0
            exposed = f"_E{exposure:.6g}" if kind == "DARK" else ""
            name = f"{folder}master_{kind.lower()}_T{temperature:.1f}{exposed}_{second}_minus_{first}"
            diff = read_map(other.path) - read_map(one.path)
            tree.bytes(f"{name}.png", map_png(diff, f"{kind.lower()} {second} - {first}", "adu", centred=True), "difference of two stages")
            tree.arrays(f"{name}.npz", "the difference", diff=diff)


def write_krad_plots(tree: Tree, analysis: Analysis) -> None:
    """``plots/bias_mean_vs_dose.png`` and one a dark exposure."""
    levels = analysis.levels()
    for kind in ("BIAS", "DARK"):
        for exposure in exposures(chosen(levels, kind=kind)):
            some = chosen(levels, kind=kind, exposure_s=exposure)
            name = "plots/bias_mean_vs_dose" if kind == "BIAS" else f"plots/dark_mean_vs_dose_E{short(exposure)}s"
            series = stage_series((one.stage, one.dose_krad, one.mean, one.std) for one in some)
            tree.bytes(
                f"{name}.png", curve_png(series, Axis(label="dose / kRad"), Axis(label="mean / adu"), kind.lower()), "level against dose"
            )
            tree.arrays(
                f"{name}.npz",
                "the plotted numbers",
                dose=[o.dose_krad for o in some],
                mean=[o.mean for o in some],
                std=[o.std for o in some],
            )
