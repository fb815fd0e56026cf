"""Frame types: spellings, numbers, file names where the profile says so, contradictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.frames.made import USUAL, frame, hdu, noted, own_profile


@pytest.mark.parametrize(
    ("spelled", "kind"),
    [
        *[(text, "bias") for text in ("BIAS", "Bias Frame", "bias", "zero", "Bias_Frame", "BIAS    ", "Zero Exposure", "Biases")],
        *[(text, "dark") for text in ("DARK", "Dark Frame", "dark frame", "DARKFLAT", "Dark Field", "darks")],
        *[
            (text, "flat")
            for text in ("FLAT", "Flat Field", "FLAT-FIELD", "flat,lamp", "SKYFLAT", "dome flat", "Flat Frame", "FLAT,SKY", "Flats")
        ],
        *[(text, "light") for text in ("LIGHT", "Light Frame", "object", "OBJECT", "Science", "sci", "Tricolor", "LIGHT IMAGE")],
        *[(text, "thermal") for text in ("thermal", "Thermal Frame", "THERMAL DARK")],
        *[(text, "other") for text in ("comp", "Focus", "ARC", "Master Dark", "MASTERBIAS", "badpx", "something new")],
    ],
)
@pytest.mark.parametrize("keyword", ["IMAGETYP", "FRAMETYP", "OBSTYPE"])
def test_spellings_of_the_type(keyword: str, spelled: str, kind: str) -> None:
    cards: dict[str, Any] = {"IMAGETYP": None, keyword: spelled}
    header = frame(**cards)
    assert header.kind == kind
    assert bool(header.other_reason) == (kind == "other")


@pytest.mark.parametrize(("number", "kind"), [(1, "light"), (2, "bias"), (3, "dark"), (4, "flat"), ("3", "dark"), (3.0, "dark")])
def test_picttype_numbers(number: int | float | str, kind: str) -> None:
    assert frame(IMAGETYP=None, PICTTYPE=number).kind == kind


@pytest.mark.parametrize("number", [0, 17])
def test_other_picttypes_are_no_kind(number: int) -> None:
    assert frame(IMAGETYP=None, PICTTYPE=number).kind == "other"
    assert frame(IMAGETYP=None, OBSTYPE=2).kind == "other"  # numbers are types in PICTTYPE alone


def test_unknown_text_is_like_no_type() -> None:
    assert frame(IMAGETYP="Unknown", PICTTYPE=4).kind == "flat"
    assert "no frame type" in frame(IMAGETYP="none").other_reason


def test_unknown_type_is_named_in_the_reason() -> None:
    assert "IMAGETYP 'EXT'" in frame(IMAGETYP="EXT").other_reason


def test_two_type_keywords_that_disagree() -> None:
    header = frame(IMAGETYP="Dark Frame", PICTTYPE=1)
    assert header.kind == "dark"
    assert noted(header, "PICTTYPE 1 contradicts IMAGETYP 'Dark Frame'")


def test_no_type_stays_unknown_whatever_the_name() -> None:
    header = frame(IMAGETYP=None, path="darks/dark-001.fits")
    assert header.kind == "other"
    assert "suggests dark" in header.other_reason


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("Bias_ASIImg_frame0001.fit.gz", "bias"),
        ("x/Dark_ASIImg_1sec_frame0004.fit", "dark"),
        ("M31_Flat_001.fit", "flat"),
        ("Light_M31.fit", "light"),
        ("session/darks/frame_0001.fit", "dark"),
        ("session/flats/Dark_0001.fit", "dark"),  # the name of the file is nearer than that of its folder
    ],
)
def test_type_from_the_name_where_the_profile_says_so(path: str, kind: str) -> None:
    header = frame(IMAGETYP=None, path=path, profile="zwo_asi")
    assert header.kind == kind
    assert noted(header, "which profile zwo_asi allows")


def test_names_that_contradict_themselves_decide_nothing() -> None:
    assert frame(IMAGETYP=None, path="dark_flat_bias.fit", profile="zwo_asi").kind == "other"


def test_header_wins_over_the_name_and_the_conflict_is_noted() -> None:
    header = frame(IMAGETYP="BIAS", path="flattest.fit")
    assert header.kind == "bias"
    assert noted(header, "the file name suggests flat, the header says bias")
    assert not frame(IMAGETYP="BIAS", path="flood-flat-002bias.fit", EXPTIME=0).notes


def test_flats_labelled_light_frame() -> None:
    header = frame(IMAGETYP="Light Frame", path="flat-expos23s.fit", profile="sbig_stl1001")
    assert header.kind == "flat"
    assert noted(header, "IMAGETYP 'Light Frame' in the header, flat by the file name")
    assert frame(IMAGETYP="Light Frame", path="flat-expos23s.fit").kind == "light"  # the generic profile does not say so
    assert frame(IMAGETYP="Dark Frame", path="flat-dark.fit", profile="sbig_stl1001").kind == "dark"


def test_folder_pattern_and_default_kind_of_an_own_profile(tmp_path: Path) -> None:
    text = '[values]\ndefault_kind = "light"\n[[filename.kind]]\npattern = "^calib-dark"\nkind = "dark"\npart = "folder"\nuse = "missing"\n'
    profile = own_profile(tmp_path, text)
    assert frame(IMAGETYP=None, path="/a/calib-dark/1.fits", profile=profile).kind == "dark"
    header = frame(IMAGETYP=None, path="/calib-dark/b/1.fits", profile=profile)
    assert header.kind == "light"
    assert noted(header, "light is the rule of profile mine")


def test_own_spelling_of_a_type(tmp_path: Path) -> None:
    profile = own_profile(tmp_path, '[values.kind]\n"Dunkelbild" = "dark"\n"OBSTYPE=7" = "flat"\n')
    assert frame(IMAGETYP="DUNKELBILD", profile=profile).kind == "dark"
    assert frame(IMAGETYP=None, OBSTYPE=7, profile=profile).kind == "flat"
    assert frame(IMAGETYP="zero", profile=profile).kind == "bias"  # the generic spellings stay


@pytest.mark.parametrize("cards", [{"CALSTAT": "BDF"}, {"CALSTAT": "F"}, {"CCDPROC": "done"}, {"FLATCOR": "yes"}])
def test_processed_frames_are_not_raw(cards: dict[str, Any]) -> None:
    header = frame(**cards)
    assert header.kind == "other"
    assert "processed already" in header.other_reason


@pytest.mark.parametrize(
    "cards",
    [{"NCOMBINE": 5}, {"STACKCNT": "30"}, {"SNAPSHOT": 2}, {"IMC_NFIL": 9}, {"NCOMBINE": 1, "SNAPSHOT": 3}, {"FLAT_CNT": 20}],
)
@pytest.mark.parametrize("kind", ["BIAS", "DARK", "FLAT", "LIGHT"])
def test_what_was_combined_elsewhere_is_not_raw(kind: str, cards: dict[str, Any]) -> None:
    """Programs leave the type of the frames in the master that they make of them: only the number of frames tells."""
    header = frame(hdu({**USUAL, "IMAGETYP": kind, **cards}))
    assert header.kind == "other"
    assert "combined of several frames" in header.other_reason


@pytest.mark.parametrize("value", [1, 0, "1", True, "", "unknown"])
def test_one_frame_is_not_combined(value: object) -> None:
    assert frame(IMAGETYP="BIAS", NCOMBINE=value, SNAPSHOT=value).kind == "bias"


def test_a_profile_may_take_frames_that_a_camera_adds_up(tmp_path: Path) -> None:
    profile = own_profile(tmp_path, "[keywords]\ncombined = []\n")
    assert frame(IMAGETYP="BIAS", SNAPSHOT=4, profile=profile).kind == "bias"


def test_own_products_are_never_raw(tmp_path: Path) -> None:
    profile = own_profile(tmp_path, "[keywords]\nprocessed = []\n")
    assert frame(IMAGETYP="DARK", NCRECIPE="dark_master", profile=profile).other_reason == "a product of Nightcrew itself, not a raw frame"


def test_bias_alone_taken_out_leaves_a_frame() -> None:
    header = frame(CALSTAT="B")
    assert (header.kind, header.bias_subtracted) == ("light", True)
    assert not frame(CALSTAT="").bias_subtracted
    assert frame(ZEROCOR="Jan 12 10:11 zero level correction image is zero").bias_subtracted
    assert frame(SUBBIAS=True).bias_subtracted


@pytest.mark.parametrize(
    "value", ["no", "N", "off", "Not done", "No bias subtracted", "skipped", "unknown", "n/a", "-", False, 0, 0.0, "  "]
)
@pytest.mark.parametrize("keyword", ["ZEROCOR", "BIASCOR", "SUBBIAS"])
def test_a_bias_that_was_left_in_is_not_taken_for_one_that_was_taken_off(keyword: str, value: Any) -> None:
    """Else no bias would be taken off the frame, and its level would stay in it."""
    header = frame(**{keyword: value})
    assert (header.kind, header.bias_subtracted) == ("light", False)


def test_spectra_are_other() -> None:
    header = frame(CTYPE1="LAMBDA", CTYPE2="ANGLE")
    assert header.kind == "other"
    assert "spectrum" in header.other_reason
