"""How counts are spread: histograms of counts in bins, and of the times between photons, with what steady light would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.calibrated import CalibratedPhotons
from nightcrew.mkid.live_time import Stretches
from nightcrew.mkid.rician import log_pmf
from nightcrew.mkid.rician_intervals import log_survival

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def binned_counts(
    photons: CalibratedPhotons, n_pixels: int, window_us: tuple[int, int], bin_us: int, bad: list[Stretches]
) -> NDArray[np.int32]:
    """Counts ``[pixel, bin]`` of whole bins from the start of the window on; -1 in bins that touch a bad stretch of their pixel.

    ``bad`` holds the stretches of each pixel, in microseconds since the start of the table.  What is left over at the end is no bin.
    """
    n_bins = (window_us[1] - window_us[0]) // bin_us
    place = (photons.time_us - window_us[0]) // bin_us
    inside = (place >= 0) & (place < n_bins)
    place += np.repeat(np.arange(n_pixels), np.diff(photons.first)) * n_bins
    counts = np.bincount(place[inside], minlength=n_pixels * n_bins).reshape(n_pixels, n_bins).astype(np.int32)
    for pixel, stretches in enumerate(bad):
        if not len(stretches):
            continue
        first = np.clip((stretches[:, 0] - window_us[0]) // bin_us, 0, n_bins)
        stop = np.clip(-((window_us[0] - stretches[:, 1]) // bin_us), 0, n_bins)
        for low, high in zip(first.tolist(), stop.tolist(), strict=True):
            counts[pixel, low:high] = -1
    return counts


@dataclass(frozen=True)
class CountHistogram:
    """How many bins have n counts, and how many light of the given kind would give; arrays are [n]."""

    bins: Floats
    poisson: Floats  # of the same mean
    rician: Floats  # of the fitted parameters; NaN without a fit


def count_histogram(counts: NDArray[np.integer], parameters: Floats | None) -> CountHistogram:
    """Of counts [bin] of one pixel (below 0: masked); ``parameters`` are (Ic, Is, Ip) in counts per bin."""
    seen = counts[counts >= 0]
    top = int(seen.max(initial=0)) + 2
    bins = np.bincount(seen, minlength=top + 1).astype(np.float64)
    mean = float(seen.mean()) if seen.size else 0.0
    steady = seen.size * np.exp(log_pmf(top, np.array([[mean, 0.0, 0.0]]))[:, 0])
    known = parameters is not None and bool(np.isfinite(parameters).all())
    rician = seen.size * np.exp(log_pmf(top, np.asarray(parameters)[None])[:, 0]) if known else np.full(top + 1, np.nan)
    return CountHistogram(bins, steady, rician)


@dataclass(frozen=True)
class IntervalHistogram:
    """Times between photons in bins of equal ratio: how many there are, and how many steady light of the same rate would give."""

    edges_s: Floats
    counts: Ints
    poisson: Floats
    rician: Floats


def interval_histogram(seconds: Floats, dead_time_s: float, parameters_cps: Floats | None, n_bins: int = 60) -> IntervalHistogram:
    """Of intervals of one pixel; steady light has the rate that makes its mean interval right after the dead time."""
    low = max(dead_time_s, 1e-6)
    high = max(float(seconds.max(initial=0.0)) * 1.001, low * 10)
    edges = np.geomspace(low, high, n_bins + 1)
    counts = np.histogram(seconds, edges)[0]
    live = float((seconds - dead_time_s).sum())
    rate = seconds.size / live if live > 0 else 0.0

    def expected(parameters: Floats) -> Floats:
        survival = np.exp(log_survival(np.maximum(edges, dead_time_s), parameters[None], dead_time_s))[0]
        missing: Floats = -np.diff(survival) * seconds.size
        return missing

    nothing = np.full(n_bins, np.nan)
    steady = expected(np.array([rate, 0.0, 0.0])) if rate > 0 else nothing
    known = parameters_cps is not None and bool(np.isfinite(parameters_cps).all()) and float(np.sum(parameters_cps)) > 0
    return IntervalHistogram(edges, counts, steady, expected(np.asarray(parameters_cps)) if known else nothing)
