"""One-sided limits of parameters that stand at a bound, by the profile of the likelihood.

The parameter is moved off its bound while all others follow to their best values, until ln L has fallen by 1.35 (95 % on one side; Rolke,
Lopez & Conrad 2005, NIM A 551, 493).  Where bins are not independent, ln L falls too steeply, by the factor by which variances are greater
than its curvature says (Chandler & Bate 2007, Biometrika 94, 167): the fall is ``widening`` times as great.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.rician_fit import Evaluate, Likelihood, Maximum, curvature_covariance, maximise

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_LIMIT_95 = 2.705543454 / 2  # fall of ln L that bounds a parameter on one side at 95 %
_ROUNDS, _REFIT_STEPS = 30, 40
_CLOSE = 1e-3  # of the fall
_NEARLY = 0.98  # of the way to the other bound: then the bound itself is tried
_MOST_GROWTH = 8.0  # of the distance in a round


def profile_limits(evaluate: Evaluate, best: Maximum, lower: Floats, upper: Floats, widening: Floats | None = None) -> Floats:
    """95 % limits [pixel, k] of the parameters that stand at a bound, NaN for the others and where none was found.

    ``widening`` [pixel, k], from 1 on, is that of :func:`widenings`; a parameter that cannot move far enough has its other bound as limit.
    """
    limits = np.full(best.parameters.shape, np.nan)
    low, high = (np.broadcast_to(bound, limits.shape) for bound in (lower, upper))
    for k in range(best.parameters.shape[1]):
        rows = np.flatnonzero(best.at_bound[:, k] & best.converged)
        if rows.size:
            fall = _LIMIT_95 * (np.ones(rows.size) if widening is None else np.maximum(widening[rows, k], 1.0))
            limits[rows, k] = _limits_of(evaluate, best, rows, k, (low[rows], high[rows]), fall)
    return limits


def _limits_of(evaluate: Evaluate, best: Maximum, rows: Places, k: int, bounds: tuple[Floats, Floats], fall: Floats) -> Floats:
    """Newton's steps along the profile, whose slope is the gradient by the parameter itself, kept within a bracket."""
    start = best.parameters[rows]
    sign = np.where(start[:, k] <= bounds[0][:, k], 1.0, -1.0)
    longest = bounds[1][:, k] - bounds[0][:, k]
    top = best.likelihood.value[rows]
    near, far = np.zeros(rows.size), longest.copy()
    distance = np.minimum(_by_parabola(best.likelihood.chosen(rows), k, fall), 0.999 * longest)
    found, follow = np.full(rows.size, np.nan), start.copy()
    todo = np.arange(rows.size)
    for _ in range(_ROUNDS):
        here = start[todo, k] + sign[todo] * distance[todo]
        again = _refit(evaluate, rows[todo], follow[todo], (bounds[0][todo], bounds[1][todo]), (k, here))
        follow[todo] = again.parameters
        missing = top[todo] - again.likelihood.value - fall[todo]
        slope = -sign[todo] * again.likelihood.gradient[:, k]
        close = np.abs(missing) < _CLOSE * fall[todo]
        end = (missing < 0) & (distance[todo] >= longest[todo])
        found[todo[close | end]] = here[close | end]
        near[todo] = np.where(missing < 0, distance[todo], near[todo])
        far[todo] = np.where(missing > 0, distance[todo], far[todo])
        with np.errstate(divide="ignore", invalid="ignore"):
            step = distance[todo] - missing / slope
        least, most = near[todo], np.minimum(far[todo], distance[todo] * _MOST_GROWTH)
        between = np.where(np.isfinite(far[todo]) & (near[todo] > 0), (near[todo] + far[todo]) / 2, most)
        inside = np.isfinite(step) & (step > least) & (step < far[todo]) & (slope > 0)
        forth, back = np.minimum(np.where(inside, step, between), most), np.where(inside, step, (least + far[todo]) / 2)
        forth = np.where(forth > _NEARLY * longest[todo], far[todo], forth)
        distance[todo] = np.where(missing < 0, forth, back)
        todo = todo[~(close | end | ~np.isfinite(missing))]
        if not todo.size:
            break
    return found


