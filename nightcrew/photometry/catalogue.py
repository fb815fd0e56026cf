"""The catalogue of an image: one astropy Table with units, descriptions and masked values, ready to be written as ECSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.aperture import pixels_within
from nightcrew.photometry.flags import DESCRIPTIONS
from nightcrew.photometry.magnitudes import instrumental_magnitude
from nightcrew.photometry.shape import Shapes
from nightcrew.photometry.sky import Sky

Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything measured of the sources of one image, before it becomes a table; sums and sky in ``unit`` per exposure."""

    x: Double
    y: Double
    total: Double
    error: Double
    area_px: Double
    sky: Sky
    shapes: Shapes
    peak: Double
    flags: NDArray[np.int32]
    radius_px: float
    exposure_s: float | None
    gain_e_per_adu: float | None
    unit: str

    @classmethod
    def empty(cls, unit: str, exposure_s: float | None, gain_e_per_adu: float | None) -> Measured:
        """No sources at all."""
        none, nothing = np.empty(0), np.empty(0, np.int32)
        shapes = Shapes(none, none, none, np.empty(0, np.bool_))
        sky = Sky(none, none, nothing)
        return cls(none, none, none, none, none, sky, shapes, none, nothing, 0.0, exposure_s, gain_e_per_adu, unit)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    values: Any
    unit: str
    format: str
    description: str


def build_catalogue(measured: Measured, wcs: Any = None) -> Any:
    """Table of ``measured``, the brightest first (ties by y, then x), numbered from 1.

    Values that could not be determined are masked (empty in ECSV), never NaN.  The meaning of the bits of ``flags`` is in
    ``meta["flags"]``.  With a celestial ``wcs`` the columns ``ra_deg`` and ``dec_deg`` are added.
    """
    from astropy.table import MaskedColumn, Table

    order = np.lexsort((measured.x, measured.y, -measured.total))
    table = Table(masked=True)
    for column in _columns(measured, wcs):
        values = np.ma.asarray(column.values)
        values = values if column.name == "id" else values[order]
        if values.dtype.kind == "f":
            values = np.ma.masked_invalid(values)
            values = np.ma.array(rounded(values.filled(0.0), column.format), mask=np.ma.getmaskarray(values))
        filled = np.ma.array(values.filled(0), mask=np.ma.getmaskarray(values))
        table[column.name] = MaskedColumn(filled, unit=column.unit or None, format=column.format, description=column.description)
    table.meta["radius_px"] = float(f"{measured.radius_px:.6g}")
    table.meta["exposure_s"] = measured.exposure_s
    table.meta["gain_e_per_adu"] = measured.gain_e_per_adu
    table.meta["pixels_within_radius"] = pixels_within(measured.radius_px) if measured.radius_px > 0 else 0
    table.meta["flags"] = {flag.name: f"{int(flag)}: {text}" for flag, text in DESCRIPTIONS.items()}
    return table


def rounded(values: Double, column_format: str) -> Double:
    """``values`` rounded as ``column_format`` (``%.4f``, ``%.7g``) prints them: ECSV writes doubles in full otherwise."""
    digits, kind = int(column_format[2:-1]), column_format[-1]
    if kind == "f":
        return np.round(values, digits) + 0.0
    values = np.where(np.abs(values) < 1e-250, 0.0, values)
    exponent = np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values))))
    decimals = digits - 1 - exponent
    up, down = 10.0 ** np.maximum(decimals, 0), 10.0 ** np.maximum(-decimals, 0)
    return np.asarray(np.rint(values * up / down) * down / up + 0.0)


