"""How well modified-Rician light describes what was counted: Pearson's chi^2 with cells of enough counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.rician import log_pmf
from nightcrew.mkid.rician_intervals import Intervals, log_survival

Floats = NDArray[np.float64]
_CELLS = 12
_LEAST_EXPECTED = 8.0


@dataclass(frozen=True)
class Goodness:
    """Each [pixel]; ``probability`` of a greater chi^2 is NaN where there are too few cells."""

    chi2: Floats
    dof: NDArray[np.int64]
    probability: Floats


def of_bins(bins: Floats, parameters: Floats, n_free: int) -> Goodness:
    """Of histograms ``[n, pixel]`` of counts that are independent of each other."""
    number = bins.sum(axis=0)
    expected = np.exp(log_pmf(len(bins) - 1, parameters)) * number
    expected = np.concatenate([expected, np.maximum(number - expected.sum(axis=0), 0)[None, :]])  # more counts than any bin has
    observed = np.concatenate([bins, np.zeros((1, bins.shape[1]))])
    width = np.maximum(number / _CELLS, _LEAST_EXPECTED)
    last = np.maximum(np.floor(number / width).astype(np.int64) - 1, 0)
    middle = np.cumsum(expected, axis=0) - 0.5 * expected
    cell = np.minimum(np.floor(middle / width).astype(np.int64), last)
    place = cell * bins.shape[1] + np.arange(bins.shape[1])
    size = (int(last.max(initial=0)) + 1) * bins.shape[1]
    sums = np.stack([np.bincount(place.ravel(), values.ravel(), minlength=size) for values in (observed, expected)])
    cells = sums.reshape(2, -1, bins.shape[1]).astype(np.float64)
    return _chi2(cells[0], cells[1], n_free)


def of_intervals(intervals: Intervals, parameters: Floats, n_free: int) -> Goodness:
    """Of intervals by their survival probabilities, which are uniform between 0 and 1 if the light is as it is said to be."""
    n_pixels, counts = len(parameters), intervals.counts
    cells = np.clip(counts // int(_LEAST_EXPECTED), 1, _CELLS)
    owner = np.repeat(np.arange(n_pixels), counts)
    observed = np.zeros(_CELLS * n_pixels)
    for start in range(0, owner.size, 1 << 16):
        rows = slice(start, start + (1 << 16))
        of = owner[rows]
        forget = None if intervals.forget_per_s is None else intervals.forget_per_s[of]
        chance = np.exp(log_survival(intervals.seconds[rows, None], parameters[of], intervals.dead_time_s, forget))[:, 0]
        cell = np.clip((chance * cells[of]).astype(np.int64), 0, cells[of] - 1)
        observed += np.bincount(cell * n_pixels + of, minlength=observed.size)
    expected = np.where(np.arange(_CELLS)[:, None] < cells, counts / cells, 0.0)
    return _chi2(observed.reshape(_CELLS, n_pixels), expected, n_free)


def _chi2(observed: Floats, expected: Floats, n_free: int) -> Goodness:
    from scipy.special import chdtrc

    filled = expected > 0
    terms = np.where(filled, (observed - expected) ** 2 / np.where(filled, expected, 1.0), 0.0)
    chi2 = terms.sum(axis=0)
    dof = filled.sum(axis=0) - 1 - n_free
    probability = np.where(dof > 0, chdtrc(np.maximum(dof, 1), chi2), np.nan)
    return Goodness(chi2, np.maximum(dof, 0), probability)
