"""A star with a companion on an array, as rates of pixels and as photons: truth for dithers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def point_source(shape: tuple[int, int], place_px: tuple[float, float], rate_cps: float, fwhm_px: float) -> Floats:
    """A round Gaussian of ``rate_cps`` in all at (x, y), integrated over each pixel of [y, x]."""
    from scipy.special import erf

    sigma = fwhm_px / 2.354820045 * math.sqrt(2)

    def share(centre: float, size: int) -> Floats:
        edges = (np.arange(size + 1) - 0.5 - centre) / sigma
        part: Floats = 0.5 * np.diff(erf(edges))
        return part

    return rate_cps * share(place_px[1], shape[0])[:, None] * share(place_px[0], shape[1])[None, :]


def companion_px(
    star_px: tuple[float, float], separation_px: float, position_angle_deg: float, field_angle_deg: float
) -> tuple[float, float]:
    """Where a companion is on the array: ``position_angle_deg`` from north through east, north ``field_angle_deg`` from +y towards -x."""
    turned = math.radians(position_angle_deg + field_angle_deg)
    return star_px[0] - separation_px * math.sin(turned), star_px[1] + separation_px * math.cos(turned)


def photons_of_rates(
    rng: np.random.Generator, rate_cps: Floats, start_us: int, stop_us: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Photons (pixel, time in us) of rates [y, x] that stand still from ``start_us`` to ``stop_us``, in no order."""
    counts = rng.poisson(rate_cps.ravel() * (stop_us - start_us) * 1e-6)
    pixel = np.repeat(np.arange(counts.size), counts)
    return pixel, rng.integers(start_us, stop_us, pixel.size)
