"""Radial profiles of sources and the fit ``M(r) = A exp(-r^2 / 2 sigma^2) + G`` that gives the sky ``G``.

The README's ``M(r; mu, sigma, A, G) = A f(r; mu, sigma) + G`` with ``mu`` fixed at 0: radii are distances from the sub-pixel
centroid, the profile is the half that exists (r >= 0, not mirrored), a bin's abscissa is the mean radius of its pixels, and
bins weigh by their standard errors.  (A mirrored profile with truncated integer radii about a rounded centre puts ``G`` too
low, the more so the brighter the star.)  All sources are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

MODEL_ERROR = 0.03
"""Relative error granted to the model A f(r): no star is a perfect Gaussian averaged over a bin."""
MIN_BINS = 6
ITERATIONS = 25
CHUNK = 256


@dataclass(frozen=True, slots=True)
class Profiles:
    """Radial profiles, arrays [source, bin] (bins of 1 px width from the centroid out to the half length L).

    ``radius_px`` mean radius of a bin's pixels, ``value`` their mean, ``error`` its standard error, ``count`` their number
    (0: an empty bin, whose other entries are 0).  ``clipped`` [source]: the sub-frame was cut at the frame's edge.
    """

    radius_px: Double
    value: Double
    error: Double
    count: Double
    clipped: Bool


@dataclass(frozen=True, slots=True)
class ProfileFits:
    """Per source: amplitude A, sigma (px), sky G with its error, R^2, reduced chi^2; ``converged`` False where they mean nothing."""

    amplitude: Double
    sigma_px: Double
    sky: Double
    sky_error: Double
    r_squared: Double
    reduced_chi_squared: Double
    converged: Bool


def radial_profiles(
    image: NDArray[np.float32],
    uncertainty: NDArray[np.float32] | None,
    x: Double,
    y: Double,
    half_length_px: int,
    *,
    exclude: Bool,
    segmentation: NDArray[np.int32],
    label: NDArray[np.int32],
) -> Profiles:
    """Profiles of ``image`` ``[y, x]`` within the 2L x 2L sub-frames of the sources, out to radius L.

    Left out: pixels in ``exclude`` and those that ``segmentation`` gives to another source than ``label``.  A sub-frame at the
    frame's edge is cut there.  The error is the larger of that from ``uncertainty`` and that from the scatter within the bin.
    """
    parts = [
        _profiles_chunk(image, uncertainty, x[i : i + CHUNK], y[i : i + CHUNK], half_length_px, exclude, segmentation, label[i : i + CHUNK])
        for i in range(0, x.size, CHUNK)
    ]
    if not parts:
        none = np.empty((0, half_length_px))
        return Profiles(none, none, none, none, np.empty(0, np.bool_))
    return Profiles(*(np.concatenate([getattr(part, name) for part in parts]) for name in Profiles.__slots__))


def _profiles_chunk(
    image: NDArray[np.float32], uncertainty: Any, x: Double, y: Double, half: int, exclude: Bool, segmentation: Any, label: Any
) -> Profiles:
    ny, nx = image.shape
    offset = np.arange(-half, half + 1)
    xi, yi = np.rint(x).astype(np.intp)[:, None] + offset, np.rint(y).astype(np.intp)[:, None] + offset
    inside_x, inside_y = (xi >= 0) & (xi < nx), (yi >= 0) & (yi < ny)
    clipped = ~(inside_x.all(axis=1) & inside_y.all(axis=1))
    flat = np.clip(yi, 0, ny - 1)[:, :, None] * nx + np.clip(xi, 0, nx - 1)[:, None, :]
    radius = np.sqrt(((yi - y[:, None]) ** 2)[:, :, None] + ((xi - x[:, None]) ** 2)[:, None, :])
    use = inside_y[:, :, None] & inside_x[:, None, :] & (radius < half)
    source, row, column = np.nonzero(use)
    flat, radius = flat[source, row, column], radius[source, row, column]
    owner = segmentation.reshape(-1)[flat]
    keep = ~exclude.reshape(-1)[flat] & ((owner == 0) | (owner == label[source]))
    flat, radius, source = flat[keep], radius[keep], source[keep]
    bins = source * half + radius.astype(np.intp)
    return _binned(image, uncertainty, flat, radius, bins, (x.size, half), clipped)


def _binned(
    image: NDArray[np.float32], uncertainty: Any, flat: Any, radius: Any, bins: Any, shape: tuple[int, int], clipped: Bool
) -> Profiles:
    size = shape[0] * shape[1]
    value = image.reshape(-1)[flat].astype(np.float64)
    count = np.bincount(bins, minlength=size).astype(np.float64)
    least = np.maximum(count, 1.0)
    mean = np.bincount(bins, value, size) / least
    residual = value - mean[bins]
    variance = np.bincount(bins, residual * residual, size) / np.maximum(count - 1.0, 1.0) / least
    if uncertainty is not None:
        formal = np.bincount(bins, uncertainty.reshape(-1)[flat].astype(np.float64) ** 2, size) / least**2
        variance = np.maximum(variance, formal)
    mean_radius = np.bincount(bins, radius, size) / least
    return Profiles(mean_radius.reshape(shape), mean.reshape(shape), np.sqrt(variance).reshape(shape), count.reshape(shape), clipped)


def fit_profiles(profiles: Profiles, guess_sigma_px: float) -> ProfileFits:
    """Least squares of ``A exp(-r^2 / 2 sigma^2) + G`` to every profile, weighted by the bins' errors and 3 % of the model.

    For a given sigma, A and G follow linearly; sigma is found by damped Gauss-Newton steps (Levenberg-Marquardt) on all
    sources together.  ``R^2 = 1 - sum(res^2) / sum((d - mean d)^2)`` over the bins, unweighted.
    """
    n = profiles.value.shape[0]
    if n == 0:
        none = np.empty(0)
        return ProfileFits(none, none, none, none, none, none, np.empty(0, np.bool_))
    filled = (profiles.count > 0) & (profiles.error > 0)
    enough = filled.sum(axis=1) >= MIN_BINS
    error = np.where(filled, profiles.error, 1.0)
    height = np.maximum(profiles.value.max(axis=1, where=filled, initial=-np.inf) - _outer_level(profiles, filled), 0.0)
    height = np.where(np.isfinite(height), height, 0.0)
    shape = np.exp(-0.5 * (profiles.radius_px / guess_sigma_px) ** 2)
    weight = np.where(filled, 1.0 / (error**2 + (MODEL_ERROR * height[:, None] * shape) ** 2), 0.0)
    weight[~enough] = 1.0
    state = _levenberg_marquardt(profiles.radius_px, profiles.value, weight, np.full(n, guess_sigma_px))
    amplitude, sigma, sky, chi2, sky_error, converged = state
    n_used = filled.sum(axis=1)
    reduced = chi2 / np.maximum(n_used - 3, 1)
    model = amplitude[:, None] * np.exp(-0.5 * (profiles.radius_px / sigma[:, None]) ** 2) + sky[:, None]
    r_squared, varies = _r_squared(profiles.value, model, filled)
    return ProfileFits(amplitude, sigma, sky, sky_error, r_squared, reduced, converged & enough & varies)


def _r_squared(value: Double, model: Double, filled: Bool) -> tuple[Double, Bool]:
    """R^2 of each source over its filled bins (0 for a profile without any variation), and whether there is variation."""
    mean = np.where(filled, value, 0.0).sum(axis=1) / np.maximum(filled.sum(axis=1), 1)
    total = np.where(filled, (value - mean[:, None]) ** 2, 0.0).sum(axis=1)
    residual = np.where(filled, (value - model) ** 2, 0.0).sum(axis=1)
    varies = total > 0
    return np.where(varies, 1.0 - residual / np.where(varies, total, 1.0), 0.0), varies


def _outer_level(profiles: Profiles, filled: Bool) -> Double:
    """Mean of the outer third of each profile."""
    n_bins = profiles.value.shape[1]
    outer = filled & (np.arange(n_bins) >= 2 * n_bins // 3)
    return np.asarray((profiles.value * outer).sum(axis=1) / np.maximum(outer.sum(axis=1), 1))


def _linear(radius: Double, value: Double, weight: Double, sigma: Double) -> tuple[Double, Double, Double, Double]:
    """Best A and G for given sigma, the model's shape f and chi^2."""
    f = np.exp(-0.5 * (radius / sigma[:, None]) ** 2)
    s, sf, sff = weight.sum(axis=1), (weight * f).sum(axis=1), (weight * f * f).sum(axis=1)
    sv, sfv = (weight * value).sum(axis=1), (weight * f * value).sum(axis=1)
    determinant = s * sff - sf * sf
    determinant = np.where(np.abs(determinant) > 1e-12 * s * sff, determinant, np.inf)
    amplitude = (s * sfv - sf * sv) / determinant
    sky = (sv - amplitude * sf) / s
    residual = value - amplitude[:, None] * f - sky[:, None]
    return amplitude, sky, f, (weight * residual * residual).sum(axis=1)


