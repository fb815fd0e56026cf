"""Where a quantity of a sensor holds: set-up, region, temperature, binning; and dark rates in electrons."""

from __future__ import annotations

import math

from nightcrew.sensor.characterise import RegionResult
from reports.summary import Plain

Where = dict[str, Plain]


def at(where: Where, temperature_c: float | None) -> Where:
    """The place with its temperature, when it is known."""
    return where if temperature_c is None else {**where, "temperature_c": round(temperature_c, 2)}


def text_of(binning: tuple[int, int]) -> str:
    """``2x2``: columns x rows."""
    return f"{binning[0]}x{binning[1]}"


def dark_rate_e(region: RegionResult, rate_adu: float | None, error_adu: float | None) -> tuple[float | None, float | None]:
    """Dark rate of a stored pixel in e-/s with its error; (None, None) without a rate or a gain."""
    gain = region.gain
    if rate_adu is None or gain is None:
        return None, None
    return rate_adu * gain.value, math.hypot((error_adu or 0.0) * gain.value, rate_adu * gain.error)
