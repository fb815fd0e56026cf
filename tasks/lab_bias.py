"""The bias model of a campaign as files: masters by temperature, maps, synthetic frames, evaluation, figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.combine import combine
from nightcrew.detector.bias_model import LEAST_SPAN_K, BiasModel, fit_bias, level_bias
from nightcrew.detector.clusters import clusters
from nightcrew.detector.held_out import HeldOut, bias_left_out
from nightcrew.detector.model_files import save_bias
from nightcrew.detector.stack import F4
from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import write_text
from nightcrew.io.cardtext import Card
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from nightcrew.lab.frame_stats import FrameStats, stats_of_frames
from nightcrew.lab.groups import group_frames, texts
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import LabFrame, good, shape_of
from nightcrew.lab.results import BiasMade
from nightcrew.lab.states import of_state, one_state
from nightcrew.lab.tables import write_table
from reports import lab_figures as draw
from reports.lab_figures import Course

EVALUATION = ("TEMP", "NFRAMES", "REAL", "SYNTHETIC", "MAE", "MAE_STD", "MAPE", "NOISE", "EXTRAPOLATED", "NOTE")
F8 = NDArray[np.float64]


def suspicious(frames: Sequence[LabFrame], kind: str, out: Path, name: str) -> Path:
    """The log of frames of a kind that were left out, with their reasons (empty when there are none)."""
    lines = [f"{frame.path.name}: {frame.reason}" for frame in frames if frame.caltype == kind and frame.bad]
    return write_text(out / name, "".join(f"{line}\n" for line in lines), durable=False, overwrite=True)


def _of_one_temperature(frames: Sequence[LabFrame]) -> tuple[list[LabFrame], float]:
    """The frames of the temperature that most of them have, within 0.5 K of each other's, and their mean temperature (C)."""
    t = [float(frame.temperature_c or 0) for frame in frames]
    places = max((group for group in clusters(t) if np.ptp([t[i] for i in group]) < LEAST_SPAN_K), key=len, default=np.array([0]))
    return [frames[int(i)] for i in places], float(np.mean([t[int(i)] for i in places]))


def bias_step(
    frames: Sequence[LabFrame], out: Path, options: LabOptions, *, exclude: NDArray[np.bool_] | None = None, threads: int = 2
) -> BiasMade:
    """Everything of the bias model below ``out``; RejectedInput when there are no usable bias frames."""
    suspicious(frames, "BIAS", out, "suspicious_bias.log")
    state, warnings = one_state(frames)
    used = [frame for frame in of_state(good(frames, "BIAS"), state) if frame.temperature_c is not None]
    if not used:
        raise RejectedInput(
            "there is no usable bias frame with a temperature" + (f" of {state}, which the darks are of" if warnings else "")
        )
    shape_of(used)
    paths, t = [frame.path for frame in used], [float(frame.temperature_c or 0) for frame in used]
    try:
        model = fit_bias(paths, t, exclude=exclude, threads=threads)
        left_out = bias_left_out(paths, t)
    except RejectedInput as error:
        used, middle = _of_one_temperature(used)
        warnings.append(
            f"bias(T) has no slope: {error}; the mean bias of {len(used)} frames at {middle:.1f} C is used and holds within 0.5 K"
        )
        model, left_out = level_bias([frame.path for frame in used], [float(frame.temperature_c or 0) for frame in used]), []
    warnings += [f"{one.reason} (left out of the bias model)" for one in model.left_out]
    if model.curvature is not None and model.curvature.significant:
        bow = model.curvature
        warnings.append(
            f"bias(T) is not straight: second-order term {bow.value:.3g} +- {bow.error:.1g} adu/K^2, up to {bow.largest_adu:.3g} adu"
        )
    save_bias(out / "bias_model", model, durable=False)
    _by_temperature(used, model, out, options)
    _tables(left_out, out)
    stats = stats_of_frames(used, threads=threads)
    _statistics(used, stats, out, options)
    return BiasMade(model=model, left_out=left_out, frames=used, warnings=warnings)


def synthetic_bias(path: Path, model: BiasModel, temperature_c: float) -> str:
    """Write a synthetic bias with its error; returns the warning when the temperature lies outside the model ("" otherwise)."""
    outside = model.outside(temperature_c)
    cards: list[Card] = [
        ("TEMP", temperature_c, "deg C"),
        ("SYNTH", True, "made from a model"),
        ("GRADE", "D" if outside else "C", outside[:60]),
    ]
    value, error = model.value(temperature_c), model.error(temperature_c)
    write_image_product(path, science=value, uncertainty=error, cards=cards, durable=False)
    return outside


