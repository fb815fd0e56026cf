"""Sub-pixel centres of sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]

MAX_MOVE_FWHM = 0.5
"""A windowed centre further than this from the isophotal one has run away."""


def windowed_centroids(
    above: NDArray[np.float32], x: Double, y: Double, fwhm_px: float, mask: NDArray[np.bool_] | None = None
) -> tuple[Double, Double, NDArray[np.bool_]]:
    """Centres under an iterated Gaussian window of the stars' width, on the background-free image ``above`` ``[y, x]``.

    0-based, (0, 0) is the centre of the first pixel.  Where the iteration fails or runs further than half a FWHM, the
    starting position is returned and marked in the third array.  Source: XWIN/YWIN of SExtractor, through ``sep.winpos``.
    """
    import sep

    if x.size == 0:
        return x, y, np.zeros(0, np.bool_)
    sigma: Any = np.full(x.size, fwhm_px / 2.3548)
    new_x, new_y, _ = sep.winpos(above, x, y, sigma, mask=mask, subpix=5)
    moved = np.hypot(new_x - x, new_y - y)
    failed = ~(np.isfinite(new_x) & np.isfinite(new_y) & (moved <= max(1.0, MAX_MOVE_FWHM * fwhm_px)))
    return np.where(failed, x, new_x), np.where(failed, y, new_y), failed
