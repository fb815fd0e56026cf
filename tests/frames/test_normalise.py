"""The whole header: filters, targets, names, repeated keywords and hostile values."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput
from nightcrew.frames.model import KINDS, FrameHeader
from nightcrew.frames.normalise import normalise
from nightcrew.frames.text import MAX_TEXT
from tests.frames.made import MOORHEAD, USUAL, frame, hdu, noted, profiles


@pytest.mark.parametrize("kind", ["BIAS", "DARK", "THERMAL"])
def test_filter_on_frames_without_light_is_ignored(kind: str) -> None:
    header = frame(IMAGETYP=kind, FILTER="R", EXPTIME=0.5)
    assert header.filter == ""
    assert not header.notes


def test_filter_of_lights_and_flats() -> None:
    assert frame(FILTER=" r  ").filter == "r"  # r and R are different filters
    assert frame(FILTER=48).filter == "48"
    assert noted(frame(FILTER=None), "no filter in the header")
    assert frame(IMAGETYP="FLAT", FILTER="B").filter == "B"


def test_missing_target_stays_empty() -> None:
    header = frame()
    assert header.target == ""
    assert not header.notes
    assert frame(OBJECT="M 31").target == "M 31"
    assert frame(IMAGETYP="FLAT", OBJECT="twilight").target == ""


def test_camera_and_instrument_names() -> None:
    header = frame(INSTRUME="QSI 683", SERIALNO=712345)
    assert (header.camera, header.instrument) == ("QSI 683 712345", "QSI-683-712345")
    assert frame(INSTRUME=None).instrument == "generic"
    named = normalise((hdu(USUAL),), "x.fits", profiles()["generic"], MOORHEAD, "East camera/../1")
    assert named.instrument == "East-camera-..-1"


def test_repeated_keywords_are_noted_when_they_matter() -> None:
    assert noted(frame(hdu(USUAL, duplicates=("EXPTIME", "CARD"))), "EXPTIME stands more than once")
    assert not frame(hdu(USUAL, duplicates=("CARD",))).notes


def test_hundreds_of_mangled_cards_change_nothing() -> None:
    mangled = {f"_{name}{i}": i for i in range(1, 60) for name in ("TYPE", "RVAL", "RPIX", "D1_", "_0_", "P_0_")}
    assert frame(hdu({**USUAL, **mangled})) == frame(hdu(USUAL))


@pytest.mark.parametrize(
    "evil",
    ["\x00\x1b[2J", "<script>alert(1)</script>", "x" * 10_000, "../../../etc/passwd", "\u202e\ud800", "'; DROP TABLE frame; --", "=cmd()"],
)
def test_hostile_text_is_made_harmless(evil: str) -> None:
    keys = ("OBJECT", "FILTER", "INSTRUME", "READOUTM", "GAIN", "IMAGEID", "DETECTOR")
    cards: dict[str, Any] = dict.fromkeys(keys, evil)
    header = frame(**cards)
    texts = [value for value in header.as_dict().values() if isinstance(value, str)] + list(header.notes)
    assert all(text.isprintable() and len(text) <= 4 * MAX_TEXT for text in texts)
    assert "/" not in header.instrument
    assert not header.instrument.startswith(".")


hostile = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=60)
    | st.sampled_from(["DARK", "[1:2,3:4]", "2x2", "12:30:00", "2013-07-04T05:42:02", "3,2E-05", "9" * 400, "1e999", "NaN", "29/11/51"])
)
KEYS = sorted(profiles()["generic"].used_keywords | {"TIMESYS", "XBAYROFF", "BITPIX", "BZERO", "BSCALE", "CTYPE1"})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), hostile, max_size=12), st.sampled_from(sorted(profiles())), st.text(max_size=30))
def test_no_header_raises_anything_but_a_rejection(cards: dict[str, Any], profile: str, comment: str) -> None:
    comments = dict.fromkeys(cards, comment)
    try:
        header = normalise((hdu({**USUAL, **cards}, comments=comments),), f"{comment}/dark.fits", profiles()[profile], MOORHEAD, None)
    except RejectedInput:
        return
    assert header.kind in KINDS
    assert FrameHeader.from_dict(json.loads(header.canonical())) == header
    numbers = [value for value in header.as_dict().values() if isinstance(value, float)]
    assert all(math.isfinite(value) for value in numbers)
    assert header.night == "" or header.time_utc != ""


def test_notes_are_bounded() -> None:
    cards = {key: "nonsense" for key in KEYS if key not in ("BITPIX", "IMAGETYP")}
    assert len(frame(hdu({**cards, "IMAGETYP": "LIGHT", "BITPIX": 16})).notes) <= 20


def test_same_input_gives_the_same_header() -> None:
    assert frame(CCD_TEMP=180.2, GAIN=3).canonical() == frame(CCD_TEMP=180.2, GAIN=3).canonical()
