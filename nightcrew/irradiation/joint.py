"""Level and noise of all groups of a campaign in one fit: bias, dark current and hits of particles against dose, rate and exposure.

signal   = B0 + alpha D + (DC0 + beta D) t + q R t
variance = read^2 + k (DC0 + beta D) t + (q^2 + sigma_q^2) R t

D dose in kRad, R dose rate in kRad/s, t exposure in s, q the mean charge that a dose of 1 kRad leaves in a pixel, sigma_q the scatter of
that charge (hits are Poisson in number), k = 1 / gain the noise of a unit of charge.  In ADU; with a gain of 1 e-/ADU it is the formula
of the older suite.  All terms are fitted together by generalised least squares, levels and variances with their covariance, so that
charge of hits cannot leak into the dark current.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.irradiation.joint_errors import dose_shift, variance_model, whiten, with_model_errors
from nightcrew.irradiation.joint_names import named
from nightcrew.irradiation.least_squares import improbable, part_left
from nightcrew.irradiation.observations import Observations
from nightcrew.irradiation.response import RATE_TELLS

F8 = NDArray[np.float64]
LINEAR = ("B0", "alpha", "DC0", "beta", "q", "read2", "hits2")  # hits2 = q^2 + sigma_q^2
NULL = 1e-7  # singular values below this part of the largest belong to directions that the data say nothing of
TOUCHED = 1e-4  # a parameter with such a part in one of those directions is undetermined
LINEAR_NAMES = ("B0", "alpha", "DC0", "beta", "q", "read", "sigma_q", "k")  # what each linear parameter is called for people
ROUNDS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class JointFit:
    """Parameters by name (``NAMES``; ADU, kRad, s) with standard errors; NaN where undetermined, with the reason in ``why``.

    ``linear``, ``covariance``: the fitted linear parameters (``LINEAR``, then k) and their covariance, for predictions.
    ``signal_residual_adu``, ``variance_residual_adu2``, and both over their errors (``pulls``).
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]
    why: Mapping[str, str]
    linear: F8
    covariance: F8
    chi2: float
    freedom: int
    scale: float
    signal_residual_adu: F8
    variance_residual_adu2: F8
    pulls: F8 = field(repr=False)

    def signal(self, dose_krad: F8 | float, rate: F8 | float, exposure_s: F8 | float) -> tuple[F8, F8]:
        """Predicted level in ADU and its standard error; NaN where a term is undetermined that the prediction needs."""
        d, r, t = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (dose_krad, rate, exposure_s)))
        rows = np.stack([np.ones_like(d), d, t, d * t, r * t], axis=-1)
        need = np.any(rows != 0, axis=0)
        if not np.all(np.isfinite(self.linear[:5][need])):
            return np.full(d.shape, np.nan), np.full(d.shape, np.nan)
        rows, part = rows[:, need], self.covariance[:5, :5][np.ix_(need, need)]
        return rows @ self.linear[:5][need], np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", rows, part, rows), 0))

    def variance(self, dose_krad: float, rate: float, exposure_s: float) -> float:
        """Predicted temporal variance of a pixel in ADU^2; NaN where a term is undetermined that it needs."""
        theta = self.linear
        d, r, t = dose_krad, rate, exposure_s
        terms = [(theta[5], 1.0), (theta[7] * theta[2], t), (theta[7] * theta[3], d * t), (theta[6], r * t)]
        return float(sum(value * factor for value, factor in terms if factor != 0))


def _signal_rows(data: Observations) -> F8:
    d, r, t = data.dose_krad, data.rate_krad_per_s, data.exposure_s
    zero = np.zeros_like(d)
    return np.column_stack([np.ones_like(d), d, t, d * t, r * t, zero, zero, zero])


