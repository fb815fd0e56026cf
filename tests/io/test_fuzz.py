"""Whatever lies in a watched folder ends in an answer: header list, structure, pixels, or RejectedInput with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput
from nightcrew.io.cardtext import header_block, kept_cards
from nightcrew.io.headers import parse_cards, read_hdus
from nightcrew.io.images import ImageFile
from nightcrew.io.structure import check
from tests.io.damage import damaged, header_like, sound_files

SOUND = sound_files()
LIMIT = 64 << 20


def look_at(path: Path) -> str:
    """Read the file in every way; what happened, for the test of the test."""
    found = check(path, max_bytes=LIMIT)
    assert found.complete or found.reason
    cause = ""
    try:
        hdus = read_hdus(path, max_bytes=LIMIT)
        for hdu in hdus:
            kept_cards(hdu.raw)
        with ImageFile(path, max_bytes=LIMIT) as image:
            image.read()
    except RejectedInput as error:
        cause = str(error)
    assert not cause or (len(cause) > 10 and cause.isprintable())
    return ("complete" if found.complete else "incomplete") + (" rejected" if cause else " read")


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SOUND[name])
    assert look_at(tmp_path / name) == "complete read"


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(SOUND)), st.integers(0, 2**32))
def test_damaged_files_end_in_an_answer(tmp_path_factory: pytest.TempPathFactory, name: str, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(damaged(SOUND[name], seed))
    look_at(path)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=4000), st.binary(max_size=3000).map(lambda b: b"SIMPLE  =                    T".ljust(80) + b)))
def test_random_bytes_end_in_an_answer(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.fits"
    path.write_bytes(data)
    look_at(path)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=80), max_size=8))
def test_any_cards_parse_and_can_be_carried_on(texts: list[str]) -> None:
    raw = header_like(texts)
    parse_cards(raw)
    again = parse_cards(header_block(kept_cards(raw)))[0]
    assert "BITPIX" not in again
