from __future__ import annotations

import os
import shlex
import subprocess
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import text

ANY_TEXT = st.text(st.characters(codec=None), max_size=30)


@given(ANY_TEXT)
@settings(max_examples=200)
def test_visible_text_can_be_stored_and_hides_nothing(value: str) -> None:
    shown = text.visible(value)
    shown.encode("utf-8")
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Cf", "Zl", "Zp"} for char in shown)
    assert text.visible(shown) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("evil\u202efdp.exe", "evil\\u202efdp.exe"),
        (os.fsdecode(b"m\xfc67.fits"), "m\\xfc67.fits"),
        ("Köln", "Köln"),
    ],
)
def test_visible_escapes_what_cannot_be_seen(raw: str, shown: str) -> None:
    assert text.visible(raw) == shown


@given(st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw))
@settings(max_examples=25, deadline=None)
def test_a_shell_reads_back_exactly_the_file_name(raw: bytes) -> None:
    word = text.shell_word(os.fsdecode(raw))
    assert "\n" not in word
    back = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert back.removeprefix(b"./" if raw.startswith(b"-") else b"") == raw


@pytest.mark.parametrize("name", ["$(rm -rf ~).fits", "a b.fits", "`id`", "x;y", "it's.fits"])
def test_shell_words_are_one_inert_word(name: str) -> None:
    assert shlex.split(text.shell_word(name)) == [name]


def test_a_leading_dash_is_no_option() -> None:
    assert shlex.split(text.shell_word("-rf")) == ["./-rf"]


@given(ANY_TEXT)
@settings(max_examples=100)
def test_header_values_are_one_line(value: str) -> None:
    shown = text.header_value(value)
    assert shown.isprintable() or not shown
    assert len(shown) <= 180
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
        ("-1+2", "'-1+2"),
        ('say "hi", you', '"say ""hi"", you"'),
        (None, ""),
        (True, "true"),
        (1.5, "1.5"),
        (float("nan"), ""),
        (7, "7"),
        ("a\nb", '"a\\x0ab"'),
    ],
)
def test_csv_cells_are_quoted_and_no_formula(value: str | int | float | bool | None, cell: str) -> None:
    assert text.csv_cell(value) == cell


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (1234567.0, 0, "1\u202f234\u202f567"),
        (-1.5, 1, "\u22121.5"),
        (-0.001, 2, "0.00"),
        (None, 2, "–"),
        (float("nan"), 2, "–"),
        (float("inf"), 1, "–"),
    ],
)
def test_numbers_for_people(value: float | None, digits: int, shown: str) -> None:
    assert text.number(value, digits) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1012.43, "1\u202f012.4"), (61200.0, "61\u202f200"), (6.56, "6.560"), (0.0031, "0.0031"), (2e-5, "2.00·10⁻⁵"), (0.0, "0")],
)
def test_adaptive_numbers_keep_what_matters(value: float, shown: str) -> None:
    assert text.adaptive(value) == shown


def test_quantity_has_error_and_unit() -> None:
    assert text.quantity(6.5612, "ADU", 2, 0.03) == "6.56 ± 0.03\u00a0ADU"
    assert text.quantity(None, "ADU") == "–"
    assert text.quantity(3, "px") == "3\u00a0px"


@pytest.mark.parametrize(("days", "shown"), [(0.2, "same night"), (1.0, "1 day"), (12.4, "12 days"), (-3.0, "3 days later"), (None, "")])
def test_age_in_words(days: float | None, shown: str) -> None:
    assert text.age(days) == shown


def test_counting_words() -> None:
    assert text.plural(1, "light") == "1 light"
    assert text.plural(0, "thing needs", "things need") == "0 things need"
    assert text.joined(["a", "b", "c"]) == "a, b and c"
    assert text.signed(0.3, 1) == "+0.3"
    assert text.signed(-0.3, 1) == "\u22120.3"
    assert text.signed(0.0, 1) == "0.0"
