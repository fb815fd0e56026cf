"""The gain as many scripts make it, for comparison with published numbers, its bias known; and whether one gain fits the whole frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.curve_fit import CurveFit
from nightcrew.sensor.frames import Rows, SensorFrame, Window
from nightcrew.sensor.linearity import straightened
from nightcrew.sensor.pairs import kept_by_repeated_clip
from nightcrew.sensor.regions import Region

CUSTOMARY_SIGMA = 3.0
CUSTOMARY_EXCESS = 1 / kept_by_repeated_clip(CUSTOMARY_SIGMA) - 1
"""By so much that gain is too high where the noise is Gaussian: 3.1 %."""
UNEVEN_SIGMA, UNEVEN = 5.0, 0.05
"""Quarters whose gains differ by more errors and by more than this share of the smaller are several amplifiers'."""
MOST_BRIGHT_FAT = -1e-5
"""1/e-: no sensor's charge drives its own pixel's share of the light away by more."""
LEAST_PIXELS = 200
_SHARES = (np.arange(32) + 0.5) / 32
_MOST_PIXELS = 1 << 20
F8 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairSample:
    """Rows of two flats of one level, evenly spread over the windows of a region: pairs of arrays [y, x] in ADU."""

    parts: tuple[tuple[F8, F8], ...]

    @property
    def values(self) -> tuple[F8, F8]:
        """All pixels that are finite in both."""
        one, two = (np.concatenate([part[which].reshape(-1) for part in self.parts]) for which in (0, 1))
        finite = np.isfinite(one) & np.isfinite(two)
        return one[finite], two[finite]

    def quarter(self, bottom: bool, left: bool) -> PairSample:
        """A quarter of each window."""

        def cut(image: F8) -> F8:
            ny, nx = image.shape
            rows = image[: ny // 2] if bottom else image[ny // 2 :]
            return rows[:, : nx // 2] if left else rows[:, nx // 2 :]

        return PairSample(tuple((cut(one), cut(two)) for one, two in self.parts))


def sample(first: SensorFrame, second: SensorFrame, region: Region) -> PairSample:
    """Not more pixels of two frames than tell a variance to 0.2 %."""
    with first.opened() as a, second.opened() as b:
        count = len(region.windows)
        return PairSample(tuple((_sampled(a, window, count), _sampled(b, window, count)) for window in region.windows))


def gain_clipped_at_three_sigma(pair: PairSample, offset_adu: float, bias_variance: float) -> float | None:
    """g = S / (V - R) of two flats, with V from their difference clipped at 3 sigma until nothing changes, nothing put back.

    S is the mean level above ``offset_adu``, R what the same clip leaves of ``bias_variance`` (ADU^2, of one frame).  This is no estimate
    of the gain: the clip takes 3.0 % of a Gaussian's variance.  None where nothing is left.
    """
    one, two = pair.values
    if one.size < 2:
        return None
    signal = 0.5 * (one.mean() + two.mean()) - offset_adu
    shot = 0.5 * _clipped_variance(one - two) - kept_by_repeated_clip(CUSTOMARY_SIGMA) * bias_variance
    return float(signal / shot) if signal > 0 and shot > 0 and math.isfinite(shot) else None


def uneven_gain(pair: PairSample, offset_adu: float, fit: CurveFit, alpha_per_adu: float = 0.0) -> str:
    """A sentence when the quarters' gains differ by more than 5 errors and 5 %: several amplifiers measured as one; else "".

    Of each quarter's variance goes what the fitted curve has beyond photon noise at that quarter's own signal, so that light that falls
    unevenly on one amplifier makes no difference: its brighter-fatter effect bends, its response (``alpha_per_adu``) is straightened.
    """
    found = [_quarter(pair.quarter(bottom, left), offset_adu, fit, alpha_per_adu) for bottom in (True, False) for left in (True, False)]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return ""
    bend = _unknown_bend(known, fit)
    slopes = [one.slope - bend * one.charge for one in known]
    if min(slopes) <= 0:
        return ""
    gains = [(1 / slope, one.error / slope**2) for slope, one in zip(slopes, known, strict=True)]
    least, most = min(gains), max(gains)
    if most[0] - least[0] <= max(UNEVEN_SIGMA * math.hypot(least[1], most[1]), UNEVEN * least[0]):
        return ""
    values = ", ".join(f"{value:.3g}" for value, _ in gains)
    bent = "" if fit.a00 is not None else " (too high by the brighter-fatter effect, which so few levels do not tell)"
    return (
        f"the quarters of the frame (lower left, lower right, upper left, upper right) have gains of {values} e-/ADU{bent}: "
        "several amplifiers, which --amplifiers measures apart? One gain for all is none of them"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quarter:
    """Photon noise over signal (1/g) with its error; ``charge``: what a brighter-fatter term of 1 /e- adds to it, in ADU."""

    slope: float
    error: float
    charge: float


def _quarter(pair: PairSample, offset_adu: float, fit: CurveFit, alpha_per_adu: float) -> _Quarter | None:
    """The flats brought to one level, what the clip takes put back, and what the fitted curve has beyond photon noise taken out."""
    one, two = pair.values
    if one.size < LEAST_PIXELS:
        return None
    levels = one.mean() - offset_adu, two.mean() - offset_adu
    if min(levels) <= 0:
        return None
    ratio = levels[0] / levels[1]
    variance = _clipped_variance(one - ratio * two) / (1 + ratio**2) / kept_by_repeated_clip(CUSTOMARY_SIGMA)
    mean_level = (one + ratio**2 * two - offset_adu * (1 + ratio**2)) / (1 + ratio**2)
    signal, steep = straightened(np.quantile(mean_level, _SHARES), alpha_per_adu)  # light that falls unevenly within the quarter, too
    square = 1 / float(np.mean(1 / steep**2))
    light = float(signal.mean())
    beyond = float(np.mean(fit.variance_at(signal) - fit.floor - signal / fit.gain))
    shot = (variance - fit.floor) * square - beyond
    if light <= 0 or shot <= 0:
        return None
    return _Quarter(slope=shot / light, error=variance * square * math.sqrt(2 / one.size) / light, charge=float(np.mean(signal**2)) / light)


def _unknown_bend(quarters: Sequence[_Quarter], fit: CurveFit) -> float:
    """The brighter-fatter term in 1/e-, within what is not known of it, that makes the quarters most alike.

    Beside a fitted one its error; where none was fitted, on few levels, all that sensors have.  Amplifiers under one lamp differ the
    other way: that of more ADU has the more noise in each.
    """
    lowest, highest = (MOST_BRIGHT_FAT, 0.0) if fit.a00 is None else (-3 * (fit.a00_error or 0.0), 3 * (fit.a00_error or 0.0))
    weights = np.array([1 / one.error**2 for one in quarters])
    slopes, charges = np.array([one.slope for one in quarters]), np.array([one.charge for one in quarters])
    slopes, charges = (values - np.average(values, weights=weights) for values in (slopes, charges))
    spread = float((weights * charges**2).sum())
    return float(np.clip((weights * charges * slopes).sum() / spread, lowest, highest)) if spread > 0 else 0.0


def _sampled(image: Rows, window: Window, parts: int) -> F8:
    """Rows of the window, evenly spread, of not more pixels than are needed."""
    ny, nx = window.shape
    step = max(1, -(-ny * nx * parts // _MOST_PIXELS))
    rows = [window.rows(image, y, y + 1) for y in range(0, ny, step)] if step > 1 else [window.whole(image)]
    return np.asarray(np.concatenate(rows), np.float64)


def _clipped_variance(values: F8) -> float:
    """Variance of what is left when all beyond 3 sigma of the median is cut until nothing changes."""
    while True:
        kept = values[np.abs(values - np.median(values)) <= CUSTOMARY_SIGMA * values.std()]
        if kept.size == values.size or kept.size < 2:
            return float(values.var())
        values = kept
