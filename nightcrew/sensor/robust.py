"""Clipped moments of whole images: the limits from a regular sample, the moments from every pixel, piece by piece."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import clipped_mean_sigma

SAMPLE = 262_144
_PIECE = 1 << 18


def sampled(values: NDArray[Any], most: int = SAMPLE) -> NDArray[Any]:
    """At most ``most`` of the values, spread evenly and always the same ones."""
    flat = values.reshape(-1)
    return flat[:: max(1, -(-flat.size // most))]


def clipped_moments(values: NDArray[Any], clip_sigma: float) -> tuple[float, float, int]:
    """Mean, standard deviation and number of the values within ``clip_sigma`` of the sample's middle; (nan, nan, 0) when none is finite."""
    sample = sampled(values)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return math.nan, math.nan, 0
    centre, sigma, _ = clipped_mean_sigma(sample, clip_sigma=clip_sigma)
    centre = float(values.dtype.type(centre)) if values.dtype.kind == "f" else centre
    reach = clip_sigma * sigma if sigma > 0 else math.inf
    n, total, square = 0, 0.0, 0.0
    flat = values.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = np.asarray(flat[start : start + _PIECE] - flat.dtype.type(centre), np.float32)
        bad = ~(np.abs(piece) <= reach)
        piece[bad] = 0
        n += piece.size - int(np.count_nonzero(bad))
        total += float(piece.sum(dtype=np.float64))
        square += float(np.dot(piece, piece))
    if not n:
        return math.nan, math.nan, 0
    mean = total / n
    return centre + mean, math.sqrt(max(square / n - mean**2, 0.0)), n


def stretch_of(chi2: float, freedom: int) -> float:
    """Factor on a fit's errors where its residuals are no chance (chi^2 beyond 3 sigma of its freedom): sqrt(chi^2/freedom).

    A factor from every chance excess would make errors too large on average.
    """
    if freedom < 1 or chi2 <= freedom + 3 * math.sqrt(2 * freedom):
        return 1.0
    return math.sqrt(chi2 / freedom)
