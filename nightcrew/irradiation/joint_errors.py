"""Covariance of what the joint fit is made of: noise of frames, hits in the beam, doses that are wrong by themselves or together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.observations import TOLD, Observations

F8 = NDArray[np.float64]
SHARED = 0.5  # of the variance of a nominal dose: all groups of its folder share that, the rest is where in its step each was taken


@dataclass(frozen=True, eq=False)
class Whitened:
    """Levels first, then variances; ``factor`` [row, row] times a vector of both has unit covariance."""

    factor: F8
    good: NDArray[np.bool_]


def variance_model(data: Observations, theta: F8) -> F8:
    """Temporal variance of a pixel in each group by the model, ADU^2."""
    d, r, t = data.dose_krad, data.rate_krad_per_s, data.exposure_s
    return np.asarray(theta[5] + theta[7] * (theta[2] + theta[3] * d) * t + theta[6] * r * t)


def _by_dose(data: Observations, theta: F8) -> tuple[F8, F8]:
    """Change of each group's level and variance when its dose is one standard error more."""
    found = np.nan_to_num(theta)
    level = (found[1] + found[3] * data.exposure_s) * data.dose_error_krad
    return level, found[7] * found[3] * data.exposure_s * data.dose_error_krad


def _steps(data: Observations) -> NDArray[np.int64]:
    return np.full(len(data.dose_krad), TOLD, dtype=np.int64) if data.nominal_step is None else data.nominal_step


def whiten(data: Observations, theta: F8) -> Whitened:
    """Inverse roots of the covariance: 2 x 2 blocks of the groups, and what doses of one folder have in common.

    Errors of the doses count through the slopes: those of a log in each group by itself, ``SHARED`` of a nominal dose's in all groups of
    its folder alike.
    """
    n, place, steps = len(data.dose_krad), np.arange(len(data.dose_krad)), _steps(data)
    of_level, of_variance = _by_dose(data, theta)
    own = np.where(steps == TOLD, 1.0, 1 - SHARED)
    a = np.sqrt(data.signal_error_adu**2 + own * of_level**2)
    b = np.sqrt(data.variance_error_adu2**2 + own * of_variance**2)
    cross = data.covariance_adu3 + own * of_level * of_variance
    has_variance = np.isfinite(data.variance_adu2) & np.isfinite(b) & (b > 0)
    factor = np.zeros((2 * n, 2 * n))
    a = np.where(a > 0, a, np.nan)  # a level without an error says nothing of how well it is known: it is left out
    factor[place, place] = np.nan_to_num(1 / a)
    both = has_variance & np.isfinite(a)
    rho = np.where(both, np.clip(np.nan_to_num(cross) / (np.where(both, a, 1) * np.where(both, b, 1)), -0.95, 0.95), 0.0)
    rest = np.sqrt(1 - rho**2)
    safe = np.where(has_variance, b, 1.0)
    factor[n + place, place] = np.where(both, -rho / (rest * np.where(both, a, 1)), 0)
    factor[n + place, n + place] = np.where(has_variance, 1 / (rest * safe), 0)
    good = np.concatenate([np.isfinite(data.signal_adu) & np.isfinite(a) & (a > 0), has_variance])
    return Whitened(_with_common(factor, np.concatenate([of_level, of_variance]), np.tile(steps, 2), good), good)


def _with_common(factor: F8, by_dose: F8, steps: NDArray[np.int64], good: NDArray[np.bool_]) -> F8:
    """``factor`` of blocks, made that of blocks + sum over folders of u u^T, u the ``by_dose`` of its groups: (1 + V V^T)^(-1/2)."""
    labels = np.unique(steps[steps != TOLD])
    if not labels.size:
        return factor
    u = np.where((steps[:, None] == labels) & good[:, None], by_dose[:, None] * np.sqrt(SHARED), 0.0)
    left, s, _ = np.linalg.svd(factor @ u, full_matrices=False)
    return np.asarray(factor - (left * (1 - 1 / np.sqrt(1 + s**2))) @ (left.T @ factor))


def dose_shift(data: Observations, theta: F8) -> F8:
    """Change of all levels, then variances, when every nominal dose is one standard error more (frames at the end of every step)."""
    nominal = np.tile(_steps(data) != TOLD, 2)
    return np.where(nominal, np.concatenate(_by_dose(data, theta)), 0.0)


def with_model_errors(data: Observations, theta: F8) -> Observations:
    """Errors of the groups in the beam as the model has them (see :class:`NoiseShape`); the others keep their own."""
    shape = data.shape
    if shape is None:
        return data
    weight, hits = shape.frames * shape.pixels, data.rate_krad_per_s * data.exposure_s
    k, dark = theta[7], (theta[2] + theta[3] * data.dose_krad) * data.exposure_s
    beam = (hits > 0) & (shape.frames > 1)
    known = beam & np.isfinite(shape.third_adu3) & np.isfinite(shape.fourth_adu4)
    if not known.any():
        return data
    total = float(np.sum((weight * hits)[known]))
    third = float(np.sum((weight * (shape.third_adu3 - dark * k**2))[known])) / total
    fourth = float(np.sum((weight * (shape.fourth_adu4 - dark * k**3))[known])) / total
    variance = np.maximum(variance_model(data, theta), 1e-9)
    kappa3, kappa4 = dark * k**2 + third * hits, np.maximum(dark * k**3 + fourth * hits, 0.0)
    of_variance = (kappa4 / shape.frames + 2 * variance**2 / np.maximum(shape.frames - 1, 1)) / shape.pixels
    return replace(
        data,
        signal_error_adu=np.where(beam, np.hypot(shape.drift_adu, np.sqrt(variance / weight)), data.signal_error_adu),
        variance_error_adu2=np.where(beam, np.sqrt(of_variance), data.variance_error_adu2),
        covariance_adu3=np.where(beam, kappa3 / weight, data.covariance_adu3),
    )
