"""Units of work of photon lists: seconds to tables, tables to masks and solutions, and what a science table is read with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io import atomic
from nightcrew.ledger.rows import Measurement
from nightcrew.mkid.beam_map import parse_beam_map
from nightcrew.mkid.calibrated import open_calibrated, read_calibrations
from nightcrew.mkid.convert import convert_window
from nightcrew.mkid.cosmic_search import CosmicOptions, find_cosmic_rays
from nightcrew.mkid.flat_cubes import FlatInput
from nightcrew.mkid.flat_solution import read_flat_solution
from nightcrew.mkid.flatcal import FlatOptions, flat_field
from nightcrew.mkid.mask_solution import REASONS, joined_masks, read_pixel_masks
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.pixel_masks import MaskOptions, find_masks
from nightcrew.mkid.registered import write_manifest
from nightcrew.mkid.run_window import window_of_run
from nightcrew.mkid.science_products import ScienceWishes, make_science_products
from nightcrew.mkid.solution_file import sha256_of
from nightcrew.mkid.solution_grades import flat_grade, table_grade, wavelength_grade
from nightcrew.mkid.wavecal import Calibrated, WavecalOptions, calibrate
from nightcrew.mkid.wavecal_inputs import inputs_of_tables, read_frequencies
from reports import mkid_flat, mkid_wavecal
from reports.analysis import AnalysisPage
from reports.figures import EmptyFigureError
from reports.mkid_figures import write_plots
from reports.mkid_images import quantities_of, sections_of
from reports.mkid_solutions import flat_quantities, wavelength_quantities
from reports.summary import Quantity, Summary
from tasks.mkid_dither import make_dither
from tasks.mkid_report import make_report
from tasks.set_units import SetResult, SetUnit

WAVECAL, FLAT, MASKS, COSMIC = "wavelengths.h5", "flat.h5", "masks.h5", "cosmic.h5"
MANIFEST, RATES, COUNTS = "calibrations.json", "rates.npz", "counts.json"
_NEAR_S, _FAR_S = 12 * 3600, 48 * 3600  # of solutions in time: grade A, B, beyond C


def make_table(unit: SetUnit) -> SetResult:
    """A photon table of one exposure: ``<exposure>.h5``."""
    seconds = {int(PurePosixPath(file.relative).stem): unit.path(file) for file in unit.files if file.relative.endswith(".bin")}
    (placed,) = (file for file in unit.files if not file.relative.endswith(".bin"))
    beam_map = parse_beam_map(unit.path(placed).read_bytes(), PurePosixPath(placed.relative).name, enumeration=unit.parameters["flags"])
    exposure = dict(unit.parameters["exposure"])
    start_us, stop_us = int(unit.parameters["start_us"]), int(unit.parameters["stop_us"])
    out = unit.out / f"{exposure['exposure']}.h5"
    run = (start_us // 1_000_000, stop_us // 1_000_000) if unit.parameters["whole_run"] else None
    if run is not None:
        start_us, stop_us = window_of_run(seconds, *run)
    made = convert_window(
        seconds, beam_map, start_us, stop_us, out, data_path=unit.planned.night, exposure=exposure, expected=run, work=unit.work
    )
    tally, account = made.account.tally, made.account
    metrics: dict[str, Any] = {"photons": made.n_photons, "lost_frames": tally.lost, "missing_seconds": len(account.missing_seconds)}
    metrics["silent_s"] = account.silent_s
    grade, reasons = table_grade(made.report)
    left_out = {_relative(unit, one.name): one.reason for one in account.rejected}
    return SetResult(grade=grade, grade_reasons=reasons, metrics=metrics, left_out=left_out)


def _relative(unit: SetUnit, name: str) -> str:
    return next((file.relative for file in unit.files if PurePosixPath(file.relative).name == name), name)


def table_in(folder: Path) -> Path:
    """The one photon table of a product's folder."""
    found = sorted(folder.glob("*.h5"))
    if len(found) != 1:
        raise RejectedInput(f"{folder.name}: holds {len(found)} tables instead of one")
    return found[0]


def make_masks(unit: SetUnit) -> SetResult:
    """``masks.h5`` and ``cosmic.h5`` of one table."""
    (folder,) = unit.inputs_of("mkid_table").values()
    with PhotonTable(table_in(folder)) as table:
        try:
            masks = find_masks(table, MaskOptions(**unit.parameters["masks"]))
        except Refused as error:  # what a person would have to choose otherwise
            raise RejectedInput(str(error)) from error
        cosmic = find_cosmic_rays(table, CosmicOptions(**unit.parameters["cosmic"]))
    masks.write(unit.out / MASKS)
    cosmic.write(unit.out / COSMIC)
    metrics: dict[str, Any] = {name: int(((masks.bits >> place) & 1).any(axis=0).sum()) for place, name in enumerate(REASONS[:3])}
    return SetResult(metrics={**metrics, "cosmic_rays": len(cosmic), "cosmic_cut_s": cosmic.cut_s})


