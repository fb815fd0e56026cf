"""Pixels: every type and scaling, by rows, by planes, from every kind of compression, equal to astropy's."""

from __future__ import annotations

import bz2
import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput
from nightcrew.io.images import ImageFile, read_image
from tests.io.fitsbytes import header, image, structure

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("code", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_stored_type(tmp_path: Path, code: str) -> None:
    dtype = np.dtype(code)
    if dtype.kind == "f":
        data = RNG.normal(size=(6, 5)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        data = RNG.integers(limits.min, limits.max, (6, 5), dtype=dtype, endpoint=True)
        data[0, :2] = limits.min, limits.max
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    with ImageFile(tmp_path / "a.fits") as opened:
        assert opened.dtype == dtype
        assert opened.shape == (6, 5)
        got = opened.read()
    assert got.dtype == dtype
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, data)


@pytest.mark.parametrize(
    ("bitpix", "code", "physical"), [(8, "u1", "f4"), (16, ">i2", "f4"), (32, ">i4", "f8"), (-32, ">f4", "f4"), (-64, ">f8", "f8")]
)
def test_other_scalings_make_floats(tmp_path: Path, bitpix: int, code: str, physical: str) -> None:
    stored = np.arange(12).astype(code)
    path = tmp_path / "a.fits"
    path.write_bytes(image(bitpix, (4, 3), stored.tobytes(), ["BSCALE  = 0.5", "BZERO   = -3.0"]))
    got = read_image(path)
    assert got.dtype == np.dtype(physical)
    np.testing.assert_array_equal(got, np.arange(12).reshape(3, 4) * 0.5 - 3)


def test_blank_is_nan_and_a_number_only_for_who_asks_for_numbers(tmp_path: Path) -> None:
    stored = np.array([1, -99, 3], ">i2").tobytes()
    (tmp_path / "a.fits").write_bytes(image(16, (3, 1), stored, ["BLANK   = -99", "BSCALE  = 2.0"]))
    (tmp_path / "b.fits").write_bytes(image(16, (3, 1), stored, ["BLANK   = -99"]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits"), [[2, np.nan, 6]])
    np.testing.assert_array_equal(read_image(tmp_path / "b.fits"), [[1, np.nan, 3]])
    with ImageFile(tmp_path / "b.fits") as opened:
        assert [str(kind) for kind in (opened.dtype, opened.value_type, opened.read().dtype)] == ["int16", "float32", "float32"]
        assert opened.numbers().dtype == np.int16
        np.testing.assert_array_equal(opened.numbers(), [[1, -99, 3]])
    (tmp_path / "c.fits").write_bytes(image(16, (3, 1, 2), 2 * stored, ["BLANK   = -99"]))
    np.testing.assert_array_equal(read_image(tmp_path / "c.fits"), [[[1, np.nan, 3]]] * 2)


def test_scaling_with_decimal_comma_and_nonsense(tmp_path: Path) -> None:
    stored = np.array([1, 2], ">i2").tobytes()
    (tmp_path / "a.fits").write_bytes(image(16, (2, 1), stored, ["BSCALE  = '0,5'"]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits"), [[0.5, 1.0]])
    for number, text in enumerate(["BZERO   = 'none'", "BSCALE  = 1E999"]):
        path = tmp_path / f"{number}.fits"
        path.write_bytes(image(16, (2, 1), stored, [text]))
        with pytest.raises(RejectedInput, match="is not"):
            read_image(path)


def pack(kind: str, path: Path, data: np.ndarray) -> Path:
    """The same pixels stored in one of the ways that a camera or an archive would."""
    plain = path / "plain.fits"
    fits.PrimaryHDU(data).writeto(plain, overwrite=True)
    if kind == "plain":
        return plain
    if kind in ("gz", "bz2"):
        target = path / f"a.fits.{kind}"
        raw = plain.read_bytes()
        target.write_bytes(gzip.compress(raw, 1) if kind == "gz" else bz2.compress(raw))
        return target
    algorithm, _, tile = kind.partition(" ")
    tile_shape = tuple(int(n) for n in tile.split("x")) if tile else None
    target = path / "a.fits.fz"
    fits.CompImageHDU(data, compression_type=algorithm, tile_shape=tile_shape).writeto(target, overwrite=True)
    if algorithm == "RICE_1" and tile == "7x9":  # the tiled file itself gzipped
        (path / "a.fits.fz.gz").write_bytes(gzip.compress(target.read_bytes()))
        return path / "a.fits.fz.gz"
    return target


KINDS = [
    "plain", "gz", "bz2", "RICE_1", "RICE_1 4x5", "RICE_1 7x9", "GZIP_1", "GZIP_2", "GZIP_2 31x23",
    "HCOMPRESS_1 8x12", "HCOMPRESS_1 31x23", "NOCOMPRESS",
]  # fmt: skip  # read as a table


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", ["u2", "i2", "u1", "i4"])
def test_rows_of_every_container(tmp_path: Path, kind: str, code: str) -> None:
    data = RNG.integers(0, 200, (31, 23)).astype(code)
    with ImageFile(pack(kind, tmp_path, data)) as opened:
        assert opened.dtype == np.dtype(code)
        for y0, y1 in [(0, 31), (3, 4), (10, 29), (0, 0), (30, 31), (2, 9), (9, 16), (16, 31), (0, 5)]:
            np.testing.assert_array_equal(opened.read_rows(y0, y1), data[y0:y1])


@pytest.mark.parametrize("dither", [-1, 1, 2])
@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize("code", ["f4", "f8"])
def test_quantised_floats_as_astropy_has_them(tmp_path: Path, dither: int, kind: str, code: str) -> None:
    data = RNG.normal(1000, 10, (40, 32)).astype(code)
    data[7] = 1000.0  # a row that cannot be quantised
    if dither == 2:
        data[3, 4:9] = 0.0
    if kind != "HCOMPRESS_1":
        data[11, 2] = np.nan
    tile = (8, 32) if kind == "HCOMPRESS_1" else (1, 32)
    path = tmp_path / "a.fits.fz"
    hdu = fits.CompImageHDU(data, compression_type=kind, tile_shape=tile, quantize_method=dither, dither_seed=77, quantize_level=16)
    hdu.writeto(path)
    with fits.open(path) as opened:
        expected = np.array(opened[1].data)
    with ImageFile(path) as image_file:
        np.testing.assert_array_equal(image_file.read(), expected.astype(code))
        np.testing.assert_array_equal(image_file.read_rows(9, 21), expected[9:21])


def test_lossless_float_tiles(tmp_path: Path) -> None:
    data = RNG.normal(size=(9, 8)).astype("f4")
    path = tmp_path / "a.fits.fz"
    fits.CompImageHDU(data, compression_type="GZIP_2", quantize_level=0).writeto(path)
    np.testing.assert_array_equal(read_image(path), data)


def test_plio_masks(tmp_path: Path) -> None:
    data = RNG.choice([0, 0, 0, 1, 70], (12, 50)).astype("i2")
    path = tmp_path / "a.fits.fz"
    fits.CompImageHDU(data, compression_type="PLIO_1").writeto(path)
    np.testing.assert_array_equal(read_image(path), data)


@pytest.mark.parametrize("kind", ["plain", "gz", "RICE_1", "GZIP_1 2x3x10"])
def test_cubes_plane_by_plane(tmp_path: Path, kind: str) -> None:
    data = RNG.integers(0, 1000, (5, 6, 20)).astype("u2")
    with ImageFile(pack(kind, tmp_path, data)) as opened:
        assert opened.shape == (5, 6, 20)
        assert opened.n_planes == 5
        np.testing.assert_array_equal(opened.read_rows(1, 4, plane=3), data[3, 1:4])
        np.testing.assert_array_equal(opened.read(plane=2), data[2])
        np.testing.assert_array_equal(opened.read(), data)
        with pytest.raises(RejectedInput, match="cube of 5 planes"):
            opened.read_rows(0, 1)


def test_four_axes(tmp_path: Path) -> None:
    data = np.arange(2 * 3 * 4 * 5, dtype="i2").reshape(2, 3, 4, 5)
    fits.PrimaryHDU(data).writeto(tmp_path / "a.fits")
    with ImageFile(tmp_path / "a.fits") as opened:
        np.testing.assert_array_equal(opened.read(), data)
        np.testing.assert_array_equal(opened.read(plane=4), data[1, 1])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.data())
def test_any_tiling_any_rows(tmp_path_factory: pytest.TempPathFactory, ny: int, nx: int, ty: int, tx: int, draw: st.DataObject) -> None:
    data = np.arange(ny * nx, dtype="i2").reshape(ny, nx) * 37
    path = tmp_path_factory.mktemp("t") / "a.fits.fz"
    fits.CompImageHDU(data, compression_type="RICE_1", tile_shape=(min(ty, ny), min(tx, nx))).writeto(path)
    with ImageFile(path) as opened:
        for _ in range(3):
            y0 = draw.draw(st.integers(0, ny))
            y1 = draw.draw(st.integers(y0, ny))
            np.testing.assert_array_equal(opened.read_rows(y0, y1), data[y0:y1])


def test_descriptor_leads_to_the_stored_numbers(tmp_path: Path) -> None:
    data = RNG.integers(0, 65535, (6, 5)).astype("u2")
    with ImageFile(pack("plain", tmp_path, data)) as opened:
        assert opened.descriptor is not None
        stored = np.frombuffer(os.pread(opened.descriptor, 60, opened.hdu.data_offset), ">i2")
        np.testing.assert_array_equal(stored.reshape(6, 5).astype("i4") + 32768, data)
    for kind in ("gz", "RICE_1"):
        with ImageFile(pack(kind, tmp_path, data)) as opened:
            assert opened.descriptor is None


def test_extension_by_number_and_name(tmp_path: Path) -> None:
    one, two = np.ones((2, 3), "i2"), np.full((4, 5), 2, "i2")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(one, name="A"), fits.ImageHDU(two, name="B")]).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits"), one)
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits", 2), two)
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits", "b"), two)
    with pytest.raises(RejectedInput, match=r"a\.fits: extension 0 holds no image"):
        read_image(tmp_path / "a.fits", 0)


def test_threads_share_one_file(tmp_path: Path) -> None:
    data = RNG.integers(0, 4000, (64, 48)).astype("u2")
    for kind in ("plain", "gz", "RICE_1", "RICE_1 16x16", "HCOMPRESS_1 16x48"):
        wrong: list[int] = []
        with ImageFile(pack(kind, tmp_path, data)) as opened:

            def work(start: int, opened: ImageFile = opened, wrong: list[int] = wrong) -> None:
                for y in range(start, 60, 2):
                    if not np.array_equal(opened.read_rows(y, y + 4), data[y : y + 4]):
                        wrong.append(y)

            threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1, 0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong


def test_data_cut_short_is_rejected_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(header(structure(16, 30000, 30000)) + bytes(1000))
    with pytest.raises(RejectedInput, match="data cut short: 3880 of 1800002880 bytes"):
        ImageFile(path)
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(5 << 20)))
    with pytest.raises(RejectedInput, match="more than the gzip stream can hold"):
        ImageFile(path)


