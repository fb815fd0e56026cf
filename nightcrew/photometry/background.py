"""Smooth background and its scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import median_and_sigma, sample_pixels

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Background:
    """``level`` (float32 ``[y, x]``), its typical value and the robust 1-sigma scatter of a sky pixel, all in the image's unit."""

    level: Float
    typical: float
    sigma: float


def estimate_background(
    image: Float, mask: NDArray[np.bool_] | None = None, *, box_px: int = 64, uncertainty: NDArray[Any] | None = None
) -> Background | None:
    """Background of ``image`` ``[y, x]`` (finite where ``mask`` is not set) by clipped modes in boxes of ``box_px`` (``sep``).

    The scatter is never taken below half the median ``uncertainty`` of unmasked pixels: in coarsely quantised frames the
    measured one can be 0, and a threshold of 0 would call every pixel a source.  ``None`` when nothing is unmasked.
    """
    import sep

    if mask is not None and mask.all():
        return None
    box = max(8, min(box_px, *image.shape))
    found = sep.Background(np.ascontiguousarray(image, np.float32), mask=mask, bw=box, bh=box)
    level: Float = np.asarray(found.back(dtype=np.float32), np.float32)
    sigma = float(found.globalrms)
    if uncertainty is not None:
        sample = sample_pixels(uncertainty, 20_000)
        sample = sample[np.isfinite(sample)]
        if sample.size:
            sigma = max(sigma, 0.5 * median_and_sigma(sample)[0])
    return Background(level, float(found.globalback), sigma)
