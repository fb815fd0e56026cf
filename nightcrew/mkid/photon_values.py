"""Wavelengths and weights of photons in order of pixel, some hundred thousand at a time: their columns then stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.wavelength_solution import HC_EV_NM

Singles = NDArray[np.float32]
_BLOCK_ROWS = 1 << 16


def wavelengths_nm(first: NDArray[np.int64], phase_deg: Singles, coefficients: NDArray[np.float64]) -> Singles:
    """Wavelengths of photons whose pixels begin at the rows ``first`` [pixel + 1], from ``coefficients`` [pixel, 3] of E(p) in eV.

    NaN where the pixel has no coefficients, where the energy is not above 0, and beyond the vertex of the parabola.  In single precision:
    the error is some 1e-6 of the energy.
    """
    found = np.empty(phase_deg.size, dtype=np.float32)
    c0, c1, c2 = coefficients.astype(np.float32).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for low, high, rows in _blocks(first):
            counts = np.diff(first[low : high + 1])
            phase = phase_deg[rows]
            linear, curved = np.repeat(c1[low:high], counts), np.repeat(c2[low:high], counts)
            curved *= phase
            slope = linear + curved
            energy = slope * phase
            energy += np.repeat(c0[low:high], counts)
            slope += curved  # c1 + 2 c2 p
            block = found[rows]
            np.divide(np.float32(HC_EV_NM), energy, out=block)
            block[~((energy > 0) & (slope < 0))] = np.nan
    return found


def flat_weights(
    first: NDArray[np.int64],
    wavelength_nm: Singles,
    coefficients: NDArray[np.float64],
    range_nm: NDArray[np.float64],
    own_nm: NDArray[np.float64] | None = None,
) -> Singles:
    """Weights of the same photons from ``coefficients`` [pixel, power] in t = (wavelength - middle) / half of ``range_nm``.

    The ends hold beyond the range, and those of a pixel's ``own_nm`` [pixel, 2] where they are narrower.  A weight is never below 0, and is
    1 where the pixel has no coefficients or the photon no wavelength.
    """
    found = np.empty(wavelength_nm.size, dtype=np.float32)
    powers = coefficients.astype(np.float32).T
    low_nm, high_nm = float(range_nm[0]), float(range_nm[1])
    middle, half = np.float32((low_nm + high_nm) / 2), np.float32(max((high_nm - low_nm) / 2, 1e-9))
    ends = None if own_nm is None else np.clip((own_nm.astype(np.float32) - middle) / half, -1, 1).T
    with np.errstate(invalid="ignore"):
        for low, high, rows in _blocks(first):
            counts = np.diff(first[low : high + 1])
            t = wavelength_nm[rows] - middle
            t /= half
            np.clip(t, -1, 1, out=t)
            if ends is not None:
                np.maximum(t, np.repeat(ends[0, low:high], counts), out=t)
                np.minimum(t, np.repeat(ends[1, low:high], counts), out=t)
            value = np.repeat(powers[-1, low:high], counts)
            for power in powers[-2::-1]:
                value *= t
                value += np.repeat(power[low:high], counts)
            np.maximum(value, 0, out=value)
            value[~np.isfinite(value) | np.isnan(t)] = 1.0
            found[rows] = value
    return found


def _blocks(first: NDArray[np.int64]) -> Iterator[tuple[int, int, slice]]:
    """Ranges of pixels with the rows that they have."""
    low, pixels = 0, first.size - 1
    while low < pixels:
        high = int(np.searchsorted(first, first[low] + _BLOCK_ROWS, side="right")) - 1
        high = min(max(high, low + 1), pixels)
        if first[high] > first[low]:
            yield low, high, slice(int(first[low]), int(first[high]))
        low = high
