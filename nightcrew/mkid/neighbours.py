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


def lower_level(values: Floats, box_px: int = 15, stride_px: int = 4, share: float = 0.25) -> Floats:
    """Level [y, x] that a quarter (``share``) of the values in a wide box about each pixel lie below: light without its stars.

    Taken on a grid of every ``stride_px``-th pixel and interpolated; 0 where there is no value at all.
    """
    from scipy.ndimage import map_coordinates

    half = box_px // 2
    rows, columns = values.shape
    beyond = (half, half + stride_px)  # so that the grid reaches past the last row and column
    padded = np.pad(values, (beyond, beyond), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (box_px, box_px))[::stride_px, ::stride_px]
    ordered = np.sort(windows.reshape(*windows.shape[:2], -1), axis=-1)
    number = np.isfinite(ordered).sum(axis=-1)
    place = np.maximum((share * (number - 1)).astype(np.intp), 0)
    grid = np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0]
    finite = values[np.isfinite(values)]
    grid = np.where(number > 0, grid, np.quantile(finite, share) if finite.size else 0.0)
    y, x = np.mgrid[:rows, :columns] / stride_px
    level: Floats = map_coordinates(grid, [y, x], order=1, mode="nearest")
    return level
