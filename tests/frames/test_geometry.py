"""Binning, windows, trim and overscan sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.geometry import parse_section
from tests.frames.made import frame, noted, own_profile

SAAO = (520, 536)  # rows, columns


@pytest.mark.parametrize(
    ("cards", "binning"),
    [
        ({"XBINNING": 2, "YBINNING": 3}, (2, 3)),
        ({"BINNING": "2x2"}, (2, 2)),
        ({"BINNING": "1 X 2"}, (1, 2)),
        ({"BINNING": 4}, (4, 4)),
        ({"CCDSUM": "2 2"}, (2, 2)),
        ({"CCDXBIN": 2, "CCDYBIN": 2}, (2, 2)),
        ({"XBINNING": "2"}, (2, 2)),
        ({"XBINNING": 0, "YBINNING": -1, "BINNING": "3x3"}, (3, 3)),
        ({"BINNING": "fine"}, (1, 1)),
        ({"BINNING": 1000}, (1, 1)),
        ({}, (1, 1)),
    ],
)
def test_binning(cards: dict[str, Any], binning: tuple[int, int]) -> None:
    header = frame(**cards)
    assert (header.binning_x, header.binning_y) == binning


def test_senseless_binning_is_noted() -> None:
    assert noted(frame(BINNING="fine"), "BINNING 'fine' is no binning")


def test_windows() -> None:
    header = frame(XORGSUBF=100, YORGSUBF=20)
    assert (header.window_x0, header.window_y0) == (100, 20)
    assert header.geometry == "120x100+100+20b1x1"
    header = frame(CCDSEC="[201:440,41:240]", BINNING="2x2")
    assert (header.window_x0, header.window_y0) == (100, 20)
    assert noted(frame(XORGSUBF=-4), "no pixel of the detector")


def test_sections_become_half_open() -> None:
    header = frame(TRIMSEC="[  17: 528,   1: 520]", BIASSEC="[   4:  13,   1: 520]", shape=SAAO)
    assert header.trim == (16, 528, 0, 520)
    assert header.overscan == (3, 13, 0, 520)
    assert not header.notes


@pytest.mark.parametrize(
    ("trim", "found", "word"),
    [
        ("[1:600,1:500]", (0, 536, 0, 500), "clipped"),
        ("[0:535,1:500]", (0, 535, 0, 500), "clipped"),
        ("[2049:2176,1:520]", None, "outside"),
        ("[528:17,1:520]", None, "no section"),
        ("[1:10:2,1:520]", None, "no section"),
        ("full frame", None, "no section"),
        ("<script>", None, "no section"),
        (12, None, "no section"),
        ("[1:536,1:520]", None, ""),  # the whole image: nothing to trim
        ("[17:528, :]", (16, 528, 0, 520), ""),
        ("[17:528]", (16, 528, 0, 520), ""),
        ("17:528,1:520", (16, 528, 0, 520), ""),
    ],
)
def test_trim_sections(trim: str | int, found: tuple[int, int, int, int] | None, word: str) -> None:
    header = frame(TRIMSEC=trim, shape=SAAO)
    assert header.trim == found
    assert noted(header, word) if word else not header.notes


def test_overscan_that_overlaps_the_useful_part_is_ignored() -> None:
    header = frame(TRIMSEC="[1:100,1:100]", BIASSEC="[90:120,1:100]")
    assert (header.trim, header.overscan) == ((0, 100, 0, 100), None)
    assert noted(header, "overlaps the useful part [1:100,1:100]")
    assert noted(frame(BIASSEC="[110:120,1:100]"), "no trim section")


def test_sections_of_the_profile(tmp_path: Path) -> None:
    fixed = own_profile(tmp_path, '[layout]\ntrim = "[1:100,1:100]"\noverscan = "none"\n')
    header = frame(TRIMSEC="[5:6,7:8]", BIASSEC="[110:120,1:100]", profile=fixed)
    assert (header.trim, header.overscan) == ((0, 100, 0, 100), None)


@settings(max_examples=60, deadline=None)
@given(st.integers(-50, 700), st.integers(-50, 700), st.integers(-50, 700), st.integers(-50, 700))
def test_any_section_ends_inside_the_image(x1: int, x2: int, y1: int, y2: int) -> None:
    header = frame(TRIMSEC=f"[{x1}:{x2},{y1}:{y2}]", shape=SAAO)
    if header.trim is not None:
        x0, xe, y0, ye = header.trim
        assert 0 <= x0 < xe <= 536
        assert 0 <= y0 < ye <= 520


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="[]0123456789:,*- ", max_size=30))
def test_no_section_text_breaks_the_reading(text: str) -> None:
    section = parse_section(text)
    assert section is None or (section[0] < section[1] and section[2] < section[3])
