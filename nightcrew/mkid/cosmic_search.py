"""Cosmic rays: moments at which much of the array counts at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.io.source import shown
from nightcrew.mkid.live_time import joined
from nightcrew.mkid.mask_solution import CosmicRays
from nightcrew.mkid.photon_table import PhotonTable

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_PART_US = 4_000_000  # of the light curve that is held at a time
_BLOCK_US = 100_000  # in which the light is taken for steady


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
    photons than a Poisson process of the mean rate around it passes with the probability of ``n_sigma`` one-sided Gaussian standard
    deviations, and at least ``least_rise`` more than the mean.
    """
    peaks, heights, limits = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for curve, first_us in _curves(table, options):
        live = _live(table, first_us, curve.size, options.bin_us)
        mean, limit = _levels(curve, live, options)
        places = np.flatnonzero((curve > limit) & (curve >= mean + options.least_rise))
        peaks.append(first_us + places * options.bin_us)
        heights.append(curve[places])
        limits.append(limit[:: max(_BLOCK_US // options.bin_us, 1)])
    times, every = np.concatenate(peaks), np.concatenate(limits)
    cuts = joined(np.stack([times - options.before_us, times + options.after_us], axis=1))
    cuts = np.clip(cuts, 0, table.stop_us - table.start_us)
    return _described(table, cuts, times, np.concatenate(heights), float(np.median(every)) if every.size else 0.0, options)


def _live(table: PhotonTable, first_us: int, size: int, bin_us: int) -> Flags:
    """Bins in which the readout saw something."""
    live = np.ones(size, dtype=np.bool_)
    for low, high in ((table.lost - table.start_us - first_us) // bin_us).tolist():
        live[max(low, 0) : max(high + 1, 0)] = False
    return live


def _levels(curve: Counts, live: Flags, options: CosmicOptions) -> tuple[Floats, Floats]:
    """For each bin the mean photons of a bin around it, and those that a bin without a cosmic ray does not pass.

    Both are taken in blocks of a tenth of a second, without what lies above the limit itself, and are those of the brightest of three
    blocks: light that comes on within a block is no cosmic ray.
    """
    size = max(_BLOCK_US // options.bin_us, 1)
    blocks = -(-curve.size // size)
    counts, seen = np.zeros((blocks, size)), np.zeros((blocks, size), dtype=np.bool_)
    counts.reshape(-1)[: curve.size], seen.reshape(-1)[: curve.size] = curve, live
    kept = seen.copy()
    mean, limit = np.zeros(blocks), np.zeros(blocks)
    for _ in range(3):
        number = kept.sum(axis=1)
        whole = float((counts * kept).sum() / max(number.sum(), 1))
        mean = np.where(number >= size // 4, (counts * kept).sum(axis=1) / np.maximum(number, 1), whole)
        if options.method == "poisson":
            limit = np.array([_poisson_limit(_rounded(one), options.n_sigma) for one in mean.tolist()])
        else:
            spread = np.sqrt((kept * (counts - mean[:, None]) ** 2).sum(axis=1) / np.maximum(number, 1))
            limit = np.ceil(options.n_sigma * spread + mean)
        kept = seen & (counts <= np.maximum(limit, mean + 5)[:, None])
    brightest = [np.stack([one, np.append(one[1:], 0.0), np.append(0.0, one[:-1])]).max(axis=0) for one in (mean, limit)]
    return np.repeat(brightest[0], size)[: curve.size], np.repeat(brightest[1], size)[: curve.size]


def _rounded(mean: float) -> float:
    """The mean with three digits, upwards, so that limits can be kept."""
    if mean <= 0:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(mean)) - 2)
    return math.ceil(mean / scale) * scale


@lru_cache(maxsize=4096)
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
        for _, time_us in table.time_slabs(start_us, stop_us):
            counts += np.bincount((time_us - start_us) // options.bin_us, minlength=counts.size)
        yield counts, start_us


def _described(table: PhotonTable, cuts: Counts, peaks: Counts, heights: Counts, threshold: float, options: CosmicOptions) -> CosmicRays:
    count, peak, peak_us = (np.zeros(len(cuts), dtype=np.int64) for _ in range(3))
    if len(cuts):
        owner = np.searchsorted(cuts[:, 0], peaks, side="right") - 1  # in order, as the peaks are
        peak = np.maximum.reduceat(heights, np.searchsorted(owner, np.arange(len(cuts))))
        highest = np.flatnonzero(heights == peak[owner])
        peak_us = peaks[highest[np.unique(owner[highest], return_index=True)[1]]]
        for _, time_us in table.time_slabs(0, table.stop_us - table.start_us):
            at = np.searchsorted(cuts[:, 0], time_us, side="right") - 1
            hit = (at >= 0) & (time_us < cuts[np.maximum(at, 0), 1])
            count += np.bincount(at[hit], minlength=len(cuts))
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