def _by_temperature(frames: Sequence[LabFrame], model: BiasModel, out: Path, options: LabOptions) -> None:
    """Median masters of each temperature beside what the model says of it."""
    groups = group_frames(frames, gap_k=options.gap_k)
    text = texts([group.cluster_c for group in groups], 1)
    courses: dict[str, list[float]] = {"temperature_c": [], "mae_adu": [], "mae_std_adu": [], "mape": [], "mape_std": []}
    for group in groups:
        t, word = group.temperature_c or 0.0, text[group.cluster_c]
        real = combine([frame.path for frame in group.frames], method="median", planes=("result",), memory_bytes=32 << 20).result
        cards: list[Card] = [("TEMP", t, "deg C, mean"), ("NSOURCE", len(group.frames), "frames"), ("COMBMETH", "median", "")]
        write_image_product(out / "bias_grouped_by_temp" / f"master_bias_{word}C.fits", science=real, cards=cards, durable=False)
        synthetic_bias(out / "bias_masks_by_temp" / f"synthetic_bias_{word}C.fits", model, t)
        made = model.value(t)
        off = np.abs(real - made)
        share = 100 * off / (np.abs(real) + np.float32(1e-8))
        for name, value in zip(courses, (t, np.nanmean(off), np.nanstd(off), np.nanmean(share), np.nanstd(share)), strict=True):
            courses[name].append(float(value))
        if options.save_plots:
            _evaluation_figure(out / "evaluation" / f"bias_T{word}.png", real, made, off, share)
        if options.save_eval_fits:
            for name, plane in (("mae", off), ("mape", share)):
                write_image_product(out / "evaluation" / f"{name}_{word}C.fits", science=plane, unit="adu", cards=cards[:1], durable=False)
    if options.save_plots:
        lines = [Course(label="mean |real - synthetic|", x=courses["temperature_c"], y=courses["mae_adu"], error=courses["mae_std_adu"])]
        png = draw.courses("Bias masters against the model", "temperature / C", "mean absolute error / adu", lines)
        # The table of this name tells the temperatures left out; what is drawn stands in arrays.
        arrays = {name: np.asarray(values) for name, values in courses.items()}
        draw.put(out / "evaluation" / "evaluation_summary.png", png, arrays=arrays)


def _evaluation_figure(path: Path, real: F4, made: F4, off: F4, share: F4) -> None:
    panels = [
        ("median master", "adu", real),
        ("synthetic", "adu", made),
        ("|real - synthetic|", "adu", off),
        ("|real - synthetic| / real", "%", np.minimum(share, 100)),
    ]
    range_ = draw.limits(real)
    png = draw.maps(panels, ranges={0: range_, 1: range_})
    arrays = {name: draw.thinned(plane) for name, plane in zip(("real", "synthetic", "mae", "mape"), (real, made, off, share), strict=True)}
    draw.put(path, png, arrays=arrays)


def _tables(rows: Sequence[HeldOut], out: Path) -> None:
    write_table(out / "evaluation" / "evaluation_summary.csv", EVALUATION, (row_of(row) for row in rows))


def row_of(row: HeldOut) -> dict[str, object]:
    """A left-out cell as a row of ``evaluation_summary.csv``."""
    return {
        "TEMP": row.temperature_c,
        "EXPTIME": row.exposure_s,
        "NFRAMES": row.frames,
        "REAL": row.measured,
        "SYNTHETIC": row.predicted,
        "MAE": row.mae,
        "MAE_STD": row.mae_std,
        "MAPE": row.mape,
        "NOISE": row.noise,
        "EXTRAPOLATED": row.extrapolated,
        "NOTE": row.reason,
    }


def _statistics(frames: Sequence[LabFrame], stats: Sequence[FrameStats], out: Path, options: LabOptions) -> None:
    """``bias_stats.json``, ``mean_vs_temperature.png`` and a detail figure of each temperature."""
    by_path = {frame.path: one for frame, one in zip(frames, stats, strict=True)}
    groups = group_frames(frames, gap_k=options.gap_k)
    text = texts([group.cluster_c for group in groups], 1)
    body: dict[str, dict[str, object]] = {}
    for group in groups:
        t = np.array([frame.temperature_c for frame in group.frames], np.float64)
        values = [by_path[frame.path].mean for frame in group.frames]
        body[text[group.cluster_c]] = {
            "temperature_mean": float(t.mean()),
            "temperature_std": float(t.std()),
            "mean_adu": float(np.mean(values)),
            "std_adu": float(np.std(values)),
            "values": values,
        }
        if options.save_plots:
            _detail(out / f"detail_T{text[group.cluster_c]}.png", text[group.cluster_c], group.frames[0], t.tolist(), values)
    write_text(out / "bias_stats.json", json.dumps(body, indent=1, allow_nan=False) + "\n", durable=False, overwrite=True)
    if options.save_plots:
        columns = {key: [float(str(one[key])) for one in body.values()] for key in ("temperature_mean", "mean_adu", "std_adu")}
        line = Course(label="mean of the frames", x=columns["temperature_mean"], y=columns["mean_adu"], error=columns["std_adu"])
        png = draw.courses("Mean bias level", "temperature / C", "level / adu", [line])
        draw.put(out / "mean_vs_temperature.png", png, columns)


def _detail(path: Path, word: str, frame: LabFrame, t: list[float], values: list[float]) -> None:
    pixels = read_image(frame.path).astype(np.float32)
    png = draw.maps([(f"{frame.path.name}, {word} C", "adu", pixels)])
    draw.put(path, png, {"temperature_c": t, "mean_adu": values}, {"frame": draw.thinned(pixels)})
