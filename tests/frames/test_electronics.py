"""Gain as a setting or in e-/ADU, read noise, saturation, colour patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.frames.made import USUAL, frame, hdu, noted, own_profile


def test_gain_beside_egain_is_a_setting() -> None:
    header = frame(GAIN=100, EGAIN=0.9)
    assert (header.gain_setting, header.gain_e_per_adu) == ("100", 0.9)
    assert not header.notes


def test_gain_alone_is_a_setting_and_noted() -> None:
    header = frame(GAIN=1.9)
    assert (header.gain_setting, header.gain_e_per_adu) == ("1.9", None)
    assert noted(header, "GAIN 1.9 is taken as a camera setting")


@pytest.mark.parametrize("comment", ["e-/ADU", "[electron/adu] amplifier gain", "gain in electrons per ADU", "Gain [e/DN]"])
def test_gain_that_says_electrons_per_adu(comment: str) -> None:
    header = frame(GAIN=1.9, comments={"GAIN": comment})
    assert (header.gain_setting, header.gain_e_per_adu) == ("1.9", 1.9)


@pytest.mark.parametrize("comment", ["The ratio of output / input", "ADU/e-", "", "gain of the camera"])
def test_gain_that_does_not_say_so(comment: str) -> None:
    assert frame(GAIN=1.9, comments={"GAIN": comment}).gain_e_per_adu is None


def test_gain_by_the_profile(tmp_path: Path) -> None:
    assert frame(GAIN=1.9, profile="saao").gain_e_per_adu == 1.9
    header = frame(GAIN=0, profile="zwo_asi")
    assert (header.gain_setting, header.gain_e_per_adu) == ("0", None)
    own = own_profile(tmp_path, '[detector]\ngain_means = "setting"\ngain_e_per_adu = 0.25\nread_noise_e = 2.1\n')
    header = frame(GAIN=120, profile=own)
    assert (header.gain_setting, header.gain_e_per_adu, header.read_noise_e) == ("120", 0.25, 2.1)


def test_gain_zero_in_the_primary_header_gives_way_to_the_extension() -> None:
    primary = hdu({"GAIN": 0, "RDNOISE": 0, **{k: v for k, v in USUAL.items() if k != "BITPIX"}}, shape=())
    image = hdu({"BITPIX": 16, "GAIN": 1.47, "RDNOISE": 4.2, "EXTNAME": "AMP1"}, index=1)
    header = frame(primary, image, profile="saao")
    assert (header.hdu, header.gain_e_per_adu, header.read_noise_e) == (1, 1.47, 4.2)
    bare = hdu({"BITPIX": 16, "EXTNAME": "AMP1"}, index=1)
    header = frame(primary, bare, profile="saao")
    assert header.gain_e_per_adu is None
    assert noted(header, "GAIN 0 is no gain in e-/ADU")


def test_measured_numbers_of_the_profile_win_where_it_says_so() -> None:
    header = frame(EGAIN=2.06, profile="sbig_stl1001")
    assert (header.gain_e_per_adu, header.read_noise_e, header.gain_setting) == (2.0, 13.1, "2.06")
    assert noted(header, "the header gives 2.06 e-/ADU of gain, profile sbig_stl1001 2: the profile's is taken")


def test_iso_and_offset_are_settings() -> None:
    header = frame(ISO=800, OFFSET=340)
    assert (header.gain_setting, header.offset_setting) == ("800", "340")


@pytest.mark.parametrize("value", [0, -1.5, "nan", float("nan"), True])
def test_senseless_gain_is_none(value: Any) -> None:
    assert frame(EGAIN=value).gain_e_per_adu is None


@pytest.mark.parametrize(
    ("cards", "saturation"),
    [
        ({"SATURATE": 60000}, 60000.0),
        ({"BITPIX": 16, "BZERO": 32768}, 65535.0),
        ({"BITPIX": 16, "BZERO": 0}, 32767.0),
        ({"BITPIX": 8, "BZERO": None}, 255.0),
        ({"BITPIX": 8, "BZERO": -128, "BSCALE": 1.0}, 127.0),
        ({"BITPIX": 32, "BZERO": None}, None),
        ({"BITPIX": -32, "BZERO": None}, None),
        ({"SATURATE": 0}, 65535.0),
        ({"BITPIX": 16, "BSCALE": 5e303}, None),
        ({"DATAMAX": 1000.0}, 65535.0),  # the brightest pixel of this image, by the standard
    ],
)
def test_saturation(cards: dict[str, Any], saturation: float | None) -> None:
    assert frame(**cards).saturation_adu == saturation


def test_saturation_of_the_profile() -> None:
    assert frame(profile="microobservatory").saturation_adu == 4095.0


@pytest.mark.parametrize(
    ("cards", "pattern"),
    [
        ({"BAYERPAT": "RGGB    "}, "RGGB"),
        ({"BAYERPAT": "rggb", "XBAYROFF": 1}, "GRBG"),
        ({"BAYERPAT": "RGGB", "YBAYROFF": 1}, "GBRG"),
        ({"BAYERPAT": "RGGB", "XBAYROFF": 1, "YBAYROFF": 1}, "BGGR"),
        ({"COLORTYP": "RAW16"}, ""),
        ({"BAYERPAT": "XXXX"}, ""),
    ],
)
def test_colour_pattern(cards: dict[str, Any], pattern: str) -> None:
    assert frame(**cards).bayer == pattern
