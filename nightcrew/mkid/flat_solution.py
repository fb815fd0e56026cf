"""Flat-field solutions: weights by pixel and wavelength, and the polynomial through them that photons are weighted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.solution_file import FLAT, SolutionFile, write_solution

Floats = NDArray[np.float64]

WEIGHT_FLAGS = (
    "good",
    "infinite weight: no counts",
    "zero weight",
    "below the range of the wavelength solution",
    "above the range of the wavelength solution",
    "undetermined",
)
"""What a weight is; the number in ``weight_flag``."""


@dataclass(frozen=True, kw_only=True)
class FlatSolution:
    """Arrays as named; weights that do not exist are NaN.  A weight multiplies counts: average of the array / pixel."""

    bins_nm: Floats  # [bin, 2]: lower and upper end of each wavelength bin, ascending
    resid: NDArray[np.uint32]  # [y, x]
    flag: NDArray[np.uint32]  # [y, x], bits of nightcrew.mkid.flags
    weights: Floats  # [bin, y, x]
    weight_error: Floats  # [bin, y, x], standard deviation
    weight_flag: NDArray[np.uint8]  # [bin, y, x], index into WEIGHT_FLAGS
    spectrum_cps: Floats  # [bin, y, x]: rate of the flat, after dark subtraction
    coefficients: Floats  # [y, x, degree + 1], in t = (wavelength - middle) / half of the range, ascending powers
    coefficient_covariance: Floats  # [y, x, degree + 1, degree + 1]
    range_nm: Floats  # [2]: what t = -1 and t = 1 are
    chunk_start_us: NDArray[np.int64]  # [chunk], Unix time
    chunk_stop_us: NDArray[np.int64]
    chunk_used: NDArray[np.bool_]  # [chunk]: not above the rate limit
    chunk_weights: NDArray[np.float32]  # [chunk, bin, y, x]
    chunk_error: NDArray[np.float32]
    chunk_trimmed: NDArray[np.bool_]  # [chunk, bin, y, x]: cut off at an end
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.resid.shape[0], self.resid.shape[1]

    @property
    def centres_nm(self) -> Floats:
        """Middle of each bin."""
        centres: Floats = self.bins_nm.mean(axis=1)
        return centres

    @property
    def good(self) -> NDArray[np.bool_]:
        """[bin, y, x]: weights that exist."""
        good: NDArray[np.bool_] = self.weight_flag == 0
        return good

    @property
    def own_nm(self) -> Floats:
        """[y, x, 2]: wavelengths between which the pixel has weights; ends of ``range_nm`` where it lacks none beyond them."""
        return own_ranges_nm(self.centres_nm, self.good, self.range_nm)

    def write(self, final: Path, *, overwrite: bool = False) -> None:
        """Write as HDF5 (:mod:`nightcrew.mkid.solution_file`)."""
        arrays = {name: (np.asarray(getattr(self, name)), about) for name, about in _ABOUT.items()}
        write_solution(final, FLAT, arrays, self.provenance, {"weight_flags": list(WEIGHT_FLAGS)}, overwrite=overwrite)


_ABOUT = {
    "bins_nm": "[bin, 2]: lower and upper end",
    "resid": "[y, x]: resonator",
    "flag": "[y, x]: bits, named in order by the attribute flags of the file",
    "weights": "[bin, y, x]: factor for the counts of a pixel",
    "weight_error": "[bin, y, x]: standard deviation",
    "weight_flag": "[bin, y, x]: index into the attribute weight_flags",
    "spectrum_cps": "[bin, y, x]: counts per second of the flat, dark subtracted",
    "coefficients": "[y, x, degree + 1]: weight = sum c_i t^i, t = (wavelength - middle) / half of range_nm; the pixel's ends hold outside",
    "coefficient_covariance": "[y, x, degree + 1, degree + 1]",
    "range_nm": "[2]: wavelengths of t = -1 and t = 1",
    "chunk_start_us": "[chunk]: Unix time",
    "chunk_stop_us": "[chunk]: Unix time",
    "chunk_used": "[chunk]: false above the limit of the count rate",
    "chunk_weights": "[chunk, bin, y, x]",
    "chunk_error": "[chunk, bin, y, x]: standard deviation",
    "chunk_trimmed": "[chunk, bin, y, x]: cut off at an end of the order by size",
}


def read_flat_solution(path: Path) -> FlatSolution:
    """Read a solution; errors as of :class:`~nightcrew.mkid.solution_file.SolutionFile`."""
    with SolutionFile(path, FLAT) as file:
        arrays = file.shaped([name for name in _ABOUT if name != "flag"])
        return FlatSolution(**arrays, flag=file.flag(), provenance=file.provenance)


def own_ranges_nm(centres_nm: Floats, good: NDArray[np.bool_], range_nm: Floats) -> Floats:
    """[y, x, 2]: first and last of the bins in which a pixel is ``good`` [bin, y, x]; the range's ends where no pixel has a bin beyond.

    A polynomial says nothing of wavelengths at which the pixel had no weight.
    """
    own = np.empty((*good.shape[1:], 2))
    own[...] = range_nm
    used = np.flatnonzero(good.any(axis=(1, 2)))
    if not used.size:
        return own
    some = good.any(axis=0)
    first, last = good.argmax(axis=0), good.shape[0] - 1 - good[::-1].argmax(axis=0)
    low, high = some & (first > used[0]), some & (last < used[-1])
    own[..., 0][low], own[..., 1][high] = centres_nm[first[low]], centres_nm[last[high]]
    return own


def polynomial_weights(coefficients: Floats, wavelength_nm: Floats, range_nm: Floats) -> Floats:
    """Weight of each photon: row k of ``coefficients`` [photon, degree + 1] at ``wavelength_nm`` [photon].

    Beyond the range the weight at its end holds, so a polynomial never runs away; a weight is never below 0.
    """
    low, high = float(range_nm[0]), float(range_nm[1])
    t = np.clip((wavelength_nm - (low + high) / 2) / max((high - low) / 2, 1e-9), -1.0, 1.0)
    value = np.zeros_like(t)
    for power in range(coefficients.shape[-1] - 1, -1, -1):
        value = value * t + coefficients[:, power]
    return np.maximum(value, 0.0)
