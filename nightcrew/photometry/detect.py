"""Finding sources above the background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.background import Background
from nightcrew.photometry.parameters import PhotometryParameters

Float = NDArray[np.float32]
Double = NDArray[np.float64]

KERNEL_RADIUS_SIGMA = 1.5
"""The filter is cut there: wider costs more and finds no more."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Sources, brightest isophotal flux first (ties by y, then x): arrays of one length, positions 0-based at pixel centres.

    ``segmentation`` (int32 ``[y, x]``) holds 0, or ``label`` of the source that owns the pixel.  ``deblended`` False: sources that touch
    each other could not be told apart, and are one.
    """

    x: Double
    y: Double
    flux: Double
    peak: Double
    blended: NDArray[np.bool_]
    label: NDArray[np.int32]
    segmentation: NDArray[np.int32]
    deblended: bool = True

    def __len__(self) -> int:
        return int(self.x.size)


def gaussian_kernel(sigma_px: float) -> Float | None:
    """Normalised Gaussian filter ``[y, x]`` of odd size, ``None`` for sigma 0."""
    if sigma_px <= 0:
        return None
    half = max(1, round(KERNEL_RADIUS_SIGMA * sigma_px))
    offset = np.arange(-half, half + 1)
    line = np.exp(-0.5 * (offset / sigma_px) ** 2)
    kernel = np.outer(line, line)
    return np.asarray(kernel / kernel.sum(), np.float32)


def detect(image: Float, background: Background, parameters: PhotometryParameters, mask: NDArray[np.bool_] | None = None) -> Detections:
    """Sources of ``image`` ``[y, x]`` (background still in it): smoothed, above ``threshold_sigma`` x background scatter, deblended.

    Pixels in ``mask`` are not looked at.  An image without sources gives empty arrays, not an error.
    """
    threshold = parameters.threshold_sigma * background.sigma
    if not (math.isfinite(threshold) and threshold > 0):
        return _empty(image)
    above = image - background.level
    kernel = gaussian_kernel(parameters.filter_sigma_px)
    if mask is not None and not mask.any():
        mask = None
    objects, segmentation, deblended = _extract(above, threshold, mask, kernel, parameters.min_area_px)
    order = np.lexsort((objects["x"], objects["y"], -objects["flux"]))
    objects = objects[order]
    merged = (objects["flag"] & 1) != 0  # sep.OBJ_MERGED: was one object before deblending
    return Detections(
        x=objects["x"].astype(np.float64),
        y=objects["y"].astype(np.float64),
        flux=objects["flux"].astype(np.float64),
        peak=objects["peak"].astype(np.float64),
        blended=merged,
        label=(order + 1).astype(np.int32),
        segmentation=segmentation,
        deblended=deblended,
    )


# Peaks within one object that deblending may hold: a quantised sky gives connected regions with thousands of them.
_SUB_OBJECTS = 16_384


def _extract(above: Float, threshold: float, mask: Any, kernel: Float | None, min_area: int) -> tuple[Any, NDArray[np.int32], bool]:
    """``sep.extract``, tried again with more room, then without deblending (False), where its buffers run full."""
    import sep

    room = sep.get_extract_pixstack()
    for attempt, (levels, deblend) in enumerate(((32, 0.005), (32, 0.005), (1, 1.0))):
        try:
            objects, segmentation = sep.extract(
                above,
                threshold,
                mask=mask,
                minarea=min_area,
                filter_kernel=kernel,
                deblend_nthresh=levels,
                deblend_cont=deblend,
                segmentation_map=True,
            )
            return objects, segmentation, deblend < 1.0
        except Exception as error:  # sep raises nothing more special; what is no full buffer is raised again
            full = "buffer full" in str(error) or "overflow" in str(error)
            if attempt == 2 or not full:
                raise
            sep.set_extract_pixstack(max(room, above.size))
            sep.set_sub_object_limit(_SUB_OBJECTS)
    raise AssertionError("not reached")


def _empty(image: Float) -> Detections:
    none = np.empty(0, np.float64)
    return Detections(none, none, none, none, np.empty(0, np.bool_), np.empty(0, np.int32), np.zeros(image.shape, np.int32))
