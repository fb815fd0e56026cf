"""A frame as the hand tools hold it: pixels with uncertainty and mask, and the cards that go on with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.frames.sections import moved_sections
from nightcrew.frames.wcs import of_lost_axes
from nightcrew.io.cardtext import Card, format_card, kept_cards
from nightcrew.io.headers import Hdu, HeaderValue, choose_image, is_called, read_hdus
from nightcrew.io.images import ImageFile, read_image
from nightcrew.tools.arith import Operand
from nightcrew.tools.boxes import Box, Region
from nightcrew.tools.times import number_of

Array = NDArray[Any]

_REFERENCE = re.compile(r"CRPIX([123])[A-Z]?")
_VALUE = re.compile(r"CRVAL([123][A-Z]?)")
_TRIMMED_BY = ("TRIMSEC", "BIASSEC")  # of no use once a frame is trimmed


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a file.

    ``cards`` are the plain values of its header, those of an extension laid over the primary's.  ``header`` holds the cards that a
    product carries on, as text of (multiples of) 80 characters: without structure, scaling, checksums and BUNIT.
    """

    path: Path
    operand: Operand
    cards: Mapping[str, HeaderValue]
    header: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """``[y, x]`` or ``[z, y, x]``."""
        return self.operand.pixels.shape

    @property
    def unit(self) -> str:
        """BUNIT, "" when the header has none."""
        return str(self.cards.get("BUNIT") or "").strip()


def extension_of(text: str) -> int | str | None:
    """A chosen extension as its number or name; "" is none."""
    bare = text.strip()
    return int(bare) if bare.isdigit() else bare or None


def read_cards(path: Path, extension: int | str | None = None) -> dict[str, HeaderValue]:
    """The header of the image in ``path`` (of the primary HDU when there is no image), an extension's cards over the primary's.

    ``extension`` may be any HDU: a header is asked for, not an image.
    """
    hdus = read_hdus(path)
    try:
        named = [hdu for hdu in hdus if extension is not None and is_called(hdu, extension)]
        image = named[0] if named else choose_image(hdus, extension=extension)
    except RejectedInput as error:
        if extension is not None:
            raise RejectedInput(f"{path.name}: {error}") from error
        image = hdus[0]
    return _laid_over(hdus, image)


def read_frame(path: Path, extension: int | str | None = None) -> Frame:
    """The image of ``path`` with its ``UNCERT`` and ``MASK`` extensions, where they have its shape.

    BLANK pixels of integer images are flagged ``NO_DATA``; leading axes of length 1 are dropped.
    """
    hdus = read_hdus(path)
    with ImageFile(path, extension) as image:
        hdu, pixels, blank = image.hdu, image.numbers(), image.blank
    while pixels.ndim > 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim > 3:
        raise RejectedInput(f"{path.name} has {pixels.ndim} axes: these tools take images and cubes")
    cards = _laid_over(hdus, hdu)
    mask = _companion(path, hdus, hdu, "MASK", pixels.shape)
    operand = Operand(pixels, _uncertainty(path, hdus, hdu, pixels.shape), _with_blank(pixels, blank, mask))
    lost = of_lost_axes(cards, pixels.ndim)
    header = () if hdu.index == 0 else tuple(kept_cards(hdus[0].raw, without=set(hdu.cards) | lost))
    left = {key: value for key, value in cards.items() if key not in lost}
    return Frame(path, operand, left, header + tuple(kept_cards(hdu.raw, without=lost)))


def cut(frame: Frame, box: Box | None) -> tuple[Frame, str]:
    """The part of ``frame`` inside ``box``, its coordinates put right, and the label of what was taken ("" for all of it)."""
    if box is None:
        return frame, ""
    region = box.within(frame.shape)
    if region.shape == frame.shape:
        return frame, region.label
    parts = (frame.operand.pixels, frame.operand.uncertainty, frame.operand.mask)
    pixels, uncertainty, mask = (None if part is None else part[region.slices()] for part in parts)
    assert pixels is not None  # noqa: S101  an operand has pixels; tells the type checker
    changed, dropped = moved_coordinates(frame.cards, region, frame.shape)
    header = with_cards(frame.header, changed, dropped)
    values = {key: value for key, value, _ in changed if key != "HISTORY"}
    cards = {key: value for key, value in frame.cards.items() if key not in dropped} | values
    return replace(frame, operand=Operand(pixels, uncertainty, mask), header=header, cards=cards), region.label


