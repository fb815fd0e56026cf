"""Plain definitions of every method, one column at a time, in exact or high precision: what the kernels are held to."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.methods import Clip, DropExtremes, SigmaClip, median_variance

Column = list[Fraction]


def median(x: Column) -> Fraction:
    n = len(x)
    return (x[(n - 1) // 2] + x[n // 2]) / 2


def survivors(x: Column, clip: Clip | None) -> Column:
    """What a clip leaves of a sorted column, decided in exact arithmetic."""
    if isinstance(clip, DropExtremes):
        return x[clip.low : max(clip.low, len(x) - clip.high)]
    if not isinstance(clip, SigmaClip):
        return x
    low2, high2 = Fraction(clip.low) ** 2, Fraction(clip.high) ** 2
    for _ in range(clip.iterations):
        if not x:
            break
        m, mean = median(x), sum(x, Fraction(0)) / len(x)
        variance = sum(((v - mean) ** 2 for v in x), Fraction(0)) / len(x)
        kept = [v for v in x if (v - m) ** 2 <= (low2 if v < m else high2) * variance]
        if len(kept) == len(x):
            break
        x = kept
    return x


def reduce(x: Column, method: str, quantile: float = 0.5) -> float:
    n = len(x)
    if n == 0:
        return math.nan
    mean = sum(x, Fraction(0)) / n
    variance = sum(((v - mean) ** 2 for v in x), Fraction(0)) / n
    rank = Fraction(quantile) * (n - 1)
    below = math.floor(rank)
    values: dict[str, Fraction | float] = {
        "mean": mean,
        "median": median(x),
        "sum": mean * n,
        "min": x[0],
        "max": x[-1],
        "quantile": x[below] + (rank - below) * (x[math.ceil(rank)] - x[below]),
        "var": variance,
        "std": math.sqrt(variance),
        "root_mean_square": math.sqrt(sum((v * v for v in x), Fraction(0)) / n),
    }
    return float(values[method])


def mean_error(x: Column, clip: Clip | None) -> float:
    """Standard error of the mean of the survivors ``x``, NaN below two."""
    n = len(x)
    if n < 2:
        return math.nan
    low, high = (clip.low, clip.high) if isinstance(clip, DropExtremes) else (0, 0)
    padded = [x[0]] * low + x + [x[-1]] * high
    mean = sum(padded, Fraction(0)) / len(padded)
    return math.sqrt(sum(((v - mean) ** 2 for v in padded), Fraction(0)) / (n * (n - 1)))


def combine(frames: list[NDArray[np.float64]], method: str, clip: Clip | None, quantile: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """All planes; frames [y, x] with NaN where masked."""
    shape = frames[0].shape
    out = {name: np.empty(shape) for name in ("result", "count", "uncertainty")}
    for index in np.ndindex(shape):
        column = sorted(Fraction(float(frame[index])) for frame in frames if np.isfinite(frame[index]))
        left = survivors(column, clip)
        out["result"][index] = reduce(left, method, quantile)
        out["count"][index] = len(left)
        factor = math.sqrt(median_variance(len(left))) if method == "median" else len(left) if method == "sum" else 1.0
        out["uncertainty"][index] = mean_error(left, clip) * factor
    return out
