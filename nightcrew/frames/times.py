"""When an exposure began, in UTC: every way in which headers write it, and what is done where they do not say enough.

Rules where the standard leaves room: a year of two digits from 50 to 99 is 19yy (FITS before 1999), from 00 to 49 it is
20yy (programs that went on writing the old form); a date alone is marked so, and its night is the one whose local
midnight falls in that UT date; MJD and JD are taken only when there is no date.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

from nightcrew.frames.lookup import Found, Lookup
from nightcrew.frames.profiles import Clock, Profile
from nightcrew.frames.site import Site, night_of, night_of_ut_date
from nightcrew.frames.text import clean_text, parse_number, quoted
from nightcrew.frames.timescales import utc_from

_DAY = r"(?:(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})|(?P<od>\d{1,2})/(?P<om>\d{1,2})/(?P<oy>\d{4}|\d{2}))"
_HOURS = r"(?P<H>\d{1,2})[:h ](?P<M>\d{2})(?:[:m ](?P<S>\d{1,2})(?:[.,](?P<f>\d*))?s?)?"
_ZONE = r"(?P<z>Z|UTC?|GMT|[+-]\d{2}:?\d{2})"
_MOMENT = re.compile(rf"{_DAY}(?:[T ] ?{_HOURS} ?{_ZONE}?)?", re.IGNORECASE)
_CLOCK = re.compile(rf"{_HOURS} ?{_ZONE}?", re.IGNORECASE)
_MJD_ZERO = datetime(1858, 11, 17)  # noqa: DTZ001 - naive times are UTC in this module
_JD_OF_MJD_ZERO = 2400000.5
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
_PIVOT = 50


@dataclass(frozen=True, slots=True)
class Start:
    """Start of an exposure: ``time_utc`` as FrameHeader has it ("" when unknown), and its night."""

    time_utc: str = ""
    night: str = ""
    date_only: bool = False


@dataclass(frozen=True, slots=True)
class _Moment:
    day: date
    clock: timedelta | None  # since midnight; None when only the day is given
    offset: timedelta | None  # from UTC; None when not given
    two_digits: bool = False


def start_of(lookup: Lookup, profile: Profile, site: Site, exposure_s: float | None) -> Start:
    """Start of the exposure in UTC; conflicts and assumptions go to the notes of ``lookup``."""
    for found in lookup.all(profile.keywords.start):
        moment = parse_moment(clean_text(found.value))
        if moment is None:
            lookup.note(f"{found.shown} is no date: ignored")
            continue
        if moment.two_digits:
            lookup.note(f"{found.shown} has a year of two digits: taken as {moment.day.year}")
        moment = _with_clock(moment, found, lookup, profile)
        if moment.clock is None:
            return _date_only(moment.day, found, lookup, profile.clock, site)
        utc = _in_utc(moment, moment.clock, lookup, profile.clock, site) - _since_start(profile.clock, exposure_s, lookup)
        return Start(iso(utc), night_of(utc, site))
    return _by_julian_date(lookup, profile, site, exposure_s)


def iso(moment: datetime) -> str:
    """ISO 8601 without zone: milliseconds, or microseconds where they are not 0."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")


