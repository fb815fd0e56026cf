"""Tile-compressed images that lie: tables and streams are checked before they reach the decoders."""

from __future__ import annotations

import errno
import gc
import math
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.calibration.combine import combine
from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io import spare, spill, tilecodecs
from nightcrew.io import tiles as tiles_module
from nightcrew.io.headers import read_hdus
from nightcrew.io.images import ImageFile, read_image
from nightcrew.io.tilecodecs import Codec, DamagedTileError

DATA = np.random.default_rng(1).integers(0, 3000, (24, 20)).astype("i2")


def make(path: Path, algorithm: str = "RICE_1", tile: tuple[int, int] = (8, 20)) -> bytearray:
    fits.CompImageHDU(DATA, compression_type=algorithm, tile_shape=tile).writeto(path, overwrite=True)
    return bytearray(path.read_bytes())


def set_card(data: bytearray, key: str, value: str) -> None:
    at = data.index(f"{key:<8}=".encode(), 2880)
    data[at : at + 80] = f"{key:<8}= {value}".ljust(80).encode()


@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        ("ZTILE1", "0", "a tile has no pixels"),
        ("ZTILE2", "1", "3 table rows for 24 tiles"),
        ("ZTILE2", "'x'", "ZTILE2 = 'x' is not a count"),
        ("ZCMPTYPE", "'LZMA'", "compression 'LZMA' is unknown"),
        ("ZBITPIX", "12", "ZBITPIX = 12 is none of"),
        ("ZNAXIS1", "-20", "ZNAXIS1 = -20 is negative"),
        ("ZNAXIS1", "4000000000", "more than the limit"),
        ("ZNAXIS1", "0", "no image"),
        ("TFORM1", "'1PX(3)'", "COMPRESSED_DATA is missing"),
        ("TFORM1", "'??'", "TFORM1 is not understood"),
        ("TFORM1", "'1QB(3)'", "do not fill the row"),
        ("ZVAL2", "3", "Rice blocks of 32 pixels of 3 bytes"),
        ("ZVAL1", "0", "Rice blocks of 0 pixels"),
        ("PCOUNT", "10", "lies outside the heap"),
        ("ZNAXIS2", "16", "3 table rows for 2 tiles"),
    ],
)
def test_lies_in_the_header(tmp_path: Path, key: str, value: str, cause: str) -> None:
    path = tmp_path / "a.fits.fz"
    data = make(path)
    set_card(data, key, value)
    path.write_bytes(data)
    with pytest.raises(RejectedInput, match=cause):
        read_image(path)


@pytest.mark.parametrize(("count", "offset"), [(-1, 0), (10, -5), (2**31 - 1, 0), (10, 2**31 - 1), (0, 0)])
def test_lies_in_the_table(tmp_path: Path, count: int, offset: int) -> None:
    path = tmp_path / "a.fits.fz"
    data = make(path)
    at = read_hdus(path)[1].data_offset
    data[at + 8 : at + 16] = struct.pack(">ii", count, offset)
    path.write_bytes(data)
    with pytest.raises(RejectedInput, match="tile 1 has no data, or lies outside the heap"):
        read_image(path)


