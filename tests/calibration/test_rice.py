"""Runs of Rice-compressed tiles: the same pixels as CFITSIO's coder wrote, and no byte too far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits.hdu.compressed import _compression
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.calibration.kernels import rice
from nightcrew.io.images import read_image
from nightcrew.io.tilecodecs import Codec, guarded, margin

pytestmark = pytest.mark.skipif(not rice.available(), reason="no C compiler: tiles are decoded one by one")
DTYPES = ("u1", "i2", "i4")


def padded(data: bytes, block: int) -> Any:
    """With the margin of streams in such blocks."""
    return guarded(data, margin(Codec("RICE_1", 16, quantised=False, block_size=block), (1,)))


def compressed(tiles: np.ndarray[Any, Any], block: int) -> tuple[Any, Any, Any]:
    """The tiles' streams behind one another, where each begins, and their lengths."""
    streams = [_compression.compress_rice_1_c(tile.tobytes(), block, tiles.dtype.itemsize) for tile in tiles]
    lengths = np.array([len(stream) for stream in streams])
    return padded(b"".join(streams), block), np.cumsum(lengths) - lengths, lengths


@given(
    dtype=st.sampled_from(DTYPES),
    pixels=st.integers(1, 200),
    block=st.sampled_from([1, 7, 16, 32, 64]),
    scatter=st.sampled_from([0.0, 0.5, 20.0, 3e4, 1e9]),
    extremes=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_was_coded_comes_back(dtype: str, pixels: int, block: int, scatter: float, extremes: int, seed: int) -> None:
    rng, limits = np.random.default_rng(seed), np.iinfo(dtype)
    tiles = np.clip(100 + scatter * rng.normal(size=(3, pixels)), limits.min, limits.max).astype(dtype)
    tiles[rng.integers(0, 3, extremes), rng.integers(0, pixels, extremes)] = rng.choice([limits.min, limits.max], extremes)
    data, begins, lengths = compressed(tiles, block)
    out = np.empty_like(tiles)
    assert rice.decode_run(data, begins, lengths, block, out) is None
    np.testing.assert_array_equal(out, tiles)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_tile_that_is_cut_is_named(dtype: str) -> None:
    tiles = np.random.default_rng(3).integers(0, 100, (4, 300)).astype(dtype)
    data, begins, lengths = compressed(tiles, 32)
    for cut in (1, 7, int(lengths[2])):
        short = lengths.copy()
        short[2] -= cut
        alone = padded(data[begins[2] : begins[2] + short[2]].tobytes(), 32)
        assert rice.decode_run(alone, np.array([0]), short[2:3], 32, np.empty((1, 300), dtype)) == 0
        joined = np.concatenate([data[: begins[2] + short[2]], alone[short[2] :]])
        assert rice.decode_run(joined, begins[:3], short[:3], 32, np.empty((3, 300), dtype)) == 2


@given(dtype=st.sampled_from(DTYPES), stream=st.binary(min_size=0, max_size=64), pixels=st.integers(1, 300), block=st.integers(1, 64))
def test_no_stream_writes_beyond_its_tile(dtype: str, stream: bytes, pixels: int, block: int) -> None:
    room = np.full((3, pixels), 77, dtype)
    rice.decode_run(padded(stream, block), np.array([0]), np.array([len(stream)]), block, room[1:2])
    assert (room[[0, 2]] == 77).all()


def test_zeros_without_end_are_a_damaged_tile() -> None:
    stream = bytes([0, 5, 0x20]) + bytes(100_000)  # a difference whose unary part never ends
    assert rice.decode_run(padded(stream, 32), np.array([0]), np.array([len(stream)]), 32, np.empty((1, 32), "i2")) == 0


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
@pytest.mark.parametrize("shape", [(13, 50), (3, 7, 40)])
def test_files_read_alike_with_and_without_runs(
    dtype: str, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = tmp_path / "a.fits.fz", np.random.default_rng(4).integers(0, 200, shape).astype(dtype)
    fits.CompImageHDU(image, compression_type="RICE_1").writeto(path)
    runs = read_image(path)
    monkeypatch.setattr(rice, "available", lambda: False)
    np.testing.assert_array_equal(runs, image)
    np.testing.assert_array_equal(read_image(path), image)