def _levenberg_marquardt(
    radius: Double, value: Double, weight: Double, sigma: Double
) -> tuple[Double, Double, Double, Double, Double, Bool]:
    """Variable projection: steps in ln(sigma) alone, A and G solved exactly each time."""
    damping = np.full(sigma.size, 1e-2)
    amplitude, sky, f, chi2 = _linear(radius, value, weight, sigma)
    settled = np.zeros(sigma.size, np.bool_)
    for _ in range(ITERATIONS):
        step = _log_sigma_step(radius, value, weight, sigma, amplitude, sky, f, damping)
        trial = sigma * np.exp(np.clip(step, -0.5, 0.5))
        new = _linear(radius, value, weight, trial)
        better = new[3] <= chi2
        settled |= np.abs(step) < 1e-4
        damping = np.where(better, damping * 0.2, damping * 10.0)
        sigma = np.where(better, trial, sigma)
        amplitude, sky, chi2 = (np.where(better, a, b) for a, b in ((new[0], amplitude), (new[1], sky), (new[3], chi2)))
        f = np.where(better[:, None], new[2], f)
        if settled.all():
            break
    return amplitude, sigma, sky, chi2, _sky_errors(radius, weight, sigma, amplitude, f), settled & (amplitude > 0)


def _log_sigma_step(
    radius: Double, value: Double, weight: Double, sigma: Double, amplitude: Double, sky: Double, f: Double, damping: Double
) -> Double:
    residual = value - amplitude[:, None] * f - sky[:, None]
    slope = amplitude[:, None] * f * (radius / sigma[:, None]) ** 2
    gradient = (weight * slope * residual).sum(axis=1)
    curvature = np.linalg.inv(_normal_matrix(f, slope, weight))[:, 2, 2]
    return np.asarray(gradient * curvature / (1.0 + damping))


def _normal_matrix(f: Double, slope: Double, weight: Double) -> Double:
    """Normal matrices [source, 3, 3] of (A, G, ln sigma), kept invertible where the data say nothing."""
    columns = np.stack([f, np.ones_like(f), slope], axis=1)
    matrix = np.einsum("niv,njv,nv->nij", columns, columns, weight, optimize=True)
    diagonal = np.einsum("nii->ni", matrix)
    tiny = 1e-9 * np.maximum(diagonal, 1e-30)
    return np.asarray(matrix + tiny[:, :, None] * np.eye(3) + 1e-30 * np.eye(3))


def _sky_errors(radius: Double, weight: Double, sigma: Double, amplitude: Double, f: Double) -> Double:
    slope = amplitude[:, None] * f * (radius / sigma[:, None]) ** 2
    return np.asarray(np.sqrt(np.maximum(np.linalg.inv(_normal_matrix(f, slope, weight))[:, 1, 1], 0.0)))
