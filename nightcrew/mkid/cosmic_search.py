"""Cosmic rays: moments at which much of the array counts at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.source import shown
from nightcrew.mkid.live_time import joined
from nightcrew.mkid.mask_solution import CosmicRays
from nightcrew.mkid.photon_table import PhotonTable

Counts = NDArray[np.int64]
_PART_US = 4_000_000  # of the light curve that is held at a time


@dataclass(frozen=True, kw_only=True)
class CosmicOptions:
    """Parameters of the search."""

    bin_us: int = 10
    n_sigma: float = 6.0
    method: str = "poisson"  # or signal: mean + n_sigma standard deviations, clipped
    least_rise: int = 10  # photons that an event stands above the mean
    before_us: int = 50
    after_us: int = 100

    def __post_init__(self) -> None:
        if self.method not in ("poisson", "signal"):
            raise Refused(f"cosmic rays are found by poisson or signal, not by {self.method!r}")
        if not (1 <= self.bin_us <= 1000 and self.n_sigma > 0 and self.least_rise >= 0):
            raise Refused("cosmic rays need bins of 1 to 1000 us and a threshold above 0")
        if self.before_us < 0 or self.after_us <= 0:
            raise Refused("what is cut around a cosmic ray begins before it and ends after it")


def find_cosmic_rays(table: PhotonTable, options: CosmicOptions) -> CosmicRays:
    """Cosmic rays of a table; events whose cuts touch are one.

    The light curve of the array is taken in parts, so that memory does not grow with the exposure.  A bin is an event when it holds more
    photons than a Poisson process of the mean rate passes with the probability of ``n_sigma`` one-sided Gaussian standard deviations, and
    at least ``least_rise`` more than the mean.
    """
    mean, threshold = _threshold(table, options)
    peaks, heights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for curve, first_us in _curves(table, options):
        places = np.flatnonzero((curve > threshold) & (curve >= mean + options.least_rise))
        peaks.append(first_us + places * options.bin_us)
        heights.append(curve[places])
    times = np.concatenate(peaks)
    cuts = joined(np.stack([times - options.before_us, times + options.after_us], axis=1))
    cuts = np.clip(cuts, 0, table.stop_us - table.start_us)
    return _described(table, cuts, times, np.concatenate(heights), threshold, options)


def _threshold(table: PhotonTable, options: CosmicOptions) -> tuple[float, float]:
    """Mean photons of a bin, and those that a bin without a cosmic ray does not pass."""
    live_us = table.stop_us - table.start_us - 1_000_000 * len(table.report.get("missing_seconds", []))
    mean = table.n_photons * options.bin_us / max(live_us, 1)
    if options.method == "poisson":
        return mean, _poisson_limit(mean, options.n_sigma)
    curve, _ = next(_curves(table, options))
    kept = curve
    for _ in range(5):
        kept = kept[kept <= kept.mean() + 5 * max(float(kept.std()), 1e-9)]
    return mean, float(math.ceil(options.n_sigma * float(kept.std()) + float(kept.mean())))


def _poisson_limit(mean: float, n_sigma: float) -> float:
    """Smallest count that more than which comes as seldom as ``n_sigma`` Gaussian standard deviations, on one side."""
    from scipy.special import gammainc

    seldom = 0.5 * math.erfc(n_sigma / math.sqrt(2))
    counts = np.arange(math.ceil(mean + 12 * n_sigma * math.sqrt(mean + 1)) + 20)
    return float(counts[np.argmax(gammainc(counts + 1, mean) <= seldom)])


def _curves(table: PhotonTable, options: CosmicOptions) -> Iterator[tuple[Counts, int]]:
    """Counts by bin, and the time of the first bin since the start of the table, part by part."""
    length_us = table.stop_us - table.start_us
    part_us = _PART_US // options.bin_us * options.bin_us
    for start_us in range(0, length_us, part_us):
        stop_us = min(start_us + part_us, length_us)
        counts = np.zeros(-(-(stop_us - start_us) // options.bin_us), dtype=np.int64)
        for slab in table.slabs(None, start_us, stop_us):
            counts += np.bincount((slab.time_us - start_us) // options.bin_us, minlength=counts.size)
        yield counts, start_us


def _described(table: PhotonTable, cuts: Counts, peaks: Counts, heights: Counts, threshold: float, options: CosmicOptions) -> CosmicRays:
    count, peak, peak_us = (np.zeros(len(cuts), dtype=np.int64) for _ in range(3))
    owner = np.searchsorted(cuts[:, 0], peaks, side="right") - 1
    for event in range(len(cuts)):
        mine = np.flatnonzero(owner == event)
        highest = mine[np.argmax(heights[mine])]
        peak[event], peak_us[event] = heights[highest], peaks[highest]
    for slab in table.slabs():
        at = np.searchsorted(cuts[:, 0], slab.time_us, side="right") - 1
        hit = (at >= 0) & (slab.time_us < cuts[np.maximum(at, 0), 1]) if len(cuts) else np.zeros(len(slab), dtype=np.bool_)
        count += np.bincount(at[hit], minlength=len(cuts))[: len(cuts)]
    bins = np.maximum((cuts[:, 1] - cuts[:, 0]) / options.bin_us, 1)
    what = {"name": shown(table.path), "start_us": table.start_us, "stop_us": table.stop_us}
    what["seconds"] = [sha256 for _, _, sha256 in table.inputs]
    return CosmicRays(
        start_us=cuts[:, 0] + table.start_us,
        stop_us=cuts[:, 1] + table.start_us,
        peak_us=peak_us + table.start_us,
        count=count,
        average=count / bins,
        peak=peak,
        window_us=(table.start_us, table.stop_us),
        threshold=threshold,
        bin_us=options.bin_us,
        provenance={"parameters": asdict(options), "inputs": [what]},
    )
