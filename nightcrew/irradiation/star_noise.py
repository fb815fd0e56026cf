"""What a dose costs a star: magnitude error and limit through the full noise of an aperture, with the band of the fitted response.

N^2 = S + n_pix (1 + n_pix / n_sky) (sky t + dark t + hits R t + read^2 + step^2 / 12), all in electrons (Merline & Howell 1995,
Exp. Astron. 6, 163); sigma_m = (2.5 / ln 10) N / S.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.joint import JointFit

F8 = NDArray[np.float64]
_MAG = 2.5 / math.log(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Star:
    """A star and how it is measured.

    ``zero_point_mag``: magnitude that gives 1 e-/s.  ``sky_pixels``: how many the background comes from.  ``rate_krad_per_s``: dose rate
    while it is measured (0: out of the beam).  ``peak_fraction``: part of its light in the brightest pixel.
    """

    magnitude: float = 13.0
    zero_point_mag: float = 20.0
    exposure_s: float = 10.0
    aperture_radius_px: float = 4.0
    sky_e_per_s: float = 1.0
    sky_pixels: float = 400.0
    rate_krad_per_s: float = 0.0
    peak_fraction: float = 0.15
    snr_limit: float = 5.0

    @property
    def aperture_pixels(self) -> float:
        """Area of the aperture."""
        return math.pi * self.aperture_radius_px**2

    @property
    def electrons(self) -> float:
        """Charge of the star in the exposure."""
        return self.exposure_s * 10 ** (-0.4 * (self.magnitude - self.zero_point_mag))


def pixel_variance_e2(star: Star, *, dark_e_per_s: float, read_e: float, hits_e2_per_krad: float = 0.0, step_e: float = 0.0) -> float:
    """Variance of a pixel of background in e-^2."""
    t = star.exposure_s
    return star.sky_e_per_s * t + max(dark_e_per_s, 0.0) * t + hits_e2_per_krad * star.rate_krad_per_s * t + read_e**2 + step_e**2 / 12


def star_magnitude_error(star: Star, variance_e2: float) -> float:
    """Magnitude error of the star over a background of that variance a pixel."""
    n = star.aperture_pixels
    noise = math.sqrt(star.electrons + n * (1 + n / star.sky_pixels) * variance_e2)
    return _MAG * noise / star.electrons


def limiting_magnitude(star: Star, variance_e2: float) -> float:
    """Magnitude at which S / N is ``snr_limit``: S^2 = k^2 (S + B), solved for S."""
    n = star.aperture_pixels
    background = n * (1 + n / star.sky_pixels) * variance_e2
    k2 = star.snr_limit**2
    signal = (k2 + math.sqrt(k2**2 + 4 * k2 * background)) / 2
    return star.zero_point_mag - 2.5 * math.log10(signal / star.exposure_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A star at a dose: magnitude error and limit with standard errors from the response's covariance; NaN with the reason in ``why``."""

    dose_krad: float
    magnitude_error: float
    magnitude_error_error: float
    limiting_magnitude: float
    limiting_magnitude_error: float
    dark_e_per_s: float
    peak_adu: float
    why: str = ""


def forecast(
    fit: JointFit, star: Star, doses_krad: Sequence[float], *, gain_e_per_adu: float, gain_error_e_per_adu: float = 0.0
) -> list[Forecast]:
    """The star at each dose: dark current, read noise (which holds the converter's step) and hits from ``fit`` (ADU), by the gain in e-.

    ``gain_error_e_per_adu`` widens the band (its covariance with the other parameters is not counted).
    """
    needed = [2, 3, 5, *([6] if star.rate_krad_per_s > 0 else [])]
    missing = [name for name, place in (("DC0", 2), ("beta", 3), ("read", 5), ("sigma_q", 6)) if place in needed and not _known(fit, place)]
    if missing:
        why = "; ".join(fit.why.get(name, f"{name} is undetermined") for name in missing)
        return [_unknown(dose, why) for dose in doses_krad]
    gain = (gain_e_per_adu, gain_error_e_per_adu if math.isfinite(gain_error_e_per_adu) else 0.0)
    return [_one(fit, star, dose, needed, gain) for dose in doses_krad]


