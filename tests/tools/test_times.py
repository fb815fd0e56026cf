"""Dates in headers: only what is a date becomes one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from nightcrew.errors import Refused
from nightcrew.tools.times import day_of, exposure_s, iso_utc, mjd, number_of, parse_time, start_time, zone_of


@pytest.mark.parametrize("text", ["M 31", "10", "May", "1.5", "Bias", "", "2021", "2021-13-01", "2021-02-30", 20210226, None, "05:06:07"])
def test_what_is_not_a_date_is_none(text: object) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2021-02-26T20:30:05.5", "2021-02-26T20:30:05.500"),
        ("2021-02-26", "2021-02-26T00:00:00.000"),
        ("2021/02/26 20:30", "2021-02-26T20:30:00.000"),
        ("26/02/97", "1997-02-26T00:00:00.000"),
        ("2017-12-19T18:33:00-0700", "2017-12-20T01:33:00.000"),
        ("2017-12-19T18:33:00+05:30", "2017-12-19T13:03:00.000"),
        ("2016-12-31T23:59:60", "2017-01-01T00:00:00.000"),
        ("2021-02-26T20:30:05Z", "2021-02-26T20:30:05.000"),
    ],
)
def test_iso_dates_zones_and_the_old_form(text: str, utc: str) -> None:
    moment = parse_time(text)
    assert moment is not None
    assert iso_utc(moment) == utc


@pytest.mark.parametrize(
    ("cards", "utc"),
    [
        ({"DATE-OBS": "2021-02-26T20:30:05", "DATE": "2022-01-01"}, "2021-02-26T20:30:05.000"),
        ({"DATEOBS": "2021-02-26T01:00:00"}, "2021-02-26T01:00:00.000"),
        ({"DATE": "2021-02-27"}, "2021-02-27T00:00:00.000"),
        ({"DATE-OBS": "2021-02-26", "TIME-OBS": "03:04:05.25"}, "2021-02-26T03:04:05.250"),
        ({"DATE-OBS": "not known", "MJD-OBS": 59271.5}, "2021-02-26T12:00:00.000"),
        ({"JD": 2459272.0}, "2021-02-26T12:00:00.000"),
    ],
)
def test_fallbacks_of_the_start_time(cards: dict[str, Any], utc: str) -> None:
    start = start_time(cards)
    assert start is not None
    assert iso_utc(start) == utc


def test_no_time_is_none() -> None:
    assert start_time({"OBJECT": "M 31", "JD": True, "MJD": "soon"}) is None


def test_days_ut_local_and_night() -> None:
    start = datetime(2021, 2, 27, 8, 0, tzinfo=UTC)  # 01:00 in Arizona
    zone = zone_of("America/Phoenix")
    assert [day_of(start, which, zone) for which in ("ut", "local", "night")] == [date(2021, 2, 27), date(2021, 2, 27), date(2021, 2, 26)]
    with pytest.raises(Refused, match="needs a time zone"):
        day_of(start, "local")
    with pytest.raises(Refused, match="no way to count days"):
        day_of(start, "moon", zone)
    with pytest.raises(Refused, match="no time zone 'Mars/Base'"):
        zone_of("Mars/Base")


def test_numbers_and_exposures() -> None:
    assert number_of("060.00") == 60.0
    assert number_of("3,2E-05") == 3.2e-05
    assert number_of(value=True) is None
    assert number_of("inf") is None
    assert exposure_s({"EXPOSURE": "060.00"}) == 60.0
    assert exposure_s({"EXPTIME": -1, "EXPOS": 3}) == 3.0
    assert exposure_s({}) is None
    assert mjd(datetime(2021, 2, 26, 12, tzinfo=UTC)) == 59271.5
