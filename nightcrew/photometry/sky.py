"""The sky under each source: one value for the field, a fit in each sub-frame, or a ring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.photometry.aperture import ring_means
from nightcrew.photometry.background import Background
from nightcrew.photometry.detect import Detections
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.parameters import FWHM_PER_SIGMA, FitCriteria, PhotometryParameters
from nightcrew.photometry.radial_profile import ProfileFits, fit_profiles, radial_profiles
from nightcrew.quality.statistics import SAMPLE_PIXELS, clipped_mean_sigma

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sky:
    """Per source: ``level`` and its 1-sigma ``error`` in the image's unit per pixel, ``flags`` (SourceFlag bits).

    ``fits`` holds the radial fits of the mode ``subframe``, ``whole`` the field's one value of the mode ``whole``.
    """

    level: Double
    error: Double
    flags: NDArray[np.int32]
    fits: ProfileFits | None = None
    whole: float | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """What the sky is measured on: image (finite, ``[y, x]``), uncertainty, unusable pixels, background, sources found."""

    image: NDArray[np.float32]
    uncertainty: NDArray[np.float32] | None
    bad: Bool
    background: Background
    detections: Detections
    smoothed: NDArray[np.float32] | None = None
    """Image for the radial profile where smoothing was asked for."""

    @property
    def not_sky(self) -> Bool:
        """Unusable pixels and those of any source."""
        return np.asarray(self.bad | (self.detections.segmentation != 0), np.bool_)


def whole_sky(field: Field) -> tuple[float, float]:
    """One sky value for the field and its error: mean of the pixels of no source, clipped at 3 sigma about the median."""
    free = field.image[~field.not_sky]
    if free.size == 0:
        return field.background.typical, field.background.sigma
    mean, sigma, n = clipped_mean_sigma(free[:: max(1, free.size // SAMPLE_PIXELS)], clip_sigma=3.0)
    return mean, sigma / math.sqrt(n)


def measure_sky(field: Field, x: Double, y: Double, radius_px: float, fwhm_px: float, parameters: PhotometryParameters) -> Sky:
    """Sky at the sources (``x``, ``y``) by ``parameters.sky``; ``radius_px`` is that of the aperture."""
    if parameters.sky == "whole":
        level, error = whole_sky(field)
        return Sky(np.full(x.size, level), np.full(x.size, error), np.zeros(x.size, np.int32), whole=level)
    ring = annulus_sky(field, x, y, radius_px * parameters.annulus_inner, radius_px * parameters.annulus_outer)
    if parameters.sky == "annulus":
        return ring
    return subframe_sky(field, x, y, fwhm_px, parameters, ring)


def annulus_sky(field: Field, x: Double, y: Double, inner_px: float, outer_px: float) -> Sky:
    """Mean of the free pixels in a ring about each source; the background map (flagged) where there are fewer than 10."""
    level, number = ring_means(field.image, x, y, inner_px, outer_px, field.not_sky)
    fallback = number < 10
    at = _pixel(field.image, x, y)
    level = np.where(fallback, field.background.level[at], level)
    error = field.background.sigma / np.sqrt(np.where(fallback, 1.0, number))
    error *= _noise_ratio(field, x, y)
    return Sky(level, error, np.where(fallback, int(SourceFlag.SKY_FALLBACK), 0).astype(np.int32))


def subframe_sky(field: Field, x: Double, y: Double, fwhm_px: float, parameters: PhotometryParameters, ring: Sky) -> Sky:
    """``G`` of the radial fit in each sub-frame where it passes :class:`FitCriteria`, else ``ring``'s value, flagged."""
    profiles = radial_profiles(
        field.image if field.smoothed is None else field.smoothed,
        field.uncertainty,
        x,
        y,
        parameters.subframe_half_length_px,
        exclude=field.bad,
        segmentation=field.detections.segmentation,
        label=field.detections.label,
    )
    smoothing = parameters.smoothing_px or 0.0
    stellar_sigma = math.hypot(fwhm_px / FWHM_PER_SIGMA, smoothing)
    fits = fit_profiles(profiles, stellar_sigma)
    accepted = accept_fits(fits, stellar_sigma, parameters.fit)
    flags = np.where(accepted, 0, ring.flags | int(SourceFlag.SKY_FIT_REJECTED))
    flags = flags | np.where(profiles.clipped, int(SourceFlag.SUBFRAME_CLIPPED), 0)
    level = np.where(accepted, fits.sky, ring.level)
    error = np.where(accepted, fits.sky_error, ring.error)
    return Sky(level, error, flags.astype(np.int32), fits=fits)


def accept_fits(fits: ProfileFits, stellar_sigma_px: float, criteria: FitCriteria) -> Bool:
    """Which fits give the sky: converged, R^2 and width and reduced chi^2 within ``criteria``."""
    width = fits.sigma_px / stellar_sigma_px
    return np.asarray(
        fits.converged
        & (fits.r_squared >= criteria.min_r_squared)
        & (width >= criteria.min_width)
        & (width <= criteria.max_width)
        & (fits.reduced_chi_squared <= criteria.max_reduced_chi_squared),
        np.bool_,
    )


def _noise_ratio(field: Field, x: Double, y: Double) -> Any:
    """Scatter of the background over that of an independent pixel: above 1 where resampling has tied neighbours together."""
    if field.uncertainty is None:
        return 1.0
    sample = field.uncertainty[::16, ::16]
    sample = sample[np.isfinite(sample) & (sample > 0)]
    return max(1.0, float(np.median(sample)) / field.background.sigma) if sample.size else 1.0


def _pixel(image: NDArray[Any], x: Double, y: Double) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    ny, nx = image.shape
    return np.clip(np.rint(y).astype(np.intp), 0, ny - 1), np.clip(np.rint(x).astype(np.intp), 0, nx - 1)
