"""Smooth background and its scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.quality.statistics import clipped_mean_sigma, sample_pixels

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

    The scatter is never taken below half the median ``uncertainty`` (or, without one, half the scatter clipped at 5 sigma):
    in coarsely quantised frames the clipped one can be 0, and a threshold of 0 would call every pixel a source.  ``None`` when
    nothing is unmasked.
    """
    import sep

    if mask is not None and mask.all():
        return None
    box = max(8, min(box_px, *image.shape))
    found = sep.Background(np.ascontiguousarray(image, np.float32), mask=mask, bw=box, bh=box)
    level: Float = np.asarray(found.back(dtype=np.float32), np.float32)
    sigma = max(float(found.globalrms), _least_sigma(image if mask is None else image[~mask], uncertainty))
    return Background(level, float(found.globalback), sigma)


def _least_sigma(values: NDArray[Any], uncertainty: NDArray[Any] | None) -> float:
    """Half the median uncertainty; half the scatter of ``values`` clipped at 5 sigma where there is none."""
    sample = sample_pixels(values if uncertainty is None else uncertainty, 20_000)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0
    return 0.5 * (clipped_mean_sigma(sample, clip_sigma=5.0)[1] if uncertainty is None else float(np.median(sample)))
