"""The header scan: values of FITS 4.0, astropy's where it asks astropy, and a sentence for every kind of nonsense."""

from __future__ import annotations

import gzip
import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io import cards
from nightcrew.io.headers import MAX_HEADER_BYTES, Hdu, choose_image, parse_cards, read_hdus, to_value
from tests.io.fitsbytes import BLOCK, card, header, image, padded, structure


def scan(*texts: str) -> dict[str, Any]:
    return parse_cards(b"".join(card(text) for text in [*texts, "END"]))[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("KEY     =                    T / yes", True),
        ("KEY     =                    F", False),
        ("KEY     =                   42 / answer", 42),
        ("KEY     = -0042", -42),
        ("KEY     =   1.5E3", 1500.0),
        ("KEY     =   1.5D-3 / double", 0.0015),
        ("KEY     = .5", 0.5),
        ("KEY     = 5.", 5.0),
        ("KEY     = 'plain   '", "plain"),
        ("KEY     = 'it''s / not a comment' / but this", "it's / not a comment"),
        ("KEY     = ''", ""),
        ("KEY     = '    '", ""),
        ("KEY     = ' leading'", " leading"),
        ("KEY     =", None),
        ("KEY     =                      / no value", None),
        ("KEY     = 123456789012345678901234567890", 123456789012345678901234567890),
        ("key     = 7 / lower case", 7),
        ("KEY     = 1.5d-3", 0.0015),
        ("KEY     = 3,2E-05", "3,2E-05"),
        ("KEY     = 3,2E-05 / s", "3,2E-05"),
        ("KEY     = (1.0, 2.0)", "(1.0, 2.0)"),
        ("KEY     = 'never closed", "'never closed"),
    ],
)
def test_value_of_a_card(text: str, value: object) -> None:
    cards = scan(text)
    assert cards == {"KEY": value}
    assert type(cards["KEY"]) is type(value)


def test_first_occurrence_wins_and_repeats_are_named() -> None:
    raw = b"".join(card(t) for t in ["A       = 1", "B       = 2", "A       = 3", "END"])
    cards, _, duplicates = parse_cards(raw)
    assert cards == {"A": 1, "B": 2}
    assert duplicates == ("A",)


def test_commentary_is_no_value() -> None:
    raw = [card(t) for t in ["COMMENT = 5", "HISTORY x = 1", "        = 3", "", "A       = 1 / why", "END"]]
    cards, comments, duplicates = parse_cards(b"".join(raw))
    assert cards == {"A": 1}
    assert comments == {"A": "why"}
    assert duplicates == ()


def test_long_string_is_joined() -> None:
    cards = scan("LONG    = 'one &'", "CONTINUE  'two &'", "CONTINUE  'three' / all of it", "NEXT    = 1")
    assert cards == {"LONG": "one two three", "NEXT": 1}


def test_hierarch_keeps_its_blanks() -> None:
    cards = scan("HIERARCH ESO DET CHIPS = 2 / n", "HIERARCH ESO ins Name= 'SUSI'")
    assert cards == {"ESO DET CHIPS": 2, "ESO INS NAME": "SUSI"}


def test_bytes_beyond_ascii_become_question_marks() -> None:
    raw = card("OBJECT  = 'caf\xe9 \x07'") + card("T       = 5 / \xb0C") + card("END")
    cards, comments, _ = parse_cards(raw)
    assert cards == {"OBJECT": "caf? ?", "T": 5}
    assert comments["T"] == "?C"


def test_card_without_value_indicator_is_its_text() -> None:
    assert scan("FREE    text of somebody", "A       = 1") == {"FREE": "text of somebody", "A": 1}


_values = st.one_of(
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
    .map(str.rstrip)
    .filter(lambda text: not re.search("'( |/|$)", text)),  # there astropy ends the string too early
)
_PIECES = st.text(alphabet="ab /&=,\\ -'", max_size=12)


@given(st.lists(st.tuples(_PIECES, _PIECES), min_size=2, max_size=4), st.sampled_from(("OBJECT  = ", "A       =   ")), st.booleans())
def test_a_long_string_is_what_astropy_makes_of_it(parts: list[tuple[str, str]], head: str, ends: bool) -> None:
    text = ""
    for place, (value, comment) in enumerate(parts):
        more = "&" if place < len(parts) - 1 or not ends else ""
        text += (f"{'CONTINUE  ' if place else head}'{value}{more}'" + (f" / {comment}" if comment else "")).ljust(80)
    found = cards._long_string(text)
    assert found is None or found == cards._by_astropy(text)
    if not any("'" in word for part in parts for word in part) and ends and not parts[-1][0].rstrip().endswith("&"):
        assert found is not None


