"""Which frames of one level are paired, and what their pairs tell together.

Frames go two by two.  Where their number is odd the last three make all their three pairs: the mean of those is the pixel-wise variance of
three frames (sum of the squared deviations over n - 1 = 2), so no frame is left over.  Pairs that share a frame are correlated: for
Gaussian noise cov(d_ab^2, d_ac^2) / var(d^2) = corr(d_ab, d_ac)^2 = 1/4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.pairs import PairStatistics

F8 = NDArray[np.float64]
SHARED = 0.25
"""Correlation of the variances of two pairs that have one frame in common."""


def paired(count: int) -> list[tuple[int, int]]:
    """Places of the frames of each pair, for ``count`` frames of one level; none with fewer than two."""
    if count < 3 or count % 2 == 0:
        return [(first, first + 1) for first in range(0, count - 1, 2)]
    a, b, c = count - 3, count - 2, count - 1
    return [*paired(count - 3), (a, b), (a, c), (b, c)]


def combined(pairs: Sequence[PairStatistics]) -> tuple[float, float]:
    """Variance of one frame from all pairs (at least one), and its error with the correlation of pairs that share a frame."""
    w = weights(pairs)
    errors = w * np.array([pair.variance_error for pair in pairs])
    variance = float(sum(one * pair.variance for one, pair in zip(w, pairs, strict=True)))
    return variance, math.sqrt(max(float(errors @ _correlations(pairs) @ errors), 0.0))


def weights(pairs: Sequence[PairStatistics]) -> F8:
    """Weights (sum 1) of the least error: by the pixels of each pair and the correlations between them."""
    root = np.sqrt([max(pair.used, 1) for pair in pairs])
    found = np.maximum(np.linalg.solve(_correlations(pairs) / np.outer(root, root), np.ones(len(pairs))), 0.0)
    return np.asarray(found / found.sum())


def independent_pixels(pairs: Sequence[PairStatistics]) -> float:
    """Pixels of pairs without a common frame that would tell as much: twice those of one pair for three frames."""
    if not pairs:
        return 0.0
    share = weights(pairs) / np.sqrt([max(pair.used, 1) for pair in pairs])
    return float(1 / (share @ _correlations(pairs) @ share)) if any(pair.used for pair in pairs) else 0.0


def mean_covariances(pairs: Sequence[PairStatistics]) -> F8 | None:
    """Covariances [lag_y, lag_x] of one frame from all pairs; None where a pair has none."""
    found = [pair.covariances for pair in pairs if pair.covariances is not None]
    return np.asarray(np.tensordot(weights(pairs), np.array(found), axes=1)) if found and len(found) == len(pairs) else None


def frame_levels(pairs: Sequence[PairStatistics]) -> F8:
    """Level of every frame in ADU, each once however many pairs it is in."""
    levels: dict[str, list[float]] = {}
    for pair in pairs:
        for name, level in zip(pair.names, pair.levels, strict=True):
            levels.setdefault(name, []).append(level)
    return np.array([np.mean(found) for found in levels.values()])


def disjoint(pairs: Sequence[PairStatistics]) -> list[PairStatistics]:
    """The pairs without those that share a frame with one before them."""
    kept, seen = list[PairStatistics](), set[str]()
    for pair in pairs:
        if seen.isdisjoint(pair.names):
            kept.append(pair)
            seen.update(pair.names)
    return kept


def _correlations(pairs: Sequence[PairStatistics]) -> F8:
    names = [set(pair.names) for pair in pairs]
    shared = np.array([[SHARED * (not one.isdisjoint(other)) for other in names] for one in names])
    np.fill_diagonal(shared, 1.0)
    return shared
