"""Hot pixels and their growth with dose, and the tail of the dark signal that displacement damage makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import median_and_sigma

HOT_SIGMA = 8.0
LEAST_TAIL = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HotLimit:
    """A pixel is hot when it stands more than ``excess_adu`` above its frame's median; ``sigma_adu`` is the scatter of the reference."""

    excess_adu: float
    sigma_adu: float


def hot_limit(reference: NDArray[np.float32], *, noise_adu: float = 0.0, hot_sigma: float = HOT_SIGMA) -> HotLimit:
    """Limit from a dark ``[y, x]`` (bias and hits removed) taken before the irradiation: ``hot_sigma`` robust standard deviations.

    ``noise_adu``: noise of a pixel in the noisiest of the stacks that will be judged by it; the larger of both scatters counts, so that
    noise makes no hot pixels.
    """
    values = reference[np.isfinite(reference)]
    _, sigma = median_and_sigma(values)
    sigma = max(sigma, noise_adu)
    return HotLimit(excess_adu=hot_sigma * sigma, sigma_adu=sigma)


def hot_mask(dark: NDArray[np.float32], limit: HotLimit) -> NDArray[np.bool_]:
    """Pixels of ``dark`` [y, x] that are hot; NaN pixels are not."""
    with np.errstate(invalid="ignore"):
        return np.asarray(dark - np.nanmedian(dark) > limit.excess_adu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Hot pixels per kRad and before the irradiation, with errors; NaN with the reason in ``why``.

    ``chi2`` of the increments over ``freedom`` tells whether growth is even.
    """

    per_krad: float
    per_krad_error: float
    before: float
    before_error: float
    chi2: float = math.nan
    freedom: int = 0
    why: str = ""


def growth(dose_krad: Sequence[float] | NDArray[np.float64], count: Sequence[int]) -> Growth:
    """Growth of a cumulative count: what each step adds is Poisson in number, mean g x (step of dose).

    The most probable g is then (last - first) / (last dose - first dose), its error sqrt(last - first) / the same; the counts
    themselves are no independent points, since a pixel that is hot stays hot.  Doses in kRad, any order.
    """
    order = np.argsort(np.asarray(dose_krad), kind="stable")
    dose, n = np.asarray(dose_krad, dtype=np.float64)[order], np.asarray(count, dtype=np.float64)[order]
    span = float(dose[-1] - dose[0]) if len(dose) else 0.0
    if span <= 0:
        return Growth(per_krad=math.nan, per_krad_error=math.nan, before=math.nan, before_error=math.nan, why="fewer than two doses")
    added = float(n[-1] - n[0])
    rate, error = added / span, math.sqrt(max(added, 1.0)) / span
    expected = rate * np.diff(dose)
    chi2 = float(np.sum((np.diff(n) - expected) ** 2 / np.maximum(expected, 1.0)))
    before = float(n[0] - rate * dose[0])
    return Growth(
        per_krad=rate,
        per_krad_error=error,
        before=before,
        before_error=math.hypot(math.sqrt(max(float(n[0]), 1.0)), error * dose[0]),
        chi2=chi2,
        freedom=len(dose) - 2,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Exponential tail of the dark signal above a limit: ``scale_adu`` is its mean excess, ``n`` the pixels in it."""

    scale_adu: float
    scale_error_adu: float
    n: int
    probability: float = math.nan
    why: str = ""


def no_tail(why: str) -> Tail:
    """A tail that is not known, with the reason."""
    return Tail(scale_adu=math.nan, scale_error_adu=math.nan, n=0, why=why)


def exponential_tail(dark: NDArray[np.float32], above_adu: float) -> Tail:
    """Scale of n(x) ~ exp(-(x - x0) / scale) for pixels more than ``above_adu`` above the median; x0 is where the tail begins.

    With both unknown the unbiased estimate is (mean - least) n / (n - 1), its error scale / sqrt(n - 1).  ``probability``: of such a
    distance from the law by chance (Kolmogorov and Smirnov; a little too kind, since the scale was fitted).
    """
    excess = dark - np.nanmedian(dark) - above_adu
    excess = excess[np.isfinite(excess) & (excess > 0)].astype(np.float64)
    n = int(excess.size)
    if n < LEAST_TAIL:
        return Tail(scale_adu=math.nan, scale_error_adu=math.nan, n=n, why=f"{n} pixels above the limit, {LEAST_TAIL} are needed")
    from scipy.stats import kstest

    scale = float(excess.mean() - excess.min()) * n / (n - 1)
    found = kstest(excess, "expon", args=(excess.min(), scale))
    return Tail(scale_adu=scale, scale_error_adu=scale / math.sqrt(n - 1), n=n, probability=float(found.pvalue))
