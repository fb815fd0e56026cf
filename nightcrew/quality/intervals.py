"""Confidence intervals of quantities whose errors are not Gaussian: what they are, and those of counts and of mean sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
LEVEL = 0.95
"""Share of such intervals that covers the truth, at least: the level of every interval that a report states."""
_MOST_EXACT = 1000
_DRAWS = 1000
_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``low`` to ``high`` the truth lies in at least the share ``level`` of all repetitions."""

    low: float
    high: float
    level: float = LEVEL


def count_interval(probability: F8, level: float = LEVEL) -> Interval:
    """How many of independent things are so, each with its own probability: central quantiles of the Poisson-binomial distribution.

    Exact for up to 1000 things whose probability is neither 0 nor 1, by the normal distribution beyond.
    """
    from scipy.special import ndtri

    p = np.clip(probability, 0.0, 1.0)
    sure = int(np.count_nonzero(p > 1 - 1e-9))
    open_ones = p[(p > 1e-9) & (p <= 1 - 1e-9)]
    tail = (1 - level) / 2
    if open_ones.size > _MOST_EXACT:
        reach = float(ndtri(1 - tail)) * math.sqrt(float((open_ones * (1 - open_ones)).sum()))
        middle = sure + float(open_ones.sum())
        return Interval(max(math.floor(middle - reach), sure), min(math.ceil(middle + reach), sure + open_ones.size), level)
    share: F8 = reduce(np.convolve, ([1 - one, one] for one in open_ones.tolist()), np.ones(1))
    below = np.cumsum(share)
    low, high = (int(np.searchsorted(below, edge)) for edge in (tail, 1 - tail))
    return Interval(sure + low, sure + min(high, open_ones.size), level)


def mean_size_interval(values: F8, root: F8, seed: int, level: float = LEVEL) -> tuple[Interval, float]:
    """Interval of mean(\\|truth\\|) for ``values`` = truth + noise, and the mean size that noise alone has (its median).

    ``root`` [value, source]: the noise is root @ z with independent standard normal z.  The mean size of values with noise is too large, so
    the interval comes from inverting the test (Neyman): truths of the measured shape, c times as large, are left out whose mean size
    with noise would be above the measured one, or below it, in (1 - level) / 2 of all cases.  A mean size below the median of noise alone
    counts as that (Cowan et al. 2011, arXiv:1105.3166: a lucky measurement excludes no more than a typical one).  The interval holds
    the measured mean size.
    """
    size = float(np.abs(values).mean())
    noise = root @ np.random.default_rng(seed).standard_normal((root.shape[1], _DRAWS))
    alone = float(np.median(np.abs(noise).mean(axis=0)))
    shape = values / size if size > 0 else np.zeros_like(values)
    tail = (1 - level) / 2

    def quantile(scale: float, share: float) -> float:
        return float(np.quantile(np.abs(scale * shape[:, None] + noise).mean(axis=0), share))

    def inverted(measured: float, share: float) -> float:
        """The scale at which ``share`` of the mean sizes with noise are below the measured one; 0 where none is so small."""
        low, high = 0.0, 2 * measured + 10 * alone
        for _ in range(_HALVINGS if quantile(0.0, share) < measured else 0):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if quantile(middle, share) < measured else (low, middle)
        return low

    return Interval(min(inverted(size, 1 - tail), size), max(inverted(max(size, alone), tail), size), level), alone