def limit_loss(
    fit: JointFit, star: Star, first_krad: float, last_krad: float, *, gain_e_per_adu: float, gain_error_e_per_adu: float = 0.0
) -> tuple[float, float]:
    """What the limiting magnitude loses from one dose to another, and its error.

    Both limits are of one fit and one gain, so their errors largely cancel: the difference is propagated, not the two limits.
    """
    gain_error = gain_error_e_per_adu if math.isfinite(gain_error_e_per_adu) else 0.0
    needed = [2, 3, 5, *([6] if star.rate_krad_per_s > 0 else [])]

    def loss(theta: F8, gain: float) -> float:
        first, last = (limiting_magnitude(star, _variance(star, theta, gain, dose)) for dose in (first_krad, last_krad))
        return first - last

    return loss(fit.linear, gain_e_per_adu), _spread(fit, needed, (gain_e_per_adu, gain_error), loss)


def _known(fit: JointFit, place: int) -> bool:
    return bool(np.isfinite(fit.linear[place]))


def _unknown(dose: float, why: str) -> Forecast:
    nan = math.nan
    return Forecast(
        dose_krad=dose,
        magnitude_error=nan,
        magnitude_error_error=nan,
        limiting_magnitude=nan,
        limiting_magnitude_error=nan,
        dark_e_per_s=nan,
        peak_adu=nan,
        why=why,
    )


def _variance(star: Star, theta: F8, gain: float, dose_krad: float) -> float:
    """Variance of a pixel of background in e-^2 by the linear parameters of a fit."""
    dark = gain * (theta[2] + theta[3] * dose_krad)
    hits = gain**2 * theta[6] if star.rate_krad_per_s > 0 else 0.0
    read = gain * math.sqrt(max(theta[5], 0.0))
    return pixel_variance_e2(star, dark_e_per_s=dark, read_e=read, hits_e2_per_krad=hits)


def _spread(fit: JointFit, needed: list[int], gain_and_error: tuple[float, float], value: Callable[[F8, float], float]) -> float:
    """Standard error of a value of the fit's parameters and the gain."""
    gain, gain_error = gain_and_error
    gradient = np.zeros(len(needed))
    for place, index in enumerate(needed):
        width = math.sqrt(max(float(fit.covariance[index, index]), 0.0)) or 1e-6 * (abs(float(fit.linear[index])) + 1e-9)
        up, down = fit.linear.copy(), fit.linear.copy()
        up[index] += width
        down[index] -= width
        gradient[place] = (value(up, gain) - value(down, gain)) / (2 * width)
    part = fit.covariance[np.ix_(needed, needed)]
    by_gain = (value(fit.linear, gain + gain_error) - value(fit.linear, gain - gain_error)) / 2
    return math.hypot(math.sqrt(max(float(gradient @ part @ gradient), 0.0)), by_gain)


def _one(fit: JointFit, star: Star, dose: float, needed: list[int], gain_and_error: tuple[float, float]) -> Forecast:
    gain = gain_and_error[0]

    def error_at(theta: F8, gain: float) -> float:
        return star_magnitude_error(star, _variance(star, theta, gain, dose))

    def limit_at(theta: F8, gain: float) -> float:
        return limiting_magnitude(star, _variance(star, theta, gain, dose))

    dark = float(fit.linear[2] + fit.linear[3] * dose)
    level = float(fit.linear[0] + fit.linear[1] * dose) if _known(fit, 0) and _known(fit, 1) else math.nan
    return Forecast(
        dose_krad=dose,
        magnitude_error=error_at(fit.linear, gain),
        magnitude_error_error=_spread(fit, needed, gain_and_error, error_at),
        limiting_magnitude=limit_at(fit.linear, gain),
        limiting_magnitude_error=_spread(fit, needed, gain_and_error, limit_at),
        dark_e_per_s=gain * dark,
        peak_adu=level + (dark + star.sky_e_per_s / gain) * star.exposure_s + star.peak_fraction * star.electrons / gain,
    )
