"""How straight the signal follows the exposure: residuals, EMVA 1288 linearity error, and the correction of a curved response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.intervals import LEVEL, Interval, mean_size_interval
from nightcrew.sensor.robust import stretch_of

F8 = NDArray[np.float64]
LEAST_LEVELS = 4
CURVED_SIGMA = 5.0
"""A curvature this many errors from 0 is taken for real, and corrected."""
FOOT_SIGMA, FOOT = 5.0, 0.03
"""A signal at no exposure that is so many errors and such a share of the lowest level is told."""


@dataclass(frozen=True, kw_only=True)
class Linearity:
    """Signals ``signal_adu`` at ``exposure_s``, the line through them (EMVA 1288 R4, section 6.7), and their curvature.

    ``deviation_percent``: of each signal from the line; ``error_percent``: mean of their sizes from 5 % to 95 % of saturation (``used``).
    ``error_interval``: of the mean size that the deviations have without noise (:func:`mean_size_interval`); ``noise_percent``: the mean
    size that noise alone gives.  ``alpha_per_adu``: curvature in S = x - alpha x^2 with x straight in the exposure; its error from fit
    and lamp scatter.
    ``zero_adu``: what the signal would be at no exposure: from the same fit as alpha where that is real, else from a straight line, whose
    error is a fraction of it.
    ``reason`` says why nothing was determined (then all numbers are None).
    """

    exposure_s: F8
    signal_adu: F8
    used: NDArray[np.bool_]
    slope_adu_per_s: float | None = None
    offset_adu: float | None = None
    deviation_percent: F8 | None = None
    error_percent: float | None = None
    error_interval: Interval | None = None
    noise_percent: float | None = None
    alpha_per_adu: float | None = None
    alpha_error_per_adu: float | None = None
    lamp_scatter: float | None = None
    zero_adu: float | None = None
    zero_error_adu: float | None = None
    foot_if_curved: bool = False  # whether zero is beyond 5 errors in the fit with a curvature, too
    reason: str = ""

    @property
    def curved(self) -> bool:
        """Whether the response is curved beyond doubt."""
        return (
            self.alpha_per_adu is not None
            and self.alpha_error_per_adu is not None
            and (abs(self.alpha_per_adu) > CURVED_SIGMA * self.alpha_error_per_adu)
        )

    @property
    def foot(self) -> str:
        """A sentence when there would be a signal at no exposure: beyond 5 errors, and 3 % of the lowest level."""
        zero, error, slope = self.zero_adu, self.zero_error_adu, self.slope_adu_per_s
        if zero is None or error is None or not slope:
            return ""
        if abs(zero) <= max(FOOT_SIGMA * error, FOOT * self._lowest):
            return ""
        unseen = "" if self.curved or self.foot_if_curved else ", or the response is curved by less than these levels tell"
        return (
            f"at no exposure the flats would have a signal of {zero:.4g} +- {_rounded(error)} ADU: either their offset is not the biases', "
            f"and the gain is wrong, or the light lasts {abs(zero / slope):.2g} s {'longer' if zero > 0 else 'less'} than the exposure"
            f"{unseen}"
        )

    @property
    def untested_foot(self) -> str:
        """A sentence when a foot of more than 3 % of the lowest level would not be told, since 5 errors are more."""
        error = self.zero_error_adu
        if error is None or self.foot or FOOT_SIGMA * error <= FOOT * self._lowest:
            return ""
        least, share = FOOT_SIGMA * error, FOOT_SIGMA * error / self._lowest
        return (
            f"whether the flats have the offset of the biases is not tested below {_rounded(least)} ADU ({_rounded(100 * share)} % of "
            "the lowest level): the exposures are too few, too long or too alike, or the lamp wanders"
        )

    @property
    def _lowest(self) -> float:
        return float(self.signal_adu[self.used].min())

    @property
    def polynomial(self) -> tuple[float, float, float] | None:
        """(1, c2, c3) of the correction x = S + c2 S^2 + c3 S^3."""
        return None if self.alpha_per_adu is None else (1.0, self.alpha_per_adu, 2 * self.alpha_per_adu**2)


def straightened(signal_adu: F8 | float, alpha_per_adu: float) -> tuple[F8, F8]:
    """Signal on a straight response and the slope there, from S = x - alpha x^2: x = (1 - sqrt(1 - 4 alpha S)) / (2 alpha), dx/dS."""
    signal = np.asarray(signal_adu, np.float64)
    if alpha_per_adu == 0:
        return signal, np.ones_like(signal)
    root = np.sqrt(np.maximum(1 - 4 * alpha_per_adu * signal, 1e-6))
    return (1 - root) / (2 * alpha_per_adu), 1 / root


def linearity(
    exposure_s: Sequence[float],
    signal_adu: Sequence[float],
    relative_error: Sequence[float],
    saturation_adu: float | None,
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> Linearity:
    """Linearity of signals above the offset; one value an exposure or several.

    ``relative_error``: of each signal, lamp and shot noise together.  ``saturation_adu`` is the signal at saturation; without it
    the largest signal stands for it.  ``seed`` and ``level`` are those of the linearity error's interval.
    """
    t, s, e = (np.asarray(values, np.float64) for values in (exposure_s, signal_adu, relative_error))
    top = saturation_adu if saturation_adu is not None else float(s.max(initial=0.0))
    used = (s >= 0.05 * top) & (s <= 0.95 * top) & (t > 0)
    bare = Linearity(exposure_s=t, signal_adu=s, used=used)
    if np.unique(t[used]).size < LEAST_LEVELS:
        count = np.unique(t[used]).size
        return _without(bare, f"{count} exposure times between 5 % and 95 % of saturation: {LEAST_LEVELS} are needed")
    weights = 1 / s[used]  # relative deviations count, as the standard asks
    offset, slope = _weighted(np.column_stack([np.ones(used.sum()), t[used]]), s[used], weights)[0]
    line = offset + slope * t
    if slope <= 0 or (line[used] <= 0).any():
        return _without(bare, "the signal does not grow with the exposure: the sweep was not made by exposure")
    deviation = 100 * (s - line) / line
    alpha, alpha_error, scatter, zero, zero_error, _ = _curvature(t[used], s[used], e[used])
    anyway = abs(zero) > FOOT_SIGMA * zero_error
    if abs(alpha) <= CURVED_SIGMA * alpha_error:
        zero, zero_error = _zero_of_line(t[used], s[used], e[used])
    interval, alone = deviation_interval(t[used], s[used], e[used], deviation[used], seed, level)
    return Linearity(
        exposure_s=t,
        signal_adu=s,
        used=used,
        slope_adu_per_s=float(slope),
        offset_adu=float(offset),
        deviation_percent=deviation,
        error_percent=float(np.abs(deviation[used]).mean()),
        error_interval=interval,
        noise_percent=alone,
        alpha_per_adu=alpha,
        alpha_error_per_adu=alpha_error,
        lamp_scatter=scatter,
        zero_adu=zero,
        zero_error_adu=zero_error,
        foot_if_curved=anyway,
    )


def _rounded(value: float) -> str:
    """Two digits, and none of a power of ten."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def nothing_linear(reason: str) -> Linearity:
    """No linearity at all, for that reason."""
    return Linearity(exposure_s=np.empty(0), signal_adu=np.empty(0), used=np.empty(0, np.bool_), reason=reason)


