"""UTC from the other time scales that headers use, by the table of leap seconds."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta

# TAI - UTC from the given UTC date on (IERS Bulletin C); no leap second has been announced after 2017.
_LEAPS: tuple[tuple[str, int], ...] = (
    ("1972-01-01", 10), ("1972-07-01", 11), ("1973-01-01", 12), ("1974-01-01", 13), ("1975-01-01", 14), ("1976-01-01", 15),
    ("1977-01-01", 16), ("1978-01-01", 17), ("1979-01-01", 18), ("1980-01-01", 19), ("1981-07-01", 20), ("1982-07-01", 21),
    ("1983-07-01", 22), ("1985-07-01", 23), ("1988-01-01", 24), ("1990-01-01", 25), ("1991-01-01", 26), ("1992-07-01", 27),
    ("1993-07-01", 28), ("1994-07-01", 29), ("1996-01-01", 30), ("1997-07-01", 31), ("1999-01-01", 32), ("2006-01-01", 33),
    ("2009-01-01", 34), ("2012-07-01", 35), ("2015-07-01", 36), ("2017-01-01", 37),
)  # fmt: skip  # read as a table
_DATES = tuple(datetime.fromisoformat(day) for day, _ in _LEAPS)
_TAI_AHEAD_S = {"TAI": 0.0, "TT": -32.184, "TDT": -32.184, "GPS": 19.0}  # TAI minus the scale


def utc_from(scale: str, time: datetime) -> datetime | None:
    """``time`` of the ``scale`` (TAI, TT, TDT or GPS; naive) as naive UTC; None for another scale or before 1972."""
    ahead_s = _TAI_AHEAD_S.get(scale)
    if ahead_s is None:
        return None
    tai = time + timedelta(seconds=ahead_s)
    index = bisect_right(_DATES, tai) - 1
    if index < 0:
        return None
    utc = tai - timedelta(seconds=_LEAPS[index][1])
    if index and utc < _DATES[index]:
        utc = tai - timedelta(seconds=_LEAPS[index - 1][1])
    return utc
