"""Where the star is on the array in each position of a dither, and how the field turns about it.

A position of the tip-tilt mirror moves the star by ``slope * (mirror - mirror_reference)`` pixels per axis from ``pixel_reference``.
Behind an alt-azimuth telescope without a derotator, the field turns with the parallactic angle q,

    tan q = sin H / (tan(latitude) cos(dec) - sin(dec) cos H)

(Meeus, Astronomical Algorithms, chapter 14).  Images are added in steps of time so short that nothing within a radius smears by more
than a pixel.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BOX_PX, _LEAST_BOX_PX = 7, 3
_SIDEREAL_DEG_PER_DAY = 360.98564736629
_J2000_UNIX = 946_728_000.0  # 2000-01-01 12:00 UTC
_GMST_J2000_DEG = 280.46061837
_FEWEST_PIXELS = 12
_MOST_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """From positions of the tip-tilt mirror to pixels; each pair is (x, y)."""

    slope_px: tuple[float, float]  # per unit of the mirror
    mirror_reference: tuple[float, float]
    pixel_reference: tuple[float, float]

    def star_px(self, position: tuple[float, float]) -> tuple[float, float]:
        """Where the star is when the mirror is at ``position``."""
        x, y = (
            pixel + slope * (at - zero)
            for pixel, slope, at, zero in zip(self.pixel_reference, self.slope_px, position, self.mirror_reference, strict=True)
        )
        return x, y


@dataclass(frozen=True, kw_only=True)
class Field:
    """How the field is turned on the array: ``device_angle_deg`` less the parallactic angle, where target and site are given.

    The angle is that from +y of the array to north, counted towards -x, where east is when north is up.  The parallactic angle is that
    of the zenith at the star, from north through east, so the device angle is that from +y to the zenith.
    """

    device_angle_deg: float = 0.0
    ra_deg: float | None = None
    dec_deg: float | None = None
    latitude_deg: float | None = None
    longitude_deg: float | None = None  # east is positive

    @property
    def turns(self) -> bool:
        """Whether the angle depends on time."""
        return None not in (self.ra_deg, self.dec_deg, self.latitude_deg, self.longitude_deg)

    def angle_deg(self, unix_s: Floats | float) -> Floats:
        """Angle at some times."""
        times = np.asarray(unix_s, dtype=np.float64)
        if self.ra_deg is None or self.dec_deg is None or self.latitude_deg is None or self.longitude_deg is None:
            return np.full(times.shape, self.device_angle_deg)
        return self.device_angle_deg - parallactic_angle_deg(times, self.ra_deg, self.dec_deg, self.latitude_deg, self.longitude_deg)


def parallactic_angle_deg(unix_s: Floats, ra_deg: float, dec_deg: float, latitude_deg: float, longitude_deg: float) -> Floats:
    """Parallactic angle; UT1 is taken as UTC, which moves it by less than 0.02 degrees away from the zenith."""
    sidereal_deg = _GMST_J2000_DEG + _SIDEREAL_DEG_PER_DAY * (np.asarray(unix_s) - _J2000_UNIX) / 86_400
    hour = np.deg2rad((sidereal_deg + longitude_deg - ra_deg) % 360.0)
    dec, latitude = math.radians(dec_deg), math.radians(latitude_deg)
    angle: Floats = np.rad2deg(np.arctan2(np.sin(hour), math.tan(latitude) * math.cos(dec) - math.sin(dec) * np.cos(hour)))
    return angle


def rotation_edges(field: Field, start_unix_us: int, window_us: tuple[int, int], radius_px: float, smear_px: float = 1.0) -> Ints:
    """Edges of steps (since the start) in none of which the field turns by more than ``smear_px`` at ``radius_px`` from the star."""
    if not field.turns or radius_px <= 0:
        return np.array(window_us, dtype=np.int64)
    most_deg = math.degrees(math.atan(smear_px / radius_px))
    times_us, path = _turning(field, start_unix_us, window_us, most_deg / 8)
    n = max(math.ceil(path[-1] / most_deg * (1 - 1e-12)), 1)
    if n > _MOST_STEPS:
        raise Refused(f"the field turns by {path[-1]:.3g} degrees: {n} steps are too many")
    inner = np.interp(np.arange(1, n) * path[-1] / n, path, times_us)
    edges = np.concatenate([[window_us[0]], inner.round(), [window_us[1]]]).astype(np.int64)
    return np.unique(edges)


def _turning(field: Field, start_unix_us: int, window_us: tuple[int, int], fine_deg: float) -> tuple[Floats, Floats]:
    """Times, and by how much the field has turned until then, back and forth added up; so dense that it turns by ``fine_deg`` between."""
    n = 1 << 11
    while True:
        times_us = np.linspace(*window_us, n + 1)
        turned = np.unwrap(field.angle_deg((start_unix_us + times_us) / 1e6), period=360.0)
        steps = np.abs(np.diff(turned))
        if steps.max() <= fine_deg or n >= 1 << 20:
            return times_us, np.concatenate([[0.0], np.cumsum(steps)])
        n *= 4


@dataclass(frozen=True)
class StarFit:
    """A star as a round Gaussian on a plane; positions in pixels, errors one sigma, times sqrt(chi^2 / dof) where that is > 1."""

    x: float
    y: float
    x_error: float
    y_error: float
    fwhm_px: float
    flux_cps: float
    flux_error_cps: float


def find_star(rate_cps: Floats, error_cps: Floats, bad: NDArray[np.bool_], guess: tuple[float, float] | None = None) -> StarFit:
    """Fit the star nearest to ``guess`` (x, y), or the brightest, in an image [y, x]; bad pixels are left out.

    First in a wide box, then in one of a full width about what was found, where a halo counts less.  ``Refused`` when there is no star
    that a fit ends on: name positions then.
    """
    good = ~bad & np.isfinite(rate_cps)
    place = _brightest(rate_cps, good) if guess is None else guess
    wide = _fit_star(rate_cps, error_cps, good, place, _BOX_PX)
    reach = max(math.ceil(wide.fwhm_px), _LEAST_BOX_PX)
    if reach >= _BOX_PX:
        return wide
    try:
        return _fit_star(rate_cps, error_cps, good, (wide.x, wide.y), reach)
    except Refused:  # too few usable pixels so near
        return wide


def _fit_star(rate_cps: Floats, error_cps: Floats, good: NDArray[np.bool_], place: tuple[float, float], reach_px: int) -> StarFit:
    from scipy.optimize import least_squares

    x0, y0 = place
    axes: Floats = np.indices(rate_cps.shape).astype(np.float64)
    yy, xx = axes[0], axes[1]
    near = good & (np.abs(xx - x0) <= reach_px) & (np.abs(yy - y0) <= reach_px)
    if near.sum() < _FEWEST_PIXELS:
        raise Refused(f"there are {int(near.sum())} usable pixels about x {x0:.1f}, y {y0:.1f}: too few to find a star")
    values, x, y = rate_cps[near], xx[near], yy[near]
    floor = np.median(error_cps[good & (error_cps > 0)]) if (good & (error_cps > 0)).any() else 1.0
    sigma = np.maximum(error_cps[near], floor)  # no pixel without photons weighs more than the rest
    ground = float(np.median(values))

    def model(p: Floats) -> Floats:
        wide: Floats = p[3] ** 2
        height = p[2] / (2 * np.pi * wide)
        shape: Floats = p[4] + p[5] * (x - x0) + p[6] * (y - y0) + height * np.exp(-0.5 * ((x - p[0]) ** 2 + (y - p[1]) ** 2) / wide)
        return shape

    start = np.array([x0, y0, max(float((values - ground).sum()), 1e-6), 1.5, ground, 0.0, 0.0])

    def residuals(p: Floats) -> Floats:
        off: Floats = (model(p) - values) / sigma
        return off

    found = least_squares(residuals, start, x_scale=[1, 1, abs(start[2]) + 1, 1, abs(ground) + 1, abs(ground) + 1, abs(ground) + 1])
    slope: Floats = np.asarray(found.jac, dtype=np.float64)
    worse = max(2 * float(found.cost) / max(values.size - start.size, 1), 1.0)  # speckles, a halo: what no Gaussian describes
    errors = np.sqrt(worse * np.diag(np.linalg.pinv(slope.T @ slope)))
    px, py, flux, width = found.x[:4]
    outside = max(abs(px - x0), abs(py - y0)) > reach_px
    if not found.success or outside or not 0.3 < abs(width) < 2 * _BOX_PX or not flux > 3 * errors[2]:
        raise Refused(f"no star could be fitted about x {x0:.1f}, y {y0:.1f}")
    return StarFit(float(px), float(py), float(errors[0]), float(errors[1]), abs(width) * 2.354820045, float(flux), float(errors[2]))


def _brightest(rate_cps: Floats, good: NDArray[np.bool_]) -> tuple[float, float]:
    """Middle of the 3 x 3 pixels with the greatest median: one hot pixel is no star."""
    if not good.any():
        raise Refused("every pixel is bad: there is no star to find")
    padded = np.pad(np.where(good, rate_cps, np.nan), 1, constant_values=np.nan)
    rows, columns = rate_cps.shape
    around = np.stack([padded[dy : dy + rows, dx : dx + columns] for dy, dx in itertools.product(range(3), range(3))])
    known = np.isfinite(around).sum(axis=0)
    filled = np.where(np.isfinite(around), around, -np.inf)
    middle = np.sort(filled, axis=0)[::-1]
    place = np.clip((known + 1) // 2 - 1, 0, 8)
    score = np.take_along_axis(middle, place[None], axis=0)[0]
    score[known < 4] = -np.inf
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return float(x), float(y)
