"""Hits of particles taken out of a stack: they only add charge, so the lower values of a pixel tell where it stands without them.

For every pixel: the mean of its lower half (with the known offset of that for normal noise) is where it stands; values more
than ``CLIP_SIGMA`` above are hits; the result is the mean of the rest.  Holds as long as half of a pixel's frames have no hit.
A pixel that is high in its last frames without a break (at least half of them, and three) did not suffer hits but became hot: it is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nightcrew.irradiation.outliers import SAMPLE

F4 = NDArray[np.float32]
CLIP_SIGMA = 5.0
LEAST_FRAMES = 3


@lru_cache(maxsize=256)
def _normal_scores(n: int) -> tuple[float, ...]:
    """Expected values of n sorted standard normal numbers (Blom 1958: Phi^-1((i - 0.375) / (n + 0.25)), good to 0.01)."""
    from statistics import NormalDist

    return tuple(NormalDist().inv_cdf((i - 0.375) / (n + 0.25)) for i in range(1, n + 1))


def _half(n: int) -> int:
    return max(2, n // 2)


@dataclass(frozen=True, slots=True)
class StackNoise:
    """Noise of a value without hits: variance = floor + per_adu x (level above the stack's median), in ADU^2."""

    floor: float
    per_adu: float

    def sigma(self, excess: F4) -> F4:
        """Standard deviation for pixels that stand ``excess`` ADU above the median."""
        variance: F4 = np.float32(self.floor) + np.float32(self.per_adu) * np.maximum(excess, 0)
        return np.sqrt(variance)


def stack_noise_without_hits(ordered: F4, *, step_adu: float = 0.0) -> StackNoise:
    """Noise from ``ordered`` values [frame, pixel] (sorted along the frames): the spread of the lower half, which hits do not reach.

    ``step_adu``: converter's step, whose step^2 / 12 is the least variance.  The slope with the level comes from the brightest pixels,
    those whose lowest value is bright: hits fill the lower half of some pixels, but hardly ever all frames of one.
    """
    sample = ordered[:, :: max(1, ordered.shape[1] // SAMPLE)]
    n, h = len(sample), _half(len(sample))
    scores = _normal_scores(n)
    spread = (sample[h - 1] - sample[0]) / (scores[h - 1] - scores[0])
    level = sample[:h].mean(axis=0)
    level = level - np.median(level)
    usual = level <= np.quantile(level, 0.9)
    least = max(step_adu**2 / 12, 1e-6)
    # the mean square of the normalised range of h values is above 1; its factor cancels against the same pixels' median for normal noise
    floor = max(_variance_of_ranges(spread[usual], n), least)
    bright = sample[0] - np.median(sample[0]) > 20 * math.sqrt(floor)
    if np.count_nonzero(bright) < 20:
        return StackNoise(floor, 0.0)
    slope = (_variance_of_ranges(spread[bright], n) - floor) / float(np.median(level[bright]))
    return StackNoise(floor, max(slope, 0.0))


@lru_cache(maxsize=64)
def _median_square(n: int) -> float:
    """Median of the squared normalised range of the lower half of n normal values (by a fixed simulation, good to 1 %)."""
    h = _half(n)
    values = np.sort(np.random.Generator(np.random.PCG64(12)).standard_normal((40_000, n)), axis=1)
    scores = _normal_scores(n)
    return float(np.median(((values[:, h - 1] - values[:, 0]) / (scores[h - 1] - scores[0])) ** 2))


def _variance_of_ranges(spread: F4, n: int) -> float:
    middle = float(np.median(spread.astype(np.float64) ** 2)) / _median_square(n)
    if middle > 0:
        return middle
    return float(np.mean(spread.astype(np.float64) ** 2))  # most pixels never change by a step


def hot_from(n_frames: int) -> int:
    """Frame (0-based, in the order of time) from which on a pixel must be hot for the whole stack to show it as hot."""
    return max(n_frames - max(LEAST_FRAMES, -(-n_frames // 2)), 0)


def unrejected(n_frames: int, hits: float) -> float:
    """Probability that hits make a pixel of a stack look hot: they fill its last frames without a break (see ``hot_from``).

    ``hits``: part of the values that were hits, as measured on the stack.  1 for stacks of which no hit can be taken out.
    """
    if n_frames < LEAST_FRAMES or hits <= 0:
        return 0.0 if hits <= 0 else 1.0
    return float(min(hits, 1.0) ** (n_frames - hot_from(n_frames)))


def late_part(n_frames: int) -> float:
    """What pixels that become hot too late to be told from hits add to a mean, over what those that are recognised add.

    Pixels become hot at any time alike; one that is hot in r of n frames adds r / n, and is recognised where r is at least that of
    ``hot_from``.  NaN for stacks of which none is recognised.
    """
    least = n_frames - hot_from(n_frames)
    kept = sum(range(least, n_frames))
    return sum(range(1, least)) / kept if kept else math.nan


@dataclass(frozen=True, eq=False)
class Clean:
    """Mean [pixel] without hits, which values [frame, pixel] were hits, and which pixels [pixel] became hot on the way.

    ``risen``: by how much those that became hot raise the mean of all pixels.
    """

    mean: F4
    hits: NDArray[np.bool_]
    became_hot: NDArray[np.bool_]
    risen: float = 0.0


def _risen(values: F4, high: NDArray[np.bool_]) -> float:
    """Sum of what the ``high`` values [frame, pixel] stand above the mean of their pixel's others."""
    others = np.where(high, 0, values).sum(axis=0, dtype=np.float64) / np.maximum((~high).sum(axis=0), 1)
    return float(np.where(high, values - others, 0).sum(dtype=np.float64))


def mean_without_hits(values: F4, *, noise: StackNoise | None = None, step_adu: float = 0.0) -> Clean:
    """Mean of every pixel of ``values`` [frame, pixel], frames in the order of time, without hits.

    Levels of the frames must be alike.  With fewer than 3 frames nothing can be told: the plain mean, no hit.
    """
    n = len(values)
    if n < LEAST_FRAMES:
        plain = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        return Clean(plain, np.zeros(values.shape, dtype=bool), np.zeros(values.shape[1], dtype=bool))
    ordered = np.sort(values, axis=0)
    law = noise or stack_noise_without_hits(ordered, step_adu=step_adu)
    h = _half(n)
    low = ordered[:h].mean(axis=0, dtype=np.float32)
    offset = np.float32(-np.mean(_normal_scores(n)[:h]))
    sigma = law.sigma(low - np.median(low))
    centre = low + offset * sigma
    hits = values > centre + np.float32(CLIP_SIGMA) * sigma
    until_the_end = np.logical_and.accumulate(hits[::-1])[::-1]
    became_hot = until_the_end[hot_from(n)]
    risen = _risen(values[:, became_hot], until_the_end[:, became_hot]) / values.size
    hits &= ~(until_the_end & became_hot)
    kept = np.where(hits, 0, values).sum(axis=0, dtype=np.float64)
    count = np.maximum(n - hits.sum(axis=0), 1)
    return Clean((kept / count).astype(np.float32), hits, became_hot, risen)
