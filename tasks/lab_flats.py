"""Flats of a campaign as files: reduced, normalised, vignetting taken out, masters, the response's model and its evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nightcrew.calibration.combine import combine
from nightcrew.calibration.sources import ArraySource
from nightcrew.detector.flat_model import FlatModel, fit_flat
from nightcrew.detector.held_out import compare
from nightcrew.detector.set_up import short_names
from nightcrew.detector.stack import F4
from nightcrew.detector.vignetting import Vignetting, fit_vignetting, read_vignetting
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.atomic import write_text
from nightcrew.io.cardtext import Card
from nightcrew.io.images import read_image
from nightcrew.io.products import write_image_product
from nightcrew.lab.flats import UNSCALED, DarkShelf, choose_dark, darks_of_file, find_darks, level_of, star_mask, unscaled_sentence
from nightcrew.lab.groups import Group, group_frames, safe, texts
from nightcrew.lab.options import FLAT_MODES, LabOptions, mode_of
from nightcrew.lab.records import LabFrame, good
from nightcrew.lab.results import FlatMade, MasterFlat
from nightcrew.lab.saturation import by_set_up
from nightcrew.lab.states import states_of
from nightcrew.lab.tables import write_table
from reports import lab_figures as draw

EVALUATION = ("FILTER", "TEMP", "EXPTIME", "NFRAMES", "REAL", "SYNTHETIC", "MAE", "MAE_STD", "MAPE")


@dataclass(frozen=True, kw_only=True)
class FlatInputs:
    """Files that stand in for what is measured: darks, and parameters of the vignetting (at most one of the three)."""

    darks: Path | None = None
    lensfun: Path | None = None
    radial: Path | None = None
    empirical: Path | None = None

    def vignetting(self, shape: tuple[int, int]) -> Vignetting | None:
        """The parameters that were given; ``Refused`` for more than one file."""
        given = [(kind, path) for kind, path in (("lensfun", self.lensfun), ("radial", self.radial), ("empirical", self.empirical)) if path]
        if len(given) > 1:
            raise Refused("give one file of vignetting parameters: --lensfun-json, --radial-json or --empirical-json")
        return read_vignetting(given[0][1], given[0][0], shape) if given else None


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A flat on its way: its frame and the file of its last state."""

    frame: LabFrame
    path: Path


def flat_step(
    frames: Sequence[LabFrame], out: Path, options: LabOptions, *, mode: str = "full", inputs: FlatInputs | None = None
) -> FlatMade:
    """Make what ``mode`` asks for, with all that it needs, below ``out``.

    RejectedInput when there is no usable flat, or no dark that flats may be reduced with.
    """
    mode_of(mode, FLAT_MODES)
    inputs = inputs or FlatInputs()
    made = FlatMade()
    flats = [frame for frame in good(frames, "FLAT") if frame.temperature_c is not None and frame.exposure_s is not None]
    if not flats:
        raise RejectedInput("there is no usable flat with temperature and exposure")
    steps = _reduce(flats, frames, out, options, inputs, made)
    if not steps:
        raise RejectedInput(f"no flat could be reduced; first: {made.skipped[0][1]}")
    made.frames = len(steps)
    if mode == "reduce_only":
        return made
    steps = _normalise(steps, out, options, made)
    if mode == "normalize_only" or not steps:
        return made
    if mode != "full_no_vignetting":
        steps = _without_vignetting(steps, out, options, inputs, made)
    if mode == "vignetting_only":
        return made
    _masters(steps, out, options, made)
    if options.flat_type == "sky":
        _sky_median(steps, out, options)
    if mode == "make_master":
        return made
    _models(out, options, made)
    if mode != "fit_model":
        _evaluate(out, options, made)
    return made


