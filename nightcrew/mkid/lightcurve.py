"""Counts against time, of a pixel or an aperture, with the time in which each pixel really counted.

Times are UTC of the readout's clock at the observatory.  Nothing is reduced to the barycentre of the solar system.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import MissingCalibration, Refused
from nightcrew.mkid.calibrated import CalibratedPhotons, CalibratedTable
from nightcrew.mkid.cube import make_cube
from nightcrew.mkid.cube_bins import time_bins
from nightcrew.mkid.dither import find_star
from nightcrew.mkid.live_time import Stretches, joined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_FWHM_PER_SIGMA = 2.354820045


@dataclass(frozen=True, kw_only=True)
class LightCurve:
    """Light of some pixels in steps of time; arrays are [step].

    ``rate_cps`` is the sum of the pixels' rates, weighted and for dead time; NaN in a step in which one of them did not count, since then
    nobody knows the sum.  Its error is from the counts alone.
    """

    edges_us: Ints  # [step + 1], since the start of the table
    start_us: int  # Unix time of the start
    pixels: tuple[int, ...]
    counts: Ints
    weighted: Floats
    exposure_s: Floats  # of all pixels together
    rate_cps: Floats
    rate_error_cps: Floats

    @property
    def middle_unix_s(self) -> Floats:
        """Middles of the steps, UTC as Unix time."""
        middles: Floats = (self.start_us + (self.edges_us[1:] + self.edges_us[:-1]) / 2) / 1e6
        return middles


def aperture(shape: tuple[int, int], x: float, y: float, radius_px: float = 0.0, *, usable: NDArray[np.bool_] | None = None) -> list[int]:
    """Numbers (y * columns + x) of the pixels whose centres are within ``radius_px`` of x, y; those that are not ``usable`` left out.

    ``Refused`` when none is left.
    """
    rows, columns = shape
    yy, xx = np.indices(shape)
    inside = np.hypot(xx - x, yy - y) <= max(radius_px, 1e-9)
    if radius_px <= 0 and 0 <= round(x) < columns and 0 <= round(y) < rows:
        inside[round(y), round(x)] = True
    chosen = inside if usable is None else inside & usable
    if not chosen.any():
        why = "all its pixels are flagged" if inside.any() else f"the array has {columns} x {rows} pixels"
        raise Refused(f"the aperture at {x:g}, {y:g} with radius {radius_px:g} px holds no pixel: {why}")
    return [int(pixel) for pixel in np.flatnonzero(chosen)]


def missing_of(shape: tuple[int, int], x: float, y: float, radius_px: float, pixels: list[int]) -> tuple[int, int]:
    """How many pixels an aperture lacks: flagged ones that are not in ``pixels``, and places beyond the edge of the array."""
    if radius_px <= 0:
        return 0, 0
    reach = math.ceil(radius_px) + 1
    around = np.arange(-reach, reach + 1)
    yy, xx = np.meshgrid(round(y) + around, round(x) + around, indexing="ij")
    inside = np.hypot(xx - x, yy - y) <= radius_px
    on_array = inside & (xx >= 0) & (yy >= 0) & (xx < shape[1]) & (yy < shape[0])
    return int(on_array.sum()) - len(pixels), int(inside.sum() - on_array.sum())


def star_share(table: CalibratedTable, window_us: tuple[int, int], x: float, y: float, radius_px: float, pixels: list[int]) -> float:
    """What part of the light of the star at x, y within an aperture falls on ``pixels``; 1 where the aperture lacks none.

    The star is taken as the round Gaussian that fits its image.  ``Refused`` where none fits.
    """
    if missing_of(table.shape, x, y, radius_px, pixels) == (0, 0):
        return 1.0
    image = make_cube(table, np.array(window_us, dtype=np.int64))
    star = find_star(image.rate_cps[0, 0], image.rate_error_cps[0, 0], image.bad, (x, y))
    reach = math.ceil(radius_px) + 1
    around = np.arange(-reach, reach + 1)
    yy, xx = np.meshgrid(round(y) + around, round(x) + around, indexing="ij")
    inside = np.hypot(xx - x, yy - y) <= radius_px
    light = np.exp(-0.5 * (np.hypot(xx - star.x, yy - star.y) / (star.fwhm_px / _FWHM_PER_SIGMA)) ** 2) * inside
    on_array = (xx >= 0) & (yy >= 0) & (xx < table.shape[1]) & (yy < table.shape[0])
    used = on_array & np.isin(yy * table.shape[1] + xx, pixels)
    return float(light[used].sum() / light.sum())


def bad_stretches(table: CalibratedTable, pixel: int) -> Stretches:
    """When a pixel did not count, [n, 2] half-open, in microseconds since the start of the table.

    Gaps, silences of its board, cosmic rays and its masked steps.
    """
    lost = table.lost_of(pixel)
    masks = table.calibrations.masks
    if masks is not None:
        place = int(table.mask_places[pixel])
        if place >= 0:
            edges = masks.edges_us.astype(np.int64).copy()
            edges[0], edges[-1] = min(edges[0], table.start_us), max(edges[-1], table.stop_us)
            bad = masks.bits.reshape(len(masks.bits), -1)[:, place] != 0
            lost = joined(lost, np.stack([edges[:-1][bad], edges[1:][bad]], axis=1))
    return lost - table.start_us


def exposure_of(edges_us: Ints, bad: Stretches) -> Floats:
    """Seconds of each step that are in none of the bad stretches, which are in order and apart."""
    taken = np.concatenate([[0], np.cumsum(bad[:, 1] - bad[:, 0])])
    place = np.searchsorted(bad[:, 0], edges_us, side="right")
    last = np.maximum(place - 1, 0)
    before = taken[place].astype(np.float64)
    if len(bad):
        before -= np.where(place > 0, np.maximum(bad[last, 1] - edges_us, 0), 0)
    seconds: Floats = (np.diff(edges_us) - np.diff(before)) / 1e6
    return seconds


def photons_of(
    table: CalibratedTable, pixel: int, start_us: int, stop_us: int, window_nm: tuple[float, float] | None = None
) -> CalibratedPhotons:
    """Photons of one pixel, in time and in a half-open window of wavelength."""
    photons = table.photons(range(pixel, pixel + 1), start_us, stop_us)
    if window_nm is None:
        return photons
    if table.calibrations.wavelength is None:
        raise MissingCalibration("wavelengths need a wavelength solution, and the table is read without one (nightcrew mkid apply)")
    inside = (photons.wavelength_nm >= window_nm[0]) & (photons.wavelength_nm < window_nm[1])
    columns = (getattr(photons, name)[inside] for name in ("resid", "time_us", "wavelength_nm", "weight", "phase_deg"))
    return CalibratedPhotons(pixel, np.array([0, int(inside.sum())]), *columns)


def light_curve(
    table: CalibratedTable, pixels: list[int], edges_us: Ints, window_nm: tuple[float, float] | None = None, *, dead_time: bool = True
) -> LightCurve:
    """Light of ``pixels`` between the edges (since the start of the table), in a window of wavelength.

    Dead time is taken off each pixel's exposure, by its photons of every wavelength, unless photons are weighted for it.
    """
    n = edges_us.size - 1
    counts, sums = np.zeros(n, dtype=np.int64), np.zeros((4, n))  # weights, exposure, rate, variance of the rate
    dead_s = table.dead_time_us * 1e-6 if dead_time and table.calibrations.linearity_step_s is None else 0.0
    for pixel in pixels:
        every = photons_of(table, pixel, int(edges_us[0]), int(edges_us[-1]))
        chosen = every if window_nm is None else photons_of(table, pixel, int(edges_us[0]), int(edges_us[-1]), window_nm)
        live_s = exposure_of(edges_us, bad_stretches(table, pixel))
        live_s = np.maximum(live_s - dead_s * np.bincount(time_bins(every.time_us, edges_us), minlength=n), 0)
        step, weight = time_bins(chosen.time_us, edges_us), chosen.weight.astype(np.float64)
        counts += np.bincount(step, minlength=n)
        weighted, squares = (np.bincount(step, values, minlength=n) for values in (weight, weight**2))
        seen = np.where(live_s > 0, live_s, np.nan)
        sums += (weighted, live_s, weighted / seen, squares / seen**2)
    return LightCurve(
        edges_us=edges_us,
        start_us=table.start_us,
        pixels=tuple(pixels),
        counts=counts,
        weighted=sums[0],
        exposure_s=sums[1],
        rate_cps=sums[2],
        rate_error_cps=np.sqrt(sums[3]),
    )
