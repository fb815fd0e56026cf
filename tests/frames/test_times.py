"""Start times: every way in which headers write them."""

# ruff: noqa: DTZ001 - naive times are UTC here, as in the module under test

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.times import iso, parse_moment
from nightcrew.frames.timescales import utc_from
from tests.frames.made import MOORHEAD, SUTHERLAND, WHIPPLE, frame, noted, own_profile


@pytest.mark.parametrize(
    ("written", "time_utc"),
    [
        ("2013-07-04T05:42:02", "2013-07-04T05:42:02.000"),
        ("2013-07-04 05:42:02.5", "2013-07-04T05:42:02.500"),
        ("2013/07/04T05:42:02Z", "2013-07-04T05:42:02.000"),
        ("2013-07-04T05:42:02.123456", "2013-07-04T05:42:02.123456"),
        ("2017-12-19T18:33:43.317-0700", "2017-12-20T01:33:43.317"),
        ("2017-12-20T07:03:43+05:30", "2017-12-20T01:33:43.000"),
        ("2013-07-03T23:59:60", "2013-07-04T00:00:00.000"),
        ("2013-07-03T24:00:00", "2013-07-04T00:00:00.000"),
        ("2013-7-4T5:42:02", "2013-07-04T05:42:02.000"),
    ],
)
def test_date_with_time(written: str, time_utc: str) -> None:
    header = frame(DATE_OBS=written)
    assert header.time_utc == time_utc
    assert not header.time_is_date_only


@pytest.mark.parametrize("keyword", ["TIME-OBS", "UT", "UTSTART", "UT-TIME"])
def test_time_in_a_keyword_of_its_own(keyword: str) -> None:
    cards: dict[str, Any] = {keyword: " 00:57:33.25"}
    header = frame(DATE_OBS="2013-07-13", **cards)
    assert header.time_utc == "2013-07-13T00:57:33.250"
    assert not header.time_is_date_only


def test_midnight_in_the_date_gives_way_to_the_time_keyword() -> None:
    header = frame(DATE_OBS="2013-07-13T00:00:00", TIME_OBS="03:04:05")
    assert header.time_utc == "2013-07-13T03:04:05.000"
    assert noted(header, "says midnight")


def test_full_date_wins_over_a_time_keyword() -> None:
    assert frame(DATE_OBS="2013-07-13T01:00:00", TIME_OBS="03:04:05").time_utc == "2013-07-13T01:00:00.000"


def test_date_alone_is_marked_and_put_into_a_night_by_rule() -> None:
    header = frame(DATE_OBS="2013-07-13", site=SUTHERLAND)
    assert (header.time_utc, header.time_is_date_only, header.night) == ("2013-07-13T00:00:00.000", True, "2013-07-13")
    assert noted(header, "date without time")
    assert frame(DATE_OBS="2013-07-13", site=WHIPPLE).night == "2013-07-12"


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("29/11/51", "1951-11-29"),
        ("05/04/87", "1987-04-05"),
        ("31/12/99", "1999-12-31"),
        ("01/01/00", "2000-01-01"),
        ("23/08/18", "2018-08-23"),
    ],
)
def test_two_digits_of_a_year(written: str, day: str) -> None:
    header = frame(DATE_OBS=written)
    assert header.time_utc == f"{day}T00:00:00.000"
    assert header.time_is_date_only
    assert noted(header, f"two digits: taken as {day[:4]}")


def test_old_date_with_a_time_keyword() -> None:
    assert frame(DATE_OBS="29/11/51", TIME_OBS="12:13:14").time_utc == "1951-11-29T12:13:14.000"


@pytest.mark.parametrize(
    "written",
    [
        "0000-00-00T00:00:00",
        "2013-02-30",
        "9999-12-31T23:59:59",
        "1066-10-14",
        "yesterday",
        "2013-07-04T25:00:00",
        "13/13/13",
        "2013-07-04T01:00:00+99:00",
        5.0,
        True,
    ],
)
def test_absurd_dates_are_ignored_with_a_note(written: str | float) -> None:
    header = frame(DATE_OBS=written)
    assert (header.time_utc, header.night) == ("", "")
    assert noted(header, "is no date: ignored")
    assert noted(header, "no start time")