def parse_moment(text: str) -> _Moment | None:
    """A day with or without time and offset: ISO 8601, with blank or slashes, or DD/MM/YY; None for anything else or absurd years."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    old_year = found["oy"] or ""
    year = int(found["y"] or old_year)
    if len(old_year) == 2:
        year += 1900 if year >= _PIVOT else 2000
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        day = date(year, int(found["m"] or found["om"]), int(found["d"] or found["od"]))
        clock = _clock(found) if found["H"] else None
        return _Moment(day, clock, _offset(found["z"]), len(old_year) == 2)
    except ValueError:
        return None


def _clock(found: re.Match[str]) -> timedelta:
    """Time since midnight; 24:00:00 and a 60th second are allowed, as rounding writes them."""
    hours, minutes, seconds = int(found["H"]), int(found["M"]), int(found["S"] or 0)
    if hours > 24 or minutes > 59 or seconds > 60:
        raise ValueError("no time of day")
    digits = (found["f"] or "")[:6]
    clock = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int(digits.ljust(6, "0")) if digits else 0)
    if clock > timedelta(days=1, seconds=1):
        raise ValueError("no time of day")
    return clock


def _offset(text: str | None) -> timedelta | None:
    if not text:
        return None
    if text[0] not in "+-":
        return timedelta(0)
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset > timedelta(hours=14):
        raise ValueError("no offset from UTC")
    return -offset if text[0] == "-" else offset


def _with_clock(moment: _Moment, dated: Found, lookup: Lookup, profile: Profile) -> _Moment:
    """The day completed by a time that stands in a keyword of its own (``TIME-OBS``, ``UT``)."""
    if moment.clock or moment.offset is not None:
        return moment
    for found in lookup.all(profile.keywords.time):
        text = clean_text(found.value)
        if alone := _CLOCK.fullmatch(text):
            try:
                clock, offset = _clock(alone), _offset(alone["z"])
            except ValueError:
                continue
        elif (whole := parse_moment(text)) is not None and whole.clock is not None and whole.day == moment.day:
            clock, offset = whole.clock, whole.offset
        else:
            continue
        if moment.clock is None:
            return _Moment(moment.day, clock, offset, moment.two_digits)
        if clock:
            lookup.note(f"{dated.shown} says midnight, {found.shown} the time: taken together")
            return _Moment(moment.day, clock, offset, moment.two_digits)
    return moment


def _date_only(day: date, found: Found, lookup: Lookup, clock: Clock, site: Site) -> Start:
    if clock.zone == "UTC":
        night, rule = night_of_ut_date(day, site), "the night whose local midnight falls in that UT date"
    else:
        night, rule = day.isoformat(), "the night that began on that evening"
    lookup.note(f"{found.shown} is a date without time: put into {rule}")
    return Start(f"{day.isoformat()}T00:00:00.000", night, date_only=True)


def _in_utc(moment: _Moment, clock: timedelta, lookup: Lookup, rule: Clock, site: Site) -> datetime:
    naive = datetime(moment.day.year, moment.day.month, moment.day.day) + clock  # noqa: DTZ001 - as above
    if moment.offset is not None:
        return naive - moment.offset
    if rule.zone == "UTC":
        return _from_scale(naive, lookup)
    zone: tzinfo = site.zone if rule.zone == "local" else timezone(_offset(rule.zone) or timedelta(0))
    local = naive.replace(tzinfo=zone)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        lookup.note(f"the local time {iso(naive)} falls in a change of the clocks: the earlier one is taken")
    return local.astimezone(UTC).replace(tzinfo=None)


def _from_scale(naive: datetime, lookup: Lookup) -> datetime:
    """To UTC from the time scale that TIMESYS names (TT, TAI, GPS)."""
    value = next((h.cards["TIMESYS"] for h in lookup.headers if h.cards.get("TIMESYS")), None)
    scale = clean_text(value).upper()
    if scale in ("", "UTC", "UT", "UT1"):
        return naive
    utc = utc_from(scale, naive)
    if utc is None:
        lookup.note(f"TIMESYS {quoted(value)} is not known: the time is taken as UTC")
        return naive
    lookup.note(f"the header's time is in {scale}: {(naive - utc).total_seconds():g} s taken off for UTC")
    return utc


def _since_start(rule: Clock, exposure_s: float | None, lookup: Lookup) -> timedelta:
    """What lies between the start and the moment of the header."""
    if rule.refers_to == "start":
        return timedelta(0)
    if exposure_s is None:
        lookup.note(f"the header's time is the {rule.refers_to} of an exposure of unknown length")
        return timedelta(0)
    return timedelta(seconds=exposure_s / (2 if rule.refers_to == "middle" else 1))


def _by_julian_date(lookup: Lookup, profile: Profile, site: Site, exposure_s: float | None) -> Start:
    for found in lookup.all(profile.keywords.julian):
        number = parse_number(found.value)
        mjd = None if number is None else number.value - (_JD_OF_MJD_ZERO if number.value > 1e6 else 0.0)
        if mjd is None or not 15000.0 < mjd < 90000.0:  # the years 1900 to 2105
            lookup.note(f"{found.shown} is no modified or full Julian date: ignored")
            continue
        decimals = len(clean_text(found.value).partition(".")[2])
        step_s = 86400.0 / 10**decimals
        about = f", known to {step_s:.3g} s" if step_s > 0.1 else ""
        lookup.note(f"no date in the header: the time is from {found.shown}{about}")
        utc = _MJD_ZERO + timedelta(milliseconds=round(mjd * 86_400_000.0)) - _since_start(profile.clock, exposure_s, lookup)
        return Start(iso(utc), night_of(utc, site))
    lookup.note("no start time in the header")
    return Start()
