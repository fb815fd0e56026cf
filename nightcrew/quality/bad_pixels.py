"""Hot, cold and unstable pixels, from darks and flats, by robust statistics; masks are combined by OR.

Every threshold stands on medians and median deviations of the same frame, so a camera with many hot pixels cannot hide them
in its own standard deviation.  A slow pattern (glow, vignetting) is taken out first by medians of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.quality.statistics import median_and_sigma, sample_pixels

Image = NDArray[Any]
Mask = NDArray[np.uint16]
Bool = NDArray[np.bool_]

BOX_PX = 32


class Rows(Protocol):
    """Something that gives rows of a frame, such as ``nightcrew.io.images.ImageFile``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx)."""

    def read_rows(self, y0: int, y1: int) -> Image:
        """Rows y0:y1, ADU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPixelLimits:
    """When a pixel is bad."""

    hot_sigma: float = 6.0
    """Above its surroundings in a dark master, in robust standard deviations of the master's pixels."""
    cold_sigma: float = 6.0
    """Below its surroundings in a flat, in robust standard deviations of the flat's pixels ..."""
    cold_fraction: float = 0.15
    """... and by at least this fraction of them."""
    unstable_false: float = 1e-5
    """Fraction of quiet pixels that may be called unstable by chance."""


def hot_pixels(dark: Image, limits: BadPixelLimits | None = None) -> Bool:
    """Pixels of a dark master ``[y, x]`` (any unit) far above their surroundings, or without a finite value."""
    limits = limits or BadPixelLimits()
    level = smooth_level(dark)
    excess = dark.astype(np.float32) - level
    sigma = max(_scatter(excess), _step(dark) / math.sqrt(12.0))
    rounding = 1e-5 * np.abs(level)
    with np.errstate(invalid="ignore"):
        return np.asarray(~(excess <= limits.hot_sigma * sigma + rounding), np.bool_)


def cold_pixels(flat: Image, limits: BadPixelLimits | None = None) -> Bool:
    """Pixels of a flat master ``[y, x]`` (any unit) far below their surroundings, not positive, or not finite."""
    limits = limits or BadPixelLimits()
    level = smooth_level(flat)
    with np.errstate(invalid="ignore", divide="ignore"):
        deficit = 1.0 - flat.astype(np.float32) / level
        limit = max(limits.cold_fraction, limits.cold_sigma * _scatter(deficit))
        return np.asarray(~((deficit <= limit) & (flat > 0)), np.bool_)


def unstable_pixels(
    frames: Sequence[Image | Rows],
    limits: BadPixelLimits | None = None,
    *,
    gain_e_per_adu: float | None = None,
    rows_at_once: int = 128,
) -> Bool:
    """Pixels that vary between equal ``frames`` (at least 4 darks or biases, ``[y, x]``) by far more than noise.

    Each frame is brought to the common level.  A pixel's largest deviation is left out (one cosmic ray makes no pixel
    unstable); the variance of the rest is compared with that of quiet pixels and the photon noise of the pixel's own dark
    signal (by ``gain_e_per_adu``, or as the frames' bright pixels show it): being hot is no instability.  The limit is that
    of a chi-squared law with as many degrees of freedom, at ``limits.unstable_false``, in units of its median.
    A pixel that has no value in one of the frames is unstable.
    """
    limits = limits or BadPixelLimits()
    if len(frames) < 4:
        raise RejectedInput(f"unstable pixels need at least 4 equal frames, not {len(frames)}")
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) > 1:
        raise RejectedInput(f"frames must have one shape, these have {sorted(shapes)}")
    ny, nx = shapes.pop()
    readers = [_reader(frame) for frame in frames]
    levels = [_level(read, ny, nx) for read in readers]
    mean, variance = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    for y0 in range(0, ny, rows_at_once):
        y1 = min(y0 + rows_at_once, ny)
        values = (read(y0, y1) - np.float64(level) for read, level in zip(readers, levels, strict=True))
        mean[y0:y1], variance[y0:y1] = _trimmed_moments(values, (y1 - y0, nx), len(frames))
    return _too_variable(mean, variance, len(frames) - 2, limits.unstable_false, gain_e_per_adu)


def bad_pixel_mask(
    *,
    darks: Sequence[Image] = (),
    dark_frames: Sequence[Sequence[Image | Rows]] = (),
    flats: Sequence[Image] = (),
    limits: BadPixelLimits | None = None,
    gain_e_per_adu: float | None = None,
) -> Mask:
    """Mask (uint16 PixelFlag bits ``[y, x]``): HOT from dark masters, UNSTABLE from series of equal darks, COLD from flat masters.

    Joined by OR: a pixel is bad when any of them says so.  Series of fewer than 4 frames say nothing.

    :raises RejectedInput: nothing given, or frames of different shape.
    """
    found = [(PixelFlag.HOT, hot_pixels(dark, limits)) for dark in darks]
    long_enough = [series for series in dark_frames if len(series) >= 4]
    found += [(PixelFlag.UNSTABLE, unstable_pixels(series, limits, gain_e_per_adu=gain_e_per_adu)) for series in long_enough]
    found += [(PixelFlag.COLD, cold_pixels(flat, limits)) for flat in flats]
    if not found:
        raise RejectedInput("a bad-pixel mask needs at least one dark or flat master")
    if len({where.shape for _, where in found}) > 1:
        raise RejectedInput("darks and flats of a bad-pixel mask must have one shape")
    mask: Mask = np.zeros(found[0][1].shape, np.uint16)
    for flag, where in found:
        mask[where] |= np.uint16(int(flag))
    return mask


