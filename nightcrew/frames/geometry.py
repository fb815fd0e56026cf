"""Geometry of a frame: binning, the window that was read, the useful part and the overscan."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nightcrew.frames.lookup import Lookup
from nightcrew.frames.profiles import KeywordList, Layout, Profile
from nightcrew.frames.text import clean_text, parse_number, quoted

Section = tuple[int, int, int, int]  # x0, x1, y0, y1: 0-based, half-open

_MAX_BINNING = 64
_PAIR = re.compile(r"\D*(\d{1,3})(?:\.0*)?\s*(?:[xX*,:/ ]|by)\s*(\d{1,3})(?:\.0*)?\D*")
_RANGE = r"\s*(?:(-?\d{1,6})\s*:\s*(-?\d{1,6})|(:|\*))\s*"
_SECTION = re.compile(rf"\s*\[?{_RANGE}(?:,{_RANGE})?\]?\s*")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes in stored pixels; ``window`` is the first column and row, 0-based, in binned pixels of the detector."""

    nx: int
    ny: int
    binning: tuple[int, int]
    window: tuple[int, int]
    trim: Section | None
    overscan: Section | None


def geometry_of(lookup: Lookup, profile: Profile, shape: tuple[int, ...]) -> Geometry:
    """Geometry of an image of ``shape`` (rows, columns); what the header says wrongly is ignored with a note."""
    ny, nx = shape[-2:]
    binning = _binning(lookup, profile)
    trim, overscan = _sections(lookup, profile, nx, ny)
    return Geometry(nx, ny, binning, _window(lookup, profile, binning), trim, overscan)


def _binning(lookup: Lookup, profile: Profile) -> tuple[int, int]:
    """(x, y) from a pair of keywords, else from one such as ``'2x2'`` or CCDSUM ``'2 2'``; 1 when there is none."""
    keywords = profile.keywords
    x, y = _factor(lookup, keywords.binning_x), _factor(lookup, keywords.binning_y)
    if x or y:
        return x or y, y or x
    for found in lookup.all(keywords.binning):
        text = clean_text(found.value)
        if pair := _PAIR.fullmatch(text):
            x, y = int(pair[1]), int(pair[2])
        elif number := parse_number(found.value):
            x = y = _whole(number.value)
        if 1 <= x <= _MAX_BINNING and 1 <= y <= _MAX_BINNING:
            return x, y
        lookup.note(f"{found.shown} is no binning: ignored")
    return 1, 1


def _factor(lookup: Lookup, keywords: KeywordList) -> int:
    """The first valid binning factor, 0 when there is none."""
    for found in lookup.all(keywords):
        number = parse_number(found.value)
        factor = _whole(number.value) if number else 0
        if 1 <= factor <= _MAX_BINNING:
            return factor
        lookup.note(f"{found.shown} is no binning: ignored")
    return 0


def _whole(value: float) -> int:
    return int(value) if value.is_integer() and abs(value) < 1e6 else 0


def _window(lookup: Lookup, profile: Profile, binning: tuple[int, int]) -> tuple[int, int]:
    """First column and row of the read-out window: from a section in detector pixels, or from 0-based binned numbers."""
    keywords = profile.keywords
    for found in lookup.all(keywords.window_section):
        section = parse_section(clean_text(found.value))
        if section is not None and section[0] >= 0 and section[2] >= 0:
            return section[0] // binning[0], section[2] // binning[1]
        lookup.note(f"{found.shown} is no section of the detector: ignored")
    return _origin(lookup, keywords.window_x), _origin(lookup, keywords.window_y)


def _origin(lookup: Lookup, keywords: KeywordList) -> int:
    for found in lookup.all(keywords):
        number = parse_number(found.value)
        if number is not None and number.value.is_integer() and 0 <= number.value < 1e6:
            return int(number.value)
        lookup.note(f"{found.shown} is no pixel of the detector: ignored")
    return 0


def parse_section(text: str) -> Section | None:
    """``'[x1:x2,y1:y2]'`` (1-based, inclusive; ``:`` or ``*`` for all, rows may be left out) as 0-based half-open ranges.

    "All" is (0, 1000000).  None when it is no section, or runs backwards.
    """
    found = _SECTION.fullmatch(text)
    if found is None:
        return None
    x = _range(found[1], found[2])
    y = _range(found[4], found[5])
    if x[1] <= x[0] or y[1] <= y[0]:
        return None
    return (*x, *y)


def _range(first: str | None, last: str | None) -> tuple[int, int]:
    return (0, 1_000_000) if first is None or last is None else (int(first) - 1, int(last))


def _sections(lookup: Lookup, profile: Profile, nx: int, ny: int) -> tuple[Section | None, Section | None]:
    """Trim and overscan, clipped to the array; an overscan that overlaps the useful part is ignored."""
    layout: Layout = profile.layout
    trim = _section(lookup, layout.trim, profile.keywords.trim, "trim", nx, ny)
    if trim == (0, nx, 0, ny):
        trim = None
    overscan = _section(lookup, layout.overscan, profile.keywords.overscan, "overscan", nx, ny)
    if overscan is None:
        return trim, None
    if _overlap(overscan, trim or (0, 0, 0, 0)) or overscan == (0, nx, 0, ny):
        lookup.note(f"the overscan {_written(overscan)} overlaps the useful part {_written(trim or (0, nx, 0, ny))}: ignored")
        return trim, None
    if trim is None:
        lookup.note(f"the overscan {_written(overscan)} has no trim section beside it")
    return trim, overscan


def _section(lookup: Lookup, source: str, keywords: KeywordList, what: str, nx: int, ny: int) -> Section | None:
    if source == "none":
        return None
    if source != "header":
        return _clipped(lookup, source, f"the {what} {source} of the profile", nx, ny)
    for found in lookup.all(keywords):
        section = _clipped(lookup, clean_text(found.value), f"{found.keyword} {quoted(found.value)}", nx, ny)
        if section is not None:
            return section
    return None


def _clipped(lookup: Lookup, text: str, shown: str, nx: int, ny: int) -> Section | None:
    section = parse_section(text)
    if section is None:
        lookup.note(f"{shown} is no section of the image: ignored")
        return None
    x0, x1, y0, y1 = section
    clipped = (max(x0, 0), min(x1, nx), max(y0, 0), min(y1, ny))
    if clipped[0] >= clipped[1] or clipped[2] >= clipped[3]:
        lookup.note(f"{shown} lies outside the image of {nx} x {ny}: ignored")
        return None
    if any(a != b and b < 1_000_000 for a, b in zip(clipped, section, strict=True)):
        lookup.note(f"{shown} reaches beyond the image of {nx} x {ny}: clipped")
    return clipped


def _overlap(a: Section, b: Section) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def _written(section: Section) -> str:
    x0, x1, y0, y1 = section
    return f"[{x0 + 1}:{x1},{y0 + 1}:{y1}]"
