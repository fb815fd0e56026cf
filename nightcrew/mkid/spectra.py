"""Counts against wavelength, of a pixel or an aperture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import MissingCalibration
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.cube_bins import OUTSIDE, Binner, WavelengthBins
from nightcrew.mkid.lightcurve import bad_stretches, exposure_of, photons_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Light of some pixels by wavelength; arrays are [bin].  ``without_wavelength`` are photons that have none, or lie outside."""

    bins: WavelengthBins
    pixels: tuple[int, ...]
    counts: NDArray[np.int64]
    rate_cps: Floats  # sum of the pixels' weighted rates in the bin
    rate_error_cps: Floats
    without_wavelength: int

    @property
    def density_cps_per_nm(self) -> Floats:
        """Rate by wavelength."""
        density: Floats = self.rate_cps / np.diff(self.bins.edges_nm)
        return density


def spectrum(
    table: CalibratedTable, pixels: list[int], start_us: int, stop_us: int, bins: WavelengthBins, *, dead_time: bool = True
) -> Spectrum:
    """Spectrum of ``pixels`` in a half-open window of time (since the start of the table).

    A rate is NaN when one of the pixels did not count at all.  Raises :class:`MissingCalibration` without a wavelength solution.
    """
    if table.calibrations.wavelength is None:
        raise MissingCalibration("a spectrum needs a wavelength solution, and the table is read without one (nightcrew mkid apply)")
    binner = Binner(bins.edges_nm)
    counts, sums, without = np.zeros(bins.n, dtype=np.int64), np.zeros((2, bins.n)), 0
    dead_s = table.dead_time_us * 1e-6 if dead_time and table.calibrations.linearity_step_s is None else 0.0
    edges_us = np.array([start_us, stop_us])
    for pixel in pixels:
        photons = photons_of(table, pixel, start_us, stop_us)
        live_s = float(exposure_of(edges_us, bad_stretches(table, pixel))[0]) - dead_s * len(photons)
        place = binner(photons.wavelength_nm)
        inside = place != OUTSIDE
        without += int((~inside).sum())
        weight = photons.weight[inside].astype(np.float64)
        counts += np.bincount(place[inside], minlength=bins.n)
        seen = live_s if live_s > 0 else np.nan
        sums[0] += np.bincount(place[inside], weight, minlength=bins.n) / seen
        sums[1] += np.bincount(place[inside], weight**2, minlength=bins.n) / seen**2
    return Spectrum(
        bins=bins, pixels=tuple(pixels), counts=counts, rate_cps=sums[0], rate_error_cps=np.sqrt(sums[1]), without_wavelength=without
    )
