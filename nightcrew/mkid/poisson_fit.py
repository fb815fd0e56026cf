"""Maximum likelihood fits of many histograms at once, for counts that are Poisson distributed.

Minimises sum(mu - n ln mu) over the bins of each histogram by Fisher scoring with Levenberg's damping, inside bounds.  A parameter
that stands at a bound and is pushed outwards is held there.  With Fisher's matrix F = sum(dmu dmu' / mu) the covariance is its
inverse (Cash 1979, ApJ 228, 939, doi:10.1086/156922).  Everything is an array over the histograms: a step costs a few array
operations for hundreds of fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

Model = Callable[[Floats, NDArray[np.intp]], tuple[Floats, Floats]]
"""(parameters [fit, parameter], which of the histograms) -> expected counts [fit, bin] and their derivatives [fit, parameter, bin]."""

_LEAST_MU = 1e-9
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-7, 1e8
_LEAST_FISHER, _LEAST_EIGENVALUE = 1e-9, 1e-9  # below: the counts say nothing about it
_SMALL_GAIN = 1e-3  # of the logarithm of the likelihood, far below the 0.5 of one sigma


@dataclass(frozen=True)
class Fitted:
    """Fits in the order of the histograms."""

    parameters: Floats  # [fit, parameter]
    covariance: Floats  # [fit, parameter, parameter]; 0 for a parameter at its bound
    minus_log_likelihood: Floats  # [fit], up to a term of the data alone
    converged: Flags  # [fit]
    at_bound: Flags  # [fit, parameter]


@dataclass
class _Point:
    """Where the fits stand."""

    value: Floats
    gradient: Floats
    fisher: Floats

    def take(self, better: Flags, other: _Point) -> None:
        for name in ("value", "gradient", "fisher"):
            getattr(self, name)[better] = getattr(other, name)[better]

    def of(self, which: NDArray[np.intp]) -> _Point:
        return _Point(self.value[which], self.gradient[which], self.fisher[which])


def fit(model: Model, counts: Floats, valid: Flags, start: Floats, low: Floats, high: Floats, *, most_steps: int = 60) -> Fitted:
    """Fit ``model`` to ``counts`` [fit, bin], where ``valid``; parameters and bounds are [fit, parameter]."""
    n_fits = counts.shape[0]
    parameters = np.clip(start, low, high)
    point = _look(model, parameters, np.arange(n_fits), counts, valid)
    damping = np.full(n_fits, _FIRST_DAMPING)
    converged = np.zeros(n_fits, dtype=np.bool_)
    going = np.arange(n_fits)
    for _ in range(most_steps):
        if not going.size:
            break
        here = point.of(going)
        trial = _step(parameters[going], here, damping[going], low[going], high[going])
        there = _look(model, trial, going, counts[going], valid[going])
        gain = here.value - there.value
        better = gain > 0
        parameters[going[better]] = trial[better]
        here.take(better, there)
        _put(point, going, here)
        damping[going] = np.clip(np.where(better, damping[going] / 8, damping[going] * 6), _LEAST_DAMPING, _MOST_DAMPING)
        small = np.abs(gain) < _SMALL_GAIN
        done = (small & (better | (damping[going] > 1e3))) | (small & (_moved(parameters[going], trial) < 1e-7))
        converged[going[done]] = True
        going = going[~done & (damping[going] < _MOST_DAMPING)]
    held = _held(parameters, point.gradient, low, high)
    return Fitted(parameters, _covariance(point.fisher, held), point.value, converged, held)


def _put(point: _Point, where: NDArray[np.intp], values: _Point) -> None:
    for name in ("value", "gradient", "fisher"):
        getattr(point, name)[where] = getattr(values, name)


def _moved(before: Floats, after: Floats) -> Floats:
    moved: Floats = np.max(np.abs(after - before) / (np.abs(before) + 1e-6), axis=1)
    return moved


def _look(model: Model, parameters: Floats, which: NDArray[np.intp], counts: Floats, valid: Flags) -> _Point:
    mu, slopes = model(parameters, which)
    np.maximum(mu, _LEAST_MU, out=mu)
    value = np.sum(np.where(valid, mu - counts * np.log(mu), 0.0), axis=1)
    inverse = valid / mu
    gradient = np.matmul(slopes, (valid - counts * inverse)[:, :, None])[:, :, 0]
    fisher = np.matmul(slopes * inverse[:, None, :], slopes.transpose(0, 2, 1))
    return _Point(np.where(np.isfinite(value), value, np.inf), gradient, fisher)


def _held(parameters: Floats, gradient: Floats, low: Floats, high: Floats) -> Flags:
    held: Flags = ((parameters <= low) & (gradient >= 0)) | ((parameters >= high) & (gradient <= 0))
    return held


def _step(parameters: Floats, here: _Point, damping: Floats, low: Floats, high: Floats) -> Floats:
    held = _held(parameters, here.gradient, low, high)
    matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, here.fisher)
    size = matrix.shape[1]
    diagonal = matrix[:, range(size), range(size)]
    matrix[:, range(size), range(size)] = np.where(held, 1.0, diagonal * (1 + damping[:, None]) + 1e-12)
    step = np.linalg.solve(matrix, np.where(held, 0.0, -here.gradient)[:, :, None])[:, :, 0]
    return np.clip(parameters + step, low, high)


def _covariance(fisher: Floats, held: Flags) -> Floats:
    """Inverse of Fisher's matrix over the free parameters that the counts depend on; NaN where a number is not finite."""
    size = fisher.shape[1]
    idle: Flags = held | (fisher[:, range(size), range(size)] < _LEAST_FISHER)
    off: Flags = idle[:, :, None] | idle[:, None, :]
    matrix = np.where(off, 0.0, fisher)
    broken = np.logical_not(np.isfinite(matrix).all(axis=(1, 2)))
    matrix[broken] = 0.0
    scale = np.sqrt(np.where(idle | broken[:, None], 1.0, matrix[:, range(size), range(size)]))
    matrix /= scale[:, :, None] * scale[:, None, :]
    matrix[:, range(size), range(size)] = 1.0
    values, vectors = np.linalg.eigh(matrix)
    inverse = np.where(values > _LEAST_EIGENVALUE, 1 / np.maximum(values, _LEAST_EIGENVALUE), 0.0)
    covariance = np.matmul(vectors * inverse[:, None, :], vectors.transpose(0, 2, 1)) / (scale[:, :, None] * scale[:, None, :])
    covariance[broken] = np.nan
    return np.where(off, 0.0, covariance)
