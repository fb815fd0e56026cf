"""Observing logs, and lines that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.mkid.observing_log import parse_log, read_log, time_us

HEAD = "name,type,start,stop,wavelength_nm,ra_deg\n"


def test_exposures_in_order_of_time_with_other_columns() -> None:
    log = parse_log(HEAD + "b,dark,20.5,30,,\na, laser, 2021-07-20T00:00:00.000001 ,2021-07-20T00:01:00Z,850,12.5\n", "log")
    assert [one.name for one in log.exposures] == ["b", "a"]
    laser = log.exposures[1]
    assert (laser.start_us, laser.stop_us) == (1626739200000001, 1626739260000000)
    assert (laser.kind, laser.wavelength_nm, dict(laser.others)) == ("laser", 850.0, {"ra_deg": "12.5"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,dark,1,2,,", "an exposure a already"),
        ("c,dark,15,25,,", "c overlaps a"),
        ("c,night,30,40,,", "not one of"),
        ("../c,dark,30,40,,", "is no name"),
        ("c,dark,40,30,,", "stops before it starts"),
        ("c,dark,nan,30,,", "no start and stop"),
        ("c,dark,30,,,", "no start and stop"),
        ("c,laser,30,40,,", "needs its wavelength_nm"),
        ("c,laser,30,40,-5,", "needs its wavelength_nm"),
        ("c", "the type of c"),
    ],
)
def test_a_wrong_line_has_its_reason_and_the_rest_goes_on(line: str, reason: str) -> None:
    log = parse_log(HEAD + "a,dark,10,20,,\n" + line + "\nz,flat,50,60,,\n", "log")
    assert [one.name for one in log.exposures] == ["a", "z"]
    (rejected,) = log.rejected
    assert rejected.name == "log line 3"
    assert reason in rejected.reason


def test_touching_exposures_do_not_overlap() -> None:
    assert len(parse_log(HEAD + "a,dark,10,20,,\nb,dark,20,30,,\n", "log").exposures) == 2


def test_files_that_are_no_logs(tmp_path: Path) -> None:
    for text in ("", "a,b\n1,2\n", "\0\xff"):
        (tmp_path / "log").write_text(text, encoding="latin-1")
        with pytest.raises(RejectedInput, match="is no observing log"):
            read_log(tmp_path / "log")
    with pytest.raises(TransientError, match="cannot be read"):
        read_log(tmp_path / "absent")


def test_times_keep_their_microseconds() -> None:
    assert time_us("1606000001.700001") == 1606000001700001
    for wrong in ("", "soon", "-1", "1e30", "inf"):
        with pytest.raises(ValueError, match=r".*"):
            time_us(wrong)