def _refit(evaluate: Evaluate, rows: Places, start: Floats, bounds: tuple[Floats, Floats], fixed: tuple[int, Floats]) -> Maximum:
    """The best of the other parameters, with one fixed."""
    k, here = fixed
    low, high = bounds[0].copy(), bounds[1].copy()
    low[:, k] = high[:, k] = here

    def of(parameters: Floats, which: Places) -> Likelihood:
        return evaluate(parameters, rows[which])

    return maximise(of, start, low, high, most_steps=_REFIT_STEPS)


def _by_parabola(at: Likelihood, k: int, fall: Floats) -> Floats:
    """How far ln L takes to fall, as a parabola in the parameter alone: a first guess, and never too far."""
    slope = np.abs(at.gradient[:, k])
    bend = np.maximum(-at.hessian[:, k, k], 1e-200)
    distance: Floats = 2 * fall / (slope + np.sqrt(slope**2 + 2 * bend * fall))
    return distance


def widenings(best: Maximum, covariance: Floats) -> Floats:
    """By what factor [pixel, k], from 1 on, ln L falls too steeply: how much greater ``covariance`` is than that of the curvature.

    The greatest of the pixel's free parameters counts for those at a bound.  Light near a bound is less correlated than that, so that
    limits are rather too wide than too narrow.
    """
    assumed = np.diagonal(best.covariance, axis1=1, axis2=2)
    found = np.diagonal(covariance, axis1=1, axis2=2)
    known = (assumed > 0) & (found > 0)
    factor = np.where(known, found / np.where(known, assumed, 1.0), 1.0).max(axis=1)
    return np.repeat(np.maximum(factor, 1.0)[:, None], assumed.shape[1], axis=1)


def without_bound(best: Maximum, k: int, widening: Floats) -> tuple[Floats, Floats]:
    """Parameter ``k`` [pixel] and its variance as they would be without a lower bound: one Newton step beyond it, the others following.

    Averages of many such values are right, while averages of values that end at their bound are too great.  Elsewhere the value is that of
    the maximum, with its variance from the curvature times the ``widening``; NaN where the curvature tells nothing.
    """
    value, variance = best.parameters[:, k].copy(), best.covariance[:, k, k] * widening[:, k]
    rows = np.flatnonzero(best.at_bound[:, k] & best.converged & (best.likelihood.gradient[:, k] <= 0))
    hessian, others = best.likelihood.hessian[rows], ~best.at_bound[rows]
    others &= best.covariance[rows].any(axis=2)
    others[:, k] = False
    inverse = np.linalg.pinv(np.where(others[:, :, None] & others[:, None, :], hessian, 0.0), rcond=1e-10, hermitian=True)
    across = np.where(others, hessian[:, :, k], 0.0)
    information = -(hessian[:, k, k] - np.einsum("pi,pij,pj->p", across, inverse, across))
    known = information > 0
    inverse_information = 1 / np.where(known, information, np.nan)
    value[rows] += best.likelihood.gradient[rows, k] * inverse_information
    variance[rows] = widening[rows, k] * inverse_information
    return value, variance


def all_without_bound(best: Maximum, k: int, widening: Floats) -> tuple[Floats, Floats]:
    """All parameters [pixel, k] and their covariance as they would be without the lower bound of ``k``, where that one alone is at a bound.

    One Newton step of all of them together: what is pushed back at the bound went to the others, whose averages are off as well.  NaN for
    every other pixel, and where the curvature tells nothing.
    """
    values, covariance = np.full(best.parameters.shape, np.nan), np.full(best.covariance.shape, np.nan)
    alone = best.at_bound[:, k] & (best.at_bound.sum(axis=1) == 1) & (best.likelihood.gradient[:, k] <= 0)
    rows = np.flatnonzero(alone & best.converged)
    hessian, free = best.likelihood.hessian[rows], np.ones((rows.size, best.parameters.shape[1]), dtype=np.bool_)
    inverse = curvature_covariance(hessian, free)
    values[rows] = best.parameters[rows] + np.einsum("pij,pj->pi", inverse, best.likelihood.gradient[rows])
    covariance[rows] = inverse * widening[rows, k][:, None, None]
    return values, covariance
