"""All frames of a group at once: every pixel's mean and temporal variance, in strips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.frames import SensorFrame, Window

STRIP_BYTES = 16 << 20
MOST_OPEN = 64
HELD_BYTES = 256 << 20  # of decoded frames at once
RAY_SIGMA = 6.0
Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Stack:
    """Frames of one group put together in one window.

    ``mean`` [y, x] float32 in ADU, without what cosmic rays left (NaN where no value is good); ``variance_of_mean`` is the mean over
    the pixels of the temporal variance of ``mean`` (0 known only from two frames on: None with one); ``temporal_variance`` that of one
    frame; ``levels`` the frames' means; ``rays`` how many values were left out.
    """

    mean: NDArray[np.float32]
    temporal_variance: float | None
    variance_of_mean: float | None
    levels: tuple[float, ...]
    count: int
    rays: int


def stack(frames: Sequence[SensorFrame], window: Window, *, scale_offset_adu: float | None = None) -> Stack:
    """Mean and temporal variance of ``frames`` (at least one) in ``window``.

    Frames are brought to one level before they are compared: by their mean (an offset), or, with ``scale_offset_adu``, the bias level,
    by a factor (flats).  From two frames on, values further than 6 sigma above the pixel's others are left out as cosmic rays, and so
    are values that are not finite.  At most 64 files are open at once, and no more compressed ones than 256 MB hold: larger groups are
    put together from parts, each with its own variance about its own mean.
    """
    batches = _batches(frames)
    alone = None if len(batches) == 1 else [_level_of(frame, window) for frame in frames]
    parts, first = list[_Batch](), 0
    for batch in batches:
        levels = None if alone is None else _to_one_level(alone, scale_offset_adu, first, len(batch))
        parts.append(_stacked(batch, window, levels, scale_offset_adu))
        first += len(batch)
    square, freedom = sum(part.square for part in parts), sum(part.freedom for part in parts)
    temporal, n = square / freedom if freedom else None, len(frames)
    return Stack(
        mean=_mean_of(parts),
        temporal_variance=temporal,
        variance_of_mean=None if temporal is None else temporal / n,
        levels=tuple(alone if alone is not None else parts[0].levels),
        count=n,
        rays=sum(part.rays for part in parts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Frames that were open at once: their mean, the sum of the squared deviations from it, and the freedom of that sum."""

    mean: NDArray[np.float32]
    frames: int
    square: float
    freedom: int
    rays: int
    levels: list[float]


_Scaling = tuple[NDArray[np.float32], NDArray[np.float32], float]


