"""What can be done with the column of values that the frames have at one pixel, as one written definition each.

Let x_1 <= ... <= x_n be the good values of a column (finite and not masked), sorted, and the *survivors* what a clip
leaves of them (always a contiguous part).  A method maps survivors to a number:

=====================  ==========================================================================================
``mean``               sum / n
``median``             middle value, or the mean of the two middle values
``sum``                sum of the survivors (not scaled up for those that are missing)
``min``, ``max``       smallest, largest
``quantile``           linear interpolation at rank q (n - 1), as ``numpy.quantile``
``std``, ``var``       about the mean, divided by n (the population's); GODO calls this ``rms``, and ``rms`` is accepted
``root_mean_square``   sqrt(sum of squares / n)
``weighted_mean``      sum(w x) / sum(w); values that tie with a bound at which some were dropped share the places left
=====================  ==========================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused

Method = Literal["mean", "median", "sum", "min", "max", "quantile", "std", "var", "root_mean_square", "weighted_mean"]
METHODS: tuple[str, ...] = get_args(Method)
ALIASES = {"average": "mean", "rms": "std", "minimum": "min", "maximum": "max", "variance": "var"}


@dataclass(frozen=True, kw_only=True)
class SigmaClip:
    """Iterated sigma clipping about the median.

    Let m be the median and s the standard deviation (about the mean, divided by n) of the values that are left.
    A value x goes when x < m - low * s or x > m + high * s.  Repeat with new m and s until nothing goes, at most
    ``iterations`` times.  A value exactly on the limit stays.
    """

    low: float = 3.0
    high: float = 3.0
    iterations: int = 5

    def __post_init__(self) -> None:
        """Refuse limits that are not positive numbers."""
        if not (self.low > 0 and self.high > 0):
            raise Refused(f"sigma clipping needs positive limits, not {self.low} and {self.high}")
        if self.iterations < 1:
            raise Refused(f"sigma clipping needs at least one iteration, not {self.iterations}")


@dataclass(frozen=True, kw_only=True)
class DropExtremes:
    """Leave out the ``low`` lowest and the ``high`` highest good values of every column (min/max rejection).

    A column with no more than ``low + high`` good values has no survivors.
    """

    low: int = 0
    high: int = 0

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        if self.low < 0 or self.high < 0:
            raise Refused(f"cannot leave out {self.low} lowest and {self.high} highest values: use numbers of at least 0")


Clip = SigmaClip | DropExtremes


@dataclass(frozen=True)
class Rule:
    """A method with its argument and its clip, checked."""

    method: Method
    quantile: float = 0.5
    clip: Clip | None = None

    def needs_moments(self) -> bool:
        """True when the result itself is made of sums."""
        return self.method in ("mean", "sum", "std", "var", "root_mean_square", "weighted_mean")

    def propagates(self) -> bool:
        """True when the uncertainty can be made from the frames' own."""
        return self.method in ("mean", "median", "quantile", "sum", "weighted_mean")

    def ranks(self, n: int) -> frozenset[int] | None:
        """Ranks of a full column that the result needs without clip and sums; ``None`` when all are needed."""
        if self.clip is not None or self.needs_moments():
            return None
        if self.method in ("min", "max"):
            return frozenset({0 if self.method == "min" else n - 1})
        rank = self.rank(n)
        return frozenset({math.floor(rank), math.ceil(rank)})

    def rank(self, n: int) -> float:
        """The (fractional) rank of a median or quantile among ``n`` sorted values."""
        return (self.quantile if self.method == "quantile" else 0.5) * (n - 1)


def rule(
    method: str, *, clip: Clip | None = None, quantile: float | None = None, n_frames: int | None = None, weighted: bool = False
) -> Rule:
    """Check a method's name, argument and clip; ``weighted`` makes a mean a weighted mean.

    Raises :class:`nightcrew.errors.Refused` for an unknown name, a quantile outside 0..1, or extremes that leave nothing of ``n_frames``.
    """
    name = ALIASES.get(method, method)
    if name not in METHODS:
        raise Refused(f"there is no method {method!r} to combine with; choose one of {', '.join(METHODS)}")
    if weighted and name not in ("mean", "weighted_mean"):
        raise Refused(f"weights go with a mean, not with the method {method!r}")
    if name == "weighted_mean" and not weighted:
        raise Refused("a weighted mean needs weights")
    name = "weighted_mean" if weighted else name
    if name == "quantile" and (quantile is None or not 0 <= quantile <= 1):
        raise Refused(f"the method quantile needs a number from 0 to 1, not {quantile}")
    if isinstance(clip, DropExtremes):
        if n_frames is not None and clip.low + clip.high >= n_frames:
            raise Refused(f"leaving out {clip.low} lowest and {clip.high} highest of {n_frames} frames leaves nothing")
        if clip.low == clip.high == 0:
            clip = None
    return Rule(method=name, quantile=0.5 if quantile is None else float(quantile), clip=clip)  # type: ignore[arg-type]  # one of METHODS: checked above


@lru_cache(maxsize=64)
def _rank_variance(q: float, n_max: int) -> tuple[float, ...]:
    """Variance of a sample quantile over the variance of the mean, for 0..n_max normal values (0 and 1 as 1)."""
    if q in (0.0, 1.0):
        return (math.nan,) * (n_max + 1)
    if q == 0.5:
        return (1.0, 1.0, *(median_variance(n) for n in range(2, n_max + 1)))
    from statistics import NormalDist  # pulls in decimal and fractions, which most combinations can do without

    normal = NormalDist()
    limit = q * (1 - q) / normal.pdf(normal.inv_cdf(q)) ** 2
    return (1.0, 1.0, *(limit for n in range(2, n_max + 1)))


def median_variance(n: int) -> float:
    """Variance of the median of ``n`` normal values over the variance of their mean.

    pi/2 for many; for few a fit, good to 0.1 %, to the exact variances of order statistics (integrated from their
    densities, David & Nagaraja, Order Statistics, 3rd ed., 2003, section 2.3): 1.346 for 3, 1.434 for 5, 1.383 for 10.
    """
    if n <= 2:
        return 1.0
    shrink = 0.4292 + 0.26 / (n + 0.6) if n % 2 else 1.4292 - 0.84 / (n + 1.3)
    return math.pi / 2 * n / (n + shrink)


def error_factors(chosen: Rule, n_max: int) -> NDArray[np.float64]:
    """Factor on the mean's standard error that gives the result's, for 0..n_max survivors (see ``Combined.uncertainty``)."""
    if chosen.method in ("min", "max"):
        return np.full(n_max + 1, np.nan)
    if chosen.method in ("median", "quantile"):
        q = chosen.quantile if chosen.method == "quantile" else 0.5
        factors: NDArray[np.float64] = np.sqrt(np.array(_rank_variance(q, n_max)))
        return factors
    return np.ones(n_max + 1)
