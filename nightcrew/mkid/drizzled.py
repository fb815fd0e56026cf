"""Images of many positions and angles on one grid of the sky, by drizzle (Fruchter & Hook 2002, PASP 114, 144; doi:10.1086/338393).

The arithmetic is that of the STScI package ``drizzle``, an optional dependency.  Each image is weighted with its exposure.  Neighbours in
the result are correlated, as they always are after drizzling: the variance is right for a pixel, and for a sum over many the error is
greater by :attr:`Drizzled.noise_correlation`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One image to be added: arrays [wavelength, y, x] and [y, x], where its star is, and how its field is turned."""

    rate_cps: Floats  # [wavelength, y, x]
    variance: Floats  # [wavelength, y, x], of the rate
    exposure_s: Floats  # [y, x]; 0 where a pixel is bad
    star_px: tuple[float, float]
    angle_deg: float


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sky about the star: north up, east left, ``scale`` pixels of the array a pixel of the grid; the star is at ``centre`` (x, y)."""

    shape: tuple[int, int]
    centre: tuple[float, float]
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Drizzled:
    """The sum: rates [wavelength, y, x] per pixel of the grid (NaN where nothing fell), their variance, exposure [y, x] in seconds."""

    grid: Grid
    rate_cps: Floats
    variance: Floats
    exposure_s: Floats
    n_shots: int
    pixfrac: float

    @property
    def counts(self) -> Floats:
        """Rate times exposure; 0 where nothing fell."""
        return np.where(self.exposure_s > 0, np.nan_to_num(self.rate_cps) * self.exposure_s, 0.0)

    @property
    def noise_correlation(self) -> float:
        """By what the error of a sum over many pixels is greater than that of independent ones (Fruchter & Hook, eq. 9 and 10)."""
        r = self.pixfrac / self.grid.scale
        return r / (1 - 1 / (3 * r)) if r >= 1 else 1 / (1 - r / 3)


def places_on(grid: Grid, shape: tuple[int, int], star_px: tuple[float, float], angle_deg: float) -> Floats:
    """Places on the grid of the middles of the array's pixels, ``[y, x, (x, y)]``: turned back by the angle about the star."""
    yy, xx = np.indices(shape, dtype=np.float64)
    dx, dy = xx - star_px[0], yy - star_px[1]
    turn = math.radians(angle_deg)
    x = (dx * math.cos(turn) + dy * math.sin(turn)) / grid.scale + grid.centre[0]
    y = (-dx * math.sin(turn) + dy * math.cos(turn)) / grid.scale + grid.centre[1]
    return np.stack([x, y], axis=-1)


def grid_for(shots: Iterable[Shot], scale: float = 1.0) -> Grid:
    """The smallest grid that holds every pixel of every shot, the star on the middle of a pixel."""
    if not 0.1 <= scale <= 10:
        raise Refused(f"a scale of {scale} is none: between 0.1 and 10 pixels of the array")
    unit = Grid(shape=(1, 1), centre=(0.0, 0.0), scale=scale)
    corners = [
        places_on(unit, shot.exposure_s.shape, shot.star_px, shot.angle_deg)[:: max(shot.exposure_s.shape[0] - 1, 1)] for shot in shots
    ]
    if not corners:
        raise Refused("there is nothing to combine")
    every = np.concatenate([corner.reshape(-1, 2) for corner in corners])
    low, high = np.floor(every.min(axis=0) - 1.5 / scale), np.ceil(every.max(axis=0) + 1.5 / scale)
    columns, rows = (high - low + 1).astype(int).tolist()
    if rows * columns > 1 << 24:
        raise Refused(f"a grid of {columns} x {rows} pixels is too large: positions disagree, or the scale is too small")
    return Grid(shape=(rows, columns), centre=(float(-low[0]), float(-low[1])), scale=scale)


def drizzle(shots: list[Shot], grid: Grid | None = None, *, pixfrac: float = 0.5, scale: float = 1.0) -> Drizzled:
    """Add ``shots``; ``pixfrac`` is the side of a drop against that of a pixel.

    Rates are per pixel of the grid: the sum over a star is its rate whatever the scale.  ``Refused`` when the package ``drizzle``
    is not installed.
    """
    try:
        drizzling = importlib.import_module("drizzle.resample").Drizzle
    except ImportError as error:
        raise Refused("combining a dither needs the package `drizzle`: pip install drizzle") from error
    if not 0 < pixfrac <= 1:
        raise Refused(f"a pixfrac of {pixfrac} is none: above 0, up to 1")
    target = grid_for(shots, scale) if grid is None else grid
    n_waves = shots[0].rate_cps.shape[0]
    sums = [drizzling(kernel="square", fillval="NaN", out_shape=target.shape, disable_ctx=True) for _ in range(n_waves)]
    for shot in shots:
        pixmap = places_on(target, shot.exposure_s.shape, shot.star_px, shot.angle_deg)
        weight = np.where(np.isfinite(shot.rate_cps).all(axis=0), shot.exposure_s, 0.0)
        exposure = float(weight.max(initial=0.0))
        if exposure <= 0:
            continue
        for wave, one in enumerate(sums):
            one.add_image(
                np.nan_to_num(shot.rate_cps[wave]).astype(np.float32),
                exptime=exposure,
                pixmap=pixmap,
                data2=np.nan_to_num(shot.variance[wave]).astype(np.float32),
                weight_map=weight.astype(np.float32),
                iscale=target.scale**2,
                pixel_scale_ratio=target.scale,
                pixfrac=pixfrac,
                in_units="cps",
            )
    return _collected(sums, target, len(shots), pixfrac)


def _collected(sums: list[object], grid: Grid, n_shots: int, pixfrac: float) -> Drizzled:
    def of(one: object, name: str) -> Floats:
        value = getattr(one, name)
        value = value[0] if isinstance(value, list | tuple) else value
        return np.zeros(grid.shape) if value is None else np.asarray(value, dtype=np.float64)

    weight = of(sums[0], "out_wht")
    seen = weight > 0
    rates = np.stack([np.where(seen, of(one, "out_img"), np.nan) for one in sums])
    variances = np.stack([np.where(seen, of(one, "out_img2"), np.nan) for one in sums])
    return Drizzled(grid=grid, rate_cps=rates, variance=variances, exposure_s=weight / grid.scale**2, n_shots=n_shots, pixfrac=pixfrac)
