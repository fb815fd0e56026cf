"""Pixels that were never written are told where there is no doubt, and no honest frame is ever accused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.errors import NightcrewError
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import ImageFile
from nightcrew.quality import unwritten
from nightcrew.quality.unwritten import Run, never_written
from tests import realdata
from tests.support.small_nights import make_raw

NY, NX = 64, 640  # rows of more than LEAST_BYTES


def frame(seed: int = 1) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).normal(1000.0, 6.0, (NY, NX)).round().astype(np.uint16)


def written(path: Path, image: NDArray[np.generic], *, packed: bool = False) -> Path:
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="RICE_1")] if packed else [fits.PrimaryHDU(image)]
    fits.HDUList(hdus).writeto(path)
    return path


def told(path: Path, *, raw: bool = True, rows: tuple[int, int] | None = None) -> str:
    return unwritten.of_file(path, read_hdus(path)[-1], raw=raw, rows=rows)


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, NY * NX), length=st.integers(0, NY * NX), value=st.sampled_from([0, 32768]), seed=st.integers(0, 99))
def test_a_run_is_found_exactly_and_only_when_it_is_long_enough(first: int, length: int, value: int, seed: int) -> None:
    pixels = frame(seed).reshape(-1)
    end = min(first + length, pixels.size)
    pixels[first:end] = value
    found = never_written(pixels.reshape(NY, NX), value, certain=True)
    assert found == ([Run(first, end)] if end - first >= NX else [])


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@pytest.mark.parametrize(("first", "end"), [(0.6, 1.0), (0.31, 0.36), (0.0, 0.2)])
def test_bytes_of_zero_are_told_wherever_they_are(tmp_path: Path, suffix: str, first: float, end: float) -> None:
    """In unsigned integers they are pixels of 32768: a frame of full size that nothing else tells from a whole one."""
    image = frame()
    image.reshape(-1)[int(first * image.size) : int(end * image.size)] = 32768
    reason = told(written(tmp_path / f"hole{suffix}", image), raw=False)
    assert "were never written" in reason
    assert f"from row {int(first * NY)} on" in reason
    assert told(written(tmp_path / f"whole{suffix}", frame())) == ""


def test_a_download_that_broke_off_is_told_in_tiles(tmp_path: Path) -> None:
    image = frame()
    image[40:] = 32768
    assert "were never written" in told(written(tmp_path / "hole.fits.fz", image, packed=True))
    assert told(written(tmp_path / "whole.fits.fz", frame(), packed=True)) == ""


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_pixels_of_0_are_told_in_raw_frames_that_have_none(tmp_path: Path, kind: type[np.generic]) -> None:
    """A read-out that broke off, or bytes of zero where the numbers are stored as they are."""
    tail, block, border = frame().astype(kind), frame().astype(kind), frame().astype(kind)
    tail[30:] = kind(0)
    block.reshape(-1)[5000:7048] = kind(0)
    border[:3] = kind(0)
    assert "were never written" in told(written(tmp_path / "tail.fits", tail))
    assert told(tmp_path / "tail.fits", raw=False) == ""
    assert told(tmp_path / "tail.fits", rows=(0, 30)) == ""
    assert "were never written" in told(written(tmp_path / "block.fits", block))
    assert told(written(tmp_path / "border.fits", border)) == ""  # whole rows at the beginning may be the camera's own


def test_scaled_numbers_have_a_zero_of_their_own(tmp_path: Path) -> None:
    held = io.BytesIO()
    hdu = fits.PrimaryHDU(frame().astype(np.int16))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 100.0
    hdu.writeto(held)
    content = held.getvalue()
    path = tmp_path / "scaled.fits"
    path.write_bytes(content)
    assert told(path) == ""
    hdu = read_hdus(path)[0]
    path.write_bytes(content[: hdu.data_offset + 30_000] + bytes(len(content) - hdu.data_offset - 30_000))
    assert "were never written" in told(path, raw=False)


@settings(max_examples=60, deadline=None)
@given(level=st.floats(-3, 3), noise=st.floats(0.0, 3.0), seed=st.integers(0, 99))
def test_a_camera_that_cuts_off_at_0_is_never_accused(level: float, noise: float, seed: int) -> None:
    pixels = np.random.default_rng(seed).normal(level, noise, (NY, NX)).clip(0).round().astype(np.uint16)
    assert never_written(pixels, 0, certain=False) == []


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, NY * NX - 1), max_size=300), seed=st.integers(0, 99))
def test_a_dark_frame_of_zeros_with_hot_pixels_is_never_accused(places: list[int], seed: int) -> None:
    """All of it is cut off at 0 but some hot pixels, wherever they are: the runs between them are longer than rows."""
    pixels = np.zeros((NY, NX), np.uint16)
    pixels.reshape(-1)[places] = np.random.default_rng(seed).integers(1, 4000, len(places))
    assert never_written(pixels, 0, certain=False) == []


def test_frames_of_a_simulated_night_are_in_peace(tmp_path: Path) -> None:
    make_raw(tmp_path)
    frames = sorted((tmp_path / "raw").iterdir())
    assert frames
    assert [told(path) for path in frames] == [""] * len(frames)


@pytest.mark.parametrize("name", ["ccd_stl1001", "cmos_asi178", "hard_to_read", "night_hatp32", "night_sa112", "sky", "star_camera_tiff"])
def test_no_real_frame_is_accused(name: str) -> None:
    files = sorted(path for path in realdata.folder(name).rglob("*") if path.is_file())
    assert files
    for path in files:
        try:
            with ImageFile(path) as image:
                hdu = image.hdu
        except NightcrewError:
            continue
        assert unwritten.of_file(path, hdu) == "", path.name
