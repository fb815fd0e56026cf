"""Exposure times and temperatures with their units."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.errors import RejectedInput
from tests.frames.made import frame, noted, own_profile


@pytest.mark.parametrize(
    ("value", "seconds"), [("060.00", 60.0), ("3,2E-05", 3.2e-5), (0.0, 0.0), ("60 s", 60.0), ("250 ms", 0.25), ("1/60", 1 / 60)]
)
def test_exposure_as_text(value: str | float, seconds: float) -> None:
    assert frame(EXPTIME=value).exposure_s == seconds


def test_decimal_comma_is_noted() -> None:
    assert noted(frame(EXPTIME="1,200"), "decimal comma as 1.2")


@pytest.mark.parametrize(
    ("comment", "unit"), [("[ms] exposure", "ms"), ("Exposure time in us", "us"), ("[s] exposure", "s"), ("Exposure", "s")]
)
def test_unit_of_the_exposure_in_the_comment(comment: str, unit: str) -> None:
    header = frame(EXPTIME=1500.0, comments={"EXPTIME": comment})
    assert header.exposure_s == {"ms": 1.5, "us": 0.0015, "s": 1500.0}[unit]
    assert noted(header, f"is in {unit}, as the header says") == (unit != "s")


def test_unit_of_the_exposure_by_the_profile_and_its_mending(tmp_path: Path) -> None:
    milliseconds = own_profile(tmp_path, '[keywords]\nexposure = [{ keyword = "EXPTIME", unit = "ms" }]\n', "cam")
    assert frame(EXPTIME=1500, profile=milliseconds).exposure_s == 1.5
    seconds = own_profile(tmp_path, '[keywords]\nexposure = ["EXPTIME"]\n', "cam")
    assert frame(EXPTIME=1500, profile=seconds).exposure_s == 1500.0


def test_keyword_with_its_unit_in_the_name() -> None:
    assert frame(EXPTIME=None, EXPOINUS=32).exposure_s == 3.2e-5


def test_keywords_that_disagree_are_noted() -> None:
    header = frame(EXPTIME=60.0, EXPOSURE=30.0)
    assert header.exposure_s == 60.0
    assert noted(header, "EXPTIME 60 and EXPOSURE 30 disagree")
    assert not frame(EXPTIME=60.0, EXPOSURE=60.0001).notes


@pytest.mark.parametrize(
    ("path", "suggested"),
    [("darks-expos1-Neg5.FIT", "1 s"), ("m31_120s_001.fits", "120 s"), ("exp_500ms.fits", "0.5 s"), ("Dark_1sec_7.fit", "1 s")],
)
def test_exposure_in_the_name_loses_against_the_header(path: str, suggested: str) -> None:
    header = frame(EXPTIME=60.0, path=path, IMAGETYP="Dark Frame")
    assert header.exposure_s == 60.0
    assert noted(header, f"the file name suggests {suggested}, the header says 60 s")


@pytest.mark.parametrize("path", ["M31-001V.fits", "sn2011fe.fits", "darks-001D15.fit", "star60.fits", "60s-later/x.fits"])
def test_names_without_an_exposure(path: str) -> None:
    assert not noted(frame(path=path, IMAGETYP="Dark Frame"), "suggests")


def test_exposure_from_the_name_only_if_the_profile_says_so(tmp_path: Path) -> None:
    assert frame(EXPTIME=None, path="m31_120s.fits").exposure_s is None
    text = "[[filename.exposure]]\npattern = '_(\\d+)(ms|s)'\nuse = \"missing\"\n"
    header = frame(EXPTIME=None, path="m31_120ms.fits", profile=own_profile(tmp_path, text))
    assert header.exposure_s == 0.12
    assert noted(header, "by the file name")


def test_negative_exposure_is_rejected() -> None:
    with pytest.raises(RejectedInput, match="exposure time is negative: EXPTIME -5"):
        frame(EXPTIME=-5.0)


@pytest.mark.parametrize("value", ["long", float("nan"), float("inf"), 1e30, "60 bananas"])
def test_senseless_exposure_is_ignored_with_a_note(value: str | float) -> None:
    header = frame(EXPTIME=value)
    assert header.exposure_s is None
    assert noted(header, "ignored")
    assert noted(header, "no usable exposure time")


def test_dark_without_exposure_is_rejected() -> None:
    with pytest.raises(RejectedInput, match="dark frame without a usable exposure time"):
        frame(IMAGETYP="DARK", EXPTIME=None)
    assert frame(IMAGETYP="BIAS", EXPTIME=None).exposure_s is None


def test_long_bias_is_noted() -> None:
    assert noted(frame(IMAGETYP="BIAS", EXPTIME=30.0), "a bias frame with an exposure of 30 s")


def test_set_point_and_real_temperature() -> None:
    header = frame(CCD_TEMP=-18.8, SET_TEMP=-27.2)
    assert (header.temperature_c, header.set_temperature_c) == (-18.8, -27.2)
    assert noted(header, "not near its set point of -27.2 C")
    assert not frame(CCD_TEMP=-19.9, SET_TEMP=-20.0).notes


def test_set_point_never_stands_in_for_the_temperature() -> None:
    header = frame(CCD_TEMP=None, SET_TEMP=-20.0)
    assert (header.temperature_c, header.set_temperature_c) == (None, -20.0)


def test_kelvin_by_profile_comment_value_and_size() -> None:
    assert frame(CCD_TEMP=None, CAMTEMP=271.0, profile="microobservatory").temperature_c == -2.15
    assert frame(CCD_TEMP=180.2, profile="saao").temperature_c == -92.95
    assert not frame(CCD_TEMP=180.2, profile="saao").notes
    assert frame(CCD_TEMP=77.0, comments={"CCD-TEMP": "[K] detector"}).temperature_c == -196.15
    assert frame(CCD_TEMP="271 K").temperature_c == -2.15
    header = frame(CCD_TEMP=180.2)
    assert header.temperature_c == -92.95
    assert noted(header, "taken as kelvin")


def test_text_with_unit_celsius() -> None:
    assert frame(CCD_TEMP=None, CAMTEMP="44 C   ").temperature_c == 44.0


@pytest.mark.parametrize("value", [999.0, -999.0, 120.0, "warm", float("nan"), "5 V"])
def test_impossible_temperature_is_ignored_with_a_note(value: float | str) -> None:
    header = frame(CCD_TEMP=value)
    assert header.temperature_c is None
    assert noted(header, "no temperature")


def test_no_data_value_of_the_profile_and_the_next_keyword() -> None:
    assert frame(CCD_TEMP=None, CAMTEMP=-1, profile="microobservatory").temperature_c is None
    assert frame(CCD_TEMP=999.0, TEMPERAT=-9.5).temperature_c == -9.5
