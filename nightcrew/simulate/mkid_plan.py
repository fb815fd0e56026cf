"""What a simulated MKID run consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nightcrew.errors import Refused

KINDS = ("laser", "dark", "flat", "science")


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One exposure; ``rate_cps`` are photons of its light in a perfect pixel."""

    name: str
    kind: str  # laser, dark, flat, science
    duration_s: float
    rate_cps: float = 0.0
    wavelength_nm: float | None = None  # of a laser
    flashes: int = 0  # cosmic rays that the whole array sees
    star_px: tuple[float, float] | None = None  # (x, y) of a star; then there are speckles around it, too
    star_cps: float = 0.0  # photons of the whole star
    fwhm_px: float = 3.0  # of the star
    speckle_ic_cps: float = 0.0  # constant part of the speckles' light in a pixel at the star; it falls as 1 / (1 + (r / 5 px)^2)
    speckle_is_cps: float = 0.0  # the part that flickers
    speckle_tau_s: float = 0.1  # the amplitude forgets itself with this time, and at each whole second


@dataclass(frozen=True, kw_only=True)
class MkidPlan:
    """A run of exposures, one after the other, on one array."""

    columns: int
    rows: int
    boards: int
    exposures: tuple[Exposure, ...]
    start_unix: int = 1_606_000_000  # the readout runs from here on
    gap_s: float = 1.7  # between exposures, and before the first; only background then
    background_cps: float = 5.0
    resolution: float = 8.0  # E / FWHM of a typical pixel
    dead_time_us: int = 10
    hot_fraction: float = 0.01
    cold_fraction: float = 0.01
    dead_fraction: float = 0.02  # silent, although the beam map knows nothing of it
    no_tone_fraction: float = 0.03
    duplicate_fraction: float = 0.005  # channels that have the place of their neighbour
    unmapped_cps: float = 100.0  # of each board, from channels without a place
    loss: float = 0.0005  # of the frames
    silences: tuple[tuple[int, float, float], ...] = ()  # a board, from 0 on, and seconds since start_unix in which its frames are lost
    writer_lag_ms: int = 130  # the writer's clock is late
    tear_words: int = 90  # a file ends up to so many words before or after a frame's end


def _lasers(duration_s: float, rate_cps: float) -> tuple[Exposure, ...]:
    return tuple(
        Exposure(name=f"laser_{nm}", kind="laser", duration_s=duration_s, rate_cps=rate_cps, wavelength_nm=float(nm))
        for nm in (850, 950, 1100, 1250, 1375)
    )


def _run(duration_s: float, rate_cps: float) -> tuple[Exposure, ...]:
    dark = Exposure(name="dark", kind="dark", duration_s=duration_s)
    flat = Exposure(name="flat", kind="flat", duration_s=duration_s, rate_cps=rate_cps, flashes=3)
    return (*_lasers(duration_s, rate_cps), dark, flat)


def dither(columns: int, rows: int, duration_s: float, *, star_cps: float = 4000.0) -> tuple[Exposure, ...]:
    """A science dither: three exposures of a star with speckles around it, some pixels apart."""
    middle, step = ((columns - 1) / 2, (rows - 1) / 2), max(min(columns, rows) // 8, 1)
    places = [(middle[0] + dx * step, middle[1] + dy * step) for dx, dy in ((0, 0), (1, 0), (0, 1))]
    speckles: dict[str, Any] = {"speckle_ic_cps": 60.0, "speckle_is_cps": 30.0}
    return tuple(
        Exposure(name=f"dither_{number}", kind="science", duration_s=duration_s, rate_cps=2.0, star_px=place, star_cps=star_cps, **speckles)
        for number, place in enumerate(places)
    )


PRESETS: dict[str, MkidPlan] = {
    "tiny": MkidPlan(columns=20, rows=20, boards=2, exposures=(*_run(3.5, 100.0), *dither(20, 20, 2.0)), hot_fraction=0.02),
    "darkness": MkidPlan(columns=80, rows=125, boards=5, exposures=(*_run(20.0, 200.0), *dither(80, 125, 5.0))),
    "mec": MkidPlan(columns=140, rows=146, boards=10, exposures=(*_run(20.0, 200.0), *dither(140, 146, 5.0))),
}


def preset(name: str, *, start_unix: int | None = None) -> MkidPlan:
    """A plan by name; ``Refused`` with those that exist when there is none."""
    if name not in PRESETS:
        raise Refused(f"there is no preset {name!r}, only {', '.join(PRESETS)}")
    plan = PRESETS[name]
    return plan if start_unix is None else replace(plan, start_unix=start_unix)