def _without(bare: Linearity, reason: str) -> Linearity:
    return Linearity(exposure_s=bare.exposure_s, signal_adu=bare.signal_adu, used=bare.used, reason=reason)


def deviation_interval(
    light: F8, signal: F8, relative_error: F8, deviation_percent: F8, seed: int, level: float = LEVEL
) -> tuple[Interval, float]:
    """Interval of the mean size that deviations from the line of least relative deviation have without noise, and what noise alone makes.

    One value a level, all of them fitted; ``relative_error`` of each signal grows where a parabola leaves more than that.
    """
    stretch = _curvature(light, signal, relative_error)[-1]
    noise = _noise_of_deviations(light, 1 / signal, np.maximum(relative_error, 1e-7) * stretch)
    return mean_size_interval(deviation_percent, noise, seed, level)


def _noise_of_deviations(t: F8, weights: F8, relative_error: F8) -> F8:
    """Matrix from independent normal numbers to the noise of the deviations in %: what the line's fit takes up is not in them."""
    design = np.column_stack([np.ones_like(t), t]) * weights[:, None]
    scaled = design / np.abs(design).max(axis=0)
    projection = scaled @ np.linalg.pinv(scaled)
    return np.asarray(100 * (np.eye(t.size) - projection) * relative_error[None, :])


def _curvature(t: F8, s: F8, relative_error: F8) -> tuple[float, float, float, float, float, float]:
    """alpha of S = c0 + x - alpha x^2, x = k t, its error, the signals' scatter, c0 and its error, and the factor by which errors grow
    where that scatter is no chance."""
    design = np.column_stack([np.ones_like(t), t, t**2])
    sigma = np.maximum(relative_error, 1e-7) * s
    beta, covariance, chi2 = _weighted(design, s, 1 / sigma)
    freedom = max(t.size - 3, 1)
    stretch = stretch_of(chi2, t.size - 3)
    k, curve = beta[1], beta[2]
    gradient = np.array([0.0, 2 * curve / k**3, -1 / k**2])
    error = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0)) * stretch
    residual = (s - design @ beta) / s
    scatter, zero_error = float(np.sqrt((residual**2).sum() / freedom)), math.sqrt(max(float(covariance[0, 0]), 0.0)) * stretch
    return float(-curve / k**2), error, scatter, float(beta[0]), zero_error, stretch


def _zero_of_line(t: F8, s: F8, relative_error: F8) -> tuple[float, float]:
    """The signal at no exposure from a straight line, and its error, larger where the line leaves more than chance."""
    beta, covariance, chi2 = _weighted(np.column_stack([np.ones_like(t), t]), s, 1 / (np.maximum(relative_error, 1e-7) * s))
    return float(beta[0]), math.sqrt(max(float(covariance[0, 0]), 0.0)) * stretch_of(chi2, t.size - 2)


def _weighted(design: F8, values: F8, weights: F8) -> tuple[F8, F8, float]:
    """Coefficients, covariance and chi^2 of a weighted fit; columns are scaled before they are solved."""
    scale = np.abs(design).max(axis=0)
    scaled = design / scale * weights[:, None]
    beta, *_ = np.linalg.lstsq(scaled, values * weights, rcond=None)
    covariance = np.linalg.pinv(scaled.T @ scaled)
    chi2 = float(np.square(scaled @ beta - values * weights).sum())
    return beta / scale, covariance / np.outer(scale, scale), chi2
