"""The sample value from which a pixel is saturated, by how the numbers are stored: 12 bits may end at 65520, at 4095 or at 65535."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nightcrew.detector.set_up import SetUp
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import LabFrame

USUAL_BITS = (8, 10, 12, 14)  # of converters
LARGEST_STEP = 64  # 10 bits in the upper end of 16; larger common factors are chance
FALLBACK = 65520.0  # 12 bits stored x16
_NEAR_TOP = 16  # a converter of 12 bits in words of 16 ends so far below them at most


def top_of(bit_depth: int, shift_bits: int, step: int, highest: float | None) -> float:
    """Highest sample that the form of the numbers can hold.

    ``bit_depth``: bits that the configuration states (0: unknown, 16; 8 or fewer: bytes), ``shift_bits``: what the words were shifted
    down by, ``step``: the power of two that divides every sample, ``highest``: the highest sample, which contradicts a small depth.
    """
    room = 8 if 0 < bit_depth <= 8 else 16 - shift_bits
    bits = min(bit_depth or room, room)
    step = min(max(step, 1), LARGEST_STEP)
    if bits < room:
        if step >= 1 << (room - bits):
            return float(((1 << bits) - 1) << (room - bits))
        if highest is None or highest < 1 << bits:
            return float((1 << bits) - 1)
    return float((1 << room) - min(step, 1 << room >> 1))


def saturation_of(frames: Sequence[LabFrame]) -> float:
    """The value for frames of one set-up: what their headers state, else by format and data.

    Words of 16 bits say nothing of the converter; where the highest sample of all frames is just that of a converter of 8, 10, 12 or
    14 bits, it is taken for its end.
    """
    stated = [frame.saturation_adu for frame in frames if frame.saturation_adu]
    if stated:
        return min(stated)
    known = [frame for frame in frames if frame.highest_adu is not None and frame.step_adu]
    shift = max((int(frame.set_up.shift_bits) for frame in frames if frame.set_up.shift_bits.isdigit()), default=0)
    if not known:
        return float(int(FALLBACK) >> shift)
    highest = max(frame.highest_adu or 0.0 for frame in known)
    step = min(frame.step_adu for frame in known)
    top = top_of(max(frame.bit_depth for frame in known), shift, step, highest)
    if top - _NEAR_TOP < highest and top >= 1 << 14:
        return min(top, highest)
    return highest if highest in {float((1 << bits) - 1) * step for bits in USUAL_BITS} else top


def settled(options: LabOptions, frames: Sequence[LabFrame]) -> LabOptions:
    """The options with the saturation that the frames have, where the user states none (0)."""
    return options if options.saturation_adu > 0 else replace(options, saturation_adu=saturation_of(frames))


def by_set_up(options: LabOptions, frames: Sequence[LabFrame]) -> dict[SetUp, float]:
    """The saturation of the frames of each set-up; what the user states holds for all."""
    set_ups = {frame.set_up for frame in frames}
    return {one: settled(options, [frame for frame in frames if frame.set_up == one]).saturation_adu for one in set_ups}
