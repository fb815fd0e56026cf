"""Groups of a campaign whose truth is known, without any frame."""

from __future__ import annotations

import numpy as np

from nightcrew.irradiation.observations import Observations

TRUTH = {"B0": 300.0, "alpha": 2.0, "DC0": 24.0, "beta": 0.9, "q": 300.0, "sigma_q": 200.0, "read": 8.0}


def exact(gain: float = 1.0, rates: tuple[float, ...] = (0.004, 0.008), pixels: int = 4096, frames: int = 6) -> Observations:
    """Pre, four doses in the beam at alternating rates, and post, each with exposures 0, 1 and 10 s."""
    doses = [(0.0, 0.0), *((d, rates[i % len(rates)]) for i, d in enumerate((5.0, 10.0, 20.0, 40.0))), (40.0, 0.0)]
    rows = np.array([(d, r, t) for d, r in doses for t in (0.0, 1.0, 10.0)])
    d, r, t = rows.T
    p = TRUTH
    dark = (p["DC0"] + p["beta"] * d) * t
    signal = p["B0"] + p["alpha"] * d + dark + p["q"] * r * t
    variance = p["read"] ** 2 + dark / gain + (p["q"] ** 2 + p["sigma_q"] ** 2) * r * t
    return Observations(
        dose_krad=d,
        rate_krad_per_s=r,
        exposure_s=t,
        signal_adu=signal,
        variance_adu2=variance,
        signal_error_adu=np.sqrt(variance / pixels / frames),
        variance_error_adu2=variance * np.sqrt(2 / (frames - 1) / pixels),
        covariance_adu3=np.zeros_like(d),
        dose_error_krad=np.zeros_like(d),
    )
