from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.simulate import camera_file
from nightcrew.simulate.camera_file import fits_bytes, format_card, read_value, replace_card

CARDS: list[camera_file.CameraCard] = [("OBJECT", "it's Crew", "name"), ("EXPTIME", 30.0, "[s]"), ("COUNT", 3, ""), ("FLAG", True, "yes")]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_astropy_reads_the_same_pixels_and_cards(ny: int, nx: int, seed: int) -> None:
    from astropy.io import fits

    image = np.random.default_rng(seed).integers(0, 65536, (ny, nx)).astype(np.uint16)
    content = fits_bytes(image, CARDS)
    assert len(content) % 2880 == 0
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        hdus.verify("exception")
        assert hdus[0].data.dtype == np.uint16
        assert np.array_equal(hdus[0].data, image)
        assert [hdus[0].header[key] for key in ("OBJECT", "EXPTIME", "COUNT", "FLAG")] == ["it's Crew", 30.0, 3, True]
    assert np.array_equal(camera_file.pixels(content), image)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(-(10**18), 10**18),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    )
)
def test_any_value_survives_its_card(value: str | float) -> None:
    from astropy.io.fits import Card

    card = Card.fromstring(format_card("KEY", value, "comment").decode("ascii"))
    card.verify("exception")
    assert card.value == (value.rstrip() if isinstance(value, str) else value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 80])
def test_values_that_no_card_can_hold_are_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="KEY"):
        format_card("KEY", value)


def test_structural_cards_are_plain_numbers() -> None:
    content = fits_bytes(np.zeros((3, 5), dtype=np.uint16), [])
    assert (read_value(content, "NAXIS1"), read_value(content, "NAXIS2"), read_value(content, "BITPIX")) == ("5", "3", "16")


def test_replacing_a_card_changes_eighty_bytes_only() -> None:
    content = fits_bytes(np.zeros((3, 5), dtype=np.uint16), CARDS)
    changed = replace_card(content, "EXPTIME", format_card("EXPTIME", 31.0))
    assert read_value(changed, "EXPTIME") == "31.0"
    assert len(changed) == len(content)
    assert sum(a != b for a, b in zip(content, changed, strict=True)) <= 80
    with pytest.raises(KeyError, match="NOTHERE"):
        replace_card(content, "NOTHERE", bytes(80))


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    image = np.zeros((3, 5), dtype=np.uint16)
    camera_file.write_camera_file(tmp_path / "a.fit", image, CARDS)
    with pytest.raises(FileExistsError):
        camera_file.write_camera_file(tmp_path / "a.fit", image, CARDS)
