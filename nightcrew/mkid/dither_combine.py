"""A dither from its photon tables: where the star was in each, steps that do not smear, and everything on one grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.cube import Cube, make_cube
from nightcrew.mkid.cube_bins import WavelengthBins, time_edges
from nightcrew.mkid.dither import Field, Mirror, find_star, rotation_edges
from nightcrew.mkid.drizzled import Drizzled, Shot, drizzle
from nightcrew.mkid.image import CubeWish, bins_of, window_us

Floats = NDArray[np.float64]
Opener = Callable[[Path], AbstractContextManager[CalibratedTable]]


@dataclass(frozen=True, kw_only=True)
class DitherWish:
    """How a dither is combined.

    ``register``: "data" fits the star in each position (starting from the mirror's word where there is one), "mirror" believes the
    mirror, "log" the columns ``star_x`` and ``star_y``.
    """

    cube: CubeWish = dataclass_field(default_factory=CubeWish)
    register: str = "data"
    mirror: Mirror | None = None
    field: Field = dataclass_field(default_factory=Field)
    pixfrac: float = 0.5
    scale: float = 1.0
    smear_px: float = 1.0
    radius_px: float | None = None  # smear is bounded within it; None: the farthest corner of the array


@dataclass(frozen=True)
class Placed:
    """A position: its table, where the star is, and how well that is known (NaN: by the mirror or the log)."""

    name: str
    star_px: tuple[float, float]
    error_px: tuple[float, float]
    fwhm_px: float
    n_steps: int
    exposure_s: float  # median of the pixels that are not bad and have any; 0 where none has
    n_unexposed: int = 0  # pixels that are not bad and have none


@dataclass(frozen=True)
class Dithered:
    """A combined dither and its positions."""

    drizzled: Drizzled
    positions: tuple[Placed, ...]
    bins: WavelengthBins | None


def log_number(table: CalibratedTable, name: str) -> float | None:
    """A number from the observing log's columns, None where there is none."""
    value = table.table.attributes.get(f"log_{name}")
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        number = math.nan
    return number if math.isfinite(number) else None


def field_of(table: CalibratedTable, field: Field) -> Field:
    """``field`` with what it leaves open from the log: target, site, and the position angle of the device."""
    known = {name: log_number(table, name) for name in ("ra_deg", "dec_deg", "latitude_deg", "longitude_deg")}
    told = {name: value for name, value in known.items() if getattr(field, name) is None}
    return replace(field, **told, device_angle_deg=field.device_angle_deg + (log_number(table, "position_angle_deg") or 0.0))


def _told_star(table: CalibratedTable, wish: DitherWish) -> tuple[float, float] | None:
    """Where mirror or log say that the star is."""
    if wish.register == "log":
        x, y = log_number(table, "star_x"), log_number(table, "star_y")
        return None if x is None or y is None else (x, y)
    x, y = log_number(table, "mirror_x"), log_number(table, "mirror_y")
    return None if wish.mirror is None or x is None or y is None else wish.mirror.star_px((x, y))


def locate(table: CalibratedTable, wish: DitherWish, name: str) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Place of the star in pixels, its error, and the width of the star; ``Refused`` when neither log nor data tell."""
    if wish.register not in ("data", "mirror", "log"):
        raise Refused(f"positions come from data, mirror or log, not {wish.register!r}")
    told = _told_star(table, wish)
    if wish.register != "data":
        if told is None:
            raise Refused(f"{name}: its log line has no {'star_x and star_y' if wish.register == 'log' else 'mirror_x and mirror_y'}")
        return told, (math.nan, math.nan), math.nan
    first, last = window_us(table, wish.cube.start, wish.cube.stop)
    image = make_cube(table, time_edges(first, last))
    rate, error = image.rate_cps[0, 0], image.rate_error_cps[0, 0]
    try:
        star = find_star(rate, error, image.bad | ~np.isfinite(rate), told)
    except Refused as refused:
        raise Refused(f"{name}: {refused}") from refused
    return (star.x, star.y), (star.x_error, star.y_error), star.fwhm_px


def shots_of(cube: Cube, star_px: tuple[float, float], field: Field) -> list[Shot]:
    """One shot for each step of time of a cube; bad pixels have no exposure."""
    middles_s = (cube.start_us + (cube.time_edges_us[1:] + cube.time_edges_us[:-1]) / 2) / 1e6
    angles = field.angle_deg(middles_s)
    variance = cube.rate_error_cps**2
    return [
        Shot(
            rate_cps=cube.rate_cps[step],
            variance=variance[step],
            exposure_s=np.where(cube.bad, 0.0, cube.exposure_s[step]),
            star_px=star_px,
            angle_deg=float(angles[step]),
        )
        for step in range(angles.size)
    ]


def exposures_of(cube: Cube) -> tuple[float, int]:
    """Of the pixels of a cube that are not bad: the median exposure of those that have any (0: none has), and the number without."""
    each_s = cube.exposure_s.sum(axis=0)[~cube.bad]
    exposed = each_s[each_s > 0]
    return float(np.median(exposed)) if exposed.size else 0.0, each_s.size - exposed.size


def farthest_px(shape: tuple[int, int], star_px: tuple[float, float]) -> float:
    """How far the farthest pixel of the array is from the star."""
    return max(math.hypot(x - star_px[0], y - star_px[1]) for x in (0, shape[1] - 1) for y in (0, shape[0] - 1))


def combine(paths: Sequence[Path], opener: Opener, wish: DitherWish) -> Dithered:
    """Combine the tables of a dither.

    Raises ``Refused`` when there is none or a position is not known, and the errors of reading the tables.
    """
    if not paths:
        raise Refused("a dither needs a table at least")
    shots: list[Shot] = []
    positions: list[Placed] = []
    bins: WavelengthBins | None = None
    for path in paths:
        with opener(path) as table:
            star, error, fwhm = locate(table, wish, path.name)
            field, window = field_of(table, wish.field), window_us(table, wish.cube.start, wish.cube.stop)
            radius = farthest_px(table.shape, star) if wish.radius_px is None else wish.radius_px
            bins = bins_of(table, wish.cube) if bins is None else bins
            cube = make_cube(
                table, rotation_edges(field, table.start_us, window, radius, wish.smear_px), bins, dead_time=wish.cube.dead_time
            )
        shots += shots_of(cube, star, field)
        exposed, unexposed = exposures_of(cube)
        positions.append(Placed(path.stem, star, error, fwhm, cube.shape[0], exposed, unexposed))
    return Dithered(drizzle(shots, pixfrac=wish.pixfrac, scale=wish.scale), tuple(positions), bins)