def test_gzip_cut_short_is_rejected(tmp_path: Path) -> None:
    whole = gzip.compress(image(16, (1000, 2000), RNG.bytes(4_000_000)), 1)
    (tmp_path / "a.fits.gz").write_bytes(whole[:3_000_000])
    with ImageFile(tmp_path / "a.fits.gz") as opened:
        assert opened.read_rows(0, 2).shape == (2, 1000)
        with pytest.raises(RejectedInput, match="data cut short"):
            opened.read()


def test_rows_outside_are_a_bug(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((4, 4), "i2")).writeto(tmp_path / "a.fits")
    with ImageFile(tmp_path / "a.fits") as opened:
        for y0, y1 in [(-1, 2), (3, 2), (0, 5)]:
            with pytest.raises(ValueError, match="lie outside"):
                opened.read_rows(y0, y1)


def test_opening_a_compressed_file_decodes_no_further_than_the_image(tmp_path: Path) -> None:
    whole = gzip.compress(image(16, (1000, 4000), RNG.bytes(8_000_000)), 1)
    (tmp_path / "a.fits.gz").write_bytes(whole[:100_000])  # the end of the stream is never looked for
    with ImageFile(tmp_path / "a.fits.gz") as opened:
        assert opened.read_rows(0, 5).shape == (5, 1000)


def test_files_are_closed(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((4, 4), "i2")).writeto(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(b"no")
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_image(tmp_path / "a.fits")
    with pytest.raises(RejectedInput):
        ImageFile(tmp_path / "b.fits")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
