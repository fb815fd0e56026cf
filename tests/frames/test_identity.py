"""Identity of exposures: the same for every file of one, different for different ones."""

from __future__ import annotations

import dataclasses

import pytest

from nightcrew.frames.identity import ambiguous, exposure_identity
from tests.frames.made import frame

HEADER = frame(DATE_OBS="2024-03-10T04:05:06.250", EXPTIME=60.0)


def test_other_bytes_and_an_edited_header_are_the_same_exposure() -> None:
    edited = dataclasses.replace(HEADER, filter="R", target="M 31", notes=("x",), hdu=1)
    assert exposure_identity(HEADER, "aa") == exposure_identity(edited, "bb") == exposure_identity(HEADER)


@pytest.mark.parametrize(
    "change",
    [
        {"camera": "Other"},
        {"detector": "2"},
        {"time_utc": "2024-03-10T04:05:06.251"},
        {"exposure_s": 61.0},
        {"exposure_s": None},
        {"kind": "dark"},
        {"sequence": "8"},
    ],
)
def test_each_part_tells_exposures_apart(change: dict[str, object]) -> None:
    assert exposure_identity(dataclasses.replace(HEADER, **change)) != exposure_identity(HEADER)  # type: ignore[arg-type]  # any value of a header


@pytest.mark.parametrize("change", [{"time_utc": ""}, {"time_is_date_only": True}])
def test_without_a_time_the_content_decides(change: dict[str, object]) -> None:
    header = dataclasses.replace(HEADER, **change)  # type: ignore[arg-type]  # any value of a header
    assert exposure_identity(header, "aa") != exposure_identity(header, "bb")
    with pytest.raises(ValueError, match="hash of its content"):
        exposure_identity(header)


def test_short_exposures_with_whole_seconds_are_ambiguous() -> None:
    bias = frame(IMAGETYP="BIAS", EXPTIME=0.0, DATE_OBS="2013-07-04T05:05:31")
    assert ambiguous(bias)
    assert not ambiguous(dataclasses.replace(bias, sequence="3"))
    assert not ambiguous(dataclasses.replace(bias, exposure_s=5.0))
    assert not ambiguous(HEADER)
    assert exposure_identity(bias, "aa", distinct=True) != exposure_identity(bias, "bb", distinct=True)
    assert exposure_identity(bias, "aa") == exposure_identity(bias, "bb")