@pytest.mark.parametrize(
    ("algorithm", "high"), [("RICE_1", 1), ("RICE_1", 8), ("GZIP_1", 8), ("GZIP_2", 8), ("HCOMPRESS_1", 8)]
)  # Rice tiles of one row are decoded many at a time
def test_ruined_stream_names_its_tile(tmp_path: Path, algorithm: str, high: int) -> None:
    path = tmp_path / "a.fits.fz"
    data = make(path, algorithm, (high, 20))
    hdu = read_hdus(path)[1]
    count, offset = struct.unpack(">ii", data[hdu.data_offset + 8 : hdu.data_offset + 16])
    begin = hdu.data_offset + 8 * (24 // high) + offset
    data[begin : begin + count] = bytes(255 for _ in range(count))
    path.write_bytes(data)
    with pytest.raises(RejectedInput, match="tile 1 is damaged"):
        read_image(path)


def test_cut_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.fits.fz"
    data = make(path)
    path.write_bytes(data[: read_hdus(path)[1].data_offset + 40])
    with pytest.raises(RejectedInput, match="data cut short"):
        read_image(path)


def test_bomb_in_a_gzip_tile() -> None:
    import gzip

    codec = Codec("GZIP_1", 16, quantised=False)
    bomb = tilecodecs.guarded(gzip.compress(bytes(50 << 20)), 100)
    with pytest.raises(DamagedTileError, match="holds 801 bytes for 100 pixels"):
        tilecodecs.decoder(codec)(bomb, (10, 10))


FUZZ = """
    import sys
    import numpy as np
    from astropy.io.fits.hdu.compressed import _compression as c
    from nightcrew.io.tilecodecs import Codec, DamagedTileError, decoder, guarded, margin

    rng = np.random.default_rng(int(sys.argv[1]))
    for k in range(400):
        h, w = int(rng.integers(4, 30)), int(rng.integers(4, 40))
        a = (rng.normal(1000, 30, (h, w)) * rng.choice([1, 1, 30])).astype("i2")
        plio = np.frombuffer(c.compress_plio_1_c(np.abs(a).astype("i4").tobytes(), h * w), "i2").astype(">i2").tobytes()
        streams = [
            (Codec("HCOMPRESS_1", 16, False, smooth=bool(k % 3)), c.compress_hcompress_1_c(a.astype("i8").tobytes(), h, w, 0, 8), a),
            (Codec("RICE_1", 16, False, "", 32, 2), c.compress_rice_1_c(a.tobytes(), 32, 2), a),
            (Codec("PLIO_1", 16, False), plio, np.abs(a)),
        ]
        for codec, good, expected in streams:
            decode = decoder(codec)
            for j in range(10):
                bad = bytearray(good)
                if j and rng.random() < 0.3:
                    bad = bad[: rng.integers(1, len(bad))]
                for _ in range(rng.integers(1, 6) if j else 0):
                    bad[rng.integers(0, min(len(bad), rng.choice([30, 10000])))] = rng.integers(0, 256)
                try:
                    got = decode(guarded(bytes(bad), margin(codec, (h, w)))[: len(bad)], (h, w))
                    assert j or np.array_equal(got, expected)
                except DamagedTileError:
                    assert j
"""


def test_damaged_streams_never_bring_the_process_down() -> None:
    """In a process of its own: without the checks the HCOMPRESS decoder writes beyond its memory and aborts."""
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(FUZZ), "7"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def one_tile(
    path: Path, algorithm: str, shape: tuple[int, ...], tile: tuple[int, ...], seed: int = 0, dtype: str = "i2"
) -> np.ndarray[Any, Any]:
    pixels = np.random.default_rng(seed).normal(1000, 20, shape).astype(dtype)
    fits.CompImageHDU(pixels, compression_type=algorithm, tile_shape=tile).writeto(path)
    return np.asarray(fits.getdata(path))


@pytest.mark.parametrize("algorithm", ["RICE_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
@pytest.mark.parametrize(
    ("shape", "tile"), [((70, 45), (70, 45)), ((70, 45), (32, 20)), ((3, 40, 24), (1, 40, 24)), ((4, 30, 24), (2, 20, 24))]
)
def test_large_tiles_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, shape: tuple[int, ...], tile: tuple[int, ...]
) -> None:
    """Whatever the order of the rows: tiles that are too large to be kept in memory wait in a file."""
    if algorithm == "HCOMPRESS_1" and tile[0] == 2:
        shape, tile = shape[1:], tile[1:]  # its tiles have two axes
    monkeypatch.setattr(spill, "MOST_OF_ONE", 100)
    monkeypatch.setattr(spare, "spare_bytes", lambda: 1 << 40)
    pixels = one_tile(tmp_path / "a.fz", algorithm, shape, tile)
    with ImageFile(tmp_path / "a.fz") as image:
        tiles = image._tiles
        assert tiles is not None
        decoded: list[tuple[int, ...]] = []
        decode = tiles._decode

        def counted(data: Any, shape: tuple[int, ...]) -> Any:
            decoded.append(shape)
            return decode(data, shape)

        monkeypatch.setattr(tiles, "_decode", counted)
        ny = shape[-2]
        for plane in reversed(range(image.n_planes)):
            rows = {y: image.read_rows(y, min(ny, y + 7), plane) for y in [*range(0, ny, 7)][::-1]}
            np.testing.assert_array_equal(np.concatenate([rows[y] for y in sorted(rows)]), pixels.reshape(-1, *shape[-2:])[plane])
        assert len(decoded) == math.prod(tiles.grid)
        np.testing.assert_array_equal(image.read(), pixels)
    with ImageFile(tmp_path / "a.fz") as image:
        np.testing.assert_array_equal(image.read(), pixels)


@pytest.mark.parametrize(("shape", "tile"), [((70, 45), (32, 20)), ((4, 30, 24), (2, 20, 24))])
def test_large_tiles_without_room_to_spare_are_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], tile: tuple[int, ...]
) -> None:
    monkeypatch.setattr(spill, "MOST_OF_ONE", 100)
    monkeypatch.setattr(spare, "spare_bytes", lambda: 99)
    monkeypatch.setattr(spill, "pwrite_all", lambda *_: pytest.fail("written all the same"))
    pixels = one_tile(tmp_path / "a.fz", "RICE_1", shape, tile)
    with ImageFile(tmp_path / "a.fz") as image:
        for plane in range(image.n_planes):
            found = np.concatenate([image.read_rows(y, min(shape[-2], y + 7), plane) for y in range(0, shape[-2], 7)])
            np.testing.assert_array_equal(found, pixels.reshape(-1, *shape[-2:])[plane])


