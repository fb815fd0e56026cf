"""A sketch of a frame's noise, by which a changed copy of an exposure is told from another exposure.

Two exposures have noise of their own, whatever they show; a copy that was scaled, shifted in level, converted or mended in some pixels has
the noise of its original.  The sketch are the signs of 64 projections of the differences between neighbouring columns onto fixed
random signs (M. Charikar 2002, Proc. 34th ACM STOC, 380): of two frames whose differences correlate by ``rho`` each sign agrees with
probability ``1 - arccos(rho) / pi``.  So 60 of 64 signs agree for two exposures (``rho`` up to 0.5) less than once in 1e6 pairs, and
63 of them for a copy that keeps the order of its values (``rho`` > 0.999).  Of a copy that was divided by a flat under a bright sky,
or painted over in a hundredth of its pixels (``rho`` < 0.98), too few agree to be certain.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import median_and_sigma

_BITS = 64
_PIXELS = 32_768
_LEAST = 1_000
_CLIP = 4.0  # robust sigmas: stars, hot pixels and cosmic rays count no more than noise


def noise_sketch(pixels: NDArray[Any]) -> str:
    """The sketch of an image ``[y, x]`` as 16 hexadecimal digits; "" where it shows no noise that could be told."""
    if pixels.ndim != 2 or pixels.shape[1] < 2 or pixels.dtype.kind not in "iuf":
        return ""
    rows = np.unique(np.linspace(0, pixels.shape[0] - 1, max(1, min(pixels.shape[0], _PIXELS // pixels.shape[1]))).astype(np.intp))
    pairs = pixels[rows, : min(pixels.shape[1], _PIXELS) // 2 * 2].astype(np.float64).reshape(-1, 2)
    steps = pairs[:, 1] - pairs[:, 0]
    finite = np.isfinite(steps)
    if np.count_nonzero(finite) < _LEAST:
        return ""
    middle, sigma = median_and_sigma(steps[finite])
    if not sigma > 0:
        return ""
    noise = np.where(finite, np.clip((steps - middle) / sigma, -_CLIP, _CLIP), 0.0)
    signs = _signs(noise.size) @ noise > 0
    return np.packbits(signs).tobytes().hex()


@lru_cache(maxsize=4)
def _signs(size: int) -> NDArray[np.float32]:
    """Fixed random signs, the same ever after: numpy promises the stream of this generator's raw bits."""
    raw = np.random.PCG64(20_260_516).random_raw(-(-_BITS * size // 64))
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8))[: _BITS * size]
    return bits.reshape(_BITS, size).astype(np.float32) * 2.0 - 1.0