def _reduce(
    flats: Sequence[LabFrame], frames: Sequence[LabFrame], out: Path, options: LabOptions, inputs: FlatInputs, made: FlatMade
) -> list[_Step]:
    darks = darks_of_file(inputs.darks) if inputs.darks else find_darks(frames)
    if not darks:
        raise RejectedInput("flats need darks of 0.1 s or longer (or --dark-files-json), and there are none")
    if not inputs.darks:
        listed = sorted(os.path.relpath(frame.path, out) for frame in darks)
        write_text(out / "auto_dark_files.json", json.dumps({"darks": listed}, indent=1) + "\n", durable=False, overwrite=True)
    shelf = DarkShelf(darks, gap_k=options.gap_k, biases=good(frames, "BIAS"))
    saturation = by_set_up(options, frames)
    steps = []
    unscaled = 0
    for flat in flats:
        choice = choose_dark(flat, shelf.groups)
        if choice is None:
            made.skipped.append((flat.path.name, f"{flat.path.name}: no dark of its set-up, stage and dose within 5 K and 10 s"))
            continue
        raw = read_image(flat.path).astype(np.float32)
        dark, scaling = shelf.dark(choice, flat.exposure_s)
        if dark.shape != raw.shape:
            made.skipped.append((flat.path.name, f"{flat.path.name}: its darks have another size"))
            continue
        unscaled += scaling == UNSCALED
        raw[raw >= saturation[flat.set_up]] = np.nan
        cards = [
            *_flat_cards(flat),
            ("FLAT_DARK", choice.group.frames[0].path.name, "first of the darks that were subtracted"),
            ("FLAT_DARK_TEMP", choice.group.temperature_c, "deg C"),
            ("FLAT_DARK_EXPT", choice.group.exposure_s, "s"),
            ("FLAT_DARK_DIFF", choice.distance, "in tolerances of 5 K and 10 s"),
            ("FLAT_DARK_SCAL", scaling, "of the dark signal to the flat's exposure"),
            ("FLAT_PIPE_STEP", "reduced", ""),
        ]
        path = out / "flat_reduced" / f"{stem_of(flat)}_FLAT_REDUCED_WITH_DARK.fits"
        write_image_product(path, science=raw - dark, cards=cards, durable=False)
        steps.append(_Step(frame=flat, path=path))
    made.warnings += [reason for _, reason in made.skipped[:5]]
    made.unscaled = unscaled_sentence(unscaled, len(steps))
    made.warnings += [made.unscaled] if made.unscaled else []
    return steps


def stem_of(flat: LabFrame) -> str:
    """A name for what is made of a flat; frame numbers may begin anew in every attempt, so that it leads."""
    start = safe(flat.attempt.replace("/", "-"))
    return f"{start}_{flat.path.stem}" if start else flat.path.stem


def _flat_cards(flat: LabFrame) -> list[Card]:
    return [("FILTER", flat.filter, ""), ("TEMP", flat.temperature_c, "deg C"), ("EXPTIME", flat.exposure_s, "s")]


def _normalise(steps: Sequence[_Step], out: Path, options: LabOptions, made: FlatMade) -> list[_Step]:
    found = []
    for step in steps:
        flat: F4 = read_image(step.path).astype(np.float32, copy=False)
        try:
            if options.flat_type == "sky":
                flat = np.where(star_mask(flat), np.float32(np.nan), flat)
            level = level_of(flat, options.norm_method)
        except RejectedInput as error:
            made.skipped.append((step.frame.path.name, f"{step.frame.path.name}: {error}"))
            continue
        cards = [
            *_flat_cards(step.frame),
            ("FLAT_NORM", options.norm_method, "what it was divided by"),
            ("FLAT_NFAC", level, "adu"),
            ("FLATTYPE", options.flat_type, ""),
        ]
        path = out / "flat_normalized" / f"{step.path.stem}_normalized.fits"
        write_image_product(path, science=flat / np.float32(level), unit="", cards=cards, durable=False)
        found.append(_Step(frame=step.frame, path=path))
    return found


def _by_kind(steps: Sequence[_Step]) -> Iterator[tuple[str, list[_Step]]]:
    """Flats that may be combined: of one filter, stage, dose and set-up, with a word for what they are ("" when there is but one kind)."""
    words = labels_of([step.frame for step in steps])
    for name in sorted(set(words)):
        yield name, [step for step, word in zip(steps, words, strict=True) if word == name]


def labels_of(flats: Sequence[LabFrame]) -> list[str]:
    """Of each flat its filter, with stage, dose and set-up where flats of the filter have several."""
    states = states_of(flats)
    short = short_names(flat.set_up for flat in flats)
    found = []
    for flat, state in zip(flats, states, strict=True):
        several = len({one for other, one in zip(flats, states, strict=True) if other.filter == flat.filter}) > 1
        dose = "" if state.dose_krad is None else f"{state.dose_krad:.6g} kRad"
        found.append(" ".join(filter(None, (flat.filter, *((state.stage, dose, short[flat.set_up]) if several else ())))))
    return found