def test_large_tiles_of_quantised_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MOST_OF_ONE", 100)
    pixels = one_tile(tmp_path / "a.fz", "RICE_1", (40, 30), (40, 30), dtype="f4")
    with ImageFile(tmp_path / "a.fz") as image:
        np.testing.assert_array_equal(np.concatenate([image.read_rows(y, y + 8) for y in range(0, 40, 8)]), pixels)


def test_room_for_decoded_tiles_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = spill._Room(3 * 24 * 20 * 4)
    monkeypatch.setattr(tiles_module, "ROOM", room)
    make(tmp_path / "a.fz", tile=(24, 20))

    def in_memory(image: ImageFile) -> bool:
        np.testing.assert_array_equal(image.read_rows(3, 9), DATA[3:9])
        tiles = image._tiles
        return tiles is not None and tiles._spilled is None

    images = [ImageFile(tmp_path / "a.fz") for _ in range(5)]
    assert [in_memory(image) for image in images] == [True, True, True, False, False]
    images.pop(0).close()
    del images[0]  # never closed, but gone
    gc.collect()
    assert [in_memory(ImageFile(tmp_path / "a.fz")) for _ in range(1)] == [True]
    for image in images:
        image.close()


def test_no_room_for_decoded_tiles_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MOST_OF_ONE", 100)
    monkeypatch.setattr(spare, "spare_bytes", lambda: 1 << 40)
    make(tmp_path / "a.fz", tile=(24, 20))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill, "pwrite_all", full)
    with ImageFile(tmp_path / "a.fz") as image, pytest.raises(TransientError, match=r"a\.fz: decoded pixels cannot be put .* \(No space"):
        image.read_rows(0, 3)


