"""Robust numbers of one frame, fast enough to be taken from every file that arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a Gaussian with a median absolute deviation of 1."""

SAMPLE_PIXELS = 262_144
"""Pixels that a sampled median looks at: its error is then 0.25 % of the scatter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStatistics:
    """Numbers of one frame, in the unit of its pixels.

    ``median`` and ``sigma`` (1.4826 MAD) come from a regular sample of pixels, the rest from every pixel.
    ``saturated_fraction`` is ``None`` when no saturation level is known; every value is ``None`` when no pixel is finite.
    """

    median: float | None
    sigma: float | None
    minimum: float | None
    maximum: float | None
    saturated_fraction: float | None
    finite_fraction: float
    sampled_pixels: int


def sample_pixels(image: Image, max_pixels: int = SAMPLE_PIXELS) -> Image:
    """About ``max_pixels`` pixels of ``image``, spread evenly and always the same ones, as a flat array.

    The step through the flattened image shares no factor with the row length, so that no column pattern
    (amplifiers, colour filters) is favoured.
    """
    flat = image.reshape(-1)
    if flat.size <= max_pixels:
        return flat
    step = flat.size // max_pixels
    while step > 1 and math.gcd(step, image.shape[-1]) > 1:
        step -= 1
    if step == 1:
        step = flat.size // max_pixels + 1
        while math.gcd(step, image.shape[-1]) > 1:
            step += 1
    return flat[::step]


def median_and_sigma(values: Image) -> tuple[float, float]:
    """Median and 1.4826 x median absolute deviation of finite ``values`` (at least one), in their unit."""
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    median = float(np.median(numbers))
    return median, MAD_TO_SIGMA * float(np.median(np.abs(numbers - median)))


def clipped_mean_sigma(values: Image, *, clip_sigma: float = 5.0, max_rounds: int = 10) -> tuple[float, float, int]:
    """Mean, standard deviation and number of the ``values`` that survive clipping about the median.

    A pixel leaves when it is more than ``clip_sigma`` standard deviations from the median; repeated until nothing
    changes or ``max_rounds``.  Unlike the MAD it resolves scatter below the quantisation step.  Non-finite values are ignored.
    """
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size == 0:
        raise ValueError("no finite value to take a mean of")
    median, sigma = median_and_sigma(numbers)
    sigma = sigma or float(numbers.std())
    for _ in range(max_rounds):
        kept = numbers[np.abs(numbers - median) <= clip_sigma * sigma] if sigma > 0 else numbers
        new_sigma = float(kept.std())
        done = kept.size == numbers.size and new_sigma == sigma
        numbers, sigma, median = kept, new_sigma, float(np.median(kept))
        if done or sigma == 0:
            break
    return float(numbers.mean()), sigma, int(numbers.size)


def pixel_noise(image: Image, max_pixels: int = SAMPLE_PIXELS) -> float:
    """Pixel-to-pixel scatter of ``image`` in its own unit, from differences of horizontal neighbours / sqrt(2).

    Gradients and stars hardly enter; read noise, photon noise and pixel response do.  0 for an image without two columns.
    """
    rows = max(1, min(image.shape[0], max_pixels // max(image.shape[1], 1)))
    chosen = image[:: max(1, image.shape[0] // rows)]
    pairs = chosen[:, : chosen.shape[1] // 2 * 2].astype(np.float64).reshape(chosen.shape[0], -1, 2)
    difference = (pairs[..., 1] - pairs[..., 0]).reshape(-1)
    difference = difference[np.isfinite(difference)]
    if difference.size == 0:
        return 0.0
    return clipped_mean_sigma(difference, clip_sigma=4.0)[1] / math.sqrt(2.0)


def frame_statistics(
    image: Image, *, saturation: float | None = None, mask: Image | None = None, max_pixels: int = SAMPLE_PIXELS
) -> FrameStatistics:
    """Robust numbers of ``image`` ``[y, x]`` (any real type; unit free), over pixels that are finite and not in ``mask``.

    ``saturation`` is in the image's unit; pixels at or above it count as saturated.
    """
    values = image.reshape(-1) if mask is None else image[~mask.astype(bool)]
    finite_fraction = 1.0
    if np.issubdtype(values.dtype, np.floating):
        finite = np.isfinite(values)
        if not finite.all():
            values = values[finite]
    finite_fraction = values.size / image.size if image.size else 0.0
    if values.size == 0:
        return FrameStatistics(
            median=None, sigma=None, minimum=None, maximum=None, saturated_fraction=None, finite_fraction=0.0, sampled_pixels=0
        )
    sample = sample_pixels(values.reshape(image.shape) if values.size == image.size else values, max_pixels)
    median, sigma = median_and_sigma(sample)
    saturated = None if saturation is None else float(np.count_nonzero(values >= saturation)) / values.size
    return FrameStatistics(
        median=median,
        sigma=sigma,
        minimum=float(values.min()),
        maximum=float(values.max()),
        saturated_fraction=saturated,
        finite_fraction=finite_fraction,
        sampled_pixels=int(sample.size),
    )