def moved_coordinates(cards: Mapping[str, HeaderValue], region: Region, shape: Sequence[int]) -> tuple[list[Card], set[str]]:
    """Cards that change, and keywords that lose their meaning, when ``region`` is cut out of the image ``shape`` that ``cards`` describe.

    CRPIX of every WCS and LTV move by the box's origin (a logical pixel is LTM x physical + LTV), the origin of a camera's sub-frame grows
    by it, and sections are moved and clipped; those that cannot be right any more are dropped, and HISTORY cards say which and why.
    """
    origin = {"1": region.x0, "2": region.y0, "3": region.z0}
    changed: list[Card] = []
    for key, value in cards.items():
        match = _REFERENCE.fullmatch(key)
        number = number_of(value)
        if match and number is not None:
            changed.append((key, number - origin[match.group(1)], "reference pixel after the cut"))
        match = _VALUE.fullmatch(key)
        if match and f"CRPIX{match.group(1)}" not in cards and origin[key[5]]:
            changed.append((f"CRPIX{match.group(1)}", 0.0 - origin[key[5]], "reference pixel after the cut (was not given: 0)"))
    for axis, shift in origin.items():
        before = number_of(cards.get(f"LTV{axis}"))
        if shift or before is not None:
            changed.append((f"LTV{axis}", (before or 0.0) - shift, "origin of the physical pixels"))
    for key, shift in (("XORGSUBF", region.x0), ("YORGSUBF", region.y0)):
        number = number_of(cards.get(key))
        if number is not None:
            changed.append((key, int(number) + shift, "origin of the sub-frame"))
    sections = moved_sections(cards, (region.x0, region.x1), (region.y0, region.y1), (shape[-2], shape[-1]))
    changed += [(key, section, "") for key, section in sections.changed.items()]
    changed += [
        ("HISTORY", f"{key} {cards[key]} left out after a cut to {region.label}: {why}", "") for key, why in sections.dropped.items()
    ]
    return changed, set(sections.dropped)


def trimmed_coordinates(
    cards: Mapping[str, HeaderValue], trim: tuple[int, int, int, int] | None, shape: tuple[int, int]
) -> tuple[list[Card], set[str]]:
    """As :func:`moved_coordinates`, for a frame of ``shape`` [y, x] trimmed to x0, x1, y0, y1 (0-based, half-open; None: not).

    TRIMSEC and BIASSEC have done their work.  DATASEC stays where it is not the whole of what is left, since CCDSEC, DETSEC and AMPSEC
    are the pixels that it shows.
    """
    region = Region(0, shape[1], 0, shape[0]) if trim is None else Region(*trim)
    changed, dropped = moved_coordinates(cards, region, shape)
    whole = f"[1:{region.x1 - region.x0},1:{region.y1 - region.y0}]"
    done = [key for key in _TRIMMED_BY if key in cards]
    kept = [card for card in changed if card[0] not in done and card[:2] != ("DATASEC", whole)]
    told = [card for card in kept if not (card[0] == "HISTORY" and str(card[1]).startswith(_TRIMMED_BY))]
    return told, dropped | {*done, "DATASEC"}


def with_cards(header: Sequence[str], cards: Sequence[Card], dropped: set[str] | None = None) -> tuple[str, ...]:
    """``header`` with ``cards`` in the place of those of the same keyword (HISTORY and COMMENT always added), the others at the end."""
    replaced = {card[0]: card for card in cards if card[0] not in ("HISTORY", "COMMENT")}
    out: list[str] = []
    done: set[str] = set()
    for text in header:
        key = _keyword(text)
        if key in (dropped or ()) or key in done:
            continue
        if key in replaced:
            done.add(key)
            out.append(format_card(*replaced[key]))
        else:
            out.append(text)
    return (*out, *(format_card(*card) for card in cards if card[0] not in done))


def _keyword(text: str) -> str:
    if text.startswith("HIERARCH "):
        return text[9:80].partition("=")[0].strip()
    return text[:8].strip()


def _laid_over(hdus: Sequence[Hdu], image: Hdu) -> dict[str, HeaderValue]:
    return dict(image.cards) if image.index == 0 else {**hdus[0].cards, **image.cards}


def _companion(path: Path, hdus: Sequence[Hdu], image: Hdu, name: str, shape: tuple[int, ...]) -> Array | None:
    """The extension called ``name`` when it belongs to the image: another HDU of the same shape."""
    for hdu in hdus:
        if hdu.index != image.index and str(hdu.cards.get("EXTNAME") or "").strip().upper() == name and hdu.shape == shape:
            found: Array = read_image(path, hdu.index)
            return found
    return None


def _uncertainty(path: Path, hdus: Sequence[Hdu], image: Hdu, shape: tuple[int, ...]) -> Array | None:
    found = _companion(path, hdus, image, "UNCERT", shape)
    if found is None:
        return None
    kinds = [
        str(h.cards.get("UTYPE") or "StdDevUncertainty") for h in hdus if str(h.cards.get("EXTNAME") or "").strip().upper() == "UNCERT"
    ]
    if kinds[0] not in ("StdDevUncertainty", "VarianceUncertainty"):
        raise RejectedInput(f"{path.name}: its UNCERT extension is a {kinds[0]}; only standard deviations and variances are understood")
    return np.sqrt(found) if kinds[0] == "VarianceUncertainty" else found


def _with_blank(pixels: Array, blank: int | None, mask: Array | None) -> Array | None:
    empty = pixels == blank
    if blank is None or not empty.any():
        return mask
    flags = np.where(empty, int(PixelFlag.NO_DATA), 0).astype(np.uint16)
    return flags if mask is None else mask | flags
