"""Where a laser's line is in a histogram of pulse heights, how wide its bins are to be, and which range is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.phase_histogram import BIN_DEG

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SMOOTH_BINS = 4.0  # two degrees
_SHARE = 0.08  # of all photons that a line has at least
_HALF_WIDTH = 1.1774100225154747  # of a Gaussian at half its height, in sigma
_MOST_WIDENING = 4  # bins of two degrees
_WANTED_PEAK = 20.0  # counts of the highest bin


@dataclass(frozen=True)
class Guess:
    """Of many histograms, [fit]; degrees of height."""

    centre: Floats
    sigma: Floats
    peak: Floats  # counts per degree
    first: Ints  # bins that are fitted, half-open
    stop: Ints
    widening: Ints  # bins that are put together
    at_first: Floats  # counts per degree where the range begins


def smoothed(counts: NDArray[np.uint32]) -> Floats:
    """Histograms [fit, bin] smoothed by two degrees."""
    from scipy.ndimage import gaussian_filter1d

    values: Floats = gaussian_filter1d(counts.astype(np.float64), _SMOOTH_BINS, axis=1, mode="constant")
    return values


def guess(counts: NDArray[np.uint32], centre: Floats | None = None, sigma: Floats | None = None) -> Guess:
    """Guesses for histograms [fit, bin]; with ``centre`` and ``sigma`` [fit] those are taken where they are finite.

    The line is the highest pulse height at which a good share of the photons forms a peak: the trigger's noise lies below it.
    """
    smooth = smoothed(counts)
    at = _peak_bin(counts, smooth)
    rows = np.arange(counts.shape[0])
    width = _width(smooth, at)
    middle = (at.astype(np.float64) + 0.5) * BIN_DEG
    if centre is not None and sigma is not None:
        known = np.isfinite(centre) & np.isfinite(sigma)
        middle, width = np.where(known, centre, middle), np.where(known, sigma, width)
        at = np.clip((middle / BIN_DEG).astype(np.int64), 0, counts.shape[1] - 1)
    peak = np.maximum(smooth[rows, at], 0.1) / BIN_DEG
    first, stop = _range(counts, smooth, middle / BIN_DEG, width / BIN_DEG)
    at_first: Floats = smooth[rows, np.minimum(first + 1, counts.shape[1] - 1)] / BIN_DEG
    return Guess(middle, width, peak, first, stop, _widening(peak, width), at_first)


def _peak_bin(counts: NDArray[np.uint32], smooth: Floats) -> Ints:
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    area = uniform_filter1d(counts.astype(np.float64), 17, axis=1, mode="constant") * 17
    total = counts.sum(axis=1, dtype=np.int64)[:, None]
    candidate = (smooth == maximum_filter1d(smooth, 25, axis=1, mode="constant")) & (area >= np.maximum(_SHARE * total, 10))
    candidate[:, : round(8 / BIN_DEG)] = False
    last = counts.shape[1] - 1 - np.argmax(candidate[:, ::-1], axis=1)
    peak: Ints = np.where(candidate.any(axis=1), last, np.argmax(smooth, axis=1))
    return peak


def _width(smooth: Floats, at: Ints) -> Floats:
    """From the side of greater heights, where no noise is."""
    bins = np.arange(smooth.shape[1])
    beyond = (bins > at[:, None]) & (smooth < 0.5 * smooth[np.arange(at.size), at][:, None])
    half = (np.argmax(beyond, axis=1) - at) * BIN_DEG
    blurred = (half / _HALF_WIDTH) ** 2 - (_SMOOTH_BINS * BIN_DEG) ** 2
    width: Floats = np.sqrt(np.clip(blurred, 1.0, 400.0))
    return width


def _range(counts: NDArray[np.uint32], smooth: Floats, centre: Floats, sigma: Floats) -> tuple[Ints, Ints]:
    """From the top of the trigger's noise, since the model falls from there on, to well beyond the line."""
    bins = np.arange(counts.shape[1])
    lit = counts > 0
    edge = np.argmax(lit, axis=1)
    last = counts.shape[1] - np.argmax(lit[:, ::-1], axis=1)
    below = centre - 4 * np.hypot(sigma, _SMOOTH_BINS)
    noise = np.where(bins < below[:, None], smooth, -1.0)
    noise_top = np.where(noise.max(axis=1) > 0, np.argmax(noise, axis=1), edge)
    first = np.minimum(noise_top, np.maximum(edge + 2, np.floor(centre - 4 * sigma).astype(np.int64)))
    stop = np.minimum(last, np.ceil(centre + 10 * sigma).astype(np.int64))
    first = np.maximum(first, edge)
    return first, np.maximum(stop, first + 1)


def _widening(peak: Floats, sigma: Floats) -> Ints:
    """Bins are put together until the highest has enough counts, but stay narrower than half the line."""
    wanted = np.ones(peak.size, dtype=np.int64)
    for _ in range(2):
        wider = wanted * 2 * BIN_DEG <= 0.5 * sigma
        few = (peak * wanted * BIN_DEG < _WANTED_PEAK) | (wanted * BIN_DEG < 0.2 * sigma)
        wanted = np.where(wider & few, wanted * 2, wanted)
    return np.minimum(wanted, _MOST_WIDENING)
