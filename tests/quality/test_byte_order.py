"""Exchanged bytes are told where there is no doubt, and no honest frame is ever accused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.errors import NightcrewError
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import ImageFile
from nightcrew.quality import byte_order
from tests import realdata
from tests.support.small_nights import make_raw

Words = NDArray[np.uint16]


def frame(level: float, noise: float, *, full: int = 65535, gradient: float = 0.0, seed: int = 1) -> Words:
    """A frame of 64 x 96 with a few stars, as a camera with that full scale gives it."""
    rng = np.random.default_rng(seed)
    image = level + rng.normal(0.0, noise, (64, 96)) + gradient * np.arange(96)
    image[rng.integers(64, size=8), rng.integers(96, size=8)] += full / 3
    return np.clip(np.rint(image), 0, full).astype(np.uint16)


@settings(max_examples=60, deadline=None)
@given(level=st.floats(300, 60_000), noise=st.floats(0.6, 300), gradient=st.floats(-20, 20), seed=st.integers(0, 1000))
def test_a_frame_is_never_accused_and_its_exchanged_twin_always(level: float, noise: float, gradient: float, seed: int) -> None:
    honest = frame(level, max(noise, level**0.5 / 2), gradient=gradient, seed=seed)  # what is bright is noisy
    assert byte_order.exchanged(honest) is None
    found = byte_order.exchanged(honest.byteswap())
    low = np.bincount(honest.reshape(-1) >> 8).argmax()
    if low not in (0, 127, 128, 255):  # where it looks like 8-bit numbers times 256, nothing is said
        assert found is not None


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(1, 16),
    shift=st.booleans(),
    level=st.floats(0, 1),
    noise=st.floats(0, 1.5),
    signed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_way_of_storing_few_bits_is_taken_for_exchanged_bytes(
    bits: int, shift: bool, level: float, noise: float, signed: bool, seed: int
) -> None:
    full = 2**bits - 1
    honest = frame(level * full, noise * full**0.5, full=full, seed=seed) << np.uint16(16 - bits if shift else 0)
    stored = (honest ^ np.uint16(0x8000)).view(np.int16) if signed else honest
    assert byte_order.exchanged(stored) is None


@pytest.mark.parametrize("value", [0, 1, 255, 256, 4095, 65535])
def test_frames_without_contrast_say_nothing(value: int) -> None:
    flat = np.full((64, 96), value, np.uint16)
    assert byte_order.exchanged(flat) is None
    half = flat.copy()
    half[:, :50] = 65535
    assert byte_order.exchanged(half) is None


def test_pixels_around_zero_and_around_the_overflow_are_no_exchange() -> None:
    noise = np.random.default_rng(5).normal(0.0, 4.0, (64, 96)).round().astype(np.int16)
    assert byte_order.exchanged(noise) is None  # overscan taken off: -1 and 0 differ in every bit
    assert byte_order.exchanged(noise + np.int16(32760)) is None  # unsigned numbers that run over the sign
    assert byte_order.exchanged(noise.view(np.uint16)) is None


def test_interpolated_pixels_of_an_8_bit_camera_are_no_proof() -> None:
    """Numbers times 256, one pixel in ten the mean of its neighbours: low bytes of 128 beside those of 0."""
    rng = np.random.default_rng(2)
    honest = frame(90.0, 6.0, full=255) << np.uint16(8)
    for share in (0.002, 0.05, 0.1, 0.3):
        at = rng.random((64, 96)) < share
        mixed = np.where(at, (np.roll(honest, 1, 1) >> 1) + (np.roll(honest, -1, 1) >> 1), honest).astype(np.uint16)
        assert byte_order.exchanged(mixed) is None


def test_small_frames_say_nothing() -> None:
    assert byte_order.exchanged(frame(1000, 9)[:4, :6].byteswap()) is None
    with pytest.raises(ValueError, match="16-bit"):
        byte_order.exchanged(np.zeros((64, 96), np.float32))


def test_every_frame_of_a_simulated_night(tmp_path: Path) -> None:
    """Bias, dark, flat, light: each is in peace as it is, and told when its bytes are exchanged."""
    truth = make_raw(tmp_path)
    for one in truth.select("bias") + truth.select("dark") + truth.select("flat") + truth.select("light"):
        path = tmp_path / "raw" / one.name
        hdu = read_hdus(path)[0]
        assert byte_order.of_file(path, hdu) == ""
        content = path.read_bytes()
        words = np.frombuffer(content[hdu.data_offset : hdu.data_offset + hdu.data_size], np.uint16)
        path.write_bytes(content[: hdu.data_offset] + words.byteswap().tobytes() + content[hdu.data_offset + hdu.data_size :])
        assert "the two bytes of its 16-bit pixels are exchanged" in byte_order.of_file(path, hdu)


@pytest.mark.parametrize("name", ["ccd_stl1001", "cmos_asi178", "hard_to_read", "night_hatp32", "sky", "star_camera_tiff"])
def test_no_real_frame_is_accused(name: str) -> None:
    files = sorted(path for path in realdata.folder(name).rglob("*") if path.is_file())
    assert files
    told = 0
    for path in files:
        try:
            with ImageFile(path) as image:
                reason = byte_order.of_file(path, image.hdu)
                words = image.numbers() if image.dtype.kind in "iu" and image.dtype.itemsize == 2 else np.zeros((1, 1), np.uint16)
        except NightcrewError:
            continue
        assert reason == "", path.name
        if words.ndim == 2:
            assert byte_order.exchanged(words) is None, path.name
            told += byte_order.exchanged(words.byteswap()) is not None
    assert told >= {"ccd_stl1001": 23, "cmos_asi178": 2, "night_hatp32": 24}.get(name, 0)
