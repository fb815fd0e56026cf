"""Bring frames to a common level before they are combined: one number a frame, over the whole frame or a box.

Statistics are taken of the *calibrated* frame (for flats: less their own dark), from its good pixels alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import values as kernel
from nightcrew.calibration.kernels.slab import FrameRows
from nightcrew.calibration.opened_frame import OpenedFrame
from nightcrew.calibration.sources import Window
from nightcrew.errors import Refused, RejectedInput

STATISTICS = ("mean", "median", "sum", "mode", "sky")
ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class FrameCalibration:
    """What is done to a frame before it is combined: ((x - sum(factor * plane)) / divide) * scale + shift.

    ``subtract`` holds (plane [y, x] float32, factor) pairs, for instance ``[(bias, 1.0), (dark_rate, exposure_s)]``; ``divide`` is a plane.
    Planes have the shape of the (windowed) frame.  Where a plane is NaN, or ``divide`` is 0, the pixel is left out.
    """

    subtract: Sequence[tuple[NDArray[np.float32], float]] = ()
    divide: NDArray[np.float32] | None = None
    scale: float = 1.0
    shift: float = 0.0

    def ready(self, seen: dict[int, NDArray[np.float32]]) -> FrameCalibration:
        """The same with planes that a kernel takes as they are; ``seen`` keeps one copy of a plane that many frames share."""

        def plain(plane: NDArray[Any]) -> NDArray[np.float32]:
            if id(plane) not in seen:
                seen[id(plane)] = np.require(plane, np.float32, ("C", "A"))
            return seen[id(plane)]

        return dataclasses.replace(
            self,
            subtract=[(plain(plane), float(factor)) for plane, factor in self.subtract],
            divide=None if self.divide is None else plain(self.divide),
        )

    def check(self, shape: tuple[int, int], name: str) -> None:
        """Refuse planes that do not have the frame's shape."""
        for plane in [plane for plane, _ in self.subtract] + ([] if self.divide is None else [self.divide]):
            if plane.shape != shape:
                raise Refused(f"{name}: is {shape}, its calibration plane {plane.shape}")

    def apply_to(self, rows: FrameRows, y0: int, y1: int) -> FrameRows:
        """``rows`` (y0..y1 of the frame) with the same rows of the planes."""
        rows.subtract = tuple((plane[y0:y1], factor) for plane, factor in self.subtract)
        rows.divide = None if self.divide is None else self.divide[y0:y1]
        rows.scale, rows.shift = self.scale, self.shift
        if rows.sigma is not None and self.changes_errors:
            rows.sigma = self._scaled(rows.sigma, rows.divide)
        return rows

    @property
    def changes_errors(self) -> bool:
        """Whether a frame's own uncertainty is another one after this."""
        return self.divide is not None or self.scale != 1.0

    def _scaled(self, sigma: NDArray[np.float32], divide: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The frame's own uncertainty in the units that its values have afterwards."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            work = sigma.astype(np.float64) * abs(self.scale)
            return (work if divide is None else work / np.abs(divide)).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Normalise:
    """How frames are brought to one level.

    ``statistic``: mean, median, sum, mode (integers: the most frequent value, the smallest of several; floats: half-sample mode) or
    sky (after 3-sigma clipping about the median: 2.5 median - 1.5 mean, or the median where mean and median differ by more than 0.3 sigma,
    as SExtractor's background).  ``how``: ``scale`` multiplies by reference / statistic, ``offset`` adds reference - statistic.
    ``reference``: ``mean`` of all frames' statistics, the ``first`` frame's (the result then depends on which frame is first), or
    ``unit``: 1 for scale and 0 for offset.  ``box`` (x0, x1, y0, y1), 0-based and half-open; ``mask`` [y, x]: pixels left out of
    the statistic.
    """

    statistic: Literal["mean", "median", "sum", "mode", "sky"] = "median"
    how: Literal["scale", "offset"] = "scale"
    reference: Literal["mean", "first", "unit"] = "mean"
    box: Window | None = None
    mask: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        for word, known in ((self.statistic, STATISTICS), (self.how, ("scale", "offset")), (self.reference, ("mean", "first", "unit"))):
            if word not in known:
                raise Refused(f"cannot normalise by {word!r}; choose one of {', '.join(known)}")


def half_sample_mode(ordered: NDArray[Any]) -> float:
    """Half-sample mode of sorted values (Bickel & Fruehwirth 2006, doi:10.1016/j.csda.2005.07.011)."""
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(np.argmin(widths))
        ordered = ordered[start : start + half]
    if len(ordered) == 3:
        low, middle, high = (float(value) for value in ordered)
        if middle - low == high - middle:
            return middle
        ordered = ordered[:2] if middle - low < high - middle else ordered[1:]
    return float(np.mean(ordered, dtype=np.float64))


def sky_level(values: NDArray[Any]) -> float:
    """Sky by clipping at 3 sigma about the median until nothing changes (at most 20 times), then SExtractor's mode."""
    ordered = np.sort(values)
    for _ in range(20):
        median, sigma = float(np.median(ordered)), float(np.std(ordered, dtype=np.float64))
        low, high = np.searchsorted(ordered, median - 3 * sigma, "left"), np.searchsorted(ordered, median + 3 * sigma, "right")
        if high - low == len(ordered):
            break
        ordered = ordered[low:high]
    mean = float(np.mean(ordered, dtype=np.float64))
    return median if abs(mean - median) > 0.3 * sigma else 2.5 * median - 1.5 * mean


def statistic_of(values: NDArray[Any], statistic: str) -> float:
    """One of ``STATISTICS`` of a flat array of good values (not empty); sums in float64."""
    if statistic == "mean":
        return float(np.mean(values, dtype=np.float64))
    if statistic == "sum":
        return float(np.sum(values, dtype=np.float64))
    if statistic == "median":
        return kernel.median(values)
    if statistic == "sky":
        return sky_level(values)
    ordered = np.sort(values)
    if np.all(ordered == np.rint(ordered)):
        unique, counts = np.unique(ordered, return_counts=True)
        return float(unique[np.argmax(counts)])
    return half_sample_mode(ordered)


def good_values(frame: OpenedFrame, calibration: FrameCalibration, box: Window | None, mask: NDArray[Any] | None) -> NDArray[Any]:
    """Good calibrated pixels of a box, flat; float32, or float64 where float32 cannot hold the raw values."""
    ny, nx = frame.shape
    x0, x1, y0, y1 = box or (0, nx, 0, ny)
    if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
        raise Refused(f"the box x {x0}:{x1}, y {y0}:{y1} does not fit into {nx} x {ny} pixels")
    dtype = "f8" if frame.dtype.str[1:] in ("i4", "u4", "f8") else "f4"
    parts = []
    for first in range(y0, y1, ROWS_AT_ONCE):
        last = min(y1, first + ROWS_AT_ONCE)
        rows = calibration.apply_to(frame.rows(first, last, {}), first, last)
        values = kernel.calibrated(rows, dtype).reshape(last - first, nx)[:, x0:x1]
        good = np.isfinite(values)
        if mask is not None:
            good &= ~np.asarray(mask[first:last, x0:x1], dtype=bool)
        parts.append(values.reshape(-1) if good.all() else values[good])
    return np.concatenate(parts)


def _statistic(frame: OpenedFrame, calibration: FrameCalibration, wanted: Normalise) -> float:
    values = good_values(frame, calibration, wanted.box, wanted.mask)
    if values.size == 0:
        raise RejectedInput(f"{frame.name}: has no good pixel to normalise by")
    value = statistic_of(values, wanted.statistic)
    if wanted.how == "scale" and value == 0:
        raise RejectedInput(f"{frame.name}: its {wanted.statistic} is 0, so it cannot be scaled")
    return value


def normalised(
    frames: Sequence[OpenedFrame], calibrations: Sequence[FrameCalibration], wanted: Normalise, threads: int
) -> tuple[list[FrameCalibration], list[float]]:
    """Calibrations with the normalising factors worked in, and every frame's statistic."""
    if wanted.mask is not None and wanted.mask.shape != frames[0].shape:
        raise Refused(f"the mask for normalising is {wanted.mask.shape}, the frames {frames[0].shape}")
    with ThreadPoolExecutor(threads) as pool:
        values = list(pool.map(lambda frame, calibration: _statistic(frame, calibration, wanted), frames, calibrations))
    level = {"first": values[0], "mean": math.fsum(values) / len(values), "unit": 1.0 if wanted.how == "scale" else 0.0}[wanted.reference]
    if wanted.how == "scale":
        if level == 0:
            raise RejectedInput(f"the mean of the frames' {wanted.statistic}s is 0, so they cannot be scaled to it")
        for frame, value in zip(frames, values, strict=True):
            if not 0 < level / value < math.inf:
                raise RejectedInput(f"{frame.name}: its {wanted.statistic} is {value:.6g}, so it cannot be scaled to {level:.6g}")
    return [_with_level(c, value, level, wanted.how) for c, value in zip(calibrations, values, strict=True)], values


def _with_level(calibration: FrameCalibration, value: float, level: float, how: str) -> FrameCalibration:
    if how == "offset":
        return dataclasses.replace(calibration, shift=calibration.shift + (level - value))
    factor = level / value
    return dataclasses.replace(calibration, scale=calibration.scale * factor, shift=calibration.shift * factor)
