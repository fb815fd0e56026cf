"""Level and temporal noise of a stack of frames, with their covariance, without any assumption on the shape of the noise.

Unbiased estimates by k-statistics of every pixel's values over the frames (Kendall & Stuart, The Advanced Theory of Statistics, vol. 1,
ch. 12), averaged over the pixels: k2 estimates the variance, cov(mean, k2) = k3 / n, and (2 n k2^2 + (n - 1) k4) / (n (n + 1)) is
an unbiased estimate of var(k2).  So hits of particles, which make the noise anything but normal, get right errors too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Temporal variance of a pixel (mean over pixels), its standard error, and the covariance with the stack's mean level.

    ``variance`` is NaN for fewer than 2 frames.  ``level_variance``: variance of the mean level that this noise explains.  ``third`` and
    ``fourth`` cumulants of a pixel's noise (means over pixels; NaN for fewer than 3 and 4 frames).
    """

    variance: float
    variance_error: float
    covariance: float
    level_variance: float
    n_frames: int
    n_pixels: int
    third: float = math.nan
    fourth: float = math.nan


class Moments:
    """Sums of the pixels' k-statistics over slabs of a stack; add slabs in any order, then ask ``noise``."""

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        self._pixels = 0
        self._sums = np.zeros(4)

    def add(self, residuals: NDArray[np.float32]) -> None:
        """A slab ``[frame, pixel]`` with each frame's own level removed; pixels with a value that is not finite are left out."""
        n = self.n_frames
        if n < 2:
            return
        good = np.isfinite(residuals).all(axis=0)
        values = residuals if good.all() else residuals[:, good]
        centred = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
        square = centred * centred
        m2 = square.sum(axis=0, dtype=np.float64) / n
        m3 = np.einsum("ij,ij->j", square, centred, dtype=np.float64) / n
        m4 = np.einsum("ij,ij->j", square, square, dtype=np.float64) / n
        self._pixels += m2.size
        self._sums += (m2.sum(), m3.sum(), m4.sum(), np.dot(m2, m2))

    def take_out(self, other: Moments) -> None:
        """Forget pixels that were added here and to ``other``."""
        self._pixels -= other._pixels
        self._sums -= other._sums

    def noise(self) -> Noise:
        """The stack's noise.  With 2 or 3 frames var(k2) is the normal law's, 2 k2^2 / (n - 1), from the mean of the pixels' squares."""
        n, pixels = self.n_frames, self._pixels
        if n < 2 or pixels == 0:
            return Noise(
                variance=math.nan, variance_error=math.nan, covariance=math.nan, level_variance=math.nan, n_frames=n, n_pixels=pixels
            )
        m2, m3, m4, m2_squared = self._sums / pixels
        variance = m2 * n / (n - 1)
        third = m3 * n**2 / ((n - 1) * (n - 2)) if n > 2 else 0.0
        square = m2_squared * (n / (n - 1)) ** 2
        fourth = math.nan
        if n > 3:
            fourth = n**2 * ((n + 1) * m4 - 3 * (n - 1) * m2_squared) / ((n - 1) * (n - 2) * (n - 3))
            of_variance = (2 * n * square + (n - 1) * fourth) / (n * (n + 1))
        else:
            of_variance = 2 * square / (n + 1)  # E[k2^2] = sigma^4 (n + 1) / (n - 1) for normal noise
        return Noise(
            variance=variance,
            variance_error=math.sqrt(max(of_variance, 0.0) / pixels),
            covariance=third / n / pixels,
            level_variance=variance / (n * pixels),
            n_frames=n,
            n_pixels=pixels,
            third=third if n > 2 else math.nan,
            fourth=fourth,
        )


def stack_noise(stack: NDArray[np.generic]) -> Noise:
    """Noise of a stack ``[frame, y, x]`` in memory, each frame's mean level removed first."""
    flat = np.asarray(stack, dtype=np.float64).reshape(len(stack), -1)
    found = Moments(len(flat))
    found.add((flat - flat.mean(axis=1, keepdims=True)).astype(np.float32))
    return found.noise()
