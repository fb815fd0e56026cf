"""Weights for the photons that dead time took: 1 / (1 - rate * dead time), the rate of the pixel in a step of time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.live_time import Stretches, joined, overlaps_us
from nightcrew.mkid.photon_table import PhotonTable, PixelPhotons

Numbers = NDArray[np.int64]
_LEAST_LIVE = 0.5  # of a step, by missing seconds, which do not say when: below it no correction is made
_LEAST_MEASURED = 0.02  # of a step, where the gaps of the readout were measured
_MOST_LOSS = 0.9  # of the time, to dead time: beyond it a rate means nothing


def linearity_weights(table: PhotonTable, raw: PixelPhotons, step_us: int, dead_time_us: float) -> NDArray[np.float32]:
    """Weight of each photon of ``raw``; its rate is that of the whole step, however little of the step was read.

    Time that the readout did not see is no part of a step.  Memory follows the photons, not the number of steps; of the table only the
    times of what is not in ``raw`` are read, and those not where a slab lies within one step.
    """
    if not len(raw):
        return np.ones(0, dtype=np.float32)
    step = raw.time_us // step_us
    low, high = int(step.min()), int(step.max()) + 1
    key = _keys(raw.counts, step - low, high - low)
    begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    known, lengths = key[begins], np.diff(begins, append=key.size)
    counts = _counts(table, raw, known, lengths, (low, high), step_us)
    inverse = _per_live_us(table, table.lost, known % (high - low) + low, step_us)
    for pixels, silent in table.silences.within(table.start_us, table.stop_us):
        own = np.flatnonzero(pixels.ravel()[known // (high - low) + raw.first_pixel])
        inverse[own] = _per_live_us(table, joined(table.lost, silent), known[own] % (high - low) + low, step_us)
    share = np.minimum(counts * dead_time_us * inverse, _MOST_LOSS)
    return np.repeat((1.0 / (1.0 - share)).astype(np.float32), lengths)


def _keys(counts: Numbers, step: Numbers, number: int) -> Numbers:
    """Pixel * number of steps + step of every photon; ascends, as photons are in order of pixel, then time."""
    return np.repeat(np.arange(counts.size, dtype=np.int64) * number, counts) + step


def _counts(table: PhotonTable, raw: PixelPhotons, known: Numbers, own: Numbers, steps: tuple[int, int], step_us: int) -> Numbers:
    """Photons of the whole table for each key of ``known``, of which ``raw`` has ``own``."""
    low, high = steps
    number, pixels = high - low, range(raw.first_pixel, raw.first_pixel + raw.first.size - 1)
    counts = own.copy() if raw.slabs else np.zeros_like(own)
    others = [slab for slab in table.slabs_of(low * step_us, high * step_us) if slab not in set(raw.slabs)]
    within = [slab for slab in others if table.slab_us(slab)[0] // step_us == table.slab_us(slab)[1] // step_us]
    for slab, found in table.pixel_counts(within, pixels):
        step = np.full(len(pixels), table.slab_us(slab)[0] // step_us - low)
        _add(counts, known, _keys(np.ones(len(pixels), dtype=np.int64), step, number), found)
    for slab in sorted(set(others) - set(within)):
        first, time_us = table.pixel_times(slab, pixels)
        step = time_us // step_us - low
        inside = (step >= 0) & (step < number)
        key = _keys(np.diff(first), step, number)[inside]
        _add(counts, known, key, np.ones(key.size, dtype=np.int64))
    return counts


def _add(counts: Numbers, known: Numbers, key: Numbers, more: Numbers) -> None:
    """Add ``more`` where ``key`` is one of ``known``."""
    at = np.minimum(np.searchsorted(known, key), known.size - 1)
    hit = known[at] == key
    counts += np.bincount(at[hit], more[hit], counts.size).astype(np.int64)


def _per_live_us(table: PhotonTable, lost: Stretches, step: Numbers, step_us: int) -> NDArray[np.float64]:
    """1 / time of each step without what is lost; 0 where it is too little for a rate."""
    steps, place = np.unique(step, return_inverse=True)
    edges = np.minimum(np.stack([steps, steps + 1], axis=1) * step_us, table.stop_us - table.start_us)
    length_us = edges[:, 1] - edges[:, 0]
    live_us = length_us - overlaps_us(lost, (edges + table.start_us).ravel())[::2]
    least = _LEAST_LIVE if table.report.get("gaps_us") is None else _LEAST_MEASURED
    inverse = np.where((live_us >= least * length_us) & (live_us > 0), 1 / np.maximum(live_us, 1), 0.0)
    return np.asarray(inverse[place.reshape(-1)], dtype=np.float64)
