"""What a simulated night consists of, and the presets for demonstration and benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

from nightcrew.errors import Refused
from nightcrew.frames.site import Site
from nightcrew.simulate.detector import CameraModel
from nightcrew.simulate.pointing import altitude_deg, night_start_utc
from nightcrew.simulate.sky import Psf, PsfShape

LOWEST_ALTITUDE_DEG = 15.0


@dataclass(frozen=True, kw_only=True)
class FilterModel:
    """A filter.  ``colour_factor`` x (B-V) + V is a star's magnitude in it."""

    name: str
    zero_point_mag: float  # magnitude of a star that gives 1 e-/s above the atmosphere
    extinction_mag: float  # per airmass
    sky_e_per_s: float  # per pixel
    colour_factor: float
    fwhm_factor: float = 1.0
    vignetting: float = 0.15
    dust_spots: int = 6
    flat_level_e: float = 38_000.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A pointing of the night: ``repeats`` lights in each filter, from ``start_h`` hours after local noon."""

    name: str
    ra_deg: float
    dec_deg: float
    n_stars: int
    exposure_s: float
    repeats: int
    start_h: float
    standard: bool = False


@dataclass(frozen=True, kw_only=True)
class DarkSeries:
    """``count`` darks of one exposure time."""

    exposure_s: float
    count: int


@dataclass(frozen=True, kw_only=True)
class NightPlan:
    """Everything that, with a seed, decides each byte of a simulated night."""

    night: str  # ISO date of the local noon that begins it
    site: Site
    camera: CameraModel
    filters: tuple[FilterModel, ...]
    targets: tuple[Target, ...]
    n_bias: int
    darks: tuple[DarkSeries, ...]
    n_flats: int  # per filter
    flat_exposure_s: float
    set_temperature_c: float = -20.0
    temperature_rms_c: float = 0.05
    pixel_scale_arcsec: float = 1.2
    psf_shape: PsfShape = "moffat"
    psf_beta: float = 4.5
    fwhm_px: float = 3.0
    fwhm_rms_px: float = 0.08  # between frames
    mag_range: tuple[float, float] = (10.5, 17.5)
    separation_px: float = 26.0  # no two stars are closer
    dither_px: float = 8.0  # uniform, +- on both axes
    rotation_deg: float = 0.15  # uniform, +-
    transparency_rms: float = 0.01  # between frames
    readout_s: float = 9.0
    dusk_h: float = 6.2  # flats begin, hours after local noon
    dawn_h: float = 18.2  # darks and bias begin
    late_filter: str = ""  # its flats are dropped after all lights
    troubles: tuple[str, ...] = ()  # kinds of nightcrew.simulate.troublemakers

    def filter(self, name: str) -> FilterModel:
        """The filter of that name (KeyError when absent)."""
        return {one.name: one for one in self.filters}[name]

    def target(self, name: str) -> Target:
        """The target of that name (KeyError when absent)."""
        return {one.name: one for one in self.targets}[name]

    def psf(self, fwhm_px: float) -> Psf:
        """Star image of this plan at a width."""
        return Psf(self.psf_shape, fwhm_px, self.psf_beta)

    def check(self) -> None:
        """Refuse a plan whose targets are not up when they are observed, or that does not fit its night."""
        start = night_start_utc(date.fromisoformat(self.night), self.site.longitude_deg)
        if not 0 < self.dusk_h < self.dawn_h < 24:
            raise Refused(f"simulated night: flats at {self.dusk_h} h and darks at {self.dawn_h} h do not lie in one night")
        for target in self.targets:
            altitude = altitude_deg(target.ra_deg, target.dec_deg, start + timedelta(hours=target.start_h), self.site)
            if altitude < LOWEST_ALTITUDE_DEG:
                raise Refused(
                    f"simulated night {self.night}: {target.name} stands at {altitude:.0f} degrees when it is to be observed, "
                    f"below {LOWEST_ALTITUDE_DEG:.0f}; choose another date"
                )


SITE = Site(longitude_deg=-70.4042, latitude_deg=-24.6272, elevation_m=2635.0, timezone="America/Santiago")

FILTERS = (
    FilterModel(name="B", zero_point_mag=21.6, extinction_mag=0.25, sky_e_per_s=1.5, colour_factor=1.0, fwhm_factor=1.06),
    FilterModel(name="V", zero_point_mag=22.0, extinction_mag=0.14, sky_e_per_s=3.5, colour_factor=0.0, vignetting=0.14),
    FilterModel(name="R", zero_point_mag=22.1, extinction_mag=0.10, sky_e_per_s=5.5, colour_factor=-0.56, fwhm_factor=0.96),
)


def _targets(stars: int, exposure_s: float, standard_s: float, repeats: tuple[int, int, int]) -> tuple[Target, ...]:
    return (
        Target(name="Crew 1", ra_deg=164.25, dec_deg=-20.4, n_stars=stars, exposure_s=exposure_s, repeats=repeats[0], start_h=7.4),
        Target(name="Crew 2", ra_deg=191.5, dec_deg=-34.9, n_stars=stars, exposure_s=exposure_s, repeats=repeats[1], start_h=9.3),
        Target(
            name="Standard 7",
            ra_deg=208.0,
            dec_deg=-0.6,
            n_stars=stars,
            exposure_s=standard_s,
            repeats=repeats[2],
            start_h=11.0,
            standard=True,
        ),
    )


def short_night(night: str = "2026-05-16") -> NightPlan:
    """The night of ``make night``: 67 frames of 512^2 and five troublemakers; R flats come last."""
    return NightPlan(
        night=night,
        site=SITE,
        camera=CameraModel(nx=512, ny=512),
        filters=FILTERS,
        targets=_targets(stars=110, exposure_s=30.0, standard_s=10.0, repeats=(3, 3, 3)),
        n_bias=5,
        darks=(DarkSeries(exposure_s=30.0, count=5), DarkSeries(exposure_s=10.0, count=5), DarkSeries(exposure_s=4.0, count=5)),
        n_flats=5,
        flat_exposure_s=4.0,
        late_filter="R",
        troubles=("truncated", "duplicate", "text_file", "bright_flat", "late_flat"),
    )


def bench_night(night: str = "2026-05-16") -> NightPlan:
    """The benchmark's night: 20 bias, 20 darks, 60 flats in three filters and 60 lights, 2048^2, nothing wrong."""
    return NightPlan(
        night=night,
        site=SITE,
        camera=CameraModel(nx=2048, ny=2048, amplifier_glow_e_per_s=0.2, cosmic_rays_per_mpx_s=0.5),
        filters=FILTERS,
        targets=_targets(stars=900, exposure_s=30.0, standard_s=30.0, repeats=(7, 7, 6)),
        n_bias=20,
        darks=(DarkSeries(exposure_s=30.0, count=20),),
        n_flats=20,
        flat_exposure_s=30.0,  # the one exposure that there are darks of
        psf_shape="gaussian",
        dither_px=20.0,
    )


PRESETS = {"short": short_night, "bench": bench_night}


def preset_plan(name: str, night: str | None = None) -> NightPlan:
    """The preset of that name, on its own date or another."""
    if name not in PRESETS:
        raise Refused(f"no simulated night is called {name!r}; choose one of: {', '.join(sorted(PRESETS))}")
    plan = PRESETS[name]()
    return replace(plan, night=night) if night else plan