PEAK = """
    import resource
    import sys
    from pathlib import Path
    import numpy as np
    from nightcrew.calibration.combine import combine
    from nightcrew.calibration.sources import ArraySource

    paths = sorted(Path(sys.argv[1]).glob("*.fz"))
    got = combine([paths[k % len(paths)] for k in range(int(sys.argv[2]))], method="mean", planes=("result",), memory_bytes=8 << 20)
    np.save(sys.argv[3], got.result)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("algorithm", ["RICE_1", pytest.param("HCOMPRESS_1", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_frames_of_one_tile(tmp_path: Path, algorithm: str) -> None:
    """Each frame has 3 MB (as HCOMPRESS decodes it, 6 MB): 20 more would take 60 MB."""
    pixels = [one_tile(tmp_path / f"{k}.fz", algorithm, (1000, 1500), (1000, 1500), seed=k) for k in range(2)]
    peaks = []
    for count in (4, 24):
        command = [sys.executable, "-c", textwrap.dedent(PEAK), str(tmp_path), str(count), str(tmp_path / "mean.npy")]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(run.stdout) / 1024)
        np.testing.assert_array_equal(np.load(tmp_path / "mean.npy"), np.mean(pixels, axis=0).astype(np.float32))
    assert peaks[1] - peaks[0] < 20


GUARD = """
    import ctypes
    import mmap
    import sys
    import numpy as np
    from astropy.io.fits.hdu.compressed import _compression as c
    from nightcrew.io.tilecodecs import Codec, DamagedTileError, decoder, guarded, margin

    PAGES = 64 << 20
    room = mmap.mmap(-1, PAGES + mmap.PAGESIZE)
    whole = np.frombuffer(room, np.uint8)
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(whole.ctypes.data + PAGES), mmap.PAGESIZE, 0):
        sys.exit("pages cannot be protected")

    def decode(codec, stream, shape):
        data = guarded(stream, margin(codec, shape))
        place = whole[PAGES - len(data) : PAGES]  # one byte further on the process dies
        place[:] = data
        try:
            decoder(codec)(place[: len(stream)], shape)
        except DamagedTileError:
            pass

    rng = np.random.default_rng(int(sys.argv[1]))
    for k in range(int(sys.argv[2])):
        h, w = (int(n) for n in rng.choice([4, 5, 16, 33, 64, 100, 257], 2))
        a = (rng.normal(1000, rng.choice([2, 30, 3000]), (h, w))).astype("i2")
        good = bytearray(c.compress_hcompress_1_c(a.astype("i8").tobytes(), h, w, 0, 8))
        for planes in (None, 60):
            if planes:
                good[22:25] = bytes([planes] * 3)
            for end in (25, 26, *rng.integers(25, len(good), 6)):
                decode(Codec("HCOMPRESS_1", 16, False), bytes(good[:end]), (h, w))
        for width in (1, 2, 4):
            for block in (1, 32, 4096):
                codec = Codec("RICE_1", 8 * width, False, "", block, width)
                rice = c.compress_rice_1_c(a.astype(f"i{width}" if width > 1 else "u1").tobytes(), block, width)
                for end in (width, width + 1, *rng.integers(width, len(rice) + 1, 3)):
                    for code in (0x00, 0xFF, 0x7F):
                        decode(codec, bytes(rice[: end - 1]) + bytes([code]), (h, w))
"""


def test_no_decoder_reads_beyond_its_margin() -> None:
    """Streams cut short, with as many bit planes as can be claimed, before a page that may not be read."""
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(GUARD), "3", "4"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, (run.returncode, run.stderr[-2000:])


def test_frames_of_one_tile_combine_alike_with_both_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MOST_OF_ONE", 100)
    pixels = [one_tile(tmp_path / f"{k}.fz", "RICE_1", (90, 60), (90, 60), seed=k) for k in range(5)]
    paths = [tmp_path / f"{k}.fz" for k in range(5)]
    found = [combine(paths, method="median", kernel=kernel, memory_bytes=20_000, threads=2).result for kernel in ("auto", "numpy")]
    assert found[0].tobytes() == found[1].tobytes()
    np.testing.assert_array_equal(found[0], np.median(pixels, axis=0).astype(np.float32))
