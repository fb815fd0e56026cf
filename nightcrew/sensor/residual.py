"""Residual bulk image: what a flood of light adds to later darks, by temporal noise and by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nightcrew.errors import Refused
from nightcrew.sensor.exposure_limits import DarkSignal, TrappedCharge
from nightcrew.sensor.groups import Group, same_exposure
from nightcrew.sensor.pairing import combined, frame_levels, paired
from nightcrew.sensor.pairs import PairOptions, PairStatistics, pair_statistics
from nightcrew.sensor.regions import Region


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Flooded against unflooded darks of one exposure and temperature, in e-: by temporal noise (the quadratic chain) and by level.

    ``trapped`` None: ``reason`` says why.  What could not be measured at all is None, too.
    """

    temperature_c: float | None
    exposure_s: float
    unflooded: DarkSignal | None = None
    flooded: DarkSignal | None = None
    trapped: TrappedCharge | None = None
    trapped_error_e: float | None = None
    flooded_error_e: float | None = None  # of the flooded signal, without that of the gain
    level_difference_e: float | None = None
    reason: str = ""


def residual_image(
    flooded: Group, darks: Sequence[Group], region: Region, gain: tuple[float, float] | None, read_noise_e: float | None, why_not: str
) -> Residual:
    """Residual bulk image of a region: what a flood of light added to the unflooded ``darks`` of its exposure and temperature.

    ``gain`` in e-/ADU with its error, which goes into that of the trapped charge.  Without a gain or a read noise, or without such
    darks, there is a reason instead; ``why_not`` is that of the gain.
    """
    nothing = Residual(temperature_c=flooded.temperature_c, exposure_s=flooded.exposure_s)
    partner = next((group for group in darks if same_exposure(group.exposure_s, flooded.exposure_s)), None)
    if gain is None:
        return replace(nothing, reason=f"no gain: {why_not}")
    if read_noise_e is None:
        return replace(nothing, reason="no read noise from biases")
    if partner is None:
        return replace(nothing, reason=f"no unflooded darks of {flooded.exposure_s:g} s at this temperature to compare with")
    return _compared(flooded, partner, region, *gain, read_noise_e)


def _compared(flooded: Group, unflooded: Group, region: Region, gain: float, gain_error: float, read_noise_e: float) -> Residual:
    pairs = [_pairs(group, region) for group in (unflooded, flooded)]
    signals: list[DarkSignal | None] = []
    errors: list[float | None] = []
    reason = ""
    for group, found in zip((unflooded, flooded), pairs, strict=True):
        try:
            signal, error = _signal(group, found, gain, read_noise_e)
            signals.append(signal)
            errors.append(error)
        except Refused as why:
            signals.append(None)
            errors.append(None)
            reason = reason or str(why)
    trapped = None
    if signals[0] is not None and signals[1] is not None:
        try:
            trapped = TrappedCharge.between(signals[1], signals[0])
        except Refused as why:
            reason = str(why)
    levels = [float(np.mean(frame_levels(found))) for found in pairs if found]
    return Residual(
        temperature_c=flooded.temperature_c,
        exposure_s=flooded.exposure_s,
        unflooded=signals[0],
        flooded=signals[1],
        trapped=trapped,
        trapped_error_e=None
        if trapped is None
        else math.hypot(*(error or 0.0 for error in errors), 2 * trapped.signal_e * gain_error / gain),
        flooded_error_e=errors[1],
        level_difference_e=(levels[1] - levels[0]) * gain if len(levels) == 2 else None,
        reason=reason,
    )


def _pairs(group: Group, region: Region) -> list[PairStatistics]:
    options, frames = PairOptions(scale=False, flatten_bands=False), group.frames
    found = [pair_statistics(frames[one], frames[other], region.windows, 0.0, options) for one, other in paired(len(frames))]
    return [pair for pair in found if pair.used > 1]


def _signal(group: Group, pairs: Sequence[PairStatistics], gain: float, read_noise_e: float) -> tuple[DarkSignal, float]:
    """Dark signal of a group in e- and its error; the read noise holds no rounding, so that of the darks goes, too."""
    if not pairs:
        raise Refused(f"{group.label}: {group.verdict}")
    variance, error = combined(pairs)
    rest = variance - float(np.mean([pair.rounding for pair in pairs]))
    return DarkSignal.of_noise(math.sqrt(max(rest, 0.0)) * gain, read_noise_e), error * gain**2
