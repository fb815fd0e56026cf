"""A polynomial in wavelength through the weights of every pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_MOST_TILT = 4.0  # of a sensitivity about the pixel's mean
_PLACES = 33  # of a pixel's range at which its polynomial is looked at


@dataclass(frozen=True)
class FlatPolynomials:
    """Coefficients of powers of t = (wavelength - middle) / half of ``range_nm``; NaN for bad pixels."""

    coefficients: Floats  # [y, x, degree + 1]
    covariance: Floats  # [y, x, degree + 1, degree + 1]
    range_nm: Floats  # [2]
    bad: Flags  # [y, x]: no more weights than the polynomial has coefficients less one, or a polynomial that is not above 0


def fit_polynomials(centres_nm: Floats, weights: Floats, errors: Floats, good: Flags, sensitivity: Floats, degree: int) -> FlatPolynomials:
    """Least squares of ``weights`` [bin, y, x] with standard deviations ``errors`` where ``good``.

    The error of a weight depends on the counts that made it, so a bin that is high by chance would count more.  The fit takes the errors
    that the pixel's mean sensitivity lets expect instead, and once more those that the polynomial does.
    """
    bins, rows, columns = weights.shape
    used = good.any(axis=(1, 2))
    low, high = (centres_nm[used].min(), centres_nm[used].max()) if used.any() else (centres_nm[0], centres_nm[-1])
    t = np.clip((centres_nm - (low + high) / 2) / max((high - low) / 2, 1e-9), -1, 1)
    powers = np.stack([t**power for power in range(degree + 1)], axis=-1)
    flat_good = good.reshape(bins, -1)
    value = np.where(flat_good, weights.reshape(bins, -1), 0.0)
    noise, level = _noise_and_level(errors, good, sensitivity)
    coefficients, covariance, bad = _solved(powers, value, _inverse(noise, level, flat_good), degree)
    with np.errstate(invalid="ignore", divide="ignore"):
        fitted = 1 / (powers @ coefficients.T)  # [bin, pixel]: what the first fit says of the sensitivity
        level = np.where(np.isfinite(fitted) & (fitted > 0), np.clip(fitted, level / _MOST_TILT, level * _MOST_TILT), level)
    coefficients, covariance, bad = _solved(powers, value, _inverse(noise, level, flat_good), degree)
    shape = (rows, columns, degree + 1)
    return FlatPolynomials(
        coefficients.reshape(shape), covariance.reshape(*shape, degree + 1), np.array([low, high]), bad.reshape(rows, columns)
    )


def without_negative(polynomials: FlatPolynomials, own_nm: Floats) -> FlatPolynomials:
    """The same with pixels bad whose polynomial is not above 0 everywhere between ``own_nm`` [y, x, 2]: a weight of 0 hides photons."""
    low, high = polynomials.range_nm
    ends = np.clip((own_nm - (low + high) / 2) / max((high - low) / 2, 1e-9), -1, 1)
    bad = polynomials.bad.copy()
    coefficients, covariance = polynomials.coefficients.copy(), polynomials.covariance.copy()
    for part in np.linspace(0, 1, _PLACES):
        t = ends[..., 0] + part * (ends[..., 1] - ends[..., 0])
        value = np.zeros_like(t)
        for power in range(coefficients.shape[-1] - 1, -1, -1):
            value = value * t + polynomials.coefficients[..., power]
        bad |= ~(value > 0)
    coefficients[bad], covariance[bad] = np.nan, np.nan
    return replace(polynomials, coefficients=coefficients, covariance=covariance, bad=bad)


def _solved(powers: Floats, value: Floats, inverse: Floats, degree: int) -> tuple[Floats, Floats, Flags]:
    """Coefficients [pixel, power], their covariance, and pixels with no more weights than the polynomial has coefficients less one."""
    matrix = np.einsum("bi,bp,bj->pij", powers, inverse, powers)
    side = np.einsum("bi,bp,bp->pi", powers, inverse, value)
    bad = (inverse > 0).sum(axis=0) <= degree
    matrix[bad] = np.eye(degree + 1)
    coefficients = np.linalg.solve(matrix, side[:, :, None])[:, :, 0]
    covariance = np.linalg.inv(matrix)
    coefficients[bad], covariance[bad] = np.nan, np.nan
    return coefficients, covariance, bad


def _noise_and_level(errors: Floats, good: Flags, sensitivity: Floats) -> tuple[Floats, Floats]:
    """Error of a weight 1 in each bin, over the array [bin, 1]; mean sensitivity of each pixel [1, pixel]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(good, errors * sensitivity**1.5, np.nan)  # error = 1 / s^1.5 / sqrt(counts of the median pixel)
        number = np.maximum(np.isfinite(scaled).sum(axis=(1, 2)), 1)
        of_bin = np.where(np.isfinite(scaled), scaled, 0.0).sum(axis=(1, 2)) / number
    count = np.maximum((good & np.isfinite(sensitivity)).sum(axis=0), 1)
    mean = np.where(good & np.isfinite(sensitivity), sensitivity, 0.0).sum(axis=0) / count
    return of_bin[:, None], np.where(mean > 0, mean, np.nan).reshape(1, -1)


def _inverse(noise: Floats, level: Floats, good: Flags) -> Floats:
    """Inverse variances [bin, pixel] of weights of pixels with these sensitivities; 0 where there is no weight."""
    error = noise / level**1.5
    return np.where(good & np.isfinite(error) & (error > 0), 1 / np.where(error > 0, error, 1.0) ** 2, 0.0)
