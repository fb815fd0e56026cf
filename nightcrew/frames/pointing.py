"""Where the telescope pointed, as the header says it: right ascension, declination, airmass."""

from __future__ import annotations

import re

from nightcrew.frames.lookup import Found, Lookup
from nightcrew.frames.profiles import KeywordList, Profile
from nightcrew.frames.text import clean_text, parse_number
from nightcrew.frames.units import unit_in_comment, unit_named

_SEXAGESIMAL = re.compile(r"([+-]?)\s*(\d{1,3})\s*[:hd°\s]\s*(\d{1,2})\s*(?:[:m'\s]\s*(\d{1,2}(?:\.\d*)?)?)?\s*[s\"]?", re.IGNORECASE)


def position_of(lookup: Lookup, profile: Profile) -> tuple[float | None, float | None]:
    """(right ascension, declination) in degrees; both None unless both are valid.  (0, 0) exactly is "never set"."""
    ra = _angle(lookup, profile.keywords.ra, hours=True)
    dec = _angle(lookup, profile.keywords.dec, hours=False)
    if ra is None or dec is None or (ra == 0.0 and dec == 0.0):
        return None, None
    return ra, dec


def airmass_of(lookup: Lookup, profile: Profile) -> float | None:
    """The airmass; None when there is none between 1 and 40."""
    for found in lookup.all(profile.keywords.airmass):
        number = parse_number(found.value)
        if number is not None and 0.99 <= number.value <= 40.0:
            return number.value
    return None


def _angle(lookup: Lookup, keywords: KeywordList, *, hours: bool) -> float | None:
    for found in lookup.all(keywords):
        angle = _degrees(found, hours=hours)
        low, high = (0.0, 360.0) if hours else (-90.0, 90.0)
        if angle is not None and low <= angle <= high:
            return round(angle % 360.0 if hours else angle, 7)
        lookup.note(f"{found.shown} is no {'right ascension' if hours else 'declination'}: ignored")
    return None


def _degrees(found: Found, *, hours: bool) -> float | None:
    """Degrees from a number (degrees, unless profile or comment say hours) or from ``20:42:25`` (hours for a right ascension)."""
    number = parse_number(found.value)
    if number is not None and not number.unit:
        unit = unit_named(found.unit, "angle") or unit_in_comment(found.comment, "angle")
        return number.value * (15.0 if hours and unit == "h" else 1.0)
    parts = _SEXAGESIMAL.fullmatch(clean_text(found.value))
    if parts is None:
        return None
    first, minutes, seconds = int(parts[2]), int(parts[3]), float(parts[4] or 0.0)
    if minutes > 59 or seconds >= 61.0:
        return None
    in_degrees = hours and unit_named(found.unit, "angle") == "deg"
    angle = (first + minutes / 60.0 + seconds / 3600.0) * (15.0 if hours and not in_degrees else 1.0)
    return -angle if parts[1] == "-" else angle
