"""What can be chosen in photometry: one frozen record, from which options and recipes derive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nightcrew.errors import Refused

SkyMode = Literal["whole", "subframe", "annulus"]
Overlap = Literal["exact", "center"]

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCriteria:
    """When the fit of a radial profile gives the sky; all must hold."""

    min_r_squared: float = 0.8
    min_width: float = 0.5
    """Of the fitted sigma, in units of the frame's stellar sigma."""
    max_width: float = 2.0
    max_reduced_chi_squared: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotometryParameters:
    """Choices of one photometry run."""

    threshold_sigma: float = 3.0
    """Detection threshold above the background map, in units of the robust scatter of the background (``k``)."""
    fwhm_px: float = 4.0
    """Expected width of stars: sets the detection filter where ``smoothing_px`` is not given."""
    smoothing_px: float | None = None
    """Gaussian sigma of the smoothing for detection and radial profile; 0: none; ``None``: a filter matched to ``fwhm_px``."""
    min_area_px: int = 5
    background_box_px: int = 64
    max_sources: int | None = None
    """Keep only so many, the brightest first."""
    radius_px: float | None = None
    """Aperture radius; ``None``: ``radius_fwhm`` times the frame's FWHM."""
    radius_fwhm: float = 2.0
    overlap: Overlap = "exact"
    """``"exact"``: pixels count by the part within the circle; ``"center"``: r < R of the pixel's centre, as in the README."""
    sky: SkyMode = "annulus"
    annulus_inner: float = 1.5
    """In aperture radii."""
    annulus_outer: float = 2.5
    subframe_half_length_px: int = 25
    fit: FitCriteria = FitCriteria()

    def __post_init__(self) -> None:
        for name in ("threshold_sigma", "fwhm_px", "radius_fwhm"):
            _require(getattr(self, name) > 0, f"{name} must be above 0, not {getattr(self, name)}")
        _require(self.smoothing_px is None or self.smoothing_px >= 0, f"smoothing_px must not be negative: {self.smoothing_px}")
        _require(self.radius_px is None or self.radius_px > 0, f"radius_px must be above 0, not {self.radius_px}")
        _require(self.min_area_px >= 1, f"min_area_px must be at least 1, not {self.min_area_px}")
        _require(self.background_box_px >= 8, f"background_box_px must be at least 8, not {self.background_box_px}")
        _require(self.max_sources is None or self.max_sources >= 1, f"max_sources must be at least 1, not {self.max_sources}")
        _require(1.0 <= self.annulus_inner < self.annulus_outer, "annulus: 1 <= annulus_inner < annulus_outer (in aperture radii)")
        _require(self.subframe_half_length_px >= 4, f"subframe_half_length_px must be at least 4, not {self.subframe_half_length_px}")
        _require(self.sky in ("whole", "subframe", "annulus"), f"sky must be whole, subframe or annulus, not {self.sky!r}")
        _require(self.overlap in ("exact", "center"), f"overlap must be exact or center, not {self.overlap!r}")

    @property
    def filter_sigma_px(self) -> float:
        """Gaussian sigma of the detection filter; 0 for none."""
        return self.fwhm_px / FWHM_PER_SIGMA if self.smoothing_px is None else self.smoothing_px


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise Refused(sentence)
