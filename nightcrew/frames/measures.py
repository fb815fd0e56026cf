"""Exposure time and temperatures: one number and its unit out of what headers write."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePath

from nightcrew.errors import RejectedInput
from nightcrew.frames.lookup import Found, Lookup
from nightcrew.frames.profiles import ExposurePattern, KeywordList, Profile
from nightcrew.frames.text import Number, parse_number
from nightcrew.frames.units import to_celsius, to_seconds, unit_in_comment, unit_named

_LONGEST_S = 1e7  # 116 days
_AGREE = 1e-3  # relative
_COLDEST_C, _HOTTEST_C = -273.15, 100.0
_KELVIN_FROM, _KELVIN_TO = 150.0, 400.0
_NEAR_SET_POINT_C = 2.0


def exposure_of(lookup: Lookup, profile: Profile, path: str) -> float | None:
    """Exposure time in seconds, None when nobody says it.

    The unit is the profile's, else the one in the value or the card's comment, else seconds.  The header wins over the
    file name, and the conflict is noted.  Raises :class:`RejectedInput` for a negative exposure.
    """
    chosen, shown = None, ""
    for found in lookup.all(profile.keywords.exposure):
        seconds = _seconds(found, lookup)
        if seconds is None:
            continue
        if seconds < 0:
            raise RejectedInput(f"the exposure time is negative: {found.shown}")
        if chosen is None:
            chosen, shown = seconds, found.shown
        elif not _agree(chosen, seconds):
            lookup.note(f"{shown} and {found.shown} disagree: the first is taken")
    return _beside_name(lookup, profile, path, chosen, shown)


def _seconds(found: Found, lookup: Lookup) -> float | None:
    number = parse_number(found.value)
    unit = _unit(found, number, "time", "s") if number else ""
    if number is None or not unit:
        lookup.note(f"{found.shown} is no exposure time: ignored")
        return None
    if number.decimal_comma:
        lookup.note(f"{found.shown} is read with a decimal comma as {number.value:g}")
    if unit != "s" and not found.unit:
        lookup.note(f"{found.shown} is in {unit}, as the header says")
    seconds = to_seconds(number.value, unit)
    if seconds > _LONGEST_S:
        lookup.note(f"{found.shown} is longer than any exposure: ignored")
        return None
    return seconds


def _unit(found: Found, number: Number, dimension: str, default: str) -> str:
    """The unit of a number; "" when text follows it that is no unit of the dimension."""
    if number.unit:
        return unit_named(number.unit, dimension)
    return unit_named(found.unit, dimension) or unit_in_comment(found.comment, dimension) or default


def _agree(a: float, b: float) -> bool:
    return abs(a - b) <= max(_AGREE * max(abs(a), abs(b)), 1e-9)


def _beside_name(lookup: Lookup, profile: Profile, path: str, chosen: float | None, shown: str) -> float | None:
    """The header's exposure, compared with the file name; the name's own when the header has none and the profile allows it."""
    for pattern in profile.filename.exposure:
        named = _in_name(pattern, PurePath(path).name)
        if named is None:
            continue
        if chosen is not None:
            if not _agree(chosen, named):
                lookup.note(f"the file name suggests {named:g} s, the header says {chosen:g} s ({shown}): the header is taken")
            return chosen
        if pattern.use == "missing":
            lookup.note(f"no exposure time in the header: {named:g} s by the file name, which profile {profile.name} allows")
            return named
    return chosen


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _in_name(pattern: ExposurePattern, name: str) -> float | None:
    found = _compiled(pattern.pattern).search(name)
    number = parse_number(found[1]) if found else None
    if found is None or number is None:
        return None
    unit = unit_named(found[2] or "", "time") if found.re.groups > 1 else ""
    return to_seconds(number.value, unit or pattern.unit)


def temperatures_of(lookup: Lookup, profile: Profile) -> tuple[float | None, float | None]:
    """(temperature of the sensor, its set point) in degrees Celsius; the set point never stands in for the temperature."""
    real = _celsius(lookup, profile.keywords.temperature)
    wanted = _celsius(lookup, profile.keywords.set_temperature)
    if real is not None and wanted is not None and abs(real - wanted) > _NEAR_SET_POINT_C:
        lookup.note(f"the sensor was not near its set point of {wanted:.1f} C: its real temperature counts")
    return real, wanted


def _celsius(lookup: Lookup, keywords: KeywordList) -> float | None:
    """The first credible temperature.  Without a unit it is Celsius, but kelvin from 150 to 400, which no sensor has in Celsius."""
    for found in lookup.all(keywords):
        number = parse_number(found.value)
        unit = _unit(found, number, "temperature", "?") if number else ""
        if number is None or not unit:
            lookup.note(f"{found.shown} is no temperature: ignored")
            continue
        value = number.value
        if unit == "?" and _KELVIN_FROM <= value <= _KELVIN_TO:
            unit = "K"
            lookup.note(f"{found.shown} has no unit and is taken as kelvin, for no sensor is so hot")
        celsius = to_celsius(value, "C" if unit == "?" else unit)
        if _COLDEST_C <= celsius <= _HOTTEST_C:
            return celsius
        lookup.note(f"{found.shown} is no temperature of a sensor: ignored")
    return None