def make_wavecal(unit: SetUnit) -> SetResult:
    """``wavelengths.h5``, and ``plots/`` with the summary and what else the configuration asks for."""
    lasers = inputs_of_tables([table_in(folder) for folder in unit.inputs_of("mkid_table").values()])
    parameters = {**unit.parameters, "models": tuple(unit.parameters["models"])}
    made = calibrate(lasers, WavecalOptions(threads=unit.threads, **parameters))
    made.write(unit.out / WAVECAL)
    solution = made.solution
    notes = _plots(unit, made)
    quantities = wavelength_quantities(solution)
    solved = float(solution.solved.mean())
    with PhotonTable(lasers[0].table) as table:
        grade, reasons = wavelength_grade(solution, table.flag)
    metrics = {"solved_fraction": solved, "lasers": [float(nm) for nm in solution.wavelengths_nm], "notes": notes}
    return SetResult(grade=grade, grade_reasons=reasons, metrics=metrics, measurements=_measurements(quantities))


def _plots(unit: SetUnit, made: Calibrated) -> list[str]:
    """Draw ``plots/`` with the summary and what the configuration asks for; what could not be drawn, in sentences."""
    solution, notes, frequencies = made.solution, [], {}
    if unit.files:
        try:
            frequencies = read_frequencies(unit.path(unit.files[0]))
        except RejectedInput as error:  # a plot less, not a solution less
            notes.append(str(error))
    wanted = list(unit.facts.get("plots", []))
    names = [name for name in (mkid_wavecal.NAMES if wanted == ["all"] else wanted) if name in mkid_wavecal.NAMES]
    notes += [f"there is no plot {name!r}, only {', '.join(mkid_wavecal.NAMES)}" for name in wanted if name not in (*names, "all")]
    if "rvsf" in names and not frequencies:
        names.remove("rvsf")
        notes.append(mkid_wavecal.NO_FREQUENCIES)
    try:
        pixels = [mkid_wavecal.typical_pixel(solution)]
    except EmptyFigureError:
        pixels = []
    plots, empty = mkid_wavecal.draw([*names, "summary"], solution, made.data, frequencies, pixels)
    write_plots(plots, unit.out / "plots")
    return [*notes, *empty]


def make_flat(unit: SetUnit) -> SetResult:
    """``flat.h5`` and its books of maps and masks."""
    (wavecal,) = unit.inputs_of("mkid_wavecal").values()
    options = {name: value for name, value in unit.parameters.items() if name != "laser"}
    flats, darks = [], []
    for folder in unit.inputs_of("mkid_table").values():
        path = table_in(folder)
        with PhotonTable(path) as table:
            kind, nm = table.attributes.get("type"), table.attributes.get("laser_nm")
        if kind == "dark":
            darks.append(path)
        else:
            flats.append(FlatInput(table=path, wavelength_nm=nm if unit.parameters["laser"] else None))
    masks = [read_pixel_masks(folder / MASKS) for folder in unit.inputs_of("mkid_masks").values()]
    calibrations = replace(read_calibrations([wavecal / WAVECAL]), masks=joined_masks(masks) if masks else None)
    try:
        flat = flat_field(flats, calibrations, FlatOptions(**options), darks=darks, memory_bytes=unit.memory_bytes)
    except Refused as error:  # what a person would have to choose otherwise
        raise RejectedInput(str(error)) from error
    flat.write(unit.out / FLAT)
    pixels = mkid_flat.some_pixels(flat, int(unit.facts["book_pixels"]))
    _, notes = mkid_flat.write_books(flat, calibrations.wavelength, unit.out, "flat", pixels)
    quantities = flat_quantities(flat)
    grade, reasons = flat_grade(flat, calibrations.wavelength) if calibrations.wavelength else ("D", ())
    metrics = {**{one.name: one.value for one in quantities}, "notes": notes}
    return SetResult(grade=grade, grade_reasons=reasons, metrics=metrics, measurements=_measurements(quantities))