_keywords = st.from_regex(r"[A-Z][A-Z0-9_-]{0,7}", fullmatch=True).filter(lambda k: k not in ("END", "COMMENT", "HISTORY", "CONTINUE"))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_keywords, st.tuples(_values, st.text("abc /=", max_size=9)), max_size=12))
def test_same_values_as_astropy(content: dict[str, tuple[Any, str]]) -> None:
    made = fits.Header()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # comments that are cut
        for key, (value, comment) in content.items():
            made[key] = (value, comment)
        raw = made.tostring(padding=False).encode("ascii")
        made = fits.Header.fromstring(raw)  # astropy writes floats with 16 digits
        cards, comments, _ = parse_cards(raw)
        for key in content:
            assert cards[key] == made[key]
            assert type(cards[key]) is type(made[key])
            assert comments.get(key, "") == made.comments[key].strip()


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("'/TF019.+-ED() &,x"), max_size=30))
def test_odd_value_fields_mean_what_astropy_says(field: str) -> None:
    text = f"KEY     = {field}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = fits.Card.fromstring(text).value
        except fits.VerifyError:
            expected = None
    got = scan(text)["KEY"]
    if isinstance(expected, fits.card.Undefined):
        assert got is None
    elif expected is None or isinstance(expected, complex):
        assert isinstance(got, str | None)  # nobody can parse it: the raw text
    elif "''" in field and field.lstrip().startswith("'"):
        assert isinstance(got, str)  # astropy ends a string at a doubled quote before a blank; the standard does not
    else:
        assert got == expected


def test_standard_quote_rule_where_astropy_errs() -> None:
    assert scan("KEY     = 'a'' / b'") == {"KEY": "a' / b"}
    assert scan("KEY     = ''       / it's") == {"KEY": ""}


def test_to_value_of_huge_exponent_is_infinite() -> None:
    value = to_value("1E400")
    assert isinstance(value, float)
    assert math.isinf(value)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_hdus_shapes_and_offsets(tmp_path: Path) -> None:
    extension = header(
        ["XTENSION= 'IMAGE   '", "BITPIX  = -32", "NAXIS   = 3", "NAXIS1  = 4", "NAXIS2  = 3", "NAXIS3  = 2", "PCOUNT  = 0", "GCOUNT  = 1"]
    )
    data = image(16, (5, 7), bytes(70)) + extension + padded(bytes(96))
    first, second = read_hdus(write(tmp_path / "a.fits", data))
    assert (first.kind, first.shape, first.data_offset, first.data_size, first.end_offset) == ("IMAGE", (7, 5), BLOCK, 70, 2 * BLOCK)
    assert (second.index, second.shape, second.data_offset, second.data_size) == (1, (2, 3, 4), 3 * BLOCK, 96)
    assert first.raw.endswith(card("END"))
    assert len(first.raw) % 80 == 0


def test_first_only_stops(tmp_path: Path) -> None:
    data = image(16, (5, 7), bytes(70)) + b"XTENSION nonsense".ljust(BLOCK)
    assert len(read_hdus(write(tmp_path / "a.fits", data), first_only=True)) == 1


def test_special_records_after_the_last_hdu_are_left(tmp_path: Path) -> None:
    data = image(16, (5, 7), bytes(70)) + bytes(BLOCK)
    assert len(read_hdus(write(tmp_path / "a.fits", data))) == 1


def test_header_longer_than_the_first_read(tmp_path: Path) -> None:
    many = [f"K{i:<7d}= {i}" for i in range(900)]
    (hdu,) = read_hdus(write(tmp_path / "a.fits", header([*structure(8), *many])))
    assert hdu.cards["K899"] == 899
    assert hdu.data_offset == BLOCK * 26


def test_random_groups(tmp_path: Path) -> None:
    cards = [*structure(16, 0, 4, 3), "GROUPS  = T", "PCOUNT  = 2", "GCOUNT  = 5"]
    (hdu,) = read_hdus(write(tmp_path / "a.fits", header(cards) + padded(bytes(140))))
    assert (hdu.kind, hdu.shape, hdu.data_size) == ("GROUPS", (), 140)


