"""Images and cubes of photon tables: counts, weighted counts, their variance, and for how long each pixel counted.

An image is a cube with one step of time and one bin of wavelength.  Photons are counted in one pass, slab by slab, in bounded memory.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import CalibratedPhotons, CalibratedTable
from nightcrew.mkid.cube_bins import Binner, WavelengthBins, time_bins

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_CELLS = 1 << 25  # 2 GB: sums and their turned copies, rates and what is written of them take 64 bytes a cell


@dataclass(frozen=True, kw_only=True)
class Cube:
    """Photons of a table in bins; arrays are ``[time, wavelength, y, x]``, with one bin where an axis was not asked for.

    ``weighted`` is the sum of the photons' weights (flat field times linearity; 1 without them), ``variance`` the sum of their squares,
    which is the variance of ``weighted`` for Poisson light.  ``exposure_s[time, y, x]`` is the time in which the pixel counted: without
    missing seconds, masked steps and cosmic rays, and without dead time unless the weights are for it.
    """

    counts: Ints
    weighted: Floats
    variance: Floats
    exposure_s: Floats
    flag: NDArray[np.uint32]  # [y, x]
    time_edges_us: Ints  # since start_us
    wavelengths: WavelengthBins | None
    start_us: int  # Unix time of the start of the table
    dead_time_in: str  # "exposure", "weights" or "none": where dead time is taken into account
    facts: dict[str, str | int | float | bool] = field(default_factory=dict)  # from the table

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Pixels [y, x] that a problem is flagged for."""
        bad: NDArray[np.bool_] = (self.flag & f.bits(f.PROBLEM)) != 0
        return bad

    @property
    def rate_cps(self) -> Floats:
        """Weighted counts per second; NaN where a pixel did not count at all."""
        return _per(self.weighted, self.exposure_s)

    @property
    def rate_error_cps(self) -> Floats:
        """One sigma of the rate from the counts; 0 where none was counted, NaN where a pixel did not count at all."""
        return _per(np.sqrt(self.variance), self.exposure_s)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the sums."""
        return self.counts.shape


def _per(values: Floats, exposure_s: Floats) -> Floats:
    time_s = exposure_s[:, None]
    found: Floats = np.where(time_s > 0, values / np.where(time_s > 0, time_s, 1.0), np.nan)
    return found


def make_cube(table: CalibratedTable, time_edges_us: Ints, wavelengths: WavelengthBins | None = None, *, dead_time: bool = True) -> Cube:
    """Count the photons of ``table`` between the first and the last of ``time_edges_us`` (since its start), by time and wavelength.

    Without ``wavelengths`` every photon counts, whether it has one or not.  Dead time is taken off the exposure unless the table's photons
    are weighted for it, or ``dead_time`` is False.  Raises :class:`MissingCalibration` when wavelengths are asked for and the
    table has no solution, :class:`Refused` for edges outside of the table and for cubes beyond some gigabytes.
    """
    n_times, n_waves = time_edges_us.size - 1, 1 if wavelengths is None else wavelengths.n
    _check(table, time_edges_us, wavelengths, n_times * n_waves)
    sums = _Sums(table, time_edges_us, wavelengths)
    if _plain(table) and wavelengths is None and n_times == 1:
        sums.take_whole(table.table.counts(int(time_edges_us[0]), int(time_edges_us[1])))
    elif _plain(table) and wavelengths is None:
        for first, time_us in table.table.time_slabs(int(time_edges_us[0]), int(time_edges_us[-1])):
            sums.add_times(first, time_us)
    else:
        for slab in table.slabs(start_us=int(time_edges_us[0]), stop_us=int(time_edges_us[-1])):
            sums.add(slab)
    weighted_for_dead_time = table.calibrations.linearity_step_s is not None
    exposure_s = np.stack([table.exposure_s(int(a), int(b)) for a, b in itertools.pairwise(time_edges_us)])
    if dead_time and not weighted_for_dead_time:
        exposure_s = np.maximum(exposure_s - sums.by_time() * (table.dead_time_us * 1e-6), 0.0)
    counts, weighted, variance = sums.arrays()
    return Cube(
        counts=counts,
        weighted=weighted,
        variance=variance,
        exposure_s=exposure_s,
        flag=table.flag,
        time_edges_us=time_edges_us,
        wavelengths=wavelengths,
        start_us=table.start_us,
        dead_time_in="weights" if weighted_for_dead_time else "exposure" if dead_time else "none",
        facts=_facts(table),
    )


def _check(table: CalibratedTable, edges_us: Ints, wavelengths: WavelengthBins | None, n_bins: int) -> None:
    if edges_us.size < 2 or (np.diff(edges_us) <= 0).any():
        raise Refused("edges in time have to rise")
    if edges_us[0] < 0 or edges_us[-1] > table.stop_us - table.start_us:
        raise Refused(f"the window {edges_us[0] / 1e6} to {edges_us[-1] / 1e6} s is not within the table, 0 to {table.duration_s} s")
    if wavelengths is not None and table.calibrations.wavelength is None:
        raise MissingCalibration("wavelengths need a wavelength solution, and the table is read without one (nightcrew mkid apply)")
    if n_bins * table.n_pixels > _MOST_CELLS:
        raise Refused(f"{n_bins} images of {table.n_pixels} pixels are no cube that can be held; choose wider bins or a shorter window")


def _plain(table: CalibratedTable) -> bool:
    """Every photon counts, with the weight 1."""
    parts = table.calibrations
    return parts.flat is None and parts.masks is None and parts.cosmic is None and parts.linearity_step_s is None


def _facts(table: CalibratedTable) -> dict[str, str | int | float | bool]:
    plain = {name: value for name, value in table.table.attributes.items() if isinstance(value, str | int | float | bool)}
    return {name: value for name, value in plain.items() if name.startswith("log_") or name in ("exposure", "type", "E_BMAP", "EXPTIME")}


class _Sums:
    """Sums of the photons of slabs, ``[pixel, time, wavelength]``: photons come by pixel, so that neighbours fall near each other."""

    def __init__(self, table: CalibratedTable, edges_us: Ints, wavelengths: WavelengthBins | None) -> None:
        self._shape, self._edges_us = table.shape, edges_us
        self._binner = None if wavelengths is None else Binner(wavelengths.edges_nm)
        self._size = (table.n_pixels, edges_us.size - 1, 1 if wavelengths is None else wavelengths.n)
        self._weighing = table.calibrations.flat is not None or table.calibrations.linearity_step_s is not None
        self._counts = np.zeros(self._size, dtype=np.int64)
        self._of_time = np.zeros(self._size[:2], dtype=np.int64) if wavelengths is not None else None
        self._weighted, self._variance = (np.zeros(self._size if self._weighing else (0, 0, 0)) for _ in range(2))

    def take_whole(self, counts: Ints) -> None:
        """Counts [y, x] of the only bin."""
        self._counts[:, 0, 0] += counts.ravel()

    def add(self, slab: CalibratedPhotons) -> None:
        """Count the photons of a slab."""
        if not len(slab):
            return
        rows = slice(slab.first_pixel, slab.first_pixel + slab.first.size - 1)
        weight = slab.weight if self._weighing else None
        if self._size[1:] == (1, 1) and self._binner is None:
            self._put_pixels(rows, slab.first, weight)
            return
        n_waves, n_rows = self._size[2], slab.first.size - 1
        low, n_steps, step = self._steps_of(slab.time_us)
        steps = slice(low, low + n_steps)
        place = np.repeat(np.arange(n_rows) * (n_steps * n_waves), np.diff(slab.first))
        if step is not None:
            step -= low
            if self._of_time is not None:
                step *= n_waves
            place += step
        if self._of_time is not None and self._binner is not None:
            self._count_all(rows, steps, slab.first, place)
            wave = self._binner(slab.wavelength_nm)
            place += wave
            if int(wave.min()) < 0:
                inside = wave >= 0
                place, weight = place[inside], None if weight is None else weight[inside]
        self._put((rows, steps), place, weight, (n_rows, n_steps, n_waves))

    def add_times(self, first: Ints, time_us: Ints) -> None:
        """Count photons of all pixels by time alone."""
        if time_us.size:
            low, n_steps, step = self._steps_of(time_us)
            place = np.repeat(np.arange(first.size - 1) * n_steps, np.diff(first))
            if step is not None:
                step -= low
                place += step
            self._put((slice(0, first.size - 1), slice(low, low + n_steps)), place, None, (first.size - 1, n_steps, 1))

    def _steps_of(self, time_us: Ints) -> tuple[int, int, Ints | None]:
        """First step, number of steps, and the step of each photon (None: the same)."""
        if self._size[1] == 1:
            return 0, 1, None
        step = time_bins(time_us, self._edges_us)
        low, high = int(step.min()), int(step.max())
        return low, high - low + 1, None if low == high else step

    def _count_all(self, rows: slice, steps: slice, first: Ints, place: NDArray[np.intp]) -> None:
        """Photons of every wavelength, for the dead time; ``place`` is that of the first wavelength."""
        if self._of_time is None:
            return
        n_rows, n_steps, n_waves = first.size - 1, steps.stop - steps.start, self._size[2]
        if n_steps == 1:
            self._of_time[rows, steps.start] += np.diff(first)
        else:
            every = np.bincount(place, minlength=n_rows * n_steps * n_waves)[::n_waves]
            self._of_time[rows, steps] += every.reshape(n_rows, n_steps)

    def _put_pixels(self, rows: slice, first: Ints, weight: NDArray[np.float32] | None) -> None:
        """All photons of a pixel are in the one bin: they stand together."""
        self._counts[rows, 0, 0] += np.diff(first)
        if weight is not None:
            filled = np.flatnonzero(np.diff(first) > 0)
            exact = weight.astype(np.float64)
            self._weighted[rows, 0, 0][filled] += np.add.reduceat(exact, first[filled])
            exact *= exact
            self._variance[rows, 0, 0][filled] += np.add.reduceat(exact, first[filled])

    def _put(
        self, where: tuple[slice, slice], place: NDArray[np.intp], weight: NDArray[np.float32] | None, shape: tuple[int, int, int]
    ) -> None:
        size = shape[0] * shape[1] * shape[2]
        self._counts[where] += np.bincount(place, minlength=size).reshape(shape)
        if weight is not None:
            exact = weight.astype(np.float64)
            self._weighted[where] += np.bincount(place, exact, minlength=size).reshape(shape)
            exact *= exact
            self._variance[where] += np.bincount(place, exact, minlength=size).reshape(shape)

    def by_time(self) -> Floats:
        """Photons of every wavelength ``[time, y, x]``."""
        counts = self._counts[:, :, 0] if self._of_time is None else self._of_time
        return np.ascontiguousarray(counts.T).reshape(-1, *self._shape).astype(np.float64)

    def arrays(self) -> tuple[Ints, Floats, Floats]:
        """Counts, weighted counts and variance, ``[time, wavelength, y, x]``."""
        counts = self._turned(self._counts)
        if not self._weighing:
            return counts, counts.astype(np.float64), counts.astype(np.float64)
        return counts, self._turned(self._weighted), self._turned(self._variance)

    def _turned(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values.transpose(1, 2, 0)).reshape(self._size[1], self._size[2], *self._shape)
