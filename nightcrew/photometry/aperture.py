"""Sums of light in circles and rings, with errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.parameters import Overlap

Float = NDArray[np.float32]
Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ApertureSums:
    """Per source: ``total`` and 1-sigma ``error`` in the image's unit, ``area_px`` the circle covers on the frame.

    ``lost_area_px`` is the part under masked pixels; ``total`` and the variance are already scaled for it.
    """

    total: Double
    error: Double
    area_px: Double
    lost_area_px: Double


def pixels_within(radius_px: float) -> int:
    """Number of pixels whose centre is nearer than ``radius_px`` to the centre of a pixel (697 for 15)."""
    half = math.ceil(radius_px)
    offset = np.arange(-half, half + 1)
    return int(np.count_nonzero(offset[:, None] ** 2 + offset[None, :] ** 2 < radius_px**2))


def aperture_sums(
    image: Float,
    uncertainty: Float | None,
    x: Double,
    y: Double,
    radius_px: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    overlap: Overlap = "exact",
) -> ApertureSums:
    """Sum of ``image`` ``[y, x]`` within ``radius_px`` of each (``x``, ``y``); error from the 1-sigma plane ``uncertainty``.

    The uncertainty plane holds the photons' noise already.  ``overlap="center"`` counts whole pixels with r < R.  The part
    of a circle beyond the frame does not count and is missing from ``area_px``.
    """
    import sep

    if x.size == 0:
        none = np.empty(0)
        return ApertureSums(none, none, none, none)
    subpix = 0 if overlap == "exact" else 1
    total, error, _ = sep.sum_circle(image, x, y, radius_px, err=uncertainty, mask=mask, subpix=subpix)
    area = _areas(image.shape, x, y, radius_px, overlap)
    lost = np.zeros(x.size)
    if mask is not None and mask.any():
        lost, _, _ = sep.sum_circle(mask.astype(np.uint8).view(np.uint8).astype(np.float32), x, y, radius_px, subpix=subpix)
    return ApertureSums(np.asarray(total), np.asarray(error), area, np.asarray(lost))


def ring_means(image: Float, x: Double, y: Double, inner_px: float, outer_px: float, exclude: NDArray[np.bool_]) -> tuple[Double, Double]:
    """Mean of the pixels not in ``exclude`` between two radii about each source, and their number (mean 0 where it is 0)."""
    import sep

    if x.size == 0:
        return np.empty(0), np.empty(0)
    free = (~exclude).astype(np.float32)
    total, _, _ = sep.sum_circann(image * free, x, y, inner_px, outer_px, subpix=1)
    number, _, _ = sep.sum_circann(free, x, y, inner_px, outer_px, subpix=1)
    return np.asarray(total) / np.maximum(number, 1.0), np.asarray(number)


def _areas(shape: tuple[int, ...], x: Double, y: Double, radius_px: float, overlap: Overlap) -> Double:
    """Area of each circle within the frame."""
    import sep

    whole = math.pi * radius_px**2
    area = np.full(x.size, whole)
    ny, nx = shape
    reach = radius_px + 1.0
    near = (x < reach) | (y < reach) | (x > nx - 1 - reach) | (y > ny - 1 - reach)
    if overlap == "center":
        near[:] = True
    if near.any():
        ones, _, _ = sep.sum_circle(np.ones(shape, np.float32), x[near], y[near], radius_px, subpix=0 if overlap == "exact" else 1)
        area[near] = ones
    return area