def _variance_rows(data: Observations, theta: F8) -> F8:
    d, r, t = data.dose_krad, data.rate_krad_per_s, data.exposure_s
    zero = np.zeros_like(d)
    dark = (theta[2] + theta[3] * d) * t
    return np.column_stack([zero, zero, theta[7] * t, theta[7] * d * t, zero, np.ones_like(d), r * t, dark])


def fit_joint(data: Observations, *, gain_e_per_adu: float | None = None) -> JointFit:
    """Fit all parameters together.

    ``gain_e_per_adu`` fixes k = 1 / gain; without it k is fitted, which needs dark exposures with more than negligible charge.
    Parameters that the groups do not determine (no frame in the beam, one exposure only, one dose only, dose rates that differ from a line
    over dose by less than ``RATE_TELLS`` ...) are NaN with their reason, and so are those whose error is more than what is measured: their
    part of the level (or noise) at the largest exposure is uncertain by more than the range of all levels (or the largest noise).
    Errors are scaled up by sqrt(chi^2 / freedom) where that chi^2 is less probable than 1e-3.  Nominal doses of one folder are wrong
    together, and besides all of them may be: what such a shift by one standard error changes is added to the covariance.
    """
    if not len(data.dose_krad):
        raise Refused("there is no group of frames to fit")
    data, flat = _plain_rates(data)
    free_k = gain_e_per_adu is None
    theta = np.zeros(8)
    theta[7] = 1.0 if gain_e_per_adu is None else 1.0 / gain_e_per_adu
    if free_k:
        theta = _start(data, theta)
    for _ in range(1 if data.shape is None else 4):
        for _ in range(ROUNDS):
            step = _step(data, theta, free_k=free_k)
            moved = float(np.max(np.abs(step.theta - theta) / (np.abs(step.theta) + 1e-9)))
            theta = step.theta
            if moved < 1e-12:
                break
        data = with_model_errors(data, theta)
    return _finish(data, step, free_k=free_k, flat=flat)


def _plain_rates(data: Observations) -> tuple[Observations, bool]:
    """Rates of exposures as the line over dose that they are, where they differ from it by less than ``RATE_TELLS`` (and whether they do).

    Then hits and dark current cannot be told apart, and small errors of the rates must not pretend that they can.
    """
    exposed = data.exposure_s > 0
    rate, dose = data.rate_krad_per_s[exposed], data.dose_krad[exposed]
    if not np.any(rate > 0):
        return data, False
    others = np.column_stack([np.ones_like(dose), dose])
    if part_left(rate, others) > RATE_TELLS:
        return data, False
    rates = data.rate_krad_per_s.copy()
    rates[exposed] = others @ np.linalg.lstsq(others, rate, rcond=None)[0]
    return replace(data, rate_krad_per_s=rates), True


def _start(data: Observations, theta: F8) -> F8:
    """Linear parameters with k = 1, then k from what their dark charge explains of the noise."""
    first = _step(data, theta, free_k=False).theta
    rows = np.column_stack(
        [np.ones_like(data.dose_krad), data.rate_krad_per_s * data.exposure_s, (first[2] + first[3] * data.dose_krad) * data.exposure_s]
    )
    good = np.isfinite(data.variance_adu2)
    if good.sum() >= 3:
        found = np.linalg.lstsq(rows[good], data.variance_adu2[good], rcond=None)[0]
        first[[5, 6, 7]] = found[0], found[1], max(found[2], 1e-6)
    return first


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """A Gauss-Newton step: new parameters, null directions [parameter, direction], pseudo-inverse, whitened residuals.

    ``together``: change of the parameters when all nominal doses are one standard error too small together.
    """

    theta: F8
    null: F8
    inverse: F8
    residual: F8
    together: F8


