"""The registry of source flags: bit, name and description, for catalogues, reports and documentation."""

from __future__ import annotations

from enum import IntFlag


class SourceFlag(IntFlag):
    """Bits of the catalogue's column ``flags``.  0 is a source without a remark."""

    SATURATED = 1
    EDGE = 2
    PIXELS_REPLACED = 4
    CORE_REPLACED = 8
    PIXELS_LOST = 16
    CROWDED = 32
    CENTROID_FALLBACK = 64
    SHAPE_FAILED = 128
    NARROW = 256
    SKY_FIT_REJECTED = 512
    SKY_FALLBACK = 1024
    SUBFRAME_CLIPPED = 2048
    NO_POSITIVE_SUM = 4096


DESCRIPTIONS: dict[SourceFlag, str] = {
    SourceFlag.SATURATED: "a pixel of the aperture was saturated in the raw frame: too faint by an unknown amount",
    SourceFlag.EDGE: "the aperture reaches beyond the frame: part of the light is missing",
    SourceFlag.PIXELS_REPLACED: "bad pixels in the aperture were replaced from their neighbours",
    SourceFlag.CORE_REPLACED: "a replaced pixel lies within half a FWHM of the centre",
    SourceFlag.PIXELS_LOST: "bad pixels in the aperture could not be replaced: the sum was scaled by area",
    SourceFlag.CROWDED: "another source reaches into the aperture",
    SourceFlag.CENTROID_FALLBACK: "windowed centroid failed: the isophotal centre stands in",
    SourceFlag.SHAPE_FAILED: "width and ellipticity could not be measured",
    SourceFlag.NARROW: "narrower than 0.6 of the frame's stars: perhaps a cosmic ray or hot pixel",
    SourceFlag.SKY_FIT_REJECTED: "radial profile fit failed its criteria: the annulus gave the sky",
    SourceFlag.SKY_FALLBACK: "no free pixel in the annulus: the background map gave the sky",
    SourceFlag.SUBFRAME_CLIPPED: "the sub-frame was cut at the frame's edge",
    SourceFlag.NO_POSITIVE_SUM: "sum above sky is not positive: no magnitude",
}


def describe(value: int) -> str:
    """Names of the bits set in ``value``, comma-separated; ``"good"`` for 0."""
    names = [flag.name.lower() for flag in SourceFlag if value & flag and flag.name]
    return ", ".join(names) if names else "good"
