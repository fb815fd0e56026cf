"""The chain of one image: background, detection, centroids, shapes, sky, aperture sums, catalogue."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.photometry.aperture import ApertureSums, aperture_sums
from nightcrew.photometry.background import Background, estimate_background
from nightcrew.photometry.catalogue import Measured, build_catalogue
from nightcrew.photometry.centroid import windowed_centroids
from nightcrew.photometry.cleaning import replace_bad_pixels, unusable_pixels
from nightcrew.photometry.detect import Detections, detect
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.magnitudes import limiting_magnitude, sum_error
from nightcrew.photometry.parameters import FWHM_PER_SIGMA, PhotometryParameters
from nightcrew.photometry.shape import Shapes, adaptive_shapes, frame_fwhm
from nightcrew.photometry.sky import Field, Sky, measure_sky

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

NARROW_FRACTION = 0.6
NOT_DEBLENDED = "sources that touch each other were not told apart, some may be several in one: their peaks are too many"
"""Note of a frame whose connected pixels above the threshold hold thousands of peaks, as those of a coarsely quantised sky do."""


@dataclass(frozen=True, slots=True)
class Photometry:
    """Result of :func:`measure`.

    ``catalogue`` is an astropy Table (units, descriptions; see :mod:`nightcrew.photometry.catalogue`), ``facts`` JSON-able
    numbers of the frame, ``field`` what the sky was measured on, ``sky_subtracted`` the image less its one sky value
    (mode ``whole`` only, NaN where the input had no value).
    """

    catalogue: Any
    facts: dict[str, Any]
    field: Field | None = None
    sky_subtracted: Float | None = None


def measure(
    image: NDArray[Any],
    uncertainty: NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    *,
    exposure_s: float | None,
    gain_e_per_adu: float | None = None,
    unit: str = "electron",
    parameters: PhotometryParameters | None = None,
    wcs: Any = None,
) -> Photometry:
    """Find and measure the sources of a reduced ``image`` ``[y, x]`` in ``unit`` (``"electron"`` or ``"adu"``) per exposure.

    ``uncertainty`` is the 1-sigma plane (with photon noise), ``mask`` PixelFlag bits, ``wcs`` an astropy WCS or ``None``.
    An image without sources, or without a usable pixel, gives an empty catalogue with its columns, and says so in the facts.

    :raises RejectedInput: planes of different shape, or an unknown unit.
    """
    parameters = parameters or PhotometryParameters()
    _check(image, uncertainty, mask, unit)
    bad = unusable_pixels(image, mask)
    clean, lost, clean_uncertainty = replace_bad_pixels(image, bad, also=uncertainty)
    background = estimate_background(clean, lost if lost.any() else None, box_px=parameters.background_box_px, uncertainty=uncertainty)
    if background is None:
        nothing = Measured.empty(unit, exposure_s, gain_e_per_adu)
        return Photometry(build_catalogue(nothing, wcs), {"sources": 0, "unit": unit, "notes": ["no usable pixel"]})
    found = detect(clean, background, parameters, lost)
    if parameters.max_sources is not None:
        found = _first(found, parameters.max_sources)
    smoothed = _smoothed(clean, parameters)
    field = Field(clean, clean_uncertainty, lost, background, found, smoothed)
    measured, facts, sky = _measure_field(field, bad, mask, exposure_s, gain_e_per_adu, unit, parameters)
    subtracted = None if sky.whole is None else (np.asarray(image, np.float32) - np.float32(sky.whole))
    return Photometry(build_catalogue(measured, wcs), facts, field, subtracted)


def _measure_field(
    field: Field,
    bad: Bool,
    mask: NDArray[Any] | None,
    exposure_s: float | None,
    gain_e_per_adu: float | None,
    unit: str,
    parameters: PhotometryParameters,
) -> tuple[Measured, dict[str, Any], Sky]:
    found, background = field.detections, field.background
    above = field.image - background.level
    above[field.bad] = 0.0
    x, y, strayed = windowed_centroids(above, found.x, found.y, parameters.fwhm_px, field.bad if field.bad.any() else None)
    shapes = adaptive_shapes(above, x, y, parameters.fwhm_px)
    saturated = np.zeros(field.image.shape, np.bool_) if mask is None else (mask & np.uint16(int(PixelFlag.SATURATED))) != 0
    rough = _rough_snr(above, field, x, y, parameters.fwhm_px)
    whole_stars = ~_touches(saturated, x, y, parameters.fwhm_px) & ~found.blended
    fwhm = frame_fwhm(shapes, rough, whole_stars)
    fwhm_used = fwhm or parameters.fwhm_px
    radius = parameters.radius_px or parameters.radius_fwhm * fwhm_used
    sums = aperture_sums(field.image, field.uncertainty, x, y, radius, mask=field.bad, overlap=parameters.overlap)
    if field.uncertainty is None:
        sums = replace(sums, error=background.sigma * np.sqrt(sums.area_px))
    sky = measure_sky(field, x, y, radius, fwhm_used, parameters)
    flags = _flags(field, sums, shapes, strayed, x, y, radius, fwhm_used, bad, saturated) | sky.flags
    total = sums.total - sky.level * sums.area_px
    error = sum_error(sums.error, sums.area_px, sky.error)
    flags |= np.where(total > 0, 0, int(SourceFlag.NO_POSITIVE_SUM)).astype(np.int32)
    measured = Measured(x, y, total, error, sums.area_px, sky, shapes, _peaks(above, x, y), flags, radius, exposure_s, gain_e_per_adu, unit)
    return measured, _facts(field, measured, fwhm, parameters), sky


def _check(image: NDArray[Any], uncertainty: NDArray[Any] | None, mask: NDArray[Any] | None, unit: str) -> None:
    if image.ndim != 2:
        raise RejectedInput(f"photometry needs an image of two axes, not {image.ndim}")
    for name, plane in (("uncertainty", uncertainty), ("mask", mask)):
        if plane is not None and plane.shape != image.shape:
            raise RejectedInput(f"the {name} has the shape {plane.shape}, the image {image.shape}")
    if unit not in ("electron", "adu"):
        raise RejectedInput(f"photometry knows the units electron and adu, not {unit!r}")


def _first(found: Detections, number: int) -> Detections:
    return Detections(
        found.x[:number],
        found.y[:number],
        found.flux[:number],
        found.peak[:number],
        found.blended[:number],
        found.label[:number],
        found.segmentation,
        found.deblended,
    )


def _smoothed(clean: Float, parameters: PhotometryParameters) -> Float | None:
    """The image for radial profiles, smoothed only where a smoothing was asked for."""
    if parameters.sky != "subframe" or not parameters.smoothing_px:
        return None
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(clean, parameters.smoothing_px), np.float32)


def _rough_snr(above: Float, field: Field, x: Double, y: Double, fwhm_px: float) -> Double:
    """Signal to noise within one FWHM."""
    sums = aperture_sums(above, field.uncertainty, x, y, fwhm_px, mask=field.bad)
    error = sums.error if field.uncertainty is not None else field.background.sigma * np.sqrt(sums.area_px)
    return np.asarray(sums.total / np.maximum(error, 1e-30))


def _touches(plane: Bool, x: Double, y: Double, radius_px: float) -> Bool:
    """Whether a pixel of ``plane`` lies within ``radius_px`` of each source."""
    if not plane.any() or x.size == 0:
        return np.zeros(x.size, np.bool_)
    from scipy.spatial import cKDTree

    row, column = np.nonzero(plane)
    distance, _ = cKDTree(np.column_stack([column, row])).query(np.column_stack([x, y]), distance_upper_bound=radius_px)
    return np.asarray(np.isfinite(distance), np.bool_)


def _crowded(x: Double, y: Double, radius_px: float, fwhm_px: float) -> Bool:
    """Whether another source's core reaches into each aperture: nearer than R + FWHM / 2."""
    crowded = np.zeros(x.size, np.bool_)
    if x.size > 1:
        from scipy.spatial import cKDTree

        pairs = cKDTree(np.column_stack([x, y])).query_pairs(radius_px + 0.5 * fwhm_px, output_type="ndarray")
        crowded[pairs.reshape(-1)] = True
    return crowded


