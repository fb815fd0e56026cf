"""Instrumental magnitudes: ``m = -2.5 log10(sum_{r<R} / t)``.

What cannot be measured is masked, never NaN: a source whose sum above the sky is not positive has no magnitude.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]

MAG_PER_RELATIVE_ERROR = 2.5 / math.log(10.0)


def instrumental_magnitude(total: Double, error: Double, exposure_s: float | None) -> tuple[Any, Any]:
    """Magnitudes and their errors (masked arrays) of sums ``total`` with 1-sigma ``error`` over ``exposure_s``.

    ``m = -2.5 log10(total / t)``, ``sigma_m = 1.0857 sigma / total``.  All masked without an exposure time above 0.
    """
    known = exposure_s is not None and math.isfinite(exposure_s) and exposure_s > 0
    valid = np.isfinite(total) & np.isfinite(error) & (total > 0) & known
    safe = np.where(valid, total, 1.0)
    magnitude = -2.5 * np.log10(safe / (exposure_s if known and exposure_s else 1.0))
    magnitude_error = MAG_PER_RELATIVE_ERROR * np.where(valid, error, 0.0) / safe
    return np.ma.MaskedArray(magnitude, mask=~valid), np.ma.MaskedArray(magnitude_error, mask=~valid)


def sum_error(aperture_error: Double, area_px: Double, sky_error: Double) -> Double:
    """1-sigma error of an aperture sum above the sky: pixels' noise and that of the sky value under ``area_px`` pixels."""
    return np.asarray(np.sqrt(aperture_error**2 + (area_px * sky_error) ** 2))


def limiting_magnitude(
    background_sigma: float, area_px: float, sky_error: float, exposure_s: float | None, n_sigma: float = 5.0
) -> float | None:
    """Instrumental magnitude (no zero point) of a source whose aperture sum is ``n_sigma`` times the noise of empty sky.

    ``background_sigma`` and ``sky_error`` per pixel, in the unit of the sums; ``None`` without exposure time or noise.
    """
    noise = math.hypot(background_sigma * math.sqrt(area_px), area_px * sky_error)
    if exposure_s is None or not (exposure_s > 0 and math.isfinite(noise) and noise > 0):
        return None
    return -2.5 * math.log10(n_sigma * noise / exposure_s)
