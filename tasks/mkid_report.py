"""Unit of work of the report of photon lists: reads every product of the set, writes the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nightcrew.errors import RejectedInput
from nightcrew.ledger.rows import Measurement
from nightcrew.mkid.flat_solution import read_flat_solution
from nightcrew.mkid.mask_solution import read_cosmic_rays, read_pixel_masks
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.mkid.solution_grades import table_grade
from nightcrew.mkid.wavelength_solution import read_wavelength_solution
from reports.mkid import CalibratedFacts, MkidSet, TableFacts, build
from reports.mkid_figures import write_numbers
from tasks.set_units import SetResult, SetUnit


def make_report(unit: SetUnit) -> SetResult:
    """The page of the set, with ``numbers/`` behind its figures."""
    name = unit.planned.night
    tables = sorted((_table(folder) for folder in unit.inputs_of("mkid_table").values()), key=lambda one: one.start_us)
    found = MkidSet(
        title=name,
        tables=tables,
        wavecals={key: read_wavelength_solution(folder / "wavelengths.h5") for key, folder in unit.inputs_of("mkid_wavecal").items()},
        flats={key: read_flat_solution(folder / "flat.h5") for key, folder in unit.inputs_of("mkid_flatcal").items()},
        masks={
            key: (read_pixel_masks(folder / "masks.h5"), read_cosmic_rays(folder / "cosmic.h5"))
            for key, folder in unit.inputs_of("mkid_masks").items()
        },
        calibrated=[_calibrated(key, folder) for key, folder in unit.inputs_of("mkid_calibrated").items()],
        failed=tuple(unit.facts["failed"]),
        problems=tuple(unit.facts["problems"]),
        inputs=tuple({"file": file.relative.rpartition("/")[2], "sha256": file.sha256} for file in unit.files),
        commands=unit.commands,
    )
    page, plots = build(found)
    write_numbers(plots, unit.out)
    quantities = page.summary.quantities
    metrics = {one.name: one.value for one in reversed(quantities) if one.name in page.key_quantities}
    trends = tuple(
        Measurement(quantity=one.name, value=one.value, error=one.error, unit=one.unit, where=dict(one.where), note=one.note)
        for one in quantities
        if one.name in ("solved_fraction", "energy_resolution", "flat_weight_scatter")
    )
    failed = tuple(f"not made: {reason}" for reason in found.failed)
    return SetResult(grade=found.grade, grade_reasons=failed, metrics=metrics, measurements=trends, page=page)


def _table(folder: Path) -> TableFacts:
    (path,) = sorted(folder.glob("*.h5"))
    with PhotonTable(path) as table:
        report, attributes = table.report, table.attributes
        nm = attributes.get("laser_nm")
        return TableFacts(
            name=str(attributes.get("exposure", path.stem)),
            kind=str(attributes.get("type", "")),
            laser_nm=float(nm) if nm is not None else None,
            start_us=table.start_us,
            duration_s=(table.stop_us - table.start_us) / 1e6,
            photons=table.n_photons,
            live_s=table.live_s,
            seen_s=table.seen_s,
            words=report.get("words", {}),
            missing_seconds=tuple(report.get("missing_seconds", [])),
            rejected=tuple(one["reason"] for one in report.get("rejected", [])),
            sentences=tuple(report.get("sentences", [])),
            grade=table_grade(report)[0],
            counts=table.counts(),
            flag=table.flag,
        )


def _calibrated(key: str, folder: Path) -> CalibratedFacts:
    try:
        body = json.loads((folder / "calibrations.json").read_text(encoding="utf-8"))
        with np.load(folder / "rates.npz") as saved:
            rate = saved["rate_cps"]
        kept = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        raise RejectedInput(f"{folder.name}: its files cannot be read ({error})") from error
    named = {row["kind"]: Path(row["path"]).parent.name.rsplit("-", 1)[0] for row in body["solutions"]}
    return CalibratedFacts(
        name=key,
        photons=int(kept["photons"]),
        calibrated_photons=int(kept["calibrated_photons"]),
        usable_pixels=int(kept["usable_pixels"]),
        wavecal=named.get("wavelength solution", "").removeprefix("mkid_wavecal_"),
        flatcal=named.get("flat field", "").removeprefix("mkid_flatcal_"),
        grade=str(kept["grade"]),
        grade_reasons=tuple(map(str, kept["grade_reasons"])),
        rate_cps=rate,
    )
