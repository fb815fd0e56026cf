"""Spectral cubes of flat exposures, chunk by chunk: counts, time, and the correction for dead time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.wavelength_solution import HC_EV_NM

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chunk:
    """One stretch of a flat.  Cubes are [bin, y, x]."""

    start_us: int  # Unix time
    stop_us: int
    counts: Floats  # as counted
    exposure_s: Floats  # [y, x], masked and missing time taken off
    linearity: Floats  # [y, x]: factor for the photons that dead time took

    @property
    def rate_cps(self) -> Floats:
        """Rates [bin, y, x], corrected for dead time; NaN where the pixel was never read."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rate: Floats = np.where(self.exposure_s > 0, self.counts * self.linearity / self.exposure_s, np.nan)
        return rate


def energy_bins_nm(low_nm: float, high_nm: float, width_ev: float) -> Floats:
    """Bins [bin, 2] of equal width in energy between two wavelengths, ascending in wavelength.

    Their number is int((hc / low - hc / high) / width); the width is stretched so that they fill the range.
    """
    count = int((HC_EV_NM / low_nm - HC_EV_NM / high_nm) / width_ev)
    if count < 1:
        raise Refused(f"{low_nm:g} to {high_nm:g} nm is less than one bin of {width_ev:g} eV")
    edges = HC_EV_NM / np.linspace(HC_EV_NM / high_nm, HC_EV_NM / low_nm, count + 1)[::-1]
    return np.stack([edges[:-1], edges[1:]], axis=1)


def chunk_windows(table: CalibratedTable, chunk_s: float, most_s: float) -> list[tuple[int, int]]:
    """Chunks of ``chunk_s`` as half-open windows since the start of the table, up to ``most_s`` in all.

    A rest shorter than half a chunk is left out.
    """
    length_us, step_us = min(table.stop_us - table.start_us, round(most_s * 1e6)), round(chunk_s * 1e6)
    found = [(start_us, min(start_us + step_us, length_us)) for start_us in range(0, length_us, step_us)]
    return found if len(found) < 2 or 2 * (found[-1][1] - found[-1][0]) >= step_us else found[:-1]


def chunks_of(table: CalibratedTable, bins_nm: Floats, chunk_s: float, most_s: float, dead_time_s: float | None = None) -> Iterator[Chunk]:
    """Counts of the chunks of a table (:func:`chunk_windows`).  Bins do not overlap.  ``dead_time_s`` is the table's own when None."""
    dead_s = table.dead_time_us / 1e6 if dead_time_s is None else dead_time_s
    for start_us, stop_us in chunk_windows(table, chunk_s, most_s):
        counts, photons = _cube(table, bins_nm, start_us, stop_us)
        exposure_s = table.exposure_s(start_us, stop_us)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(exposure_s > 0, photons / exposure_s * dead_s, 0.0)
        yield Chunk(table.start_us + start_us, table.start_us + stop_us, counts, exposure_s, 1 / (1 - np.minimum(share, 0.9)))


def _cube(table: CalibratedTable, bins_nm: Floats, start_us: int, stop_us: int) -> tuple[Floats, Floats]:
    """Counts [bin, y, x], and photons of any wavelength [y, x]."""
    n_bins = bins_nm.shape[0]
    counts = np.zeros((n_bins, table.n_pixels))
    photons = np.zeros(table.n_pixels)
    for slab in table.slabs(None, start_us, stop_us):
        pixel = slab.pixel.astype(np.int64)
        photons += np.bincount(pixel, minlength=table.n_pixels)
        place = np.searchsorted(bins_nm[:, 0], slab.wavelength_nm, side="right") - 1
        inside = (place >= 0) & (slab.wavelength_nm < bins_nm[np.maximum(place, 0), 1])
        number = place[inside] * table.n_pixels + pixel[inside]
        counts += np.bincount(number, minlength=counts.size).reshape(counts.shape)
    return counts.reshape(n_bins, *table.shape), photons.reshape(table.shape)


def dark_rate(tables: Sequence[CalibratedTable], bins_nm: Floats) -> tuple[Floats, Floats]:
    """Rate of the darks [bin, y, x] and its variance; both zero without a dark."""
    if not tables:
        return np.zeros(1), np.zeros(1)
    counts, time_s = np.zeros((bins_nm.shape[0], *tables[0].shape)), np.zeros(tables[0].shape)
    for table in tables:
        for chunk in chunks_of(table, bins_nm, table.duration_s, table.duration_s):
            counts += chunk.counts * chunk.linearity
            time_s += chunk.exposure_s
    safe_s = np.maximum(time_s, 1e-9)
    return np.where(time_s > 0, counts / safe_s, 0.0), np.where(time_s > 0, counts / safe_s**2, 0.0)


@dataclass(frozen=True, kw_only=True)
class FlatInput:
    """A flat exposure; with ``wavelength_nm`` one of a laser, of which only photons near it count."""

    table: Path
    wavelength_nm: float | None = None
