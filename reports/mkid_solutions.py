"""Quantities of MKID calibrations for ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightcrew.mkid.wavelength_solution import WavelengthSolution
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
