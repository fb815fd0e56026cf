"""Parameters of the joint fit as people ask for them, and the plainest reason where one is undetermined."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.observations import Observations

F8 = NDArray[np.float64]
NAMES = ("B0", "alpha", "DC0", "beta", "q", "sigma_q", "read", "k")


def named(
    data: Observations, theta: F8, covariance: F8, touched: NDArray[np.bool_]
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Parameters as people ask for them: read = sqrt(read2), sigma_q = sqrt(hits2 - q^2)."""
    values, errors = dict.fromkeys(NAMES, math.nan), dict.fromkeys(NAMES, math.nan)
    why: dict[str, str] = {}
    for place, name in ((0, "B0"), (1, "alpha"), (2, "DC0"), (3, "beta"), (4, "q"), (7, "k")):
        values[name] = float(theta[place])
        errors[name] = math.sqrt(covariance[place, place]) if covariance[place, place] >= 0 else math.nan
        if touched[place]:
            why[name] = _why(name, data)
    _root("read", theta[5], np.eye(8)[5], covariance, (values, errors, why), "the noise at exposure 0 comes out negative", data)
    gradient = np.zeros(8)
    gradient[6], gradient[4] = 1.0, -2 * theta[4]
    _root(
        "sigma_q",
        theta[6] - theta[4] ** 2,
        gradient,
        covariance,
        (values, errors, why),
        "the noise in the beam is less than q alone makes",
        data,
    )
    return values, errors, why


def _root(
    name: str,
    square: float,
    gradient: F8,
    covariance: F8,
    out: tuple[dict[str, float], dict[str, float], dict[str, str]],
    negative: str,
    data: Observations,
) -> None:
    values, errors, why = out
    used = gradient != 0
    if not math.isfinite(square):
        why[name] = _why(name, data)
    elif square <= 0:
        why[name] = f"{name}: {negative}"
    else:
        values[name] = math.sqrt(square)
        part = gradient[used] @ covariance[np.ix_(used, used)] @ gradient[used]
        errors[name] = math.sqrt(max(part, 0.0)) / (2 * values[name])


def _why(name: str, data: Observations) -> str:
    """The plainest thing that the groups lack for a parameter."""
    d, r, t = data.dose_krad, data.rate_krad_per_s, data.exposure_s
    if name in ("sigma_q", "read", "k") and not np.any(np.isfinite(data.variance_adu2)):
        return f"{name}: no group has two frames of the same kind, so there is no temporal noise"
    if name in ("q", "sigma_q") and not np.any(r * t > 0):
        return f"{name}: no exposure in the beam with a known dose rate"
    if name in ("alpha", "beta", "B0", "DC0") and np.ptp(d) <= 1e-9 * max(1.0, float(np.max(np.abs(d)))) and d[0] != 0:
        return f"{name}: all groups have the dose {d[0]:.6g} kRad"
    if name in ("alpha", "beta") and np.ptp(d) <= 1e-9:
        return f"{name}: no group has a dose above 0"
    if np.ptp(t) <= 1e-9 * max(1.0, float(np.max(t))) or (name in ("DC0", "beta", "q", "sigma_q") and len(np.unique(t)) < 2):
        return f"{name}: all groups have the exposure {t[0]:.6g} s"
    there = f"{len(d)} with {len(np.unique(d))} doses, {len(np.unique(r))} rates, {len(np.unique(t))} exposures"
    return f"{name}: the groups ({there}) do not tell it apart"
