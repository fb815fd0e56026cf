"""Sums over the survivors in the order of the frames: weighted means, and the frames' own uncertainties.

A sorted column no longer knows which frame a value came from.  So the first and the last survivor bound what takes part, and
values that tie with a bound at which some were dropped share the places that are left.  The sums are made independent of the order of the
frames by cutting every term to multiples of one small power of two (below 2^-52 of the largest term times the number of frames),
so that adding them up is exact (Demmel & Nguyen 2013, doi:10.1109/ARITH.2013.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.slab import FrameRows
from nightcrew.calibration.methods import DropExtremes, Rule

if TYPE_CHECKING:
    from nightcrew.calibration.kernels.fallback import Columns

F8 = NDArray[np.float64]


def exact_sum(terms: list[F8]) -> F8:
    """Sum over the list, the same for every order of its arrays."""
    largest = np.abs(terms[0])
    for term in terms[1:]:
        np.maximum(largest, np.abs(term), out=largest)
    doublings = (len(terms) - 1).bit_length() + 2
    bits = ((largest.view(np.int64) >> 52) + doublings << 52) | (1 << 51)
    cut = bits.view(np.float64)  # 1.5 x 2^e: adding and taking away rounds to multiples of 2^(e - 52)
    total = np.zeros_like(largest)
    for term in terms:
        total += (term + cut) - cut
    return total


@dataclass(frozen=True, slots=True)
class FrameSums:
    """Sums over the survivors of each column, x measured from its centre: of w, w x, w^2, w^2 x, w^2 x^2 and w^2 sigma^2."""

    w: F8
    wx: F8
    w2: F8
    w2x: F8
    w2x2: F8
    propagated: F8 | None


def frame_sums(values: list[NDArray[Any]], frames: list[FrameRows], part: slice, columns: Columns, centre: F8, rule: Rule) -> FrameSums:
    """The sums that a weighted mean or a propagated uncertainty needs; ``values`` are unsorted, NaN where masked."""
    shares = _shares(values, columns, rule)
    sigmas = [None if frame.sigma is None else frame.sigma.reshape(-1)[part].astype(np.float64) for frame in frames]
    weighted = rule.method == "weighted_mean"
    weights: list[F8] = []
    for frame, sigma, share in zip(frames, sigmas, shares, strict=True):
        weight = np.full(share.shape, frame.weight if weighted else 1.0)
        if weighted and frame.weight_by_sigma and sigma is not None:
            weight = 1.0 / (sigma * sigma)
        weights.append(np.where(share > 0, weight, 0.0))
    x = [np.where(share > 0, value.astype(np.float64) - centre, 0.0) for value, share in zip(values, shares, strict=True)]
    once = [share * w for share, w in zip(shares, weights, strict=True)]
    twice = [a * w for a, w in zip(once, weights, strict=True)]
    errors = None
    if all(sigma is not None for sigma in sigmas):
        squares = [np.where(share > 0, sigma * sigma, 0.0) for share, sigma in zip(shares, sigmas, strict=True) if sigma is not None]
        errors = exact_sum([a * b for a, b in zip(twice, squares, strict=True)])
    linear = [a * b for a, b in zip(twice, x, strict=True)]
    return FrameSums(
        w=exact_sum(once),
        wx=exact_sum([a * b for a, b in zip(once, x, strict=True)]),
        w2=exact_sum(twice),
        w2x=exact_sum(linear),
        w2x2=exact_sum([a * b for a, b in zip(linear, x, strict=True)]),
        propagated=errors,
    )


def _shares(values: list[NDArray[Any]], columns: Columns, rule: Rule) -> list[F8]:
    """Part that each value takes: 1, 0, or a fraction where values tie with a bound at which some were dropped."""
    low, high = columns.at(columns.a), columns.at(columns.b - 1)
    some = columns.n > 0
    shares = [np.where(some & (value >= low) & (value <= high), 1.0, 0.0) for value in values]
    if not isinstance(rule.clip, DropExtremes):
        return shares
    for bound in (low, high):
        there = sum((np.where(share > 0, value == bound, 0.0) for value, share in zip(values, shares, strict=True)), np.zeros(low.shape))
        left = np.zeros(low.shape)
        for i, row in enumerate(columns.rows):
            left += (i >= columns.a) & (i < columns.b) & (row == bound)
        fraction = left / np.maximum(there, 1.0)
        shares = [np.where((share > 0) & (value == bound), fraction, share) for value, share in zip(values, shares, strict=True)]
    return shares


def weighted_mean(sums: FrameSums, centre: F8) -> F8:
    """sum(w x) / sum(w)."""
    mean: F8 = centre + sums.wx / sums.w
    return mean


def weighted_error(sums: FrameSums, n: F8) -> F8:
    """From the frames' own uncertainties, else from the scatter: sqrt(n / (n - 1) sum(w^2 (x - mean)^2)) / sum(w)."""
    if sums.propagated is not None:
        own: F8 = np.sqrt(sums.propagated) / sums.w
        return own
    d = sums.wx / sums.w
    spread = sums.w2x2 - 2.0 * d * sums.w2x + d * d * sums.w2
    scatter: F8 = np.sqrt(np.maximum(spread, 0.0) * (n / (n - 1.0))) / sums.w
    return scatter
