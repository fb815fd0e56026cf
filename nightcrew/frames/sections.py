"""Sections of headers (``[x0:x1,y0:y1]``, 1-based, inclusive) when a part of the image is cut out.

Conventions of NOAO (FITS keyword dictionary, iraf.noao.edu/projects/ccdmosaic/imagedef; IRAF ccdproc): DATASEC, TRIMSEC and BIASSEC
are pixels of the image; CCDSEC, DETSEC and AMPSEC are the pixels of the CCD, the detector and the amplifier's readout that DATASEC (the
whole image without it) shows.  They count unbinned pixels, so that each pixel of the image is b x b of theirs, and run backwards where the
image is turned.  A DATASEC that reaches outside the image counts other pixels (unbinned ones, the chip's): what it shows cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nightcrew.io.headers import HeaderValue

IN_IMAGE = ("DATASEC", "TRIMSEC", "BIASSEC")
OF_DATA = ("CCDSEC", "DETSEC", "AMPSEC")

_AXIS = r"\s*(\d+)\s*:\s*(\d+)\s*"
_SECTION = re.compile(rf"\s*\[{_AXIS},{_AXIS}\]\s*")
_OUTSIDE = "it reaches outside the image"
Range = tuple[int, int]  # first and last pixel as written: 1-based, inclusive, either order


@dataclass(frozen=True, slots=True)
class MovedSections:
    """Sections that hold after the cut, and those that are left out, each with the reason."""

    changed: dict[str, str]
    dropped: dict[str, str]


def moved_sections(cards: Mapping[str, HeaderValue], x: tuple[int, int], y: tuple[int, int], shape: tuple[int, int]) -> MovedSections:
    """The sections in ``cards`` of an image of ``shape`` [y, x] of which columns ``x`` and rows ``y`` (0-based, half-open) are kept."""
    changed: dict[str, str] = {}
    dropped: dict[str, str] = {}
    bounds = (x, y)
    for key in (key for key in IN_IMAGE if key in cards):
        axes = _axes(cards[key])
        kept = None if axes is None else [_clipped(axis, bound) for axis, bound in zip(axes, bounds, strict=True)]
        if axes is None or kept is None:
            dropped[key] = "it is no plain section"
        elif _outside(axes, shape):
            dropped[key] = _OUTSIDE
        elif kept[0] is None or kept[1] is None:
            dropped[key] = "nothing of it is left"
        else:
            changed[key] = _text([(a - low, b - low) for (a, b), (low, _) in zip((kept[0], kept[1]), bounds, strict=True)])
    whole = [(1, shape[1]), (1, shape[0])]
    shown = _axes(cards["DATASEC"]) if "DATASEC" in cards else whole
    for key in (key for key in OF_DATA if key in cards):
        axes = _axes(cards[key])
        if axes is None or shown is None:
            dropped[key] = "it is no plain section" if axes is None else "DATASEC is no plain section"
            continue
        if _outside(shown, shape):
            dropped[key] = f"DATASEC {cards['DATASEC']} reaches outside the image"
            continue
        moved = [_followed(axis, data, bound) for axis, data, bound in zip(axes, shown, bounds, strict=True)]
        if isinstance(moved[0], str) or isinstance(moved[1], str):
            dropped[key] = next(why for why in moved if isinstance(why, str))
        else:
            changed[key] = _text([moved[0], moved[1]])
    return MovedSections(changed, dropped)


def _axes(value: HeaderValue) -> list[Range] | None:
    """Both axes of a section; None for anything else (a step, a star, no text)."""
    match = _SECTION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    x0, x1, y0, y1 = (int(word) for word in match.groups())
    return [(x0, x1), (y0, y1)] if min(x0, x1, y0, y1) >= 1 else None


def _outside(axes: list[Range], shape: tuple[int, int]) -> bool:
    """Whether a section counts pixels that an image of ``shape`` [y, x] does not have."""
    return max(axes[0]) > shape[1] or max(axes[1]) > shape[0]


def _clipped(axis: Range, bound: tuple[int, int]) -> Range | None:
    """The part of an axis within ``bound`` (0-based, half-open), in the order in which it is written; None where there is none."""
    low, high = max(min(axis), bound[0] + 1), min(max(axis), bound[1])
    if low > high:
        return None
    return (low, high) if axis[0] <= axis[1] else (high, low)


def _followed(axis: Range, data: Range, bound: tuple[int, int]) -> Range | str:
    """Pixels of the CCD that what is left of ``data`` shows, of which all of it shows ``axis``; or why that cannot be told."""
    kept = _clipped(data, bound)
    if kept is None:
        return "no pixel that it is about is left"
    n_image, n_ccd = abs(data[1] - data[0]) + 1, abs(axis[1] - axis[0]) + 1
    if n_ccd % n_image:
        return f"its {n_ccd} pixels are no multiple of the {n_image} that the image has of it"
    binning, step = n_ccd // n_image, 1 if axis[0] <= axis[1] else -1
    before, after = abs(kept[0] - data[0]) * binning, abs(data[1] - kept[1]) * binning
    return axis[0] + step * before, axis[1] - step * after


def _text(axes: list[Range]) -> str:
    return "[" + ",".join(f"{first}:{last}" for first, last in axes) + "]"
