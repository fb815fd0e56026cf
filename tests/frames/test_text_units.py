"""Values made safe, and units as headers write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.text import MAX_TEXT, clean_text, parse_number, quoted, slug
from nightcrew.frames.units import to_celsius, to_seconds, unit_in_comment, unit_named


@pytest.mark.parametrize(
    ("value", "number", "unit"),
    [
        ("060.00", 60.0, ""),
        ("3,2E-05", 3.2e-5, ""),
        ("1.5D+02", 150.0, ""),
        (" +.5 ", 0.5, ""),
        ("44 C", 44.0, "C"),
        ("250ms", 250.0, "ms"),
        ("1/60", 1 / 60, ""),
        (7, 7.0, ""),
    ],
)
def test_numbers_in_many_clothes(value: str | int, number: float, unit: str) -> None:
    found = parse_number(value)
    assert found is not None
    assert (found.value, found.unit) == (number, unit)


@pytest.mark.parametrize(
    "value", [None, True, "", "abc", "1,200.5", "1e9999", math.nan, math.inf, 10**400, "12:30 31", "1/0", "9" * 5000, "--1"]
)
def test_what_is_no_finite_number_is_none(value: bool | int | float | str | None) -> None:
    found = parse_number(value)
    assert found is None or (found.unit and math.isfinite(found.value))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400) | st.floats() | st.integers() | st.booleans() | st.none())
def test_clean_text_is_printable_short_and_stable(value: str | float | bool | None) -> None:
    text = clean_text(value)
    assert text.isprintable()
    assert len(text) <= MAX_TEXT
    assert clean_text(text) == text
    assert len(quoted(value)) <= 62


def test_control_characters_and_long_strings_do_not_pass() -> None:
    assert clean_text("M\x1b[31m 31\r\n\x00") == "M [31m 31"
    assert clean_text("\u202eevil") == "evil"
    assert len(clean_text("x" * 10_000)) == MAX_TEXT
    assert clean_text("<b>&") == "<b>&"  # escaped by whoever renders it


@pytest.mark.parametrize(
    ("text", "name"),
    [("SBIG STL-1001 3", "SBIG-STL-1001-3"), ("../../etc", "etc"), (".hidden", "hidden"), ("ü/;rm -rf", "rm--rf"), ("", "")],
)
def test_slug_is_safe_in_a_path(text: str, name: str) -> None:
    assert slug(text) == name


@pytest.mark.parametrize(
    ("comment", "dimension", "unit"),
    [
        ("[ms] Frame Time, nearest integer", "time", "ms"),
        ("Exposure time in us", "time", "us"),
        ("exposure (milliseconds)", "time", "ms"),
        ("Exposure time in seconds", "time", "s"),
        ("CCD Camera Temperature in Kelvin, =-1 if no data", "temperature", "K"),
        ("[degrees Celsius] sensor", "temperature", "C"),
        ("temperature at start of exposure in C", "temperature", "C"),
        ("CCD Cu block temperature", "temperature", ""),
        ("[m] altitude in the morning", "time", ""),
    ],
)
def test_unit_stated_in_a_comment(comment: str, dimension: str, unit: str) -> None:
    assert unit_in_comment(comment, dimension) == unit


def test_conversions() -> None:
    assert to_seconds(1500.0, "ms") == 1.5
    assert to_seconds(32.0, "us") == 3.2e-5
    assert to_seconds(2.0, "min") == 120.0
    assert to_celsius(271.0, "K") == -2.15
    assert to_celsius(14.0, "F") == -10.0
    assert unit_named("Sec", "time") == "s"
