"""From pixel values to grey levels: the limits of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.tools.stats import good_pixels, median_of_sorted

Array = NDArray[Any]
Limits = tuple[float, float]

SCALES = ("zscale", "minmax", "sigma", "limits")
_SAMPLES = 1000
_CONTRAST = 0.25
_MAX_REJECT = 0.5  # more rejected pixels than this: the fit means nothing
_MIN_PIXELS = 5
_K_SIGMA = 2.5
_ITERATIONS = 5


def limits(pixels: Array, scale: str, *, sigmas: float = 1.0, fixed: Limits | None = None) -> Limits:
    """The two values shown as black and white, lower first.

    ``zscale`` is IRAF's, ``minmax`` the extremes, ``sigma`` mean +- ``sigmas`` standard deviations (what GODO called zscale),
    ``limits`` the ``fixed`` pair in either order.  Only finite pixels count; without any the limits are 0 and 1.
    """
    if scale not in SCALES:
        raise Refused(f"there is no scale '{scale}': choose from {', '.join(SCALES)}")
    if scale == "limits":
        if fixed is None or fixed[0] == fixed[1]:
            raise Refused("fixed limits need two different numbers: -m LOW HIGH")
        return min(fixed), max(fixed)
    good = good_pixels(pixels)
    if not good.size:
        return 0.0, 1.0
    if scale == "zscale":
        return zscale(pixels)
    if scale == "minmax":
        return float(good.min()), float(good.max())
    mean, deviation = float(good.mean(dtype=np.float64)), float(good.std(dtype=np.float64))
    return mean - sigmas * deviation, mean + sigmas * deviation


def zscale(pixels: Array, *, contrast: float = _CONTRAST, samples: int = _SAMPLES) -> Limits:
    """Display limits by the IRAF algorithm (``cl> help display``, section ZSCALE ALGORITHM).

    A line is fitted, with iterated rejection at 2.5 sigma, to the sorted values of about ``samples`` pixels on a regular grid; its
    slope over ``contrast``, drawn through the median, gives the limits, which never exceed the extremes of the sample.  When more
    than half of the pixels are rejected, the extremes are the limits.
    """
    ordered = np.sort(_sample(pixels, samples)).astype(np.float64)
    if not ordered.size:
        return 0.0, 1.0
    low, high, median = float(ordered[0]), float(ordered[-1]), median_of_sorted(ordered)
    least = max(_MIN_PIXELS, int(ordered.size * _MAX_REJECT))
    kept, slope = _fit_line(ordered, least)
    if kept < least:
        return low, high
    slope = slope / contrast if contrast > 0 else slope
    centre = (ordered.size - 1) // 2
    return max(low, median - centre * slope), min(high, median + (ordered.size - 1 - centre) * slope)


def _sample(pixels: Array, samples: int) -> Array:
    """About ``samples`` finite pixels on a regular grid over all rows and columns."""
    plane = pixels.reshape(-1, pixels.shape[-1])
    step = max(1, int(np.sqrt(plane.size / samples)))
    rows, columns = (slice(min(step // 2, length - 1), None, step) for length in plane.shape)
    return good_pixels(plane[rows, columns])


def _fit_line(ordered: Array, least: int) -> tuple[int, float]:
    """How many of the sorted values survive the rejection, and the slope per rank of the line through them."""
    count = ordered.size
    ranks = np.arange(count, dtype=np.float64)
    good = np.ones(count, dtype=bool)
    reach = max(1, round(count * 0.01))
    slope, offset = _line(ranks, ordered)
    kept = count
    for _ in range(_ITERATIONS):
        before = kept
        residuals = ordered - (offset + slope * ranks)
        sigma = float(residuals[good].std(ddof=1)) if kept > 1 else 0.0
        outlying = good & (np.abs(residuals) > _K_SIGMA * sigma)
        good &= ~(np.convolve(outlying, np.ones(2 * reach + 1), mode="same")[:count] > 0)  # neighbours go too
        kept = int(np.count_nonzero(good))
        if kept:
            slope, offset = _line(ranks[good], ordered[good])
        if kept >= before or kept < least:
            break
    return kept, slope


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and offset of the least-squares line."""
    if x.size < 2:
        return 0.0, float(y.mean()) if y.size else 0.0
    dx = x - x.mean()
    slope = float(dx @ y / (dx @ dx))
    return slope, float(y.mean() - slope * x.mean())
