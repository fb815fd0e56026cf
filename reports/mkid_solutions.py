"""Quantities of MKID calibrations for ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nightcrew.mkid import flags as f
from nightcrew.mkid.flat_solution import FlatSolution
from nightcrew.mkid.wavelength_solution import WavelengthSolution
from reports.mkid_flat import scatter_by_wavelength
from reports.summary import Quantity, determined


def inputs_of(provenance: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """Names and hashes of the inputs that a calibration tells of; a table is as its seconds are."""
    found = []
    for one in provenance.get("inputs", []):
        seconds = one.get("seconds") or [""]
        found.append({"file": str(one.get("name", "")), "sha256": str(one.get("sha256") or seconds[0])})
    return tuple(found)


def wavelength_quantities(solution: WavelengthSolution) -> tuple[Quantity, ...]:
    """``solved_fraction`` and ``energy_resolution`` for each laser."""
    made = [Quantity(name="solved_fraction", value=float(solution.solved.mean()))]
    for nm, (middle, mad, number) in zip(solution.wavelengths_nm.tolist(), solution.resolution_by_laser(), strict=True):
        where: dict[str, str | int | float | bool | None] = {"wavelength_nm": nm, "pixels": number}
        made.append(determined("energy_resolution", middle, "no pixel has a solution", error=mad, where=where))
    return tuple(made)


def flat_quantities(flat: FlatSolution) -> tuple[Quantity, ...]:
    """``flat_weight_scatter``: robust standard deviation of the weights over the array, median over the wavelengths."""
    scatter, error = scatter_by_wavelength(flat)
    known = np.isfinite(scatter)
    why = "no pixel has a weight"
    middle = float(np.median(scatter[known])) if known.any() else None
    noise = float(np.median(error[known])) if known.any() else None
    bad = int(np.count_nonzero(flat.flag & np.uint32(f.bit("flatcal.bad"))))
    return (
        determined("flat_weight_scatter", middle, why),
        determined("flat_weight_error", noise, why),
        Quantity(name="bad_pixels", value=bad, where={"reason": "flatcal.bad"}),
    )