def _columns(m: Measured, wcs: Any) -> list[_Column]:
    columns = [
        _Column("id", np.arange(1, m.x.size + 1), "", "%d", "number in this catalogue, the brightest is 1"),
        _Column("x_px", m.x, "pix", "%.4f", "column of the centre, 0 is the centre of the first pixel"),
        _Column("y_px", m.y, "pix", "%.4f", "row of the centre, 0 is the centre of the first pixel"),
    ]
    if wcs is not None and getattr(wcs, "has_celestial", False):
        columns += _sky_positions(m, wcs)
    columns += _magnitudes(m)
    columns += [
        _Column("sum", m.total, m.unit, "%.7g", "aperture sum above the sky"),
        _Column("sum_error", m.error, m.unit, "%.5g", "1-sigma error of sum"),
        _Column("snr", m.total / np.where(m.error > 0, m.error, np.nan), "", "%.3f", "sum / sum_error"),
        _Column("sky", m.sky.level, f"{m.unit} / pix", "%.7g", "sky taken off each pixel"),
        _Column("sky_error", m.sky.error, f"{m.unit} / pix", "%.4g", "1-sigma error of sky"),
        _Column("area_px", m.area_px, "pix2", "%.3f", "area of the aperture on the frame"),
        _Column("peak", m.peak, m.unit, "%.6g", "highest pixel within 1 px of the centre, above the background"),
        _Column("fwhm_px", m.shapes.fwhm_px, "pix", "%.4f", "full width at half maximum, geometric mean of both axes"),
        _Column("ellipticity", m.shapes.ellipticity, "", "%.4f", "1 - short axis / long axis"),
        _Column("theta_deg", m.shapes.theta_deg, "deg", "%.2f", "long axis from +x towards +y"),
    ]
    columns += _fits(m)
    columns.append(_Column("flags", m.flags, "", "%d", "bits, see the flags of this table's meta data; 0 is good"))
    return columns


def _magnitudes(m: Measured) -> list[_Column]:
    """Magnitudes from e-/s, ADU/s and ADU/s per pixel; the first and the others are masked where the gain is unknown."""
    gain = m.gain_e_per_adu
    nothing = np.full(m.x.size, np.nan)
    electrons = m.total if m.unit == "electron" else (m.total * gain if gain else nothing)
    adu = m.total if m.unit == "adu" else (m.total / gain if gain else nothing)
    relative = m.error / np.where(m.total > 0, m.total, np.nan)
    magnitude, error = instrumental_magnitude(electrons, np.abs(relative * electrons), m.exposure_s)
    adu_magnitude, adu_error = instrumental_magnitude(adu, np.abs(relative * adu), m.exposure_s)
    pixel_magnitude, _ = instrumental_magnitude(adu / max(pixels_within(m.radius_px), 1), np.abs(relative * adu), m.exposure_s)
    return [
        _Column("mag", magnitude, "mag", "%.5f", "-2.5 log10(sum / exposure) of electrons per second, no zero point"),
        _Column("mag_error", error if gain or m.unit == "electron" else adu_error, "mag", "%.5f", "1-sigma error of all three magnitudes"),
        _Column("mag_adu", adu_magnitude, "mag", "%.5f", "the same of ADU per second"),
        _Column("mag_adu_per_pixel", pixel_magnitude, "mag", "%.5f", "the same of ADU per second and aperture pixel (older programs)"),
    ]


def _fits(m: Measured) -> list[_Column]:
    """Columns of the radial fits, in the sky mode ``subframe`` only."""
    fits = m.sky.fits
    if fits is None:
        return []
    unknown = np.where(fits.converged, 1.0, np.nan)
    return [
        _Column("fit_amplitude", fits.amplitude * unknown, m.unit, "%.6g", "A of M(r) = A exp(-r^2 / 2 sigma^2) + G"),
        _Column("fit_sigma_px", fits.sigma_px * unknown, "pix", "%.4f", "sigma of M(r)"),
        _Column("fit_sky", fits.sky * unknown, f"{m.unit} / pix", "%.7g", "G of M(r)"),
        _Column("fit_r_squared", fits.r_squared * unknown, "", "%.5f", "R^2 of the fit over the bins of the profile"),
        _Column("fit_chi_squared", fits.reduced_chi_squared * unknown, "", "%.4g", "reduced chi^2 of the fit"),
    ]


def _sky_positions(m: Measured, wcs: Any) -> list[_Column]:
    ra, dec = (np.asarray(value) for value in wcs.celestial.all_pix2world(m.x, m.y, 0)) if m.x.size else (m.x, m.y)
    return [
        _Column("ra_deg", ra, "deg", "%.7f", "right ascension by the frame's WCS"),
        _Column("dec_deg", dec, "deg", "%.7f", "declination by the frame's WCS"),
    ]