def make_calibrated(unit: SetUnit) -> SetResult:
    """``calibrations.json`` (what the table is read with) and ``rates.npz``: count rate, exposure and flags of every pixel."""
    table, solutions, step_s = _table_and_solutions(unit)
    write_manifest(unit.out / MANIFEST, table, solutions, linearity_step_s=step_s)
    with open_calibrated(table, solutions, linearity_step_s=step_s) as opened:
        weights, known, count = np.zeros(opened.n_pixels), 0, 0
        for slab in opened.slabs():
            weights += np.bincount(slab.pixel, slab.weight, opened.n_pixels)
            known += int(np.isfinite(slab.wavelength_nm).sum())
            count += len(slab)
        exposure_s = opened.exposure_s()
        rate = np.where(exposure_s > 0, weights.reshape(opened.shape) / np.where(exposure_s > 0, exposure_s, 1.0), np.nan)
        arrays = {"rate_cps": rate, "exposure_s": exposure_s, "flag": opened.flag}
        usable = int(opened.usable.sum())
    with atomic.NewFile(unit.out / RATES, durable=False) as new:
        np.savez_compressed(new.file, rate_cps=arrays["rate_cps"], exposure_s=arrays["exposure_s"], flag=arrays["flag"])
    grade, reasons = _grade(unit)
    metrics = {"photons": count, "calibrated_photons": known, "usable_pixels": usable}
    kept = {**metrics, "grade": grade, "grade_reasons": list(reasons)}
    atomic.write_text(unit.out / COUNTS, json.dumps(kept, sort_keys=True) + "\n", durable=False)
    _book_of_weights(unit)
    return SetResult(grade=grade, grade_reasons=reasons, metrics=metrics)


def _book_of_weights(unit: SetUnit) -> None:
    """The per-pixel book of the flat that was applied: weights of its chunks with their average."""
    for folder in unit.inputs_of("mkid_flatcal").values():
        flat = read_flat_solution(folder / FLAT)
        pixels = mkid_flat.some_pixels(flat, int(unit.facts["book_pixels"]))
        if pixels:
            mkid_flat.write_book(unit.out / mkid_flat.book_names("flat")["applied"], mkid_flat.applied_book(flat, pixels))


def _table_and_solutions(unit: SetUnit) -> tuple[Path, list[Path], float | None]:
    """A science table, what it is read with, and the steps of its rates."""
    (folder,) = unit.inputs_of("mkid_table").values()
    names = {"mkid_wavecal": (WAVECAL,), "mkid_flatcal": (FLAT,), "mkid_masks": (MASKS, COSMIC)}
    solutions = [path / name for recipe, files in names.items() for path in unit.inputs_of(recipe).values() for name in files]
    return table_in(folder), solutions, float(unit.parameters["linearity_step_s"]) or None


def make_images(unit: SetUnit) -> SetResult:
    """Image, cubes and, where the observing log asks for them, speckle maps of a science exposure, with a page of their own."""
    table, solutions, step_s = _table_and_solutions(unit)
    wishes = ScienceWishes.from_log(dict(unit.parameters["log"]))
    calibrations = read_calibrations(solutions, linearity_step_s=step_s)
    made = make_science_products(table, calibrations, wishes, unit.out, name=unit.planned.key)
    grade, reasons = _grade(unit)
    told = tuple(dict.fromkeys((*made.remarks, *reasons, *unit.told)))
    quantities = quantities_of(made)
    inputs = tuple({"file": path.name, "sha256": sha256_of(path)} for path in (table, *solutions))
    page = AnalysisPage(
        kind="mkid",
        title=unit.planned.key,
        verdict=f"{made.name}: image and cubes of {int(made.image.counts.sum())} photons",
        status="attention" if made.remarks or grade in ("C", "D") else "good",
        needs_person=told,
        summary=Summary(recipe="mkid_images", inputs=inputs, grade=grade, quantities=quantities, warnings=told),
        key_quantities=tuple(one.name for one in quantities if one.name in ("photons", "median_rate", "median_ic", "median_is")),
        sections=sections_of(made, unit.out),
        files=made.files,
    )
    return SetResult(grade=grade, grade_reasons=reasons, metrics={one.name: one.value for one in quantities}, page=page)


def _grade(unit: SetUnit) -> tuple[str, tuple[str, ...]]:
    """By how far the solutions are in time; a missing one is a step that was left out."""
    grade, reasons = "A", []
    for fact, what in (("wavecal_away_s", "wavelength solution"), ("flatcal_away_s", "flat field")):
        away = unit.facts.get(fact)
        if away is None:
            grade = "D"
            reasons.append(f"there is no {what}")
        elif away > _NEAR_S:
            grade = max(grade, "C" if away > _FAR_S else "B")
            reasons.append(f"the {what} is {away / 3600:.0f} hours away")
    return grade, tuple(reasons)


def _measurements(quantities: tuple[Quantity, ...]) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(quantity=one.name, value=one.value, error=one.error, unit=one.unit, where=dict(one.where), note=one.note)
        for one in quantities
    )


units: Mapping[str, Callable[[SetUnit], SetResult]] = {
    "mkid_table": make_table,
    "mkid_masks": make_masks,
    "mkid_wavecal": make_wavecal,
    "mkid_flatcal": make_flat,
    "mkid_calibrated": make_calibrated,
    "mkid_images": make_images,
    "mkid_dither": make_dither,
    "mkid_report": make_report,
}
