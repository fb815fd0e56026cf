"""What heals after the beam: a level against the time since the end of the irradiation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
LEAST_TIMES = 4
FARTHEST = 30.0  # logarithm: farther from the span of the data no time constant is tried
DAMAGED = 3.0  # standard errors that a damage must have for a part of it to be told
LONGEST = 5.0  # a time constant beyond this many spans of the data cannot be told from a slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealing:
    """level(t) = rest + healed exp(-t / time_constant_s), with errors; NaN with the reason in ``why``."""

    rest: float
    rest_error: float
    healed: float
    healed_error: float
    time_constant_s: float
    time_constant_error_s: float
    why: str = ""

    def level(self, since_s: F8) -> F8:
        """The law at times since the end of the beam."""
        return np.asarray(self.rest + self.healed * np.exp(-since_s / self.time_constant_s))


def _undetermined(why: str) -> Annealing:
    nan = math.nan
    return Annealing(rest=nan, rest_error=nan, healed=nan, healed_error=nan, time_constant_s=nan, time_constant_error_s=nan, why=why)


def fit_annealing(since_s: Sequence[float] | F8, level: Sequence[float] | F8, error: Sequence[float] | F8 | None = None) -> Annealing:
    """Fit the law to levels (any unit) at times since the end of the beam, in s."""
    from scipy.optimize import OptimizeWarning, curve_fit

    t, y = np.asarray(since_s, dtype=np.float64), np.asarray(level, dtype=np.float64)
    sigma = None if error is None else np.asarray(error, dtype=np.float64)
    good = np.isfinite(t) & np.isfinite(y) & (t >= 0)
    t, y, sigma = t[good], y[good], None if sigma is None else sigma[good]
    if len(np.unique(t)) < LEAST_TIMES:
        return _undetermined(f"levels at {LEAST_TIMES} different times after the beam are needed, there are {len(np.unique(t))}")
    span, swing = float(np.ptp(t)), float(np.ptp(y))
    if swing == 0:
        return _undetermined("the level does not change after the beam")
    sigma = sigma if sigma is not None and np.all(np.isfinite(sigma) & (sigma > 0)) else None
    first, last = y[np.argmin(t)], y[np.argmax(t)]
    scale = span / 3

    def law(x: F8, rest: float, healed: float, log_tau: float) -> F8:
        tau = scale * math.exp(min(max(log_tau, -FARTHEST), FARTHEST))
        return np.asarray(rest + healed * np.exp(-x / tau))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            warnings.simplefilter("ignore", RuntimeWarning)  # a trial that overflows is a bad trial; the result is checked below
            found, covariance = curve_fit(
                law, t, y, p0=(last, first - last, 0.0), sigma=sigma, absolute_sigma=sigma is not None, maxfev=4000
            )
    except (RuntimeError, ValueError, OptimizeWarning):
        return _undetermined("the fit finds no time constant")
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if not np.all(np.isfinite(found)) or abs(found[2]) >= FARTHEST:
        return _undetermined("the fit finds no time constant")
    tau = scale * math.exp(found[2])
    if not np.all(np.isfinite(errors)) or tau > LONGEST * span or errors[2] > 1 or abs(found[1]) < 3 * errors[1]:
        return _undetermined(f"the levels over {span:.4g} s after the beam do not tell a time constant")
    return Annealing(
        rest=float(found[0]),
        rest_error=float(errors[0]),
        healed=float(found[1]),
        healed_error=float(errors[1]),
        time_constant_s=tau,
        time_constant_error_s=tau * float(errors[2]),
    )


def recovered(before: float, first_after: float, last_after: float) -> float:
    """Part of the damage that is gone: 1 - (last - before) / (first - before); NaN without damage."""
    return 1 - (last_after - before) / (first_after - before) if first_after != before else math.nan


@dataclass(frozen=True, slots=True)
class Recovered:
    """Part of the damage that is gone, with its error; NaN with the reason in ``why``."""

    part: float
    error: float
    why: str = ""


def recovered_part(before: tuple[float, float], first_after: tuple[float, float], last_after: tuple[float, float]) -> Recovered:
    """The recovered part of levels with their errors; undetermined unless the damage exceeds ``DAMAGED`` of its errors."""
    (b, b_error), (first, first_error), (last, last_error) = before, first_after, last_after
    damage, damage_error = first - b, math.hypot(b_error, first_error)
    if not math.isfinite(damage) or not math.isfinite(damage_error) or not abs(damage) > DAMAGED * damage_error:
        return Recovered(math.nan, math.nan, f"the damage, {damage:.3g} +- {damage_error:.2g} adu, does not exceed {DAMAGED:g} errors")
    part = recovered(b, first, last)
    error = math.hypot(last_error, (1 - part) * first_error, part * b_error) / abs(damage)
    return Recovered(part, error)
