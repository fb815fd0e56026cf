"""Writing cards: what is written reads back, by our scan and by astropy; what was odd becomes proper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.io import checksum
from nightcrew.io.cardtext import format_card, header_block, kept_cards, plain
from nightcrew.io.headers import parse_cards
from tests.io.fitsbytes import card

_ascii = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
_values = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False), _ascii.map(str.rstrip)
)


@settings(max_examples=200, deadline=None)
@given(_values, st.text("abc /'", max_size=30))
def test_any_value_reads_back(value: Any, comment: str) -> None:
    if isinstance(value, str) and len(value) > 60 and (value.endswith("&") or "&'" in value):
        return  # a string that ends a CONTINUE card with an ampersand has no form
    text = format_card("KEY", value, comment)
    assert len(text) % 80 == 0
    got = parse_cards(text.encode("ascii"))[0]["KEY"]
    assert got == value
    assert type(got) is type(value)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="'&"), min_size=60, max_size=300).map(str.strip))
def test_long_strings_read_back_in_astropy(text: str) -> None:
    written = format_card("PARENTS", text, "the files that went in")
    assert fits.Header.fromstring(written)["PARENTS"] == text


@pytest.mark.parametrize(
    ("card_", "expected"),
    [
        (("SIMPLE", True, ""), "SIMPLE  =                    T"),
        (("EXPTIME", 60.0, "s"), "EXPTIME =                 60.0 / s"),
        (("N", -7, ""), "N       =                   -7"),
        (("TINY", 1e-300, ""), "TINY    =               1E-300"),
        (("OBJECT", "M 13", "name"), "OBJECT  = 'M 13    '           / name"),
        (("OBSERVER", "O'Neil", ""), "OBSERVER= 'O''Neil '"),
        (("NONE", None, "not known"), "NONE    =                      / not known"),
        (("long keyword", 5, ""), "HIERARCH LONG KEYWORD =                    5"),
        (("FILTER", "β\x00é\n\u200b", ""), "FILTER  = '?e      '"),
    ],
)
def test_form_of_a_card(card_: tuple[str, Any, str], expected: str) -> None:
    assert format_card(*card_) == expected.ljust(80)


def test_history_is_broken_into_lines() -> None:
    text = format_card("HISTORY", "word " * 40)
    assert len(text) == 240
    assert text[80:88] == "HISTORY "


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_without_a_form(value: float) -> None:
    with pytest.raises(ValueError, match="has no form"):
        format_card("A", value)


def test_keywords_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="cannot be a header keyword"):
        format_card("A=B", 1)


def test_plain_text() -> None:
    assert plain("Müller\t5 °C") == "Muller5 ?C"


def raw(*texts: str) -> bytes:
    return b"".join(card(t) for t in [*texts, "END"])


def test_kept_cards_are_kept_to_the_byte() -> None:
    proper = [
        "OBJECT  = 'M 13'    / left as it is",
        "EXPTIME =   6.0D1",
        "COMMENT by hand",
        "HIERARCH ESO DET ID = 5",
        "LIST    = 'a&'",
        "CONTINUE  'b'",
    ]
    kept = kept_cards(
        raw("SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 5", *proper, "BZERO   = 32768", "CHECKSUM= 'x'", "TTYPE1  = 'a'")
    )
    assert [line.rstrip() for line in "\n".join(kept).split("\n")] == [*proper[:4], "LIST    = 'a&'".ljust(80) + "CONTINUE  'b'"]


def test_odd_cards_become_proper() -> None:
    odd = ["exptime = 5", "TEMP    = -1,5 / C", "FREE text", "WILD    = 1E999", "BAD     = 'open", "A.B     = 3"]
    block = header_block(kept_cards(raw(*odd)))
    header = fits.Header.fromstring(block)
    for line in header.cards:
        line.verify("exception")
    assert (header["EXPTIME"], header["TEMP"], header["WILD"], header["BAD"]) == (5, "-1,5", "inf", "'open")
    assert list(header["COMMENT"]) == ["FREE text"]
    assert header["A.B"] == 3


def test_named_cards_are_dropped() -> None:
    assert kept_cards(raw("A       = 1", "B       = 2"), without={"A"}) == ["B       = 2".ljust(80)]


def test_room_is_filled_with_blank_cards() -> None:
    block = header_block(["A       = 1".ljust(80)], room_for_cards=36)
    assert len(block) == 5760
    assert block.rstrip().endswith(b"END")
    assert list(fits.Header.fromstring(block)) == ["A", *[""] * 35]


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=4, max_size=400).map(lambda b: b[: len(b) // 4 * 4]), st.integers(0, 1))
def test_sums_of_words_halves_and_bytes_agree(data: bytes, odd: int) -> None:
    exact = sum(int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4))
    assert checksum.sum_bytes(data) == exact
    assert checksum.sum_words(np.frombuffer(data, ">u4").astype("u4")) == exact
    halves = np.frombuffer(data, ">u2").astype("u2")
    first, rest = halves[: 1 + odd], halves[1 + odd :]
    assert checksum.sum_halves(first, 0) + checksum.sum_halves(rest, len(first)) == exact


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_checksum_text_is_astropys(value: int) -> None:
    assert checksum.encode(value) == fits.PrimaryHDU()._char_encode(~value & 0xFFFFFFFF)
    assert checksum.encode(value).isalnum()


def test_fold_adds_the_carries() -> None:
    assert checksum.fold(0x1_FFFF_FFFF) == 1
    assert checksum.fold(0xFFFFFFFF) == 0xFFFFFFFF
