"""Nights run from local noon to local noon, whatever the clocks do."""

# ruff: noqa: DTZ001 - hypothesis draws naive times, which are UTC

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.site import Site, night_of, night_of_ut_date, night_span
from tests.frames.made import MOORHEAD, SUTHERLAND, WHIPPLE

KIRITIMATI = Site(longitude_deg=-157.4, timezone="Pacific/Kiritimati")  # UTC+14, far from its longitude
SITES = [MOORHEAD, SUTHERLAND, WHIPPLE, KIRITIMATI, Site(timezone="Australia/Lord_Howe"), Site(longitude_deg=151.0, timezone="")]


@pytest.mark.parametrize(
    ("time_utc", "site", "night"),
    [
        ("2013-07-04T05:42:02", MOORHEAD, "2013-07-03"),  # 00:42 local
        ("2013-07-04T03:59:00", MOORHEAD, "2013-07-03"),  # 22:59 local
        ("2013-07-03T16:59:59", MOORHEAD, "2013-07-02"),  # a second before local noon
        ("2013-07-03T17:00:00", MOORHEAD, "2013-07-03"),  # noon opens the night
        ("2017-12-20T01:33:43.317", WHIPPLE, "2017-12-19"),
        ("2017-12-20T08:27:12.660", WHIPPLE, "2017-12-19"),
        ("2013-07-12T22:30:00", SUTHERLAND, "2013-07-12"),  # 00:30 local of the 13th
        ("2013-07-13T00:57:33", SUTHERLAND, "2013-07-12"),
    ],
)
def test_night_is_the_local_noon_before(time_utc: str, site: Site, night: str) -> None:
    assert night_of(time_utc, site) == night


def test_utc_dates_do_not_split_a_night() -> None:
    start = datetime(2013, 7, 3, 22, 0, tzinfo=UTC)
    assert {night_of(start + timedelta(hours=h), MOORHEAD) for h in range(12)} == {"2013-07-03"}


@pytest.mark.parametrize(("day", "noon_before", "noon_after"), [("2024-03-09", 18, 17), ("2024-11-02", 17, 18)])
def test_change_of_the_clocks_keeps_noon_at_noon(day: str, noon_before: int, noon_after: int) -> None:
    first, last = night_span(day, MOORHEAD)  # 23 and 25 hours long
    assert (first.hour, last.hour) == (noon_before, noon_after)
    assert night_of(first, MOORHEAD) == day
    assert night_of(last - timedelta(microseconds=1), MOORHEAD) == day
    assert night_of(last, MOORHEAD) != day


@pytest.mark.parametrize("name", ["", "Mars/Olympus_Mons", "../../etc/passwd"])
def test_longitude_decides_where_the_time_zone_is_unknown(name: str) -> None:
    site = Site(longitude_deg=-90.0, timezone=name)  # noon is at 18:00 UTC
    assert night_of("2024-01-02T17:59:59", site) == "2024-01-01"
    assert night_of("2024-01-02T18:00:00", site) == "2024-01-02"
    assert night_of("2024-01-02T18:00:00", Site(longitude_deg=270.0, timezone=name)) == "2024-01-02"


@pytest.mark.parametrize(("site", "night"), [(WHIPPLE, "2013-07-12"), (SUTHERLAND, "2013-07-13"), (Site(), "2013-07-12")])
def test_ut_date_alone_belongs_to_the_night_whose_midnight_falls_in_it(site: Site, night: str) -> None:
    assert night_of_ut_date(date(2013, 7, 13), site) == night


@settings(max_examples=80, deadline=None)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)), st.sampled_from(SITES))
def test_every_moment_lies_in_the_span_of_its_night(moment: datetime, site: Site) -> None:
    first, last = night_span(night_of(moment, site), site)
    assert first <= moment.replace(tzinfo=UTC) < last
    assert timedelta(hours=22) <= last - first <= timedelta(hours=26)