def _without_vignetting(steps: Sequence[_Step], out: Path, options: LabOptions, inputs: FlatInputs, made: FlatMade) -> list[_Step]:
    """Divide by the vignetting, fitted to the median of a filter's flats or taken from a file."""
    found = []
    for name, some in _by_kind(steps):
        method = "median" if len(some) > 2 else "mean"
        mean = combine([step.path for step in some], method=method, planes=("result",), memory_bytes=32 << 20).result
        shape = (int(mean.shape[0]), int(mean.shape[1]))
        vignetting = inputs.vignetting(shape) or fit_vignetting(mean)
        plane = vignetting.plane(shape)
        made.vignetting[name], made.edges[name] = vignetting, vignetting.edge(shape)
        folder = out / "flat_vignetting"
        stem = f"vignetting_{safe(name) or 'all'}"
        write_image_product(folder / f"{stem}.fits", science=plane, unit="", durable=False)
        write_text(folder / f"{stem}.json", json.dumps(asdict(vignetting), indent=1) + "\n", durable=False, overwrite=True)
        for step in some:
            flat = read_image(step.path)
            cards = [*_flat_cards(step.frame), ("FLAT_VIGN", True, "divided by the vignetting")]
            path = folder / f"{step.path.stem.removesuffix('_normalized')}_vignetting_corrected.fits"
            write_image_product(path, science=flat / plane, unit="", cards=cards, durable=False)
            found.append(_Step(frame=step.frame, path=path))
        if options.save_plots:
            _vignetting_figure(folder / f"{stem}.png", mean, plane)
    return found