def _flags(
    field: Field,
    sums: ApertureSums,
    shapes: Shapes,
    strayed: Bool,
    x: Double,
    y: Double,
    radius: float,
    fwhm_px: float,
    bad: Bool,
    saturated: Bool,
) -> NDArray[np.int32]:
    ny, nx = field.image.shape
    replaced = bad & ~field.bad
    beyond = (x - radius < -0.5) | (y - radius < -0.5) | (x + radius > nx - 0.5) | (y + radius > ny - 0.5)
    fair = shapes.ok & ~beyond
    usual = np.median(shapes.fwhm_px[fair]) if fair.any() else fwhm_px
    marks = (
        (SourceFlag.SATURATED, _touches(saturated, x, y, radius + 0.5)),
        (SourceFlag.EDGE, beyond),
        (SourceFlag.PIXELS_REPLACED, _touches(replaced, x, y, radius + 0.5)),
        (SourceFlag.CORE_REPLACED, _touches(replaced, x, y, 0.5 * fwhm_px)),
        (SourceFlag.PIXELS_LOST, sums.lost_area_px > 1e-3),
        (SourceFlag.CROWDED, _crowded(x, y, radius, fwhm_px) | field.detections.blended),
        (SourceFlag.CENTROID_FALLBACK, strayed),
        (SourceFlag.SHAPE_FAILED, ~shapes.ok),
        (SourceFlag.NARROW, shapes.ok & (np.nan_to_num(shapes.fwhm_px, nan=usual) < NARROW_FRACTION * usual)),
    )
    flags = np.zeros(x.size, np.int32)
    for flag, where in marks:
        flags |= np.where(where, int(flag), 0).astype(np.int32)
    return flags


