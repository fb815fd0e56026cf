"""The dark models of a campaign as files: corrected darks, mean darks of each cell, models of one and two variables, synthetic darks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.bias_model import BiasModel
from nightcrew.detector.clusters import clusters
from nightcrew.detector.dark_model import DarkModel, fit_dark
from nightcrew.detector.held_out import HeldOut, dark_left_out
from nightcrew.detector.hits import mean_without_hits
from nightcrew.detector.model_files import dark_cards, load_dark, save_dark
from nightcrew.detector.stack import F4, FrameStack
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.cardtext import Card
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from nightcrew.lab.groups import Group, group_frames, texts
from nightcrew.lab.options import DARK_MODES, LabOptions, mode_of
from nightcrew.lab.records import LabFrame, good, shape_of
from nightcrew.lab.results import Cell, DarkMade
from nightcrew.lab.saturation import settled
from nightcrew.lab.states import of_state, one_state
from nightcrew.quality.statistics import clipped_mean_sigma
from tasks.lab_bias import suspicious

SHORTEST_S = 0.1  # shorter exposures are no darks for the models
MODEL_2D = "dark_model_2d"


def exposure_word(exposure_s: float) -> str:
    """``1p00`` for 1 s; more digits where two would not do."""
    text = f"{exposure_s:.2f}" if abs(float(f"{exposure_s:.2f}") - exposure_s) <= 1e-6 * exposure_s else f"{exposure_s:.6g}"
    return text.replace(".", "p")


def dark_step(
    frames: Sequence[LabFrame], bias: BiasModel | None, out: Path, options: LabOptions, *, mode: str = "full", models: Path | None = None
) -> DarkMade:
    """Make what ``mode`` asks for below ``out``.

    ``full``: everything; ``evaluate_dark_current``: the mean darks and their course; ``synthetic_only`` and ``evaluation_only``: the
    models of one exposure each, their synthetic frames or evaluation; ``fit_2d_model``, ``evaluate_2d_model``, ``synthetic_2d``,
    ``synthetic_2d_single``: the same of the model of temperature and exposure.  Synthetic darks of two variables come from the model in
    ``models`` (default ``out``) where one stands there, else from one that is fitted.  RejectedInput when there are no usable darks.
    """
    mode_of(mode, DARK_MODES)
    made = DarkMade()
    if mode in ("synthetic_2d", "synthetic_2d_single") and (stored := _stored(models or out)) is not None:
        made.model = stored
    else:
        _prepare(made, frames, bias, out, options, mode)
    if made.model is not None and mode in ("full", "synthetic_2d"):
        _synthetic_2d(made, out, options)
    if made.model is not None and mode == "synthetic_2d_single":
        name = f"synthetic_2d_dark_T{options.temp_single:g}_E{options.exptime_single:g}.fits"
        _note(made, synthetic_dark(out / name, made.model, options.temp_single, options.exptime_single))
    return made


def _stored(folder: Path) -> DarkModel | None:
    """A model that stands in a folder or in its ``dark_model_2d``."""
    for place in (folder, folder / MODEL_2D):
        if (place / "dark_model.json").exists():
            return load_dark(place)
    return None


def _prepare(made: DarkMade, frames: Sequence[LabFrame], bias: BiasModel | None, out: Path, options: LabOptions, mode: str) -> None:
    suspicious(frames, "DARK", out, "suspicious_darks.log")
    state, made.warnings = one_state(frames)
    usable = [frame for frame in good(frames, "DARK") if frame.temperature_c is not None and (frame.exposure_s or 0) >= SHORTEST_S]
    used = of_state(usable, state)
    if not used:
        why = f" of {state}, which the bias frames are of" if usable else ""
        raise RejectedInput(f"there is no usable dark of {SHORTEST_S:g} s or longer with a temperature{why}")
    if bias is None:
        raise Refused("darks need bias frames (or --bias-model): without them nobody knows what their bias is")
    shape_of(used)
    made.frames = _with_known_bias(used, bias, made)
    options = settled(options, [frame for frame in frames if frame.set_up == used[0].set_up])
    made.cells = _cells(made.frames, bias, out, options, keep_frames=mode == "full")
    if mode in ("full", "synthetic_only", "evaluation_only"):
        _one_variable(made, bias, out, options, synthetic=mode != "evaluation_only")
    if mode in ("full", "fit_2d_model", "evaluate_2d_model", "synthetic_2d", "synthetic_2d_single"):
        made.model = _fit(made, made.frames, bias, options, free_gamma=options.free_gamma)
        save_dark(out / MODEL_2D, made.model, durable=False)
        made.warnings += [f"{one.reason} (left out of the dark model)" for one in made.model.left_out]
    if mode in ("full", "evaluate_2d_model"):
        made.left_out = _foretold(made.frames, bias, options)


def _with_known_bias(frames: Sequence[LabFrame], bias: BiasModel, made: DarkMade) -> list[LabFrame]:
    """Darks whose bias is known.  A bias with a slope is carried on by its own range at most, with a warning; other darks are left out."""
    low, high = bias.temperatures_c
    room = high - low if bias.sloped else 0.0
    outside = {frame.path: bias.outside(float(frame.temperature_c or 0)) for frame in frames}
    far = [f for f in frames if outside[f.path] and not low - room <= float(f.temperature_c or 0) <= high + room]
    near = [frame for frame in frames if outside[frame.path] and frame not in far]
    if len(far) == len(frames):
        raise RejectedInput(f"the bias of the darks is not known: {outside[far[0].path]}")
    if far:
        made.warnings.append(
            f"{len(far)} darks were left out, since their bias is not known; first: {far[0].path.name}: {outside[far[0].path]}"
        )
    if near:
        made.bias_beyond = f"the bias of {len(near)} of {len(frames)} darks was extrapolated: {outside[near[0].path]}"
        made.warnings.append(f"darks: {made.bias_beyond}")
    return [frame for frame in frames if frame not in far]


def _fit(made: DarkMade, frames: Sequence[LabFrame], bias: BiasModel, options: LabOptions, *, free_gamma: bool) -> DarkModel:
    return fit_dark(
        [frame.path for frame in frames],
        [float(frame.temperature_c or 0) for frame in frames],
        [float(frame.exposure_s or 0) for frame in frames],
        bias,
        law=options.law,
        reference_c=options.t_ref,
        reference_s=options.exp_ref,
        free_gamma=free_gamma,
        saturation=options.saturation_adu,
        hot_sigma=options.hot_sigma,
    )


def _foretold(frames: Sequence[LabFrame], bias: BiasModel, options: LabOptions) -> list[HeldOut]:
    return dark_left_out(
        [frame.path for frame in frames],
        [float(frame.temperature_c or 0) for frame in frames],
        [float(frame.exposure_s or 0) for frame in frames],
        bias,
        saturation=options.saturation_adu,
        pixels=1 << 14,
        law=options.law,
        free_gamma=options.free_gamma,
    )


def _cells(frames: Sequence[LabFrame], bias: BiasModel, out: Path, options: LabOptions, *, keep_frames: bool) -> list[Cell]:
    """Mean dark of every cell (``dark_masks_by_temp``) and, with ``keep_frames``, every corrected dark."""
    groups = group_frames(frames, gap_k=options.gap_k)
    t_text = texts([group.cluster_c for group in groups], 2)
    numbers: dict[str, int] = {}
    found = []
    for group in groups:
        exposure = group.exposure_s or 0.0
        folder = f"exp_{exposure_word(exposure)}"
        rate, error = _mean_rate(group, bias, out / "bias_corrected_darks" / folder if keep_frames else None, numbers, options)
        name = f"dark_mask_t{t_text[group.cluster_c]}_e{_two(exposure)}"
        path = out / "dark_masks_by_temp" / folder / f"{name}.fits"
        cards = _condition_cards(group.temperature_c or 0.0, exposure)
        write_image_product(path, science=rate, uncertainty=error, unit="adu/s", cards=cards, durable=False)
        middle = float(clipped_mean_sigma(rate)[0])
        cell = Cell(
            temperature_c=group.temperature_c or 0.0,
            cluster_c=group.cluster_c or 0.0,
            exposure_s=exposure,
            name=name,
            folder=folder,
            frames=len(group.frames),
            path=path,
            median=middle,
            scatter=float(np.nanstd(rate)),
        )
        found.append(cell)
    return found


def _two(value: float) -> str:
    return f"{value:.2f}" if abs(float(f"{value:.2f}") - value) <= 1e-6 * max(value, 1e-9) else f"{value:.6g}"


def _condition_cards(temperature_c: float, exposure_s: float) -> list[Card]:
    return [("TEMP", temperature_c, "deg C"), ("EXPTIME", exposure_s, "s"), ("UNITS", "stored samples", "adu of the raw frame as stored")]


def _mean_rate(group: Group, bias: BiasModel, folder: Path | None, numbers: dict[str, int], options: LabOptions) -> tuple[F4, F4]:
    """Mean of (dark - bias(T)) / exposure over a cell, without saturated values and hits, and its error (NaN of one frame)."""
    if folder is not None:
        _write_corrected(group, bias, folder, numbers)
    ny, nx = bias.shape
    mean, error = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    t = np.array([float(frame.temperature_c or 0) for frame in group.frames], np.float32)
    seconds = np.array([[float(frame.exposure_s or 1)] for frame in group.frames], np.float32)
    with FrameStack([frame.path for frame in group.frames]) as stack:
        for y0, y1 in stack.slabs(24, 64 << 20):
            rows = stack.rows(y0, y1)
            rows[rows >= options.saturation_adu] = np.nan
            rows -= bias.level[y0:y1].reshape(-1)
            rows -= np.multiply.outer(t, bias.slope[y0:y1].reshape(-1))
            rows /= seconds
            rate, scatter, of = mean_without_hits(rows, 1.5 * bias.frame_noise / float(seconds.min()))
            mean[y0:y1] = rate.reshape(-1, nx)
            with np.errstate(invalid="ignore", divide="ignore"):
                error[y0:y1] = (scatter / np.sqrt(of)).reshape(-1, nx)
    return mean, error


def _write_corrected(group: Group, bias: BiasModel, folder: Path, numbers: dict[str, int]) -> None:
    """Every dark of a cell less its bias, with the bias beside it."""
    for frame in group.frames:
        t = float(frame.temperature_c or 0)
        plane = bias.value(t)
        number = numbers[folder.name] = numbers.get(folder.name, -1) + 1
        cards = [*_condition_cards(t, float(frame.exposure_s or 1)), ("T_NEAR", t, "deg C, of the bias that was subtracted")]
        path = folder / f"dark_corrected_{number:04d}.fits"
        signal = read_image(frame.path).astype(np.float32) - plane
        write_image_product(path, science=signal, extras={"BIAS_MAP": plane}, cards=cards, durable=False)


def _one_variable(made: DarkMade, bias: BiasModel, out: Path, options: LabOptions, *, synthetic: bool) -> None:
    """A model of the temperature for each exposure by itself, with synthetic darks."""
    for exposure in sorted({cell.exposure_s for cell in made.cells}):
        word = f"exp_{exposure_word(exposure)}"
        frames = [frame for frame in made.frames if abs((frame.exposure_s or 0) - exposure) <= 0.005 * exposure]
        try:
            model = _fit(made, frames, bias, options, free_gamma=False)
        except RejectedInput as error:
            made.warnings.append(f"no model of the darks of {exposure:g} s alone: {error}")
            continue
        made.by_exposure[exposure] = model
        save_dark(out / "dark_model" / word, model, two_dimensional=False, durable=False)
        if not synthetic:
            continue
        wanted = options.temps or tuple(sorted({round(cell.cluster_c, 1) for cell in made.cells if cell.exposure_s == exposure}))
        for t in wanted:  # measured ones are rounded to a tenth: the model holds between them
            path = out / "synthetic_darks" / word / f"synthetic_dark_{t:.2f}.fits"
            _note(made, synthetic_dark(path, model, t, exposure, per_second=True))


def _synthetic_2d(made: DarkMade, out: Path, options: LabOptions) -> None:
    model = made.model
    if model is None:
        raise Refused("there is no dark model to make synthetic darks of")
    wanted = options.temps or tuple(sorted({round(cell.cluster_c, 1) for cell in made.cells}))
    wanted = wanted or (model.shape.reference_c,)
    for exposure in options.exposures:
        for t in wanted:
            path = out / f"synthetic_2d_exp_{_two(exposure)}" / f"synthetic_2d_dark_t{t:g}_e{exposure:g}.fits"
            _note(made, synthetic_dark(path, model, t, exposure))


def _note(made: DarkMade, outside: str) -> None:
    note = f"synthetic dark, grade D: {outside}"
    if outside and note not in made.notes:
        made.notes.append(note)


def synthetic_dark(path: Path, model: DarkModel, temperature_c: float, exposure_s: float, *, per_second: bool = False) -> str:
    """Write a synthetic dark (adu without bias, or adu/s) with its error and flags; returns the warning outside the model's domain."""
    outside = model.outside(temperature_c, exposure_s)
    scale = np.float32(1 / exposure_s if per_second else 1.0)
    cards = [
        *dark_cards(model),
        ("TEMP", temperature_c, "deg C"),
        ("EXPTIME", exposure_s, "s"),
        ("A_G", model.shape.rate, "adu/s, mean rate at the reference"),
        ("SYNTH", True, "made from a model"),
        ("GRADE", "D" if outside else "C", outside[:60]),
    ]
    write_image_product(
        path,
        science=model.signal(temperature_c, exposure_s) * scale,
        uncertainty=model.error(temperature_c, exposure_s) * scale,
        mask=model.flags,
        unit="adu/s" if per_second else "adu",
        cards=cards,
        durable=False,
    )
    return outside


def grid_of(cells: Sequence[tuple[float, float, float | None]], gap_k: float) -> tuple[list[float], list[float], NDArray[np.float64]]:
    """Temperatures, exposures and a table [temperature, exposure] of the values of cells (T, t, value); NaN where there is none."""
    t = [cell[0] for cell in cells]
    groups = clusters(t, gap_k=gap_k)
    rows = [float(np.mean([t[i] for i in group])) for group in groups]
    columns = sorted({float(f"{cell[1]:.6g}") for cell in cells})
    table = np.full((len(rows), len(columns)), np.nan)
    for y, group in enumerate(groups):
        for i in group:
            value = cells[i][2]
            table[y, columns.index(float(f"{cells[i][1]:.6g}"))] = np.nan if value is None else value
    return rows, columns, table
