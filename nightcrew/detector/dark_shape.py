"""How dark signal goes with temperature and exposure, for the sensor as a whole: one B and one gamma from the frames' mean levels.

signal(T, t) = R exp(B u(T)) t (t / t_ref)^gamma, with u = T - T_ref (``exponential``) or u = T_ref (T - T_ref) / T in kelvin
(``arrhenius``: exp(-E / k (1/T - 1/T_ref)) with E = B k T_ref^2).  B is d ln rate / dT at T_ref for both.  An ideal sensor has gamma = 0.
Fitted in counts, weighted by their noise: no logarithm of clipped data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.detector.validity import gamma_unknown
from nightcrew.errors import RejectedInput

Law = Literal["exponential", "arrhenius"]
F8 = NDArray[np.float64]
ZERO_C_IN_K = 273.15
BOLTZMANN_EV_PER_K = 8.617333262e-5
LEAST_SPAN_K = 3.0  # between temperatures, for B
GAMMA_SURE = 5.0  # errors of gamma ...
GAMMA_LEAST = 0.005  # ... and size, for it to be part of the model
_START_B = math.log(2) / 6.5
_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DarkShape:
    """Shared shape of the dark signal; errors None where the frames do not determine the value (B is then 0, gamma 0).

    ``measured_gamma`` is what was found; ``gamma`` what the model uses: the same where it is significant, else 0.
    """

    law: Law = "exponential"
    reference_c: float
    reference_s: float
    b: float
    b_error: float | None = None
    gamma: float = 0.0
    gamma_error: float | None = None
    measured_gamma: float | None = None
    rate: float = 0.0  # adu/s of the pixels that it was fitted to, at the reference

    def u(self, temperature_c: F8 | float) -> F8:
        """Distance from the reference temperature (K) in which the logarithm of the rate is straight."""
        t = np.asarray(temperature_c, np.float64)
        if self.law == "exponential":
            return np.asarray(t - self.reference_c)
        return np.asarray((self.reference_c + ZERO_C_IN_K) * (t - self.reference_c) / (t + ZERO_C_IN_K))

    def seconds(self, exposure_s: F8 | float) -> F8:
        """Effective seconds t (t / t_ref)^gamma."""
        t = np.asarray(exposure_s, np.float64)
        return np.asarray(t * np.power(np.maximum(t, 1e-12) / self.reference_s, self.gamma))

    def factor(self, temperature_c: F8 | float, exposure_s: F8 | float) -> F8:
        """Signal of a pixel with R = 1 (s)."""
        return np.asarray(np.exp(self.b * self.u(temperature_c)) * self.seconds(exposure_s))

    @property
    def doubling_k(self) -> float | None:
        """Temperature step at the reference that doubles the rate; None when B is not determined or not positive."""
        return math.log(2) / self.b if self.b_error is not None and self.b > 0 else None

    @property
    def activation_ev(self) -> float:
        """Activation energy that B means at the reference temperature."""
        return self.b * BOLTZMANN_EV_PER_K * (self.reference_c + ZERO_C_IN_K) ** 2


def fit_shape(
    levels: Sequence[float],
    errors: Sequence[float],
    temperatures_c: Sequence[float],
    exposures_s: Sequence[float],
    *,
    law: Law = "exponential",
    reference_c: float | None = None,
    reference_s: float | None = None,
    free_gamma: bool = True,
) -> DarkShape:
    """Fit frames' mean dark levels (adu, bias removed) with ``errors`` (adu); Gauss-Newton with damping, in counts.

    The reference temperature, where none is given, is the one at which B changes the rate least (rounded to 1 C), the reference
    exposure the median.  RejectedInput when no level is above its error.
    """
    y, sigma = np.asarray(levels, np.float64), np.asarray(errors, np.float64)
    t, seconds = np.asarray(temperatures_c, np.float64), np.asarray(exposures_s, np.float64)
    if y.size == 0 or not np.any(y > 3 * sigma):
        raise RejectedInput("no dark frame is above the bias by more than its noise: there is no dark current to model")
    reference = float(np.median(seconds)) if reference_s is None else reference_s
    with_b = bool(np.ptp(t) >= LEAST_SPAN_K)
    with_gamma = free_gamma and not gamma_unknown((float(seconds.min()), float(seconds.max())))
    start = DarkShape(law=law, reference_c=float(np.mean(t)), reference_s=reference, b=_START_B if with_b else 0.0)
    if reference_c is None:
        found = _solve(start, y, sigma, t, seconds, with_b, with_gamma)
        weight = (found.factor(t, seconds) / sigma) ** 2
        reference_c = float(np.round(np.average(t, weights=weight)))
        start = replace(start, b=found.b)
    found = _solve(replace(start, reference_c=reference_c), y, sigma, t, seconds, with_b, with_gamma)
    return _settle(found, y, sigma, t, seconds, with_b)


def _settle(found: DarkShape, y: F8, sigma: F8, t: F8, seconds: F8, with_b: bool) -> DarkShape:
    """Keep gamma only where it is significant; fit the rest without it otherwise."""
    gamma, error = found.gamma, found.gamma_error
    if error is None:
        return found
    if abs(gamma) > GAMMA_SURE * error and abs(gamma) > GAMMA_LEAST:
        return replace(found, measured_gamma=gamma)
    plain = _solve(replace(found, gamma=0.0, gamma_error=None), y, sigma, t, seconds, with_b, with_gamma=False)
    return replace(plain, gamma_error=error, measured_gamma=gamma)


def _solve(start: DarkShape, y: F8, sigma: F8, t: F8, seconds: F8, with_b: bool, with_gamma: bool) -> DarkShape:
    shape = start
    factor = shape.factor(t, seconds)
    rate = float(np.sum(y * factor / sigma**2) / np.sum((factor / sigma) ** 2))
    log_t = np.log(np.maximum(seconds, 1e-12) / shape.reference_s)
    chosen = [True, with_b, with_gamma]
    damping = 1e-3
    chi2 = _chi2(shape, rate, y, sigma, t, seconds)
    jacobian = np.empty((y.size, 3))
    for _ in range(_STEPS):
        factor = shape.factor(t, seconds)
        jacobian = np.column_stack([factor, rate * factor * shape.u(t), rate * factor * log_t])[:, chosen] / sigma[:, None]
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), jacobian.T @ ((y - rate * factor) / sigma))
        full = np.zeros(3)
        full[chosen] = step
        tried = replace(shape, b=shape.b + float(np.clip(full[1], -0.05, 0.05)), gamma=shape.gamma + float(np.clip(full[2], -0.3, 0.3)))
        new = _chi2(tried, rate + full[0], y, sigma, t, seconds)
        if new <= chi2:
            done = chi2 - new < 1e-10 * max(chi2, 1.0)
            shape, rate, chi2, damping = tried, rate + float(full[0]), new, damping / 10
            if done:
                break
        else:
            damping *= 10
            if damping > 1e10:
                break
    variance = np.zeros(3)
    variance[chosen] = np.diag(np.linalg.pinv(jacobian.T @ jacobian)) * max(1.0, chi2 / max(y.size - sum(chosen), 1))
    return replace(
        shape,
        rate=rate,
        b_error=float(np.sqrt(variance[1])) if with_b else None,
        gamma_error=float(np.sqrt(variance[2])) if with_gamma else None,
    )


def _chi2(shape: DarkShape, rate: float, y: F8, sigma: F8, t: F8, seconds: F8) -> float:
    return float(np.sum(((y - rate * shape.factor(t, seconds)) / sigma) ** 2))
