"""Dark current against temperature: activation energy and the warming that doubles it.

rate = A exp(-E / (k T)): ln(rate) is a straight line in 1/(k T).  The warming that doubles the rate is ln 2 k T^2 / E; it is given at the
middle of the temperatures, where it is known best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightcrew.sensor.robust import stretch_of

BOLTZMANN_EV_PER_K = 8.617333262e-5
ZERO_C_IN_K = 273.15
LEAST_SPAN_K = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrhenius:
    """Fit of dark rates; errors 1-sigma.  The doubling temperature holds at ``middle_c``; ``log_rate_middle``: ln of the rate there."""

    activation_ev: float
    activation_error_ev: float
    middle_c: float
    log_rate_middle: float
    doubling_k: float
    doubling_error_k: float

    def rate_at(self, temperature_c: float) -> float:
        """The fitted rate at a temperature, in the unit of the input."""
        middle = 1 / (BOLTZMANN_EV_PER_K * (self.middle_c + ZERO_C_IN_K))
        return math.exp(self.log_rate_middle - self.activation_ev * (1 / (BOLTZMANN_EV_PER_K * (temperature_c + ZERO_C_IN_K)) - middle))


def arrhenius(
    temperatures_c: Sequence[float], rates: Sequence[float], errors: Sequence[float], temperature_errors_c: Sequence[float] = ()
) -> Arrhenius | str:
    """Weighted fit of ln(rate) over 1/(k T); the reason, a sentence, when two rates above 0 at different temperatures are missing.

    ``errors`` and ``temperature_errors_c`` are those of the rates and temperatures; one error common to all rates (that of
    the gain) does not belong here.
    """
    t, r, e = (np.asarray(values, np.float64) for values in (temperatures_c, rates, errors))
    warm = np.asarray(temperature_errors_c or np.zeros(t.size), np.float64)
    good = (r > 2 * e) & np.isfinite(r) & np.isfinite(t)
    t, r, e, warm = t[good], r[good], e[good], warm[good]
    if t.size < 2 or np.ptp(t) < LEAST_SPAN_K:
        return f"{t.size} dark rates above their errors at different temperatures: two are needed"
    x = 1 / (BOLTZMANN_EV_PER_K * (t + ZERO_C_IN_K))
    middle_c = float(t.mean())
    x0 = 1 / (BOLTZMANN_EV_PER_K * (middle_c + ZERO_C_IN_K))
    # an error of the temperature is one of the rate, by the slope that the outermost points show
    slope = abs(float(np.log(r[t.argmax()] / r[t.argmin()]) / np.ptp(t)))
    sigma = np.maximum(np.hypot(e / r, slope * warm), 1e-6)
    design = np.column_stack([np.ones_like(x), x0 - x])
    covariance = np.linalg.inv((design / sigma[:, None] ** 2).T @ design)
    beta = covariance @ (design / sigma[:, None] ** 2).T @ np.log(r)
    error = math.sqrt(covariance[1, 1])
    if t.size > 2:
        error *= stretch_of(float((((np.log(r) - design @ beta) / sigma) ** 2).sum()), t.size - 2)
    energy = float(beta[1])
    if energy <= 0:
        return "the dark rate does not grow with the temperature"
    doubling = math.log(2) * BOLTZMANN_EV_PER_K * (middle_c + ZERO_C_IN_K) ** 2 / energy
    return Arrhenius(
        activation_ev=energy,
        activation_error_ev=error,
        middle_c=middle_c,
        log_rate_middle=float(beta[0]),
        doubling_k=doubling,
        doubling_error_k=doubling * error / energy,
    )