def _vignetting_figure(path: Path, mean: F4, plane: F4) -> None:
    middle = mean.shape[0] // 2
    row, fitted = mean[middle], plane[middle] * np.float32(np.nanmedian(mean / plane))
    x = list(range(0, row.size, max(1, row.size // 400)))
    lines = [
        draw.Course(label="flat", x=x, y=[float(row[i]) for i in x], points=False),
        draw.Course(label="vignetting", x=x, y=[float(fitted[i]) for i in x], points=False),
    ]
    png = draw.courses(f"Vignetting, row {middle}", "x / px", "relative response", lines)
    draw.put(path, png, {"x_px": x, "flat": list(lines[0].y), "vignetting": list(lines[1].y)})


def _masters(steps: Sequence[_Step], out: Path, options: LabOptions, made: FlatMade) -> None:
    paths = {step.frame.path: step.path for step in steps}
    groups = group_frames([step.frame for step in steps], gap_k=options.gap_k)
    t_text = texts([group.cluster_c for group in groups], 1)
    e_text = texts([group.exposure_s for group in groups], 1, exact=True)
    words = dict(zip((step.frame.path for step in steps), labels_of([step.frame for step in steps]), strict=True))
    for group in groups:
        dose = "" if group.dose_krad is None else f"D{group.dose_krad:.6g}kR"
        start = "".join(f"{part}_" for part in (group.stage, dose, safe(group.set_up_name)) if part)
        name = f"master_flat_{start}{safe(group.filter) or 'none'}_T{t_text[group.cluster_c]}_E{e_text[group.exposure_s]}.fits"
        path = out / "master_flat" / name
        _write_master(path, group, [paths[frame.path] for frame in group.frames], options)
        made.masters.append(
            MasterFlat(
                label=words[group.frames[0].path],
                filter=group.filter,
                temperature_c=group.temperature_c or 0.0,
                exposure_s=group.exposure_s or 0.0,
                frames=len(group.frames),
                path=path,
            )
        )


def _write_master(path: Path, group: Group, files: Sequence[Path], options: LabOptions) -> None:
    method = options.master_method
    result = combine(list(files), method=method, planes=("result", "uncertainty", "mask"), memory_bytes=32 << 20)
    plane = result.result
    cards: list[Card] = [
        ("FLATPIPE", "nightcrew", ""),
        ("N_FILES", len(files), "flats"),
        ("COMBMETH", method, ""),
        ("DATAMIN", float(np.nanmin(plane)), ""),
        ("DATAMAX", float(np.nanmax(plane)), ""),
        ("DATAMEAN", float(np.nanmean(plane, dtype=np.float64)), ""),
        ("SRC1", group.frames[0].path.name, "first flat"),
        ("SRCLAST", group.frames[-1].path.name, "last flat"),
        ("T_AVG", group.temperature_c, "deg C"),
        ("E_AVG", group.exposure_s, "s"),
        ("F_SAMP", group.filter or "none", "filter"),
    ]
    write_image_product(path, science=plane, uncertainty=result.uncertainty, mask=result.mask, unit="", cards=cards, durable=False)


def _sky_median(steps: Sequence[_Step], out: Path, options: LabOptions) -> None:
    """Median of the sky flats of each kind, stars masked: as it is and brought to its mean."""
    for label, some in _by_kind(steps):
        sources = [ArraySource(data=step.path) for step in some]
        plane = combine(sources, method="median", planes=("result",), memory_bytes=32 << 20).result
        cards: list[Card] = [("N_FILES", len(some), "flats"), ("COMBMETH", "median", ""), ("FILTER", some[0].frame.filter, "")]
        stem = "master_flat_sky_median" + (f"_{safe(label)}" if label else "")
        write_image_product(out / "sky_median" / f"{stem}.fits", science=plane, unit="", cards=cards, durable=False)
        level = np.float32(level_of(plane, options.norm_method))
        write_image_product(out / "sky_median" / f"{stem}_normalized.fits", science=plane / level, unit="", cards=cards, durable=False)


def _models(out: Path, options: LabOptions, made: FlatMade) -> None:
    for name in sorted({master.label for master in made.masters}):
        some = [master for master in made.masters if master.label == name]
        model = fit_flat(
            [master.path for master in some],
            [master.temperature_c for master in some],
            [master.exposure_s for master in some],
            reference_c=options.t_ref or 0.0,
            reference_s=options.exp_ref or 0.0,
        )
        made.models[name] = model
        for term, plane in (("B (temperature)", model.b), ("C (exposure)", model.c)):
            if plane is None:
                made.warnings.append(
                    f"flats{f' of {name}' if name else ''}: their conditions do not determine {term}; it is 0 in the model"
                )
        _write_model(out / "flat_model" / safe(name) if name else out / "flat_model", model)


def _write_model(folder: Path, model: FlatModel) -> None:
    cards: list[Card] = [("T_REF", model.reference_c, "deg C"), ("E_REF", model.reference_s, "s")]
    cards += [("T_MIN", model.temperatures_c[0], "deg C"), ("T_MAX", model.temperatures_c[1], "deg C")]
    for letter, plane, error, unit in (
        ("A", model.a, model.a_error, ""),
        ("B", model.b, model.b_error, "1/K"),
        ("C", model.c, model.c_error, "1/s"),
    ):
        known: list[Card] = [("FITTED", plane is not None, "whether the masters determine it")]
        science = np.zeros_like(model.a) if plane is None else plane
        path = folder / f"flat_{letter}_map.fits"
        write_image_product(path, science=science, uncertainty=error, unit=unit, cards=[*cards, *known], durable=False)


def _evaluate(out: Path, options: LabOptions, made: FlatMade) -> None:
    for master in made.masters:
        real = read_image(master.path).astype(np.float32)
        model = made.models[master.label].value(master.temperature_c, master.exposure_s)
        found = compare(real, model)
        row: dict[str, object] = {
            "FILTER": master.label,
            "TEMP": master.temperature_c,
            "EXPTIME": master.exposure_s,
            "NFRAMES": master.frames,
            "REAL": found["measured"],
            "SYNTHETIC": found["predicted"],
            "MAE": found["mae"],
            "MAE_STD": found["mae_std"],
            "MAPE": found["mape"],
        }
        made.evaluation.append(row)
        off = np.abs(real - model)
        share = 100 * off / np.where(real == 0, np.float32(1), np.abs(real))
        stem = master.path.stem.removeprefix("master_flat_")
        if options.save_plots:
            png = draw.maps([("master", "", real), ("model", "", model), ("|master - model|", "", off), ("the same", "%", share)])
            arrays = {"real": real, "synthetic": model, "mae": off, "mape": share}
            draw.put(out / "evaluation" / f"flat_{stem}.png", png, arrays={key: draw.thinned(plane) for key, plane in arrays.items()})
        if options.save_eval_fits:
            for name, plane in (("diff", real - model), ("mae", off), ("mape", share)):
                write_image_product(out / "evaluation" / f"{name}_{stem}.fits", science=plane, unit="", durable=False)
    write_table(out / "evaluation" / "evaluation_summary.csv", EVALUATION, made.evaluation)
