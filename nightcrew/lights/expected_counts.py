"""Variance of a slab of rows from expected, not from observed, counts (formula: :mod:`nightcrew.lights.reduce`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

OWN_VALUE_SIGMA = 4.0
"""A pixel that differs from the 5 x 5 mean by more than this is its own expectation."""

FLOOR = 0.25
"""The variance is never below this fraction of its part that does not depend on the light."""


def mean_5x5(value: Float, inner: slice) -> Float:
    """Mean over 5 x 5 pixels for the rows ``inner`` of ``value`` ``[y, x]``.

    Beyond the array its border value is repeated; ``value`` holds up to two more rows on either side of ``inner``.
    """
    n_above = 2 - inner.start
    n_below = 2 - (value.shape[0] - inner.stop)
    padded = np.pad(value, ((max(n_above, 0), max(n_below, 0)), (2, 2)), mode="edge")
    pairs = padded[:, :-1] + padded[:, 1:]
    row_sums = pairs[:, :-3] + pairs[:, 2:-1]
    row_sums += padded[:, 4:]
    rows = inner.stop - inner.start
    pairs = row_sums[:-1] + row_sums[1:]
    total = pairs[:rows] + pairs[2 : rows + 2]
    total += row_sums[4 : rows + 4]
    total *= np.float32(1.0 / 25.0)
    return total


def variance_rows(value: Float, inner: slice, *, fixed: Float | float, flat: Float | None, photons: bool) -> tuple[Float, Float]:
    """Expected level ``m`` and variance of the rows ``inner`` of the reduced frame ``value`` (finite, electrons, with halo rows).

    ``fixed`` is the variance before the division by ``flat`` that does not depend on the light; ``photons`` adds ``m``'s own
    (off for a frame in ADU).  Returns float32 arrays of the inner rows, in e and e^2, without the flat's own uncertainty.
    """
    level = mean_5x5(value, inner)
    shape = level.shape
    base = np.broadcast_to(np.asarray(fixed, np.float32), shape).copy()
    if flat is not None:
        base /= flat
    least = base * np.float32(FLOOR)
    variance = base
    if photons:
        variance = base + level
        np.maximum(variance, least, out=variance)
    difference = value[inner] - level
    own = difference * difference > variance * np.float32(OWN_VALUE_SIGMA**2) / (1.0 if flat is None else flat)
    if own.any():
        np.copyto(level, value[inner], where=own)
        if photons:
            np.copyto(variance, base + level, where=own)
            np.maximum(variance, least, out=variance)
    if flat is not None:
        variance /= flat
    return level, variance
