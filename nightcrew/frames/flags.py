"""The registry of mask bits: one place for name, bit and description; reports and documentation read it too."""

from __future__ import annotations

from enum import IntFlag


class PixelFlag(IntFlag):
    """Bits of every ``MASK`` extension (uint16).  0 is a good pixel."""

    HOT = 1
    COLD = 2
    UNSTABLE = 4
    SATURATED = 8
    COSMIC_RAY = 16
    NO_DATA = 32
    BAD_FLAT = 64
    EDGE = 128
    REJECTED = 256


DESCRIPTIONS: dict[PixelFlag, str] = {
    PixelFlag.HOT: "dark signal far above its neighbours (from darks)",
    PixelFlag.COLD: "response far below its neighbours (from flats)",
    PixelFlag.UNSTABLE: "varies between darks by far more than noise",
    PixelFlag.SATURATED: "at or above the saturation level in the raw frame",
    PixelFlag.COSMIC_RAY: "hit by a cosmic ray",
    PixelFlag.NO_DATA: "no valid value: NaN, blank or not covered",
    PixelFlag.BAD_FLAT: "flat is zero, negative, saturated or missing here",
    PixelFlag.EDGE: "outside the frame after registration",
    PixelFlag.REJECTED: "no frame of the stack survived rejection",
}


def describe(value: int) -> str:
    """Names of the bits set in ``value``, comma-separated; ``"good"`` for 0."""
    names = [flag.name.lower() for flag in PixelFlag if value & flag and flag.name]
    return ", ".join(names) if names else "good"
