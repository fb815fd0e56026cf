"""Dates and times in headers, read strictly: only what *is* a date becomes one, and the day of an exposure is never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo

from nightcrew.errors import Refused

DATE_KEYS = ("DATE-OBS", "DATEOBS", "DATE_OBS", "DATE-BEG", "DATE")
"""Where the start of an exposure may stand, best first (``DATE`` is the day of writing: the last resort)."""

_TIME_KEYS = ("TIME-OBS", "UT-OBS", "UTC-OBS", "UTSTART", "UTC", "UT", "TIME-BEG")
_ISO = re.compile(r"^(\d{4})[-/](\d{2})[-/](\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(\.\d*)?)?)?\s*(Z|UTC?|[+-]\d{2}:?\d{2})?$")
_OLD = re.compile(r"^(\d{2})/(\d{2})/(\d{2})$")  # DD/MM/YY, the FITS form before 1999
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2}):(\d{2})(\.\d*)?$")
_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
_JD_OF_MJD_ZERO = 2400000.5


def parse_time(text: object) -> datetime | None:
    """``text`` as a time in UTC when it is an ISO date (or DD/MM/YY), else ``None``; a zone such as ``-0700`` is applied.

    Nothing else is taken for a date: neither ``M 31`` nor ``10``, ``May`` or ``1.5``.
    """
    if not isinstance(text, str):
        return None
    iso, old = _ISO.match(text.strip()), _OLD.match(text.strip())
    try:
        if iso:
            return _from_iso(iso)
        if old:
            day, month, year = (int(part) for part in old.groups())
            return datetime(1900 + year, month, day, tzinfo=UTC)
    except ValueError:
        return None
    return None


def start_time(cards: Mapping[str, object]) -> datetime | None:
    """Start of the exposure in UTC from the first of :data:`DATE_KEYS` that holds a date, completed by a clock card, else JD or MJD."""
    for key in DATE_KEYS:
        value = cards.get(key)
        found = parse_time(value)
        if found is None:
            continue
        if isinstance(value, str) and ":" not in value:
            return found + _clock(cards)
        return found
    for key, zero in (("MJD-OBS", 0.0), ("MJD", 0.0), ("JD", _JD_OF_MJD_ZERO)):
        number = cards.get(key)
        if isinstance(number, int | float) and not isinstance(number, bool) and 0 < number - zero < 1e6:
            return _MJD_ZERO + timedelta(days=float(number) - zero)
    return None


def exposure_s(cards: Mapping[str, object]) -> float | None:
    """The exposure time [s] from EXPTIME, EXPOSURE, EXP_TIME or EXPOS, number or numeric string; ``None`` when there is none."""
    for key in ("EXPTIME", "EXPOSURE", "EXP_TIME", "EXPOS"):
        found = number_of(cards.get(key))
        if found is not None and found >= 0:
            return found
    return None


def number_of(value: object) -> float | None:
    """``value`` as a finite float when it is a number or a string that is nothing but one (decimal comma allowed), else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value.strip().replace(",", ".")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def day_of(start: datetime, which: str, zone: tzinfo | None = None) -> date:
    """The day that names a sequence: ``ut``, ``local`` (calendar day at the site) or ``night`` (day of the local noon before)."""
    if which == "ut":
        return start.astimezone(UTC).date()
    if which not in ("local", "night"):
        raise Refused(f"'{which}' is no way to count days: ut, local or night")
    if zone is None:
        raise Refused(f"the {which} date needs a time zone: --timezone America/Phoenix")
    return (start.astimezone(zone) - timedelta(hours=12 if which == "night" else 0)).date()


def zone_of(name: str) -> tzinfo:
    """The time zone ``name`` (such as ``America/Phoenix``); :class:`Refused` when there is none."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refused(f"there is no time zone '{name}': write it as America/Phoenix") from error


def iso_utc(moment: datetime) -> str:
    """``2013-07-04T05:42:02.000``: UTC, milliseconds, no zone, as FITS wants it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def mjd(moment: datetime) -> float:
    """Modified Julian date (UTC) of ``moment``."""
    return (moment - _MJD_ZERO) / timedelta(days=1)


def _from_iso(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    seconds = float(fraction) if fraction and fraction != "." else 0.0
    leap = 1 if second == "60" else 0
    moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0) - leap, tzinfo=UTC)
    return moment + timedelta(seconds=seconds + leap) - _offset(zone)


def _offset(zone: str | None) -> timedelta:
    if not zone or zone[0] not in "+-":
        return timedelta(0)
    digits = zone[1:].replace(":", "")
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -size if zone[0] == "-" else size


def _clock(cards: Mapping[str, object]) -> timedelta:
    for key in _TIME_KEYS:
        value = cards.get(key)
        match = _CLOCK.match(value.strip()) if isinstance(value, str) else None
        if match:
            hours, minutes, seconds, fraction = match.groups()
            rest = float(fraction) if fraction and fraction != "." else 0.0
            return timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds) + rest)
    return timedelta(0)