def _peaks(above: Float, x: Double, y: Double) -> Double:
    """Highest pixel above the background within 1 px of each centre."""
    if x.size == 0:
        return np.empty(0)
    ny, nx = above.shape
    xi, yi = np.rint(x).astype(np.intp), np.rint(y).astype(np.intp)
    near = [above[np.clip(yi + dy, 0, ny - 1), np.clip(xi + dx, 0, nx - 1)] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.asarray(np.max(near, axis=0), np.float64)


def _facts(field: Field, measured: Measured, fwhm: float | None, parameters: PhotometryParameters) -> dict[str, Any]:
    """Numbers of the frame, JSON-able; depth without a zero point."""
    background: Background = field.background
    area = math.pi * measured.radius_px**2
    uncertainty = background.sigma
    if field.uncertainty is not None:
        sample = field.uncertainty[::16, ::16]
        uncertainty = max(uncertainty, float(np.median(sample[np.isfinite(sample)]))) if np.isfinite(sample).any() else uncertainty
    ring = math.pi * measured.radius_px**2 * (parameters.annulus_outer**2 - parameters.annulus_inner**2)
    sky_error = float(np.median(measured.sky.error)) if measured.x.size else uncertainty / math.sqrt(ring)
    fair = measured.shapes.ok & (measured.flags == 0)
    chosen = fair if fair.any() else measured.shapes.ok
    return {
        "sources": int(measured.x.size),
        "unit": measured.unit,
        "exposure_s": measured.exposure_s,
        "background": background.typical,
        "background_sigma": background.sigma,
        "sky_mode": parameters.sky,
        "sky_whole": measured.sky.whole,
        "fwhm_px": fwhm,
        "fwhm_sigma_px": None if fwhm is None else fwhm / FWHM_PER_SIGMA,
        "ellipticity": float(np.median(measured.shapes.ellipticity[chosen])) if chosen.any() else None,
        "radius_px": measured.radius_px,
        "depth_5sigma_mag": limiting_magnitude(uncertainty, area, sky_error, measured.exposure_s),
        "flagged_sources": int(np.count_nonzero(measured.flags)),
        "saturated_sources": int(np.count_nonzero(measured.flags & int(SourceFlag.SATURATED))),
        "notes": [
            *([] if measured.x.size else ["no source above the threshold"]),
            *([] if field.detections.deblended else [NOT_DEBLENDED]),
        ],
    }
