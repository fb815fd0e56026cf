"""Wavelength solutions: for each pixel the polynomial from pulse height to photon energy, and everything that it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid.solution_file import WAVELENGTH, SolutionFile, write_solution

HC_EV_NM = 1239.841984
"""h c in eV nm (CODATA 2018)."""

Floats = NDArray[np.float64]

HISTOGRAM_FLAGS = (
    "good",
    "not attempted",
    "too few photons",
    "too hot",
    "too few bins",
    "did not converge",
    "failed validation",
)
"""What became of one laser of one pixel; the number in ``line_flag``."""
MODELS = ("none", "gaussian_and_exp", "gaussian_and_gaussian", "gaussian_and_gaussian_and_exp")
"""Model of a histogram; the number in ``line_model``."""
PARAMETERS = (
    "centre_deg",
    "sigma_deg",
    "counts",
    "background_at_edge",
    "background_rate_per_deg",
    "second_centre_deg",
    "second_sigma_deg",
    "second_counts",
)
"""Of a histogram's model, in this order.

Per bin of width h: counts * (Phi(right) - Phi(left)) + background_at_edge * h * exp(rate * (phase - edge)) + the second Gaussian
+ the dark, if there is one.
"""


@dataclass(frozen=True, kw_only=True)
class WavelengthSolution:
    """Arrays are [y, x], [laser, y, x] and so on; what could not be determined is NaN, and flagged."""

    wavelengths_nm: Floats  # [laser], ascending
    resid: NDArray[np.uint32]  # [y, x]
    flag: NDArray[np.uint32]  # [y, x], bits of nightcrew.mkid.flags
    coefficients: Floats  # [y, x, 3]: energy_ev = c0 + c1 p + c2 p^2, p in degrees
    covariance: Floats  # [y, x, 3, 3]
    phase_range_deg: Floats  # [y, x, 2]: lowest and highest centre that was fitted
    resolution: Floats  # [laser, y, x]: E / FWHM
    resolution_error: Floats
    line_flag: NDArray[np.uint8]  # [laser, y, x], index into HISTOGRAM_FLAGS
    line_model: NDArray[np.uint8]  # [laser, y, x], index into MODELS
    line_parameters: Floats  # [laser, y, x, 8]: PARAMETERS
    line_covariance: Floats  # [laser, y, x, 8, 8]
    line_centre_deg: Floats  # [laser, y, x]: median of the line, which the energies are fitted to
    line_centre_error_deg: Floats
    line_edge_deg: Floats  # [laser, y, x]: where the range that was fitted ends, towards phase 0
    line_bin_deg: Floats  # [laser, y, x]
    line_photons: NDArray[np.int64]  # [laser, y, x]
    line_aic: Floats
    line_chi2: Floats  # reduced, within two sigma of the centre
    line_shape: Floats  # [1]: 1 = lines are Gaussian in energy, 0 = in phase, as measured on the whole array
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.resid.shape[0], self.resid.shape[1]

    @property
    def energies_ev(self) -> Floats:
        """Photon energies of the lasers."""
        return HC_EV_NM / self.wavelengths_nm

    @cached_property
    def solved(self) -> NDArray[np.bool_]:
        """Pixels [y, x] with a solution."""
        solved: NDArray[np.bool_] = (self.flag & f.bits(("wavecal.bad",))) == 0
        return solved

    @property
    def line_good(self) -> NDArray[np.bool_]:
        """[laser, y, x]: lasers that were fitted."""
        good: NDArray[np.bool_] = self.line_flag == 0
        return good

    def resolution_by_laser(self) -> list[tuple[float, float, int]]:
        """(median R, median absolute deviation, number of pixels) of each laser; NaN without a pixel."""
        found = []
        for one in self.resolution:
            values = one[self.solved & np.isfinite(one)]
            middle = float(np.median(values)) if values.size else float("nan")
            found.append((middle, float(np.median(np.abs(values - middle))) if values.size else float("nan"), int(values.size)))
        return found

    def write(self, final: Path, *, more: Mapping[str, tuple[NDArray[Any], str]] | None = None, overwrite: bool = False) -> None:
        """Write as HDF5 (:mod:`nightcrew.mkid.solution_file`), with ``more`` arrays beside its own."""
        arrays = {name: (np.asarray(getattr(self, name)), about) for name, about in _ABOUT.items()} | dict(more or {})
        names = {"line_flags": list(HISTOGRAM_FLAGS), "models": list(MODELS), "parameters": list(PARAMETERS)}
        write_solution(final, WAVELENGTH, arrays, self.provenance, names, overwrite=overwrite)


_ABOUT = {
    "wavelengths_nm": "[laser]",
    "resid": "[y, x]: resonator",
    "flag": "[y, x]: bits, named in order by the attribute flags of the file",
    "coefficients": "[y, x, 3]: energy in eV = c0 + c1 p + c2 p^2 with the phase p in degrees",
    "covariance": "[y, x, 3, 3]: of the coefficients",
    "phase_range_deg": "[y, x, 2]: lowest and highest centre that was fitted",
    "resolution": "[laser, y, x]: energy / full width at half maximum",
    "resolution_error": "[laser, y, x]: standard deviation",
    "line_flag": "[laser, y, x]: what became of the histogram, index into the attribute line_flags",
    "line_model": "[laser, y, x]: index into the attribute models",
    "line_parameters": "[laser, y, x, parameter]: named by the attribute parameters",
    "line_covariance": "[laser, y, x, parameter, parameter]",
    "line_centre_deg": "[laser, y, x]: phase of the line's median, which the energies are fitted to",
    "line_centre_error_deg": "[laser, y, x]: standard deviation",
    "line_edge_deg": "[laser, y, x]: end of the fitted range towards phase 0",
    "line_bin_deg": "[laser, y, x]: width of the bins",
    "line_photons": "[laser, y, x]: photons in the histogram",
    "line_aic": "[laser, y, x]: Akaike's criterion of the chosen model",
    "line_chi2": "[laser, y, x]: reduced chi square within two sigma of the centre",
    "line_shape": "[1]: 1 when lines are Gaussian in energy, 0 when in phase, measured on the array",
}


def read_wavelength_solution(path: Path) -> WavelengthSolution:
    """Read a solution; errors as of :class:`~nightcrew.mkid.solution_file.SolutionFile`."""
    with SolutionFile(path, WAVELENGTH) as file:
        arrays = file.shaped([name for name in _ABOUT if name != "flag"])
        return WavelengthSolution(**arrays, flag=file.flag(), provenance=file.provenance)


def unsolved(wavelengths_nm: Floats, resid: NDArray[np.uint32]) -> WavelengthSolution:
    """A solution of these pixels in which nothing is determined yet."""
    lasers, (rows, columns) = wavelengths_nm.size, resid.shape
    sizes = {"coefficients": (3,), "covariance": (3, 3), "phase_range_deg": (2,)}
    of_lines = {"line_parameters": (8,), "line_covariance": (8, 8)}
    values: dict[str, Any] = {name: np.full((rows, columns, *more), np.nan) for name, more in sizes.items()}
    for one in fields(WavelengthSolution):
        if one.name.startswith(("line_", "resolution")) and one.name != "line_shape":
            values[one.name] = np.full((lasers, rows, columns, *of_lines.get(one.name, ())), np.nan)
    values["line_flag"] = np.ones((lasers, rows, columns), dtype=np.uint8)
    values["line_model"] = np.zeros((lasers, rows, columns), dtype=np.uint8)
    values["line_photons"] = np.zeros((lasers, rows, columns), dtype=np.int64)
    flag = np.full(resid.shape, f.bits(("wavecal.bad", "wavecal.not_attempted")), dtype=np.uint32)
    return WavelengthSolution(wavelengths_nm=wavelengths_nm, resid=resid, flag=flag, line_shape=np.full(1, np.nan), **values)
