"""Speckle maps of a dither: in each position steps in which the field hardly turns, each step placed by its own angle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import flags as f
from nightcrew.mkid.calibrated import CalibratedTable
from nightcrew.mkid.dither import Field, rotation_edges
from nightcrew.mkid.dither_combine import farthest_px
from nightcrew.mkid.drizzled import Drizzled, Grid, Shot, drizzle, grid_for
from nightcrew.mkid.rician import IC, IP, IS
from nightcrew.mkid.speckle import SpeckleRules
from nightcrew.mkid.speckle_maps import SpeckleMaps, make_maps

Floats = NDArray[np.float64]

PLANES = ("Ic", "Is", "Ic limit")
"""What the planes of combined maps hold."""
PLANES_COMPANION = ("Ic", "Is", "Ip", "Is limit")
"""The same where a companion was fitted."""
_FAINT = 2.0  # errors of one step's Ic^2: an Ic whose square is below that averages to too much
_SURE = 2.0  # errors above 0
_MOST_UNSURE = 0.05  # of the exposure of a pixel
_ONE_SIDED_95 = 1.644853627


@dataclass(frozen=True, kw_only=True)
class PlacedMaps:
    """Speckle maps of a position: where the star was, and how the field was turned in each step."""

    maps: SpeckleMaps
    star_px: tuple[float, float]
    angles_deg: tuple[float, ...]  # [step]
    exposure_s: Floats | None = None  # [step, y, x] for which each pixel was read out; None: all of each step
    weight: Floats | None = None  # [y, x]: mean weight of the flat field in each pixel; None: rates are as counted


def place_maps(
    table: CalibratedTable,
    rules: SpeckleRules,
    star_px: tuple[float, float],
    field: Field,
    *,
    method: Literal["binned", "intervals"] = "binned",
    smear_px: float = 1.0,
) -> PlacedMaps:
    """Maps of a table in steps in which nothing on the array smears by more than ``smear_px``.

    Raises ``Refused`` when the field turns so fast that a step does not hold ten bins, and what :func:`make_maps` raises.
    """
    span = 0, table.stop_us - table.start_us
    edges_us = rotation_edges(field, table.start_us, span, farthest_px(table.shape, star_px), smear_px)
    maps = make_maps(table, rules, edges_us, method=method)
    middles_s = (table.start_us + (edges_us[1:] + edges_us[:-1]) / 2) / 1e6
    return PlacedMaps(
        maps=maps,
        star_px=star_px,
        angles_deg=tuple(field.angle_deg(middles_s).tolist()),
        exposure_s=np.stack([table.exposure_s(int(a), int(b)) for a, b in itertools.pairwise(edges_us)]),
        weight=mean_weights(table),
    )


def mean_weights(table: CalibratedTable) -> Floats | None:
    """Mean weight [y, x] that the flat field gives the photons of a pixel, NaN where it has none; None without a flat field."""
    if table.calibrations.flat is None:
        return None
    flat_alone = replace(table.calibrations, linearity_step_s=None)  # the fits see the dead time themselves
    flat_only = CalibratedTable(table.table, flat_alone)
    weights, counts = np.zeros(table.n_pixels), np.zeros(table.n_pixels)
    for slab in flat_only.slabs():
        weights += np.bincount(slab.pixel, slab.weight, table.n_pixels)
        counts += np.bincount(slab.pixel, minlength=table.n_pixels)
    known = (counts > 0) & ((table.flag.ravel() & f.bit("flatcal.bad")) == 0)
    mean: Floats = np.where(known, weights / np.where(known, counts, 1.0), np.nan).reshape(table.shape)
    return mean


def combine_maps(positions: Sequence[PlacedMaps], *, pixfrac: float = 0.5) -> tuple[Drizzled, Drizzled]:
    """Ic, Is (and Ip) of several positions on one grid, and the ratio Ic / Is of the combined ones beside them.

    Rates and errors are those of a pixel of mean sensitivity where the maps were placed with a flat field, and as counted otherwise.
    Pixels that are not valid are left out; the others count by their exposure.  A pixel whose Is stands at 0 counts as Is would be without
    that bound (and Ic by so much more, as their sum is what is known best): averages of values that end at 0, or of those above 0 alone,
    are too great.  An Ip at 0 likewise counts, with Ic and Is, as all three would be without that bound.

    Two things no such step helps with.  Counts tell ``Is (Is + 2 Ic)``, so ``Ic^2`` and not Ic: Ic = 0 averages to two thirds of the error
    of one step, however many there are.  Where the square of the average is below two errors of that of one step, Ic and Is are NaN, and
    a third plane has the 95 % limit of Ic.  With a companion, where Is or Ic is within two errors of 0, Ic may be anything from 0 to the
    whole light, so that Is averages to several times its value.  Where more than a twentieth of the exposure is of such values, the rates
    are NaN, and a fourth plane has the 95 % limit of Is.
    """
    shots: list[Shot] = []
    for one in positions:
        seconds = np.diff(one.maps.edges_us)[:, None, None] / 1e6 if one.exposure_s is None else one.exposure_s
        for step, angle in enumerate(one.angles_deg):
            values, variance = _planes(one.maps, step)
            if one.weight is not None:
                scale = np.stack([one.weight] * len(values))
                if one.maps.rules.companion:
                    scale[IP + 1] = np.where(np.isfinite(one.weight), 1.0, np.nan)  # it is no rate
                values, variance = values * scale, variance * scale**2
            usable = one.maps.valid[step] & np.isfinite(values).all(axis=0) & np.isfinite(variance).all(axis=0)
            exposure = np.where(usable, seconds[step], 0.0)
            shots.append(Shot(rate_cps=values, variance=variance, exposure_s=exposure, star_px=one.star_px, angle_deg=angle))
    grid: Grid = grid_for(shots)
    every = drizzle(shots, grid, pixfrac=pixfrac)
    rates = replace(every, rate_cps=every.rate_cps[:-1], variance=every.variance[:-1])
    covariance = (every.variance[-1] - every.variance[IC] - every.variance[IS]) / 2
    rates = _limited_is(rates) if positions[0].maps.rules.companion else _limited_ic(rates)
    return rates, _ratio(rates, covariance)


def planes_of(rates: Drizzled) -> tuple[str, ...]:
    """Names of the planes of combined maps."""
    return PLANES_COMPANION if len(rates.rate_cps) == len(PLANES_COMPANION) else PLANES


def _limited_is(rates: Drizzled) -> Drizzled:
    """Planes (Ic, Is, Ip, limit of Is) of (Ic, Is, Ip, share of values that are not sure)."""
    with np.errstate(invalid="ignore"):
        return _limited(rates, IS, rates.rate_cps[-1] > _MOST_UNSURE)


def _limited_ic(rates: Drizzled) -> Drizzled:
    """Planes (Ic, Is, limit of Ic) of (Ic, Is, root of the error of Ic^2 in one step)."""
    with np.errstate(invalid="ignore"):
        return _limited(rates, IC, rates.rate_cps[IC] < np.sqrt(_FAINT) * rates.rate_cps[-1])


def _limited(rates: Drizzled, of: int, unsure: NDArray[np.bool_]) -> Drizzled:
    """Rates with a 95 % limit of one in the last plane where they are not sure, and no values."""
    values, variance = rates.rate_cps.copy(), rates.variance.copy()
    limit = np.where(unsure, np.maximum(values[of], 0) + _ONE_SIDED_95 * np.sqrt(variance[of]), np.nan)
    values[:, unsure], variance[:, unsure] = np.nan, np.nan
    values[-1], variance[-1] = limit, np.nan
    return replace(rates, rate_cps=values, variance=variance)


def _planes(maps: SpeckleMaps, step: int) -> tuple[Floats, Floats]:
    """Ic, Is, (Ip, whether Ic or Is is not sure | root of the error of Ic^2), Ic + Is of a step, and variances: that of the sum tells the
    covariance.
    """
    values, errors = maps.free_cps[:, step], maps.free_errors_cps[:, step]
    planes, variances = [values[IC], values[IS]], [errors[IC] ** 2, errors[IS] ** 2]
    if maps.rules.companion:
        with np.errstate(invalid="ignore"):
            sure = (values[: IS + 1] > _SURE * errors[: IS + 1]).all(axis=0)
        planes += [values[IP], np.where(sure, 0.0, 1.0)]
        variances += [errors[IP] ** 2, np.zeros_like(values[IP])]
    else:
        at_bound = np.isnan(maps.errors_cps[IC, step]) & (values[IC] <= 0)
        of_square = np.where(at_bound, _ONE_SIDED_95 * errors[IC] ** 2, 2 * np.maximum(values[IC], 0) * errors[IC])
        planes.append(np.sqrt(of_square))
        variances.append(np.zeros_like(values[IC]))
    sum_variance = np.maximum(variances[IC] + variances[IS] + 2 * maps.free_covariance_cps2[step], 0.0)
    return np.stack([*planes, values[IC] + values[IS]]), np.stack([*variances, sum_variance])


def _ratio(rates: Drizzled, covariance: Floats) -> Drizzled:
    """Ic / Is with its error where Is is above its error, NaN elsewhere."""
    ic, is_ = rates.rate_cps[IC], rates.rate_cps[IS]
    with np.errstate(invalid="ignore", divide="ignore"):
        known = is_ > np.sqrt(rates.variance[IS])
        ratio = np.where(known, ic / is_, np.nan)
        variance = (rates.variance[IC] + ratio**2 * rates.variance[IS] - 2 * ratio * covariance) / is_**2
    return replace(rates, rate_cps=ratio[None], variance=np.where(known, np.maximum(variance, 0.0), np.nan)[None])
