"""Histograms of pulse heights, of every pixel at once.

Pulses are negative in phase; a histogram counts *heights*, minus the phase in degrees, from 0 upwards in bins of half a degree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid.live_time import seen_s
from nightcrew.mkid.photon_table import PhotonTable, PixelPhotons
from nightcrew.mkid.words import DEGREE_PER_PHASE_UNIT, PHASE_LIMITS

BIN_DEG = 0.5
BINS = 460  # up to the height of 230 degrees, the largest that a word holds
_BLOCK_ROWS = 1 << 17  # counted at a time: the counters of so many rows' pixels stay in the cache

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PhaseHistograms:
    """Of one exposure; the first axis is the pixel, y * columns + x."""

    counts: NDArray[np.uint32]  # [pixel, bin]
    photons: Counts  # [pixel], of the table
    kept: Counts  # [pixel], in the histogram, or above phase 0
    duration_s: NDArray[np.float64]  # [pixel], gaps of the readout and silences of the pixel's board taken off

    @property
    def rate_cps(self) -> NDArray[np.float64]:
        """Photons per second of every pixel, before any cut."""
        return self.photons / self.duration_s

    @property
    def time_s(self) -> NDArray[np.float64]:
        """Time [pixel] that the histogram stands for: the photons that the time cut took would have been there."""
        return self.duration_s * self.kept / np.maximum(self.photons, 1)


def bin_of_phase() -> NDArray[np.int32]:
    """Bin of every phase of a word, from ``PHASE_LIMITS[0]`` on; :data:`BINS` for phases of 0 and more."""
    phase = np.arange(PHASE_LIMITS[0], PHASE_LIMITS[1] + 1)
    number = np.minimum(np.floor(-phase * DEGREE_PER_PHASE_UNIT / BIN_DEG), BINS - 1).astype(np.int32)
    return np.where(phase < 0, number, BINS).astype(np.int32)


def fill(table: PhotonTable, *, dead_us: int = 0, within_us: tuple[int, int] | None = None) -> PhaseHistograms:
    """Histograms of a table, without the photons that follow another of their pixel within ``dead_us`` microseconds.

    Their pulses ride on the tail of the one before.  ``within_us`` is a half-open range of times since the start of the table.
    """
    if dead_us < 0:
        raise Refused(f"photons cannot follow within {dead_us} us")
    start_us, stop_us = within_us or (0, table.stop_us - table.start_us)
    places = bin_of_phase()
    counts = np.zeros((table.n_pixels, BINS + 1), dtype=np.uint32)
    photons, kept = np.zeros(table.n_pixels, np.int64), np.zeros(table.n_pixels, np.int64)
    latest_us = np.full(table.n_pixels, -(dead_us + 1), dtype=np.int64)
    for slab in table.slabs(None, start_us, stop_us):
        photons += slab.counts
        keep = _apart(slab, latest_us, dead_us) if dead_us else None
        count_heights(slab, keep, places, counts)
    kept = counts.sum(axis=1, dtype=np.int64)
    duration_s = seen_s((table.start_us + start_us, table.start_us + stop_us), table.lost, table.silences).ravel()
    return PhaseHistograms(counts[:, :BINS], photons, kept, np.maximum(duration_s, 1e-6))


def _apart(slab: PixelPhotons, latest_us: Counts, dead_us: int) -> NDArray[np.bool_]:
    """Photons that do not follow another too closely; ``latest_us`` of each pixel is carried on to the next slab."""
    keep = np.ones(len(slab), dtype=np.bool_)
    keep[1:] = slab.time_us[1:] - slab.time_us[:-1] > dead_us
    lit = np.flatnonzero(slab.counts)
    firsts = slab.first[lit]
    keep[firsts] = slab.time_us[firsts] - latest_us[lit] > dead_us
    latest_us[lit] = slab.time_us[slab.first[lit + 1] - 1]
    return keep


def count_heights(slab: PixelPhotons, keep: NDArray[np.bool_] | None, places: NDArray[np.int32], counts: NDArray[np.uint32]) -> None:
    """Add the photons of a slab to ``counts`` [pixel, bin + 1]; the last column takes phases that are no pulses."""
    width = counts.shape[1]
    for low, high in _blocks(slab.first):
        rows = slice(int(slab.first[low]), int(slab.first[high]))
        bins = places[slab.phase[rows] - PHASE_LIMITS[0]]
        bins += np.repeat(np.arange(high - low, dtype=np.int32) * np.int32(width), np.diff(slab.first[low : high + 1]))
        chosen = bins if keep is None else bins[keep[rows]]
        counts[low:high] += np.bincount(chosen, minlength=(high - low) * width).reshape(-1, width).astype(np.uint32)


def _blocks(first: Counts) -> Iterator[tuple[int, int]]:
    """Ranges of pixels with some hundred thousand rows each."""
    low, pixels = 0, first.size - 1
    while low < pixels:
        high = int(np.searchsorted(first, first[low] + _BLOCK_ROWS, side="right")) - 1
        high = min(max(high, low + 1), pixels, low + 1024)
        if first[high] > first[low]:
            yield low, high
        low = high
