"""May a flat enter a master?  Decided by its own level and by its siblings' shape, with the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Illumination that changes with the twilight moves the shape of a flat by a percent or so; a lamp in the dome by much more.
_LEAST_ODD = 0.02
_ODD_FACTOR = 6.0


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
    """Places of flats that were lit otherwise than their siblings (a lamp in the dome, a cloud), each with its reason.

    ``shapes`` are the block medians of each flat, brought to level 1; None where a block has no value.  A flat is odd when the
    root mean square over the blocks of its ratio to the median shape, less 1, is above 2 %, above 6 times what is usual among the
    flats, and above one step of its whole ADU (1 / ``levels_adu``): medians of whole numbers jump.  Needs three flats to tell
    which one is odd; the median shape is that of the others only if most agree.
    """
    if len(shapes) < 3:
        return {}
    grids = np.array([[np.nan if block is None else block for block in shape] for shape in shapes], np.float64)
    known = np.isfinite(grids).all(axis=0) & (grids > 0).all(axis=0)
    if not known.any():
        return {}
    grids = grids[:, known]
    ratios = grids / np.median(grids, axis=0)
    off = np.sqrt(np.mean((ratios / np.median(ratios, axis=1, keepdims=True) - 1.0) ** 2, axis=1))
    limits = np.maximum(max(_LEAST_ODD, _ODD_FACTOR * float(np.median(off))), 1.0 / np.asarray(levels_adu, np.float64))
    return {
        int(
            place
        ): f"lit otherwise than the other flats: its shape differs by {100 * off[place]:.1f} % rms, limit {100 * limits[place]:.1f} %"
        for place in np.flatnonzero(off > limits)
    }
