"""Dates in logs: every common form is the same moment, and what may mean two moments is refused with a sentence."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.lab.dates import looks_like_moments, read_moments
from nightcrew.lab.index import timestamp_of
from nightcrew.lab.logs import parse_log

MOMENT = datetime(2026, 3, 14, 22, 30, 5, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-14T22:30:05",
        "2026-03-14 22:30:05.000",
        "2026-03-14T22:30:05Z",
        "2026-03-14 22:30:05 UTC",
        "2026-03-15T00:00:05+01:30",
        "2026-03-14T20:30:05,0-0200",
        "2026/03/14 22:30:05",
        "20260314T223005",
        "20260314223005",
        "14.03.2026 22:30:05",
        "14-Mar-2026 22:30:05",
        "14 March 2026 10:30:05 PM",
        "Mar 14, 2026 22:30:05",
        "Sat Mar 14 22:30:05 2026",
        "14/03/2026 22:30:05",
        "03/14/2026 10:30:05 pm",
    ],
)
def test_common_forms(text: str) -> None:
    found = read_moments([text, "", text])
    assert looks_like_moments([text, ""])
    assert found.refused == ""
    assert found.seconds[0] == found.seconds[2] == MOMENT
    assert math.isnan(found.seconds[1])
    assert found.zoned == text.endswith(("Z", "UTC", "+01:30", "-0200"))


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["03/04/2026 10:00:00"], "day or the month comes first"),
        (["03/14/2026 10:00", "14/03/2026 10:00"], "mix day/month and month/day"),
        (["10:00:00", "10:01:00"], "times of day without their date"),
        (["2026-03-14", "2026-03-15"], "without a time of day"),
        (["2026-03-14T22:30:05", "2026-03-14T22:30:05Z"], "some have none"),
        (["2026-03-14T22:30:05", "12.5"], "both dates and numbers"),
        (["2026-02-30 10:00"], "of the calendar"),
        (["14.03.26 10:00:00"], "neither a number nor a date"),
        (["soon"], "'soon' is neither"),
    ],
)
def test_what_does_not_tell_a_moment_is_refused(cells: list[str], why: str) -> None:
    found = read_moments(cells)
    assert looks_like_moments(cells)
    assert why in found.refused
    assert all(math.isnan(seconds) for seconds in found.seconds)


def test_another_row_tells_what_comes_first() -> None:
    assert read_moments(["03/04/2026 10:00", "13/04/2026 10:00"]).seconds[0] == datetime(2026, 4, 3, 10, tzinfo=UTC).timestamp()
    assert read_moments(["03/04/2026 10:00", "03/14/2026 10:00"]).seconds[0] == datetime(2026, 3, 4, 10, tzinfo=UTC).timestamp()


def test_numbers_are_no_dates() -> None:
    for cells in (["1000.5", "1e-3"], ["1772359200"], ["-1.5e-3", "n/a"], ["", ""], ["nan", "NaN"], ["1,5"]):
        assert not looks_like_moments(cells)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2099, 1, 1)))  # noqa: DTZ001  naive as in a log
def test_what_python_writes_is_read(moment: datetime) -> None:
    expected = moment.replace(tzinfo=UTC).timestamp()
    (found,) = read_moments([moment.isoformat()]).seconds
    assert found == pytest.approx(expected, abs=1e-6)


def test_dates_of_a_frame_log_are_its_times() -> None:
    log = parse_log("FrameNum;TimeStamp (UTC)\n0;2026-03-14T22:30:05Z\n1;2026-03-14T22:30:15.5Z\n")
    assert [row.values["TIMESTAMP"] for row in log.rows] == [MOMENT, MOMENT + 10.5]
    assert log.warnings == ()
    assert "taken as UTC" in parse_log("FrameNum,DateTime\n0,2026-03-14 22:30:05\n").warnings[0]
    refused = parse_log("FrameNum,TimeStamp\n0,10:00:00\n1,10:00:10\n")
    assert "times of day" in refused.warnings[0]
    assert [row.values["TIMESTAMP"] for row in refused.rows] == [None, None]


def test_the_time_of_a_frame_by_its_header() -> None:
    header = fits.Header({"DATE-OBS": "2026-03-14T22:30:05"})
    assert timestamp_of(dict(header)) == MOMENT
    assert timestamp_of({**dict(header), "TIMESTAMP": 100.0}) == 100.0
    assert timestamp_of({"TIMESTAMP": "2026-03-14T22:30:05Z"}) == MOMENT
    assert timestamp_of({"DATE-OBS": "yesterday"}) is None
