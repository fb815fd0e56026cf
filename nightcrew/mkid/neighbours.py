"""Statistics of a pixel's neighbours; images are [y, x], NaN where a value does not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MAD_TO_SIGMA = 1.482602218505602


def neighbours(values: Floats, box_px: int) -> Floats:
    """[y, x, neighbour], without the pixel itself; NaN beyond the edge."""
    half = box_px // 2
    padded = np.pad(values, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (box_px, box_px)).reshape(*values.shape, -1)
    return np.delete(windows, box_px * box_px // 2, axis=2)


def box_median(values: Floats, box_px: int) -> Floats:
    """Median of the neighbours of every pixel."""
    return finite_median(neighbours(values, box_px))


def box_sigma(values: Floats, median: Floats, box_px: int) -> Floats:
    """Robust standard deviation of the neighbours about ``median``, put right for their small number."""
    near = neighbours(values, box_px)
    number = np.isfinite(near).sum(axis=2)
    mad = finite_median(np.abs(near - median[..., None]))
    sigma: Floats = _MAD_TO_SIGMA * mad * (1 + 1 / np.maximum(number, 2))
    return sigma


def finite_median(values: Floats) -> Floats:
    """Median over the last axis; NaN where nothing is finite."""
    ordered = np.sort(values, axis=-1)
    number = np.isfinite(values).sum(axis=-1)
    low, high = np.maximum((number - 1) // 2, 0)[..., None], np.minimum(number // 2, values.shape[-1] - 1)[..., None]
    middle = (np.take_along_axis(ordered, low, axis=-1) + np.take_along_axis(ordered, high, axis=-1))[..., 0] / 2
    return np.where(number > 0, middle, np.nan)
