"""Unit of work of a combined dither."""

from __future__ import annotations

from pathlib import Path

from nightcrew.mkid.calibrated import Calibrations, read_calibrations
from nightcrew.mkid.dither_products import make_dither_products
from nightcrew.mkid.solution_file import sha256_of
from reports.analysis import AnalysisPage
from reports.mkid_images_dither import dither_quantities, dither_sections
from reports.summary import Summary
from tasks.set_units import SetResult, SetUnit

_FILES = {"mkid_wavecal": ("wavelengths.h5",), "mkid_flatcal": ("flat.h5",), "mkid_masks": ("masks.h5", "cosmic.h5")}


def make_dither(unit: SetUnit) -> SetResult:
    """``dither.fits``, and combined speckle maps where the observing log asks for them, with a page of their own.

    Positions are in the order of ``facts["positions"]``; each is read with its own masks, and with the solutions that are inputs.  Of two
    wavelength solutions or flat fields the first by its key serves all, which its grade says.
    """
    tables = unit.inputs_of("mkid_table")
    masks = unit.inputs_of("mkid_masks")
    shared: list[Path] = []
    reasons: list[str] = []
    for recipe, what in (("mkid_wavecal", "wavelength solution"), ("mkid_flatcal", "flat field")):
        folders = list(unit.inputs_of(recipe).values())
        shared += [folders[0] / name for name in _FILES[recipe]] if folders else []
        if len(folders) != 1:
            reasons.append(f"there is no {what}" if not folders else f"positions have {len(folders)} {what}s: the first serves all")
    positions: list[tuple[Path, Calibrations]] = []
    for name in unit.facts["positions"]:
        (table,) = sorted(tables[str(name)].glob("*.h5"))
        own = [masks[str(name)] / file for file in _FILES["mkid_masks"]] if str(name) in masks else []
        step_s = float(unit.parameters.get("linearity_step_s") or 0.0) or None
        positions.append((table, read_calibrations([*shared, *own], linearity_step_s=step_s)))
    made = make_dither_products(positions, unit.out, name=unit.planned.key)
    told = tuple(dict.fromkeys((*made.remarks, *reasons, *unit.told)))
    quantities = dither_quantities(made)
    grade = "A" if not reasons else "D" if any("no" in reason.split()[:3] for reason in reasons) else "B"
    inputs = tuple({"file": path.name, "sha256": sha256_of(path)} for path in (*(table for table, _ in positions), *shared))
    page = AnalysisPage(
        kind="mkid",
        title=unit.planned.key,
        verdict=f"Dither {made.name}: {len(positions)} positions on one grid",
        status="attention" if made.remarks or grade == "D" else "good",
        needs_person=told,
        summary=Summary(recipe="mkid_dither", inputs=inputs, grade=grade, quantities=quantities, warnings=told),
        key_quantities=tuple(one.name for one in quantities),
        sections=dither_sections(made, unit.out),
        files=made.files,
    )
    return SetResult(grade=grade, grade_reasons=tuple(reasons), metrics={one.name: one.value for one in quantities}, page=page)