def _step(data: Observations, theta: F8, *, free_k: bool) -> _Step:
    white = whiten(data, theta)
    variance_rows = _variance_rows(data, theta)
    jacobian = np.vstack([_signal_rows(data), variance_rows])
    model = np.concatenate([_signal_rows(data) @ theta, variance_model(data, theta)])
    measured = np.concatenate([data.signal_adu, np.nan_to_num(data.variance_adu2)])
    matrix = (white.factor @ jacobian)[white.good]
    if not free_k:
        matrix[:, 7] = 0
    residual = (white.factor @ np.where(white.good, measured - model, 0.0))[white.good]
    size = np.linalg.norm(matrix, axis=0)
    size[size == 0] = 1.0
    u, s, vt = np.linalg.svd(matrix / size, full_matrices=True)
    s = np.concatenate([s, np.zeros(len(theta) - len(s))]) if len(s) < len(theta) else s
    kept = s > NULL * s.max()
    back = vt[kept].T / s[kept]
    solve = (back @ u[:, : len(s)][:, kept[: u.shape[1]]].T) / size[:, None]
    shift = (white.factor @ np.where(white.good, dose_shift(data, theta), 0.0))[white.good]
    return _Step(
        theta=theta + solve @ residual,
        null=vt[~kept].T,
        inverse=back @ back.T / np.outer(size, size),
        residual=residual,
        together=-solve @ shift,
    )


def _finish(data: Observations, step: _Step, *, free_k: bool, flat: bool = False) -> JointFit:
    theta, null, residual = step.theta, step.null, step.residual
    free = 8 if free_k else 7
    touched = np.any(np.abs(null) > TOUCHED, axis=1) if null.size else np.zeros(8, bool)
    if not free_k:
        touched[7] = False
    chi2 = float(residual @ residual)
    freedom = len(residual) - (free - (null.shape[1] - (0 if free_k else 1)))
    scale = math.sqrt(chi2 / freedom) if freedom > 0 and improbable(chi2, freedom) else 1.0
    covariance = step.inverse * scale**2 + np.outer(step.together, step.together)
    vague = _vague(data, theta, covariance) & ~touched
    touched = touched | vague
    linear = np.where(touched, np.nan, theta)
    covariance = np.where(touched[:, None] | touched[None, :], np.nan, covariance)
    values, errors, why = named(data, linear, covariance, touched)
    for place, name in enumerate(LINEAR_NAMES):
        if name in why and vague[place]:
            why[name] = f"{name}: its error is larger than the range of all that was measured"
        elif name in why and flat and name in ("DC0", "beta", "q", "sigma_q"):
            part = f"{100 * RATE_TELLS:g} %"
            why[name] = f"{name}: the dose rates differ from a line over dose by less than {part}, so hits look like dark current"
    signal = data.signal_adu - _signal_rows(data) @ theta
    variance = data.variance_adu2 - variance_model(data, theta)
    return JointFit(
        values=values,
        errors=errors,
        why=why,
        linear=linear,
        covariance=covariance,
        chi2=chi2,
        freedom=freedom,
        scale=scale,
        signal_residual_adu=signal,
        variance_residual_adu2=variance,
        pulls=residual,
    )


def _vague(data: Observations, theta: F8, covariance: F8) -> NDArray[np.bool_]:
    """Linear parameters whose part of what was measured is uncertain by more than all of it."""
    good = np.isfinite(data.signal_adu)
    levels = float(np.ptp(data.signal_adu[good])) + float(np.max(data.signal_error_adu[good], initial=0.0)) if good.any() else 0.0
    noise = float(np.nanmax(data.variance_adu2)) if np.isfinite(data.variance_adu2).any() else 0.0
    d, r, t = data.dose_krad, data.rate_krad_per_s, data.exposure_s
    dark = (theta[2] + theta[3] * d) * t
    reach = np.array(
        [1.0, *(float(np.max(np.abs(x))) for x in (d, t, d * t, r * t)), 1.0, float(np.max(r * t)), float(np.max(np.abs(dark)))]
    )
    error = np.sqrt(np.maximum(np.nan_to_num(np.diag(covariance)), 0.0))
    return np.asarray(error * reach > np.array([levels] * 5 + [noise] * 3), dtype=bool)