def _batches(frames: Sequence[SensorFrame]) -> list[Sequence[SensorFrame]]:
    """Runs of about equal length of frames that may be open at once."""
    most = MOST_OPEN
    if any(frame.compressed for frame in frames):
        held = max(frame.header.nx * frame.header.ny * 4 for frame in frames)
        most = min(most, max(3, HELD_BYTES // max(held, 1)))
    count = -(-len(frames) // most)
    cuts = [round(place * len(frames) / count) for place in range(count + 1)]
    return [frames[a:b] for a, b in pairwise(cuts)]


def _mean_of(parts: Sequence[_Batch]) -> NDArray[np.float32]:
    if len(parts) == 1:
        return parts[0].mean
    total, weight = np.zeros(parts[0].mean.shape, np.float32), np.zeros(parts[0].mean.shape, np.float32)
    for part in parts:
        known = np.isfinite(part.mean)
        total[known] += part.frames * part.mean[known]
        weight[known] += part.frames
    with np.errstate(invalid="ignore"):
        return np.asarray(total / weight)


def _stacked(frames: Sequence[SensorFrame], window: Window, scaling: _Scaling | None, scale_offset_adu: float | None) -> _Batch:
    ny, nx = window.shape
    mean, n = np.empty((ny, nx), np.float32), len(frames)
    with ExitStack() as held:
        rows = [held.enter_context(frame.opened()) for frame in frames]
        levels = [_level(one, window) for one in rows] if scaling is None else []
        scales, shifts, typical = scaling or _to_one_level(levels, scale_offset_adu, 0, n)
        noise = _noise(rows, window, scales, shifts)
        step = max(1, STRIP_BYTES // (4 * nx * n))
        square, freedom, rays = 0.0, 0, 0
        for y0 in range(0, ny, step):
            y1 = min(ny, y0 + step)
            stored = [window.rows(one, y0, y1) for one in rows]
            whole = all(part.dtype.kind in "ui" for part in stored)
            cube = np.stack([part.astype(np.float32) for part in stored])
            cube *= scales[:, None, None]
            cube += shifts[:, None, None]
            fill = _strip if whole else _strip_with_gaps  # whole numbers are all numbers
            lost, strip_square, strip_freedom = fill(cube, mean[y0:y1], noise, typical)
            rays, square, freedom = rays + lost, square + strip_square, freedom + strip_freedom
    return _Batch(mean, n, square, freedom, rays, levels)


def _level_of(frame: SensorFrame, window: Window) -> float:
    with frame.opened() as rows:
        return _level(rows, window)


def _level(one: Any, window: Window) -> float:
    ny = window.shape[0]
    step = max(1, ny // 64)
    values = np.concatenate([window.rows(one, y, y + 1).astype(np.float64) for y in range(0, ny, step)])
    values = values[np.isfinite(values)]
    if not values.size:
        return math.nan
    return float(values.mean()) if -(-ny // step) < 8 else float(np.median(values))


def _to_one_level(levels: Sequence[float], scale_offset_adu: float | None, first: int, count: int) -> _Scaling:
    """Factors and shifts that bring ``count`` frames from ``first`` on to the mean level of all, and that level.

    A frame without a level (no finite pixel) stays as it is.
    """
    level = np.asarray(levels, np.float64)
    target = float(level[np.isfinite(level)].mean()) if np.isfinite(level).any() else 0.0
    level = np.where(np.isfinite(level), level, target)[first : first + count]
    if scale_offset_adu is None or (level - scale_offset_adu).min() <= 0:
        return np.ones(level.size, np.float32), np.asarray(target - level, np.float32), target
    scales = (target - scale_offset_adu) / (level - scale_offset_adu)
    return np.asarray(scales, np.float32), np.asarray(scale_offset_adu * (1 - scales), np.float32), target


def _noise(rows: Sequence[Any], window: Window, scales: NDArray[np.float32], shifts: NDArray[np.float32]) -> float:
    """Robust temporal noise of one frame, from the first two."""
    if len(rows) < 2:
        return float("inf")
    ny = window.shape[0]
    step = max(1, ny // 64)
    a, b = (
        np.concatenate([window.rows(rows[k], y, y + 1).astype(np.float32) for y in range(0, ny, step)]) * scales[k] + shifts[k]
        for k in (0, 1)
    )
    with np.errstate(invalid="ignore"):
        difference = (a - b).reshape(-1)
    difference = difference[np.isfinite(difference)]
    if not difference.size:
        return float("inf")
    size = np.abs(difference - np.median(difference))
    return max(float(np.median(size)) * 1.4826 / float(np.sqrt(2)), 0.3)


def _strip(cube: NDArray[np.float32], out: NDArray[np.float32], noise: float, typical: float) -> tuple[int, float, int]:
    """Fill ``out`` with the means; values left out, sum of squared deviations, degrees of freedom."""
    n = len(cube)
    if n < 2:
        out[:] = cube[0]
        return 0, 0.0, 0
    total = cube.sum(axis=0)
    highest = cube.max(axis=0)
    out[:] = total / np.float32(n)
    # only where the highest value stands out against the others' mean the pixel is looked at closer
    others = (total - highest) / np.float32(n - 1)
    y, x = np.nonzero(highest - others > np.float32(RAY_SIGMA * noise))
    lost, extra_freedom = 0, 0
    if y.size:
        lost, extra_freedom = _without_rays(cube, out, y, x, noise, typical)
    square = 0.0
    for frame in cube:  # values that were left out have been set to the pixel's mean
        deviation = (frame - out).reshape(-1)
        square += float(np.dot(deviation, deviation))
    return lost, square, (n - 1) * out.size - extra_freedom


def _strip_with_gaps(cube: NDArray[np.float32], out: NDArray[np.float32], noise: float, typical: float) -> tuple[int, float, int]:
    """The same where values may not be finite: they take no part; NaN where a pixel has none."""
    unknown = np.asarray(~np.isfinite(cube).all(axis=0))
    if not unknown.any():
        return _strip(cube, out, noise, typical)
    values = cube[:, unknown]
    finite = np.isfinite(values)
    good = finite.sum(axis=0)
    mean = np.where(finite, values, 0).sum(axis=0, dtype=np.float32) / np.maximum(good, 1)
    cube[:, unknown] = np.where(finite, values, np.where(good > 0, mean, np.float32(typical)))
    lost, square, freedom = _strip(cube, out, noise, typical)
    out[unknown] = np.where(good > 0, out[unknown], np.nan)
    # a value put in for an unknown one is the mean of the others: it deviates by nothing and bears no freedom
    return lost, square, freedom - int(np.minimum(len(cube) - good, len(cube) - 1).sum())


def _without_rays(
    cube: NDArray[np.float32], out: NDArray[np.float32], y: NDArray[np.intp], x: NDArray[np.intp], noise: float, typical: float
) -> tuple[int, int]:
    """Leave out what cosmic rays hit at the pixels (y, x): their values become the mean of the others; values and freedom lost."""
    values = cube[:, y, x]
    n = len(values)
    lowest = values.min(axis=0)
    if n == 2:  # hot pixels have more noise than the typical one: that of their own charge, taken as 1 e-/ADU
        middle, reach = lowest, RAY_SIGMA * np.sqrt(2 * (noise**2 + np.maximum(lowest - typical, 0)))
    else:  # ... and here the spread of the lower values shows it
        middle = np.partition(values, (n - 1) // 2, axis=0)[(n - 1) // 2]
        reach = np.maximum(RAY_SIGMA * noise, 3 * (middle - lowest))
    bad = values > middle + reach
    good = n - np.count_nonzero(bad, axis=0)
    mean = np.where(bad, np.float32(0), values).sum(axis=0) / good
    cube[:, y, x] = np.where(bad, mean, values)
    out[y, x] = mean
    lost = int(np.count_nonzero(bad))
    return lost, lost
