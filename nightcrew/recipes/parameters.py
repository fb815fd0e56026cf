"""Parameters of the recipes of nights and sets: frozen, typed, a part of every fingerprint that uses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightcrew.astrometry.program import NoSolverError, find_solver
from nightcrew.settings import SET_KINDS, PlateSolvingSettings, Settings


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
class PlateParameters:
    """How lights without world coordinates are solved.  ``solver`` is the identity of program and indexes.

    ``unavailable``: why there is nothing that could be asked; what was solved before stands then.
    """

    solver: str = ""
    scale_low: float | None = None
    scale_high: float | None = None
    radius_deg: float = 5.0
    unavailable: str = ""


@dataclass(frozen=True, slots=True)
class NightParameters:
    """All that a night's plan takes from the configuration."""

    masters: MasterParameters = field(default_factory=MasterParameters)
    lights: LightParameters = field(default_factory=LightParameters)
    photometry: PhotometryParameters = field(default_factory=PhotometryParameters)
    figures: FigureParameters = field(default_factory=FigureParameters)
    group_quiet_s: float = 60.0
    exclude_filters: tuple[str, ...] = ()
    plates: PlateParameters | None = None  # None: nothing is solved


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
        plates=plate_parameters(settings.plate_solving) if settings.plate_solving.enabled else None,
    )


def plate_parameters(plates: PlateSolvingSettings) -> PlateParameters:
    """The parameters of plate solutions, with the solver that is installed now."""
    base = PlateParameters(scale_low=plates.scale_low, scale_high=plates.scale_high, radius_deg=plates.radius_deg)
    try:
        solver = find_solver(plates.program, plates.index_folder, plates.time_box_s)
    except NoSolverError as error:
        return dataclasses.replace(base, unavailable=str(error))
    return dataclasses.replace(base, solver=solver.identity)


QUIET_S = 600.0  # of a set, when its folder's configuration does not say


@dataclass(frozen=True, slots=True)
class SetParameters:
    """The configuration's options of one kind of sets: the table of that name, such as ``[campaign]``, as plain values.

    What a plan hands from here to a product is a part of that product's fingerprint; the rest is not.
    """

    kind: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option, ``default`` where the configuration has none."""
        return self.values.get(name, default)


@dataclass(frozen=True, slots=True)
class SetOptions:
    """All that the plans of sets take from the configuration: options by kind, and when each watched folder's sets are quiet."""

    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quiet_s: Mapping[str, float] = field(default_factory=dict)

    def of_kind(self, kind: str) -> SetParameters:
        """The options of one kind."""
        return SetParameters(kind, self.values.get(kind, {}))

    def quiet_of(self, folder: str) -> float:
        """After how many seconds without arrivals a set of this watched folder is quiet."""
        return self.quiet_s.get(folder, QUIET_S)


def set_options(settings: Settings) -> SetOptions:
    """The sets' options as the configuration gives them: a kind's own table is taken when the settings have one."""
    tables = {kind: getattr(settings, kind, None) for kind in SET_KINDS}
    return SetOptions(
        values={kind: table.model_dump(mode="json") for kind, table in tables.items() if table is not None},
        quiet_s={str(folder.path): folder.quiet_s for folder in settings.folders if folder.kind != "night"},
    )
