"""Maximum likelihood for many pixels at once: damped Newton steps within bounds, Gaussian priors, errors from the curvature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_GAIN = 1e-9  # of ln L that another step would still bring: then it has converged
_MOST_STEPS = 200
_WORST_DAMPING = 1e12
_NEXT_TO_BOUND = 0.01  # errors from a bound: as good as on it


@dataclass(frozen=True)
class Likelihood:
    """ln L [pixel], its gradient [pixel, k] and Hessian [pixel, k, k]."""

    value: Floats
    gradient: Floats
    hessian: Floats

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Likelihood:
        """Those of some pixels."""
        return Likelihood(self.value[which], self.gradient[which], self.hessian[which])

    def put(self, which: NDArray[np.intp], other: Likelihood) -> None:
        """Replace those of some pixels, in place."""
        self.value[which], self.gradient[which], self.hessian[which] = other.value, other.gradient, other.hessian


Evaluate = Callable[[Floats, NDArray[np.intp]], Likelihood]
"""Parameters [q, k] of the pixels whose numbers are the second argument [q] -> their likelihood."""


@dataclass(frozen=True)
class Prior:
    """Gaussian knowledge of parameters, each [pixel, k] or [k]; sigma is infinite where nothing is known."""

    mean: Floats
    sigma: Floats

    def added(self, evaluate: Evaluate) -> Evaluate:
        """The likelihood times the prior."""

        def both(parameters: Floats, which: NDArray[np.intp]) -> Likelihood:
            known = evaluate(parameters, which)
            weight = _rows(1 / self.sigma**2, which, parameters.shape)
            off = parameters - _rows(self.mean, which, parameters.shape)
            hessian = known.hessian.copy()
            places = np.arange(parameters.shape[1])
            hessian[:, places, places] -= weight
            return Likelihood(known.value - 0.5 * (weight * off**2).sum(axis=1), known.gradient - weight * off, hessian)

        return both


def _rows(values: Floats, which: NDArray[np.intp], shape: tuple[int, ...]) -> Floats:
    return np.broadcast_to(values[which] if values.ndim == 2 else values, shape)


@dataclass(frozen=True)
class Maximum:
    """Where the likelihood is greatest.

    ``errors`` are one sigma from the curvature over the parameters that are free there; NaN for one that is fixed or stands at a bound:
    :func:`nightcrew.mkid.rician_limits.profile_limits` has limits for it.
    """

    parameters: Floats  # [pixel, k]
    likelihood: Likelihood
    converged: Bools  # [pixel]
    at_bound: Bools  # [pixel, k], the likelihood would still grow beyond
    errors: Floats  # [pixel, k]
    covariance: Floats  # [pixel, k, k]; 0 where a parameter is not free


def maximise(evaluate: Evaluate, start: Floats, lower: Floats, upper: Floats, *, most_steps: int = _MOST_STEPS) -> Maximum:
    """Maximise from ``start`` [pixel, k] within ``lower`` <= parameters <= ``upper`` (each [k] or [pixel, k]; equal: fixed).

    A step is Newton's with the curvature made positive and damped (Levenberg-Marquardt), taken only where it makes ln L greater.
    """
    lower, upper = np.broadcast_to(lower, start.shape), np.broadcast_to(upper, start.shape)
    x = np.clip(start, lower, upper)
    every = np.arange(len(x))
    at = evaluate(x, every)
    damping, converged = np.full(len(x), 1e-3), np.zeros(len(x), dtype=np.bool_)
    stuck = ~np.isfinite(at.value)
    for _ in range(most_steps):
        todo = np.flatnonzero(~converged & ~stuck)
        if not todo.size:
            break
        here = at.chosen(todo)
        step, gain = _newton(here, x[todo], lower[todo], upper[todo], damping[todo])
        small = gain < _GAIN
        converged[todo[small]] = True
        todo, step = todo[~small], step[~small]
        if not todo.size:
            continue
        trial = np.clip(x[todo] + step, lower[todo], upper[todo])
        there = evaluate(trial, todo)
        better = np.isfinite(there.value) & (there.value > at.value[todo])
        x[todo[better]] = trial[better]
        at.put(todo[better], there.chosen(better))
        damping[todo] = np.where(better, damping[todo] * 0.1, np.maximum(damping[todo], 1e-6) * 10)
        stuck |= damping > _WORST_DAMPING  # no step gains: rounding is all that is left, or something is wrong
    converged |= stuck & np.isfinite(at.value) & (_rest(at, x, lower, upper) < 1e-6)
    return _described(x, at, converged, lower, upper)


def _held(gradient: Floats, x: Floats, lower: Floats, upper: Floats) -> Bools:
    """Parameters that a step would push out of their bounds."""
    held: Bools = ((x <= lower) & (gradient <= 0)) | ((x >= upper) & (gradient >= 0))
    return held


def _newton(at: Likelihood, x: Floats, lower: Floats, upper: Floats, damping: Floats) -> tuple[Floats, Floats]:
    """Step [pixel, k] and the gain of ln L that a quadratic would have from its undamped version."""
    free = ~_held(at.gradient, x, lower, upper)
    gradient = np.where(free, at.gradient, 0.0)
    scale = np.where(free, np.sqrt(np.maximum(np.abs(np.diagonal(at.hessian, axis1=1, axis2=2)), 1e-200)), 1.0)
    both = free[:, :, None] & free[:, None, :]
    curvature = np.where(both, -at.hessian, 0.0) / (scale[:, :, None] * scale[:, None, :])
    places = np.arange(x.shape[1])
    curvature[:, places, places] += ~free
    values, vectors = np.linalg.eigh(curvature)
    values = np.maximum(np.abs(values), 1e-10 * np.abs(values).max(axis=1, keepdims=True) + 1e-250)
    along = np.einsum("pij,pi->pj", vectors, gradient / scale)
    gain = 0.5 * (along**2 / values).sum(axis=1)
    damped = values + damping[:, None] * values.max(axis=1, keepdims=True)
    step: Floats = np.einsum("pij,pj->pi", vectors, along / damped) / scale
    return np.where(free, step, 0.0), gain


def _rest(at: Likelihood, x: Floats, lower: Floats, upper: Floats) -> Floats:
    return _newton(at, x, lower, upper, np.zeros(len(x)))[1]


def _described(x: Floats, at: Likelihood, converged: Bools, lower: Floats, upper: Floats) -> Maximum:
    near = 1e-7 * np.abs(x).sum(axis=1, keepdims=True)  # steps end there when the maximum lies a little beyond the bound
    variance = np.diagonal(curvature_covariance(at.hessian, ~_held(at.gradient, x, lower, upper)), axis1=1, axis2=2)
    near = np.maximum(near, _NEXT_TO_BOUND * np.sqrt(np.where(variance > 0, variance, 0.0)))  # ln L may be even about a bound
    x = np.where(x - lower < near, lower, x)
    held = _held(at.gradient, x, lower, upper) | (x <= lower) | (x >= upper)
    covariance = curvature_covariance(at.hessian, ~held)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    errors = np.sqrt(np.where(~held & (variance > 0), variance, np.nan))
    open_bound = held & (lower < upper)
    return Maximum(x, at, converged, open_bound, errors, covariance)


def curvature_covariance(hessian: Floats, free: Bools) -> Floats:
    """Inverse of -Hessian over the free parameters [pixel, k, k], 0 for the others; NaN where it is no maximum."""
    places = np.arange(hessian.shape[1])
    both = free[:, :, None] & free[:, None, :]
    matrix = np.where(both, -hessian, 0.0)
    matrix[:, places, places] += ~free
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
        scaled = matrix / (scale[:, :, None] * scale[:, None, :])
    good = np.isfinite(scaled).all(axis=(1, 2)) & (scale > 0).all(axis=1)
    scale[~good] = 1.0
    scaled[~good] = np.eye(hessian.shape[1])
    good &= np.linalg.eigvalsh(scaled)[:, 0] > 1e-12
    scaled[~good] = np.eye(hessian.shape[1])
    inverse = np.linalg.inv(scaled) / (scale[:, :, None] * scale[:, None, :])
    inverse[~good] = np.nan
    return np.where(both, inverse, 0.0)
