"""Parameters of the night's recipes: frozen, typed, a part of every fingerprint that uses them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from nightcrew.settings import Settings


@dataclass(frozen=True, slots=True)
class MasterParameters:
    """How frames become a master.  ``keep_bias_in_dark``: a dark master holds its bias (its header says so)."""

    method: str = "median"
    keep_bias_in_dark: bool = True
    hot_sigma: float = 8.0
    cold_fraction: float = 0.5


@dataclass(frozen=True, slots=True)
class LightParameters:
    """How a light is reduced and stacked."""

    cosmic_rays: bool = True
    stack_method: str = "mean"
    register: bool = True
    use_dark: bool = True
    use_flat: bool = True


@dataclass(frozen=True, slots=True)
class PhotometryParameters:
    """How sources are found and measured.  ``radius_px`` None: ``fwhm_factor`` x FWHM."""

    radius_px: float | None = None
    fwhm_factor: float = 1.5
    sky: str = "annulus"
    subframe_px: int = 25
    smoothing_px: float = 0.0
    detection_sigma: float = 5.0


@dataclass(frozen=True, slots=True)
class FigureParameters:
    """Which figures a stack's catalogue comes with; ``title`` stands in their names (``--save``)."""

    stars: int = 5
    title: str = ""


@dataclass(frozen=True, slots=True)
class NightParameters:
    """All that a night's plan takes from the configuration."""

    masters: MasterParameters = field(default_factory=MasterParameters)
    lights: LightParameters = field(default_factory=LightParameters)
    photometry: PhotometryParameters = field(default_factory=PhotometryParameters)
    figures: FigureParameters = field(default_factory=FigureParameters)
    group_quiet_s: float = 60.0
    exclude_filters: tuple[str, ...] = ()


def as_dict(parameters: Any) -> dict[str, Any]:
    """A parameter set as JSON-able dictionary."""
    return dataclasses.asdict(parameters)


def from_settings(settings: Settings) -> NightParameters:
    """The night's parameters as the configuration gives them."""
    phot = settings.photometry
    return NightParameters(
        masters=MasterParameters(method=settings.masters.method),
        lights=LightParameters(
            cosmic_rays=settings.lights.cosmic_rays, stack_method=settings.lights.stack_method, register=settings.lights.register_lights
        ),
        photometry=PhotometryParameters(
            radius_px=phot.radius_px,
            fwhm_factor=phot.fwhm_factor,
            sky=phot.sky,
            subframe_px=phot.subframe_px,
            smoothing_px=phot.smoothing_px,
            detection_sigma=phot.detection_sigma,
        ),
        figures=FigureParameters(stars=phot.star_figures),
        group_quiet_s=settings.night.group_quiet_s,
    )