def smooth_level(image: Image, box_px: int = BOX_PX) -> NDArray[np.float32]:
    """Slow part of ``image`` ``[y, x]``: medians of boxes, linear in between.  Non-finite pixels take no part."""
    ny, nx = image.shape
    y_edges, x_edges = _edges(ny, box_px), _edges(nx, box_px)
    grid = _box_medians(image, y_edges, x_edges)
    return np.asarray(_interpolation(y_edges) @ grid @ _interpolation(x_edges).T, np.float32)


def _edges(n: int, box_px: int) -> NDArray[np.intp]:
    return np.linspace(0, n, max(1, round(n / box_px)) + 1).astype(np.intp)


def _box_medians(image: Image, y_edges: NDArray[np.intp], x_edges: NDArray[np.intp]) -> NDArray[np.float32]:
    """Median of each box; that of the frame where a box has no finite pixel."""
    overall = _finite_median(sample_pixels(image), 0.0)
    grid = np.empty((len(y_edges) - 1, len(x_edges) - 1), np.float32)
    for i, (y0, y1) in enumerate(pairwise(y_edges.tolist())):
        band = image[y0:y1]
        equal = _equal_boxes(band, x_edges)
        if equal is not None:
            grid[i] = np.median(equal, axis=1)
            continue
        for j, (x0, x1) in enumerate(pairwise(x_edges.tolist())):
            grid[i, j] = _finite_median(band[:, x0:x1], overall)
    return grid


def _equal_boxes(band: Image, x_edges: NDArray[np.intp]) -> Image | None:
    """Pixels ``[box, pixel]`` of the boxes of a band: all at once where they are of one width and every pixel is finite."""
    boxes = len(x_edges) - 1
    if (np.diff(x_edges) != x_edges[1]).any() or not np.isfinite(band).all():
        return None
    return band.reshape(len(band), boxes, -1).swapaxes(0, 1).reshape(boxes, -1)


def _interpolation(edges: NDArray[np.intp]) -> NDArray[np.float32]:
    """Matrix [pixel, box] of linear interpolation between the boxes' centres, constant beyond the outer ones."""
    centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    pixels, boxes = np.arange(edges[-1]), np.arange(len(centres))
    position = np.interp(pixels, centres, boxes)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - boxes[None, :])).astype(np.float32)


def _finite_median(values: Image, otherwise: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else otherwise


def _scatter(values: NDArray[np.float32]) -> float:
    """Robust standard deviation of ``values``; from their 95 % range where more than half of them are equal."""
    sample = sample_pixels(values)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0
    sigma = median_and_sigma(sample)[1]
    if sigma > 0:
        return sigma
    return float(np.quantile(np.abs(sample - np.median(sample)), 0.95)) / 1.96


def _step(image: Image) -> float:
    """Step of the quantisation: the smallest difference between values (next to nothing for a mean of many frames)."""
    sample = sample_pixels(image, 20_000)
    values = np.unique(sample[np.isfinite(sample)].astype(np.float64))
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def _reader(frame: Image | Rows) -> Callable[[int, int], Image]:
    return (lambda y0, y1: frame[y0:y1]) if isinstance(frame, np.ndarray) else frame.read_rows


def _level(read: Callable[[int, int], Image], ny: int, nx: int) -> float:
    """Median of up to 64 rows spread over the frame."""
    step = max(1, ny // 64)
    rows = np.concatenate([read(y, y + 1) for y in range(step // 2, ny, step)])
    return _finite_median(sample_pixels(rows.reshape(-1, nx)), 0.0)


def _trimmed_moments(
    frames: Iterable[NDArray[np.float64]], shape: tuple[int, int], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each pixel over ``n`` frames without its highest or its lowest value, whichever leaves less variance."""
    total, squares = np.zeros(shape), np.zeros(shape)
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    for values in frames:
        total += values
        squares += values * values
        np.minimum(lowest, values, out=lowest)
        np.maximum(highest, values, out=highest)
    without_high = squares - highest**2 - (total - highest) ** 2 / (n - 1)
    without_low = squares - lowest**2 - (total - lowest) ** 2 / (n - 1)
    left_out = np.where(without_high <= without_low, highest, lowest)
    return (total - left_out) / (n - 1), np.maximum(np.minimum(without_high, without_low), 0.0) / (n - 2)


def _too_variable(
    mean: NDArray[np.float64], variance: NDArray[np.float64], freedom: int, false: float, gain_e_per_adu: float | None
) -> Bool:
    """Compare each variance with that of quiet pixels plus the photon noise of its own dark signal."""
    from scipy.stats import chi2

    base = max(_finite_median(sample_pixels(variance), 0.0), 1.0 / 12.0)  # at least a step of one ADU
    sample = sample_pixels(mean)
    known = sample[np.isfinite(sample)]
    typical, sigma = median_and_sigma(known) if known.size else (0.0, 0.0)
    signal = np.maximum(mean - typical, 0.0)
    slope = 1.0 / gain_e_per_adu if gain_e_per_adu else _noise_slope(signal, variance - base, 10.0 * max(sigma, 1.0))
    limit = float(chi2.isf(false, freedom) / chi2.median(freedom))
    with np.errstate(invalid="ignore"):
        return np.asarray(~(variance <= limit * (base + slope * signal)), np.bool_)


def _noise_slope(signal: NDArray[np.float64], excess: NDArray[np.float64], least: float) -> float:
    """Variance per signal of bright pixels: the lower quartile, for some of them are the unstable ones that are looked for."""
    bright = signal > least
    if np.count_nonzero(bright) < 20:
        return 1.0
    return max(float(np.quantile(excess[bright] / signal[bright], 0.25)), 0.0)
