"""Replacing single bad pixels, so that sums and moments need no holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.frames.flags import PixelFlag

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

UNUSABLE = (
    PixelFlag.HOT
    | PixelFlag.COLD
    | PixelFlag.UNSTABLE
    | PixelFlag.COSMIC_RAY
    | PixelFlag.NO_DATA
    | PixelFlag.BAD_FLAT
    | PixelFlag.EDGE
    | PixelFlag.REJECTED
)
"""Pixel flags whose values are not measured with.  Saturated pixels stay: a star without its core is two stars."""

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
MIN_GOOD_NEIGHBOURS = 4


def unusable_pixels(image: NDArray[Any], mask: NDArray[Any] | None) -> Bool:
    """Pixels ``[y, x]`` without a usable value: not finite, or flagged with one of :data:`UNUSABLE`."""
    bad: Bool = ~np.isfinite(image)
    if mask is not None:
        bad |= (mask & np.uint16(int(UNUSABLE))) != 0
    return bad


def replace_bad_pixels(image: NDArray[Any], bad: Bool, *, also: NDArray[Any] | None = None) -> tuple[Float, Bool, Float | None]:
    """Copy of ``image`` ``[y, x]`` with lone bad pixels filled from their neighbours, and what stayed bad.

    With all 8 neighbours good the value is ``(2 x sum of the 4 beside - sum of the 4 at the corners) / 4``, exact for any
    second-order surface, so also near a star's peak; otherwise the mean of the good ones; with fewer than 4 good ones the
    pixel stays bad and is set to 0.  ``also`` (an uncertainty) is filled by means.  Returns (image, still bad, also).
    """
    clean = np.array(image, np.float32, order="C")
    companion = None if also is None else np.array(also, np.float32, order="C")
    still_bad = bad.copy()
    y, x = np.nonzero(bad)
    if y.size == 0:
        return clean, still_bad, companion
    values, good = _neighbours(image, bad, y, x)
    n_good = good.sum(axis=0)
    means = np.where(good, values, 0.0).sum(axis=0) / np.maximum(n_good, 1)
    corners = np.array([dy != 0 and dx != 0 for dy, dx in NEIGHBOURS])
    with np.errstate(invalid="ignore"):
        surface = (2.0 * values[~corners].sum(axis=0) - values[corners].sum(axis=0)) / 4.0
    filled = np.where(n_good == len(NEIGHBOURS), surface, means)
    enough = n_good >= MIN_GOOD_NEIGHBOURS
    clean[y, x] = np.where(enough, filled, 0.0)
    still_bad[y[enough], x[enough]] = False
    if companion is not None and also is not None:
        errors, known = _neighbours(also, bad, y, x)
        known &= np.isfinite(errors)
        mean_error = np.where(known, errors, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        companion[y, x] = np.where(enough, mean_error, 0.0)
    return clean, still_bad, companion


def _neighbours(image: NDArray[Any], bad: Bool, y: NDArray[Any], x: NDArray[Any]) -> tuple[NDArray[np.float64], Bool]:
    """Values and goodness, each [8, n], of the neighbours of the pixels (y, x)."""
    ny, nx = image.shape
    values = np.empty((len(NEIGHBOURS), y.size))
    good = np.empty(values.shape, np.bool_)
    for i, (dy, dx) in enumerate(NEIGHBOURS):
        inside = (y + dy >= 0) & (y + dy < ny) & (x + dx >= 0) & (x + dx < nx)
        yy, xx = np.clip(y + dy, 0, ny - 1), np.clip(x + dx, 0, nx - 1)
        values[i] = image[yy, xx]
        good[i] = inside & ~bad[yy, xx]
    return values, good