def test_the_next_keyword_is_asked_when_one_holds_nonsense() -> None:
    assert frame(DATE_OBS="soon", DATE_BEG="2013-07-04T05:42:02").time_utc == "2013-07-04T05:42:02.000"


def test_julian_dates_serve_when_there_is_no_date() -> None:
    header = frame(DATE_OBS=None, MJD_OBS=58107.065)
    assert header.time_utc == "2017-12-20T01:33:36.000"
    assert noted(header, "known to 86.4 s")
    assert frame(DATE_OBS=None, JD=2456477.5).time_utc == "2013-07-04T00:00:00.000"
    assert frame(DATE_OBS=None, MJD_OBS=-1.0).time_utc == ""


def test_local_time_by_the_profile(tmp_path: Path) -> None:
    local = own_profile(tmp_path, '[clock]\nzone = "local"\n')
    header = frame(DATE_OBS="2024-07-04T22:00:00", profile=local, site=MOORHEAD)
    assert (header.time_utc, header.night) == ("2024-07-05T03:00:00.000", "2024-07-04")
    assert frame(DATE_OBS="2024-07-04", profile=local).night == "2024-07-04"
    assert noted(frame(DATE_OBS="2024-11-03T01:30:00", profile=local), "change of the clocks")
    east = own_profile(tmp_path, '[clock]\nzone = "+02:00"\n', "east")
    assert frame(DATE_OBS="2024-07-04T22:00:00", profile=east).time_utc == "2024-07-04T20:00:00.000"


@pytest.mark.parametrize(("moment", "start"), [("middle", "05:41:32.000"), ("end", "05:41:02.000")])
def test_middle_or_end_of_the_exposure_by_the_profile(tmp_path: Path, moment: str, start: str) -> None:
    profile = own_profile(tmp_path, f'[clock]\nrefers_to = "{moment}"\n')
    assert frame(DATE_OBS="2013-07-04T05:42:02", EXPTIME=60, profile=profile).time_utc == f"2013-07-04T{start}"


def test_other_time_scales_become_utc() -> None:
    header = frame(DATE_OBS="2020-01-01T00:01:09.184", TIMESYS="TT")
    assert header.time_utc == "2020-01-01T00:00:00.000"
    assert noted(header, "69.184 s taken off")
    assert noted(frame(TIMESYS="MARS"), "not known")


@pytest.mark.parametrize(
    ("scale", "given_time", "utc"),
    [
        ("TAI", datetime(2016, 1, 1, 0, 0, 36), datetime(2016, 1, 1)),
        ("TAI", datetime(2017, 1, 1, 0, 0, 37), datetime(2017, 1, 1)),
        ("TAI", datetime(2016, 12, 31, 23, 59, 50), datetime(2016, 12, 31, 23, 59, 14)),
        ("GPS", datetime(2020, 1, 1, 0, 0, 18), datetime(2020, 1, 1)),
    ],
)
def test_leap_seconds(scale: str, given_time: datetime, utc: datetime) -> None:
    assert utc_from(scale, given_time) == utc


def test_times_before_leap_seconds_are_left() -> None:
    assert utc_from("TAI", datetime(1970, 1, 1)) is None
    assert utc_from("UTC", datetime(2020, 1, 1)) is None


@settings(max_examples=60, deadline=None)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2099, 1, 1)), st.integers(-12 * 60, 14 * 60))
def test_any_offset_gives_the_same_moment(utc: datetime, minutes: int) -> None:
    local = utc + timedelta(minutes=minutes)
    sign, ahead = ("-", -minutes) if minutes < 0 else ("+", minutes)
    header = frame(DATE_OBS=f"{local.isoformat()}{sign}{ahead // 60:02d}{ahead % 60:02d}")
    assert header.time_utc == iso(utc)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_a_date(text: str) -> None:
    moment = parse_moment(text)
    assert moment is None or 1900 <= moment.day.year <= 2100


def test_iso_keeps_microseconds_only_where_there_are_any() -> None:
    assert iso(datetime(2020, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)) == "2020-01-01T00:00:00.001"
    assert iso(datetime(2020, 1, 1, 0, 0, 0, 1001)) == "2020-01-01T00:00:00.001001"
