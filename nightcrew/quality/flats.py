"""May a flat enter a master?  Decided by its own level, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass


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
