"""May a flat enter a master?  Decided by its own level and by its siblings' shape, with the reason in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]

# Illumination that changes with the twilight moves the shape of a flat by a percent or so; a lamp in the dome by much more.
_LEAST_ODD = 0.02
_MOST_USUAL = 0.05  # whatever the others do: else a lamp in the fading twilight, of which every flat has another share, is usual
_ODD_FACTOR = 6.0
_ODD_SHARE = 4  # at most one of so many
_MOST_APART = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatLimits:
    """What a usable flat is, in fractions of the saturation level above the bias."""

    min_level_fraction: float = 0.05
    max_level_fraction: float = 0.85
    max_saturated_fraction: float = 0.005
    min_level_adu: float = 0.0
    """Used alone when no saturation level is known."""


def flat_usable(
    median_adu: float | None,
    saturation_adu: float | None,
    *,
    saturated_fraction: float | None = None,
    bias_level_adu: float = 0.0,
    limits: FlatLimits | None = None,
) -> tuple[bool, str]:
    """Whether a flat of raw median ``median_adu`` may enter a master, and the reason when not (``""`` when it may).

    The level is judged above the bias: ``(median - bias) / (saturation - bias)``.  Without a saturation level only
    ``limits.min_level_adu`` above the bias is asked.
    """
    limits = limits or FlatLimits()
    if median_adu is None:
        return False, "no finite pixel"
    level_adu = median_adu - bias_level_adu
    if level_adu <= limits.min_level_adu:
        return False, f"too faint: {level_adu:.1f} ADU above the bias, limit {limits.min_level_adu:.1f}"
    if saturation_adu is None or saturation_adu <= bias_level_adu:
        return True, ""
    fraction = level_adu / (saturation_adu - bias_level_adu)
    if fraction < limits.min_level_fraction:
        return False, f"too faint: {100 * fraction:.1f} % of saturation, limit {100 * limits.min_level_fraction:.1f} %"
    if fraction > limits.max_level_fraction:
        return False, f"too bright: {100 * fraction:.1f} % of saturation, limit {100 * limits.max_level_fraction:.1f} %"
    if saturated_fraction is not None and saturated_fraction > limits.max_saturated_fraction:
        return False, f"saturated: {100 * saturated_fraction:.2f} % of the pixels, limit {100 * limits.max_saturated_fraction:.2f} %"
    return True, ""


def oddly_lit(shapes: Sequence[Sequence[float | None]], levels_adu: Sequence[float]) -> dict[int, str]:
    """Places of single flats that were lit otherwise than their siblings (a lamp in the dome, a cloud), each with its reason.

    ``shapes`` are the block medians of each flat, brought to level 1; None where a block has no value.  A flat is odd when the
    root mean square over the blocks of its ratio to the median shape, less 1, is above 2 %, above 6 times what is usual among the
    flats (5 % at most), and above one step of its whole ADU (1 / ``levels_adu``): medians of whole numbers jump.  Needs three flats.

    Only single flats are named, at most a quarter of them (one of three): where more differ, or two of those that differ agree
    with each other (the sky's gradient after the telescope was turned, on purpose to be rid of it), nobody can tell which are
    right.  Nothing is named then; see :func:`disagreement`.
    """
    if len(shapes) < 3:
        return {}
    logs = _logs(shapes)
    if not logs.size:
        return {}
    ratios = np.exp(logs - np.median(logs, axis=0))
    off = np.sqrt(np.mean((ratios / np.median(ratios, axis=1, keepdims=True) - 1.0) ** 2, axis=1))
    usual = min(_ODD_FACTOR * float(np.median(off)), _MOST_USUAL)
    limits = np.maximum(max(_LEAST_ODD, usual), 1.0 / np.asarray(levels_adu, np.float64))
    odd = [int(place) for place in np.flatnonzero(off > limits)]
    if len(odd) > max(1, len(shapes) // _ODD_SHARE):
        return {}
    for one, other in itertools.combinations(odd, 2):
        if _apart(logs[one] - logs[other]) < 0.5 * min(off[one], off[other]):
            return {}
    return {
        place: f"lit otherwise than the other flats: its shape differs by {100 * off[place]:.1f} % rms, limit {100 * limits[place]:.1f} %"
        for place in odd
    }


def disagreement(shapes: Sequence[Sequence[float | None]], levels_adu: Sequence[float]) -> str:
    """In words, that the flats of a master do not agree in shape; ``""`` when they do.

    The two that differ most are told when the root mean square of their ratio's logarithm over the blocks is above 3 % and above one
    step of the whole ADU of each.  What neighbouring blocks differ by is noise and taken off: light differs smoothly.
    """
    logs, side = _logs(shapes, keep=True), math.isqrt(len(shapes[0])) if shapes else 0
    steps = 1.0 / np.asarray(levels_adu, np.float64)
    worst, told = 1.0, ""
    for one, other in itertools.combinations(range(len(logs)), 2):
        difference = logs[one] - logs[other]
        known = difference[np.isfinite(difference)]
        if not known.size:
            continue
        grid = difference.reshape(side, -1) if side * side == difference.size else difference[None, :]
        between = np.concatenate([np.diff(grid, axis=0).ravel(), np.diff(grid, axis=1).ravel()])
        between = between[np.isfinite(between)]
        noise = float(np.mean(between**2)) / 2.0 if between.size else 0.0
        rms = math.sqrt(max(0.0, _apart(known) ** 2 - noise))
        limit = max(_MOST_APART, float(np.hypot(steps[one], steps[other])))
        if rms / limit > worst:
            worst = rms / limit
            told = f"the flats do not agree in shape: two of them differ by {100 * rms:.1f} % rms, limit {100 * limit:.1f} %"
    return told


def _logs(shapes: Sequence[Sequence[float | None]], *, keep: bool = False) -> Double:
    """Logarithms of the shapes [flat, block], of the blocks that all flats know; with ``keep`` NaN where one does not."""
    grids = np.array([[np.nan if block is None else block for block in shape] for shape in shapes], np.float64)
    known = (np.isfinite(grids) & (grids > 0)).all(axis=0)
    if keep:
        return np.log(np.where(known, grids, np.nan))
    return np.log(grids[:, known])


def _apart(difference: Double) -> float:
    """Root mean square of the logarithm of a ratio about its median."""
    return float(np.sqrt(np.mean((difference - np.median(difference)) ** 2)))
