"""Random numbers of the simulator: one independent stream for each named thing, and fast Poisson counts."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

# Below this mean the asymptotic expansion is not used: its error there would exceed 1e-3 of a count.
_SMALLEST_MEAN_FOR_EXPANSION = 12.0
_BLOCK_PIXELS = 1 << 17  # 0.5 MB of float32: all temporaries of a block stay in the second-level cache


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that depends on ``seed`` and ``key`` only, never on what was drawn before for other things."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))


def poisson(rng: np.random.Generator, mean: FloatImage) -> FloatImage:
    """Poisson counts with the given ``mean`` (any shape, >= 0), as float32 whole numbers.

    Means below 12 are drawn by numpy; above, the expansion of the inverse cumulative distribution is evaluated at a
    normal deviate w: floor(L + sqrt(L) w + 1/3 + w^2/6 - (w/36 + w^3/72)/sqrt(L)), M. B. Giles 2016, ACM TOMS 42, 7
    (doi:10.1145/2699466), which keeps mean, variance and skewness and is several times faster.
    """
    flat = np.ascontiguousarray(mean, dtype=np.float32).reshape(-1)
    counts = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK_PIXELS):
        block = slice(start, start + _BLOCK_PIXELS)
        counts[block] = _poisson_block(rng, flat[block])
    return counts.reshape(mean.shape)


def _poisson_block(rng: np.random.Generator, mean: FloatImage) -> FloatImage:
    small = mean < _SMALLEST_MEAN_FOR_EXPANSION
    n_small = int(np.count_nonzero(small))
    if n_small == mean.size:
        return rng.poisson(mean).astype(np.float32)
    w = rng.standard_normal(mean.size, dtype=np.float32)
    root = np.sqrt(np.maximum(mean, np.float32(_SMALLEST_MEAN_FOR_EXPANSION)))
    w2 = w * w
    counts = mean + root * w + np.float32(1 / 3) + w2 * np.float32(1 / 6)
    counts -= w * (np.float32(1 / 36) + w2 * np.float32(1 / 72)) / root
    np.floor(counts, out=counts)
    np.maximum(counts, 0, out=counts)
    if n_small:
        counts[small] = rng.poisson(mean[small])
    return counts