def test_tile_compressed_header_describes_the_image(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "a.fits.fz"
    fits.CompImageHDU(np.zeros((6, 8), "i2")).writeto(path)
    hdus = read_hdus(path)
    assert hdus[1].kind == "TILE"
    assert hdus[1].shape == (6, 8)
    assert [hdus[1].cards[k] for k in ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2")] == [16, 2, 8, 6]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "the file is empty"),
        (b"These are my notes.\n" * 200, "is not a FITS file"),
        (b"\0" * 5000, "is not a FITS file"),
        (header(structure(16, 5, 7), end=False), "ends inside the header of HDU 0"),
        (header(["SIMPLE  = T", "BITPIX  = 16"]), "NAXIS is missing"),
        (header(structure(17, 5, 7)), "BITPIX = 17 is none of"),
        (header(structure(16, -5, 7)), "NAXIS1 = -5 is negative"),
        (header(["SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 1000"]), "NAXIS = 1000 is outside"),
        (header(["SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 4"]), "NAXIS2 is missing"),
        (header(["SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 'two'"]), "not a whole number"),
        (header(["SIMPLE  = F", "BITPIX  = 16", "NAXIS   = 0"]), "SIMPLE = False"),
        (header(structure(-64, 10**12, 10**12)), "more than the limit"),
        (header(structure(16, 0, 4)) + header(["XTENSION= 'IMAGE'", "BITPIX  = 8"], end=False), "inside the header of HDU 1"),
    ],
)
def test_nonsense_is_rejected_with_its_cause(tmp_path: Path, data: bytes, cause: str) -> None:
    with pytest.raises(RejectedInput, match=cause):
        read_hdus(write(tmp_path / "a.fits", data))


def test_endless_header_is_given_up(tmp_path: Path) -> None:
    start = b"".join(card(t) for t in structure(8))
    path = write(tmp_path / "a.fits", start + card("A       = 1") * (MAX_HEADER_BYTES // 80 + 1000))
    with pytest.raises(RejectedInput, match="has no END card within"):
        read_hdus(path)


def test_end_inside_a_string_is_not_the_end(tmp_path: Path) -> None:
    texts = [*structure(8), "A       = 'END     '", "ENDING  = 3", "HISTORY END"]
    (hdu,) = read_hdus(write(tmp_path / "a.fits", header(texts)))
    assert hdu.cards["ENDING"] == 3


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot be opened"):
        read_hdus(tmp_path / "absent.fits")
    with pytest.raises(RejectedInput, match="not a regular file"):
        read_hdus(tmp_path)


def test_name_in_messages_is_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "a\n\x1b[31m.fits", b"no")
    with pytest.raises(RejectedInput, match=r"a\\x0a\\x1b\[31m.fits"):
        read_hdus(path)


def test_gzip_is_seen_through_whatever_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", gzip.compress(image(16, (5, 7), bytes(70))))
    assert read_hdus(path)[0].shape == (7, 5)


def hdu_of(kind: str, shape: tuple[int, ...], index: int = 0, name: str = "") -> Hdu:
    return Hdu(index, kind, {"EXTNAME": name}, {}, b"", 0, 0, shape, ())


def test_choose_image_takes_the_first_with_two_axes() -> None:
    hdus = [hdu_of("IMAGE", ()), hdu_of("BINTABLE", (), 1), hdu_of("IMAGE", (9,), 2), hdu_of("TILE", (3, 4), 3), hdu_of("IMAGE", (5, 5), 4)]
    assert choose_image(hdus).index == 3
    assert choose_image(hdus, extension=4).shape == (5, 5)


def test_choose_image_by_name() -> None:
    hdus = [hdu_of("IMAGE", ()), hdu_of("IMAGE", (5, 5), 1, "Sci")]
    assert choose_image(hdus, extension="SCI").index == 1


@pytest.mark.parametrize(
    ("hdus", "extension", "cause"),
    [
        ([hdu_of("IMAGE", ()), hdu_of("BINTABLE", (), 1)], None, "no image of two axes or more .HDU 0: no data, HDU 1: bintable"),
        ([hdu_of("IMAGE", (0, 10))], None, "no image"),
        ([hdu_of("IMAGE", ())], 0, "extension 0 holds no image"),
        ([hdu_of("IMAGE", (2, 2))], "SCI", "there is no extension SCI"),
    ],
)
def test_choose_image_says_why_not(hdus: list[Hdu], extension: int | str | None, cause: str) -> None:
    with pytest.raises(RejectedInput, match=cause):
        choose_image(hdus, extension=extension)
