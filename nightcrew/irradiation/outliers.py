"""Values that stand out from a pixel's other frames, with a stated false-alarm rate, also with few frames.

Each value is compared with the *other* frames of its pixel: t = (x_i - mean_others) / (s sqrt(1 + 1 / (n - 1))).  With few frames a pixel's
own scatter says little, so it is joined with what the other pixels say: s^2 = (d0 s0^2 + d s_others^2) / (d0 + d), where d = n - 2 and
the prior (s0^2, d0) comes from the distribution of the pixels' variances, s^2 ~ s0^2 F(d, d0).  For normal noise t then follows
Student's law with d + d0 degrees of freedom (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3), so the limit is its quantile: the
false-alarm rate is the one asked for.  Prior and levels are robust (quantiles), so that hits do not hide each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused

F4 = NDArray[np.float32]
FALSE_ALARM = 1e-6  # of a value, both sides together
QUANTILES = (0.1, 0.6)  # of the pixels' variances; hits make large ones, so the upper end is left alone
MOST_FREEDOM = 1e4  # as good as infinite
SAMPLE = 100_000


@dataclass(frozen=True, slots=True)
class Prior:
    """What all pixels together say of a pixel's variance: its usual value and how many degrees of freedom that is worth."""

    variance: float
    freedom: float


def estimate_prior(values: F4, *, least_variance: float = 0.0) -> Prior:
    """Prior from ``values`` [frame, pixel] with the frames' levels removed.

    ``least_variance`` (step^2 / 12 of the converter) is a floor, since noise below the step is invisible in many pixels.
    """
    n = len(values)
    if n < 3:
        raise Refused(f"{n} frames: at least 3 are needed to tell which one stands out")
    sample = values[:, :: max(1, values.shape[1] // SAMPLE)]
    variance = sample.astype(np.float64).var(axis=0, ddof=1)
    variance = variance[np.isfinite(variance)]
    low, high = np.quantile(variance, QUANTILES).tolist() if variance.size else [0.0, 0.0]
    if low <= 0:
        return Prior(max(float(variance.mean()) if variance.size else 0.0, least_variance, 1e-12), MOST_FREEDOM)
    freedom = _freedom(math.log(high / low), n - 1)
    from scipy.stats import f

    at = 0.4
    middle = float(np.quantile(variance, at)) / float(f.ppf(at, n - 1, freedom))
    return Prior(max(middle, least_variance), freedom)


def _freedom(spread: float, d: int) -> float:
    """d0 for which the F(d, d0) law has this log ratio between its quantiles (bisection in log d0)."""
    from scipy.stats import f

    def width(d0: float) -> float:
        return math.log(float(f.ppf(QUANTILES[1], d, d0)) / float(f.ppf(QUANTILES[0], d, d0)))

    low, high = 0.5, MOST_FREEDOM  # of d0
    if spread <= width(high) * 1.01:
        return high
    if spread >= width(low):
        return low
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if width(middle) > spread else (low, middle)
    return math.sqrt(low * high)


def limit(prior: Prior, n_frames: int, false_alarm: float) -> float:
    """Student's quantile that a value may reach on either side."""
    from scipy.stats import t

    return float(t.isf(false_alarm / 2, n_frames - 2 + prior.freedom))


def find_outliers(values: F4, prior: Prior, *, false_alarm: float = FALSE_ALARM, positive: bool = False) -> NDArray[np.bool_]:
    """Which of ``values`` [frame, pixel] (levels removed) stand out from the pixel's other frames.

    The value that stands out most is left out of the others and the rest looked at again, so that a hit neither hides another nor
    makes the others look low; at most half of a pixel's values.
    ``positive`` keeps only those above the others (the rate is then half).  Values that are not finite are never outliers.
    """
    n = len(values)
    if n < 3:
        return np.zeros(values.shape, dtype=bool)
    bound = limit(prior, n, false_alarm)
    found = ~np.isfinite(values)
    missing = found.copy()
    data = np.where(missing, 0, values).astype(np.float64)
    rows = np.arange(data.shape[1])
    flagged = np.zeros(values.shape, dtype=bool)
    for _ in range(max(1, n // 2)):
        if not rows.size:
            break
        score = _scores(data[:, rows], ~found[:, rows], prior)
        size = np.where(found[:, rows], -np.inf, score if positive else np.abs(score))
        worst = np.argmax(size, axis=0)
        hit = size[worst, np.arange(rows.size)] > bound
        rows, worst = rows[hit], worst[hit]
        found[worst, rows] = True
    # what was taken out too early, while others still hid in the mean, comes back
    changed = np.nonzero((found & ~missing).any(axis=0))[0]
    score = _scores(data[:, changed], ~found[:, changed], prior)
    outside = score > bound if positive else np.abs(score) > bound
    flagged[:, changed] = found[:, changed] & ~missing[:, changed] & outside
    return flagged


def _scores(data: NDArray[np.float64], clean: NDArray[np.bool_], prior: Prior) -> NDArray[np.float64]:
    """t of every value against the clean values of its pixel other than itself."""
    kept = np.where(clean, data, 0.0)
    count, total, square = clean.sum(axis=0), kept.sum(axis=0), (kept * kept).sum(axis=0)
    m = count[None, :] - clean
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (total - kept) / m
        ssd = np.maximum(square - kept * kept - m * mean * mean, 0.0)
        d = np.maximum(m - 1, 0)
        variance = (prior.freedom * prior.variance + ssd) / (prior.freedom + d)
        score = (data - mean) / np.sqrt(variance * (1 + 1 / m))
    return np.where(m > 0, score, 0.0)


def levels_removed(stack: NDArray[np.generic]) -> F4:
    """A stack ``[frame, y, x]`` as ``[frame, pixel]`` without each frame's median and each pixel's median over the frames."""
    flat = stack.reshape(len(stack), -1).astype(np.float32)
    flat -= np.median(flat, axis=1, keepdims=True)
    flat -= np.median(flat, axis=0, keepdims=True)
    return flat
