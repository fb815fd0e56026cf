"""Which HDU is the frame, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.errors import RejectedInput
from nightcrew.frames.normalise import normalise
from nightcrew.io.headers import Hdu
from tests.frames.made import MOORHEAD, USUAL, frame, hdu, own_profile, profiles

EMPTY = hdu(USUAL, shape=())


def image(index: int, name: str, shape: tuple[int, ...] = (100, 120)) -> Hdu:
    return hdu({"BITPIX": 16, "EXTNAME": name}, index=index, shape=shape)


def test_values_of_the_primary_header_are_inherited() -> None:
    header = frame(EMPTY, image(1, "SCI"))
    assert (header.hdu, header.kind, header.exposure_s, header.filter) == (1, "light", 60.0, "V")


def test_the_extension_wins_over_the_primary_header() -> None:
    header = frame(EMPTY, hdu({"BITPIX": 16, "EXPTIME": 5.0}, index=1))
    assert header.exposure_s == 5.0


def test_images_that_belong_to_another_do_not_count() -> None:
    assert frame(EMPTY, image(1, "SCI"), image(2, "UNCERT"), image(3, "MASK")).hdu == 1


def test_several_images_need_a_profile(tmp_path: Path) -> None:
    hdus = (EMPTY, image(1, "CHIP1"), image(2, "CHIP2"))
    with pytest.raises(RejectedInput, match=r"2 images: HDU 1 CHIP1 \(120 x 100\), HDU 2 CHIP2.*\[layout\] extension"):
        frame(*hdus)
    assert frame(*hdus, profile=own_profile(tmp_path, '[layout]\nextension = "chip2"\n')).hdu == 2
    assert frame(*hdus, profile=own_profile(tmp_path, "[layout]\nextension = 1\n")).hdu == 1
    with pytest.raises(RejectedInput, match="there is no extension CHIP9"):
        frame(*hdus, profile=own_profile(tmp_path, '[layout]\nextension = "CHIP9"\n'))
    with pytest.raises(RejectedInput, match="extension 0, which the profile names, holds no image"):
        frame(*hdus, profile=own_profile(tmp_path, "[layout]\nextension = 0\n"))


@pytest.mark.parametrize(
    ("hdus", "words"),
    [
        ((hdu(shape=()),), "headers without data"),
        ((hdu(shape=()), hdu(kind="BINTABLE", index=1, shape=())), "tables, no image"),
        ((hdu(kind="GROUPS", shape=()),), "random groups"),
        ((hdu(shape=(2048,)),), "spectrum"),
        ((hdu(shape=(0, 100)),), "no pixels"),
        ((hdu(shape=(7, 100, 120)),), "cube of 120 x 100 x 7 pixels"),
        ((hdu(shape=(1, 100, 120)),), "3 axes"),
        ((), "no header"),
    ],
)
def test_files_without_one_image_are_rejected_with_their_cause(hdus: tuple[Hdu, ...], words: str) -> None:
    with pytest.raises(RejectedInput, match=words):
        normalise(hdus, "x.fits", profiles()["generic"], MOORHEAD, None)


def test_tile_compressed_images_are_frames() -> None:
    compressed = hdu({**USUAL}, kind="TILE", index=1, shape=(100, 120))
    assert frame(hdu(shape=()), compressed).hdu == 1
