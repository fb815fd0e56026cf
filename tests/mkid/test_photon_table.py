"""Photon tables give back what was put in, by pixel and by time, and are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.atomic import FinalExistsError, injected_faults, part_files
from nightcrew.mkid import clock, table_writer
from nightcrew.mkid import words as w
from nightcrew.mkid.beam_map import BeamMap, parse_beam_map
from nightcrew.mkid.columns import CHUNK_ROWS, noisy_bytes, packed
from nightcrew.mkid.convert import convert_window
from nightcrew.mkid.order import by_pixel
from nightcrew.mkid.photon_table import PhotonTable, PixelPhotons
from tests.mkid.streams import SECOND_US, Made, Rows, make, write

SECOND = clock.year_start_us(2021) // SECOND_US + 200 * 86400
START_US = SECOND * SECOND_US
SHAPE = (5, 4)


def beam_map(shape: tuple[int, int] = SHAPE) -> BeamMap:
    lines = "".join(f"{10000 + p} {1 if p == 3 else 0} {p % shape[1]} {p // shape[1]}\n" for p in range(shape[0] * shape[1]))
    return parse_beam_map(lines.encode(), "map.txt")


def expected(made: Made, pixels: range, start_us: int, stop_us: int) -> Rows:
    """Rows (pixel, time since the start, phase, baseline), sorted."""
    rows = made.rows()
    rows = np.stack([rows[:, 1], rows[:, 0] - made.start_us, rows[:, 2], rows[:, 3]], axis=1)
    keep = (rows[:, 0] >= pixels.start) & (rows[:, 0] < pixels.stop) & (rows[:, 1] >= start_us) & (rows[:, 1] < stop_us)
    return rows[keep][np.lexsort(rows[keep].T[::-1])]


def rows_of(photons: PixelPhotons) -> Rows:
    rows = np.stack([photons.pixel, photons.time_us, photons.phase, photons.baseline], axis=1).astype(np.int64)
    assert np.array_equal(np.lexsort((rows[:, 1], rows[:, 0])), np.arange(len(rows)))  # by pixel, then time
    return rows[np.lexsort(rows.T[::-1])]


def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_writer, "_SLAB_ROWS", 1000)
    monkeypatch.setattr(table_writer, "_LAG_US", 1000)


@given(
    seed=st.integers(0, 2**32),
    n_photons=st.integers(0, 6000),
    window=st.tuples(st.integers(-10, 600_000), st.integers(-10, 600_000)),
    pixels=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
@settings(max_examples=25, deadline=None)
def test_any_range_of_pixels_and_time_comes_back(seed: int, n_photons: int, window: tuple[int, int], pixels: tuple[int, int]) -> None:
    made = make(seed, start_us=START_US, span_us=500_000, n_photons=n_photons)
    wanted, (start_us, stop_us) = range(min(pixels), max(pixels)), (min(window), max(window))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        small_slabs(patch)
        converted = convert_window(write(Path(folder), made), beam_map(), made.start_us, made.stop_us, Path(folder) / "t.h5")
        with PhotonTable(converted.path) as table:
            assert np.array_equal(rows_of(table.read()), expected(made, range(20), 0, 10**9))
            found = table.read(wanted, start_us, stop_us)
            assert np.array_equal(rows_of(found), expected(made, wanted, start_us, stop_us))
            assert found.counts.size == len(wanted)
            pieces = [rows_of(slab) for slab in table.slabs(wanted, start_us, stop_us)]
            assert sum(map(len, pieces)) == len(found)
            assert np.array_equal(table.counts().ravel(), table.read().counts)


@given(seed=st.integers(0, 2**32), n=st.integers(0, 400), far=st.booleans(), ordered=st.booleans())
@settings(max_examples=40, deadline=None)
def test_sorting_is_by_pixel_then_time(seed: int, n: int, far: bool, ordered: bool) -> None:
    rng = np.random.default_rng(seed)
    pixel = rng.integers(0, 7, n).astype(np.int32)
    times = rng.integers(0, 5_000_000_000 if far else 300, n)
    times = np.sort(times) if ordered else times
    found = by_pixel(pixel, times, np.arange(n, dtype=np.uint64), 7)
    order = np.lexsort((times, pixel))
    assert np.array_equal(found.pixels(), pixel[order])
    assert np.array_equal(found.time_us, times[order])
    assert np.array_equal(found.word, order)


@pytest.fixture
def made() -> Made:
    return make(3, start_us=START_US, span_us=2_000_000, n_photons=30_000, loss=0.01)


def test_attributes_report_and_inputs(made: Made, tmp_path: Path) -> None:
    files = write(tmp_path, made, without=[SECOND + 1])
    convert_window(files, beam_map(), made.start_us, made.stop_us, tmp_path / "t.h5", data_path="20210720", exposure={"name": "laser"})
    with PhotonTable(tmp_path / "t.h5") as table:
        attributes = table.attributes
        assert attributes["name"] == "laser"
        assert (attributes["UNIXSTR"], attributes["UNIXEND"], attributes["EXPTIME"]) == (SECOND, SECOND + 2, 2.0)
        assert (attributes["E_BMAP"], attributes["data_path"], attributes["wavecal"], attributes["pixcal"]) == (
            "map.txt",
            "20210720",
            "",
            False,
        )
        assert (attributes["dead_time"], attributes["min_wavelength"], attributes["max_wavelength"]) == (10.0, 700.0, 1500.0)
        assert table.report["missing_seconds"] == [SECOND + 1]
        assert sum(table.report["words"]["lost_frames"].values()) > 0
        data = files[SECOND].read_bytes()
        assert table.inputs == [(SECOND, len(data), hashlib.sha256(data).hexdigest())]
        assert table.flag[0, 3] == 1
        assert table.resid[4, 3] == 10019


def test_columns_are_plain_hdf5(made: Made, tmp_path: Path) -> None:
    convert_window(write(tmp_path, made), beam_map(), made.start_us, made.stop_us, tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5") as file, PhotonTable(tmp_path / "t.h5") as table:
        photons, (column, baseline) = table.read(), (file["photons/time_us"], file["photons/baseline"])
        assert (column.dtype, column.compression, column.shuffle) == (np.dtype("u4"), "gzip", True)
        degrees = (baseline[:].astype(float) - baseline.attrs["zero"]) * baseline.attrs["degree_per_unit"]
        assert np.sort(degrees)[[0, -1]] == pytest.approx(np.sort(photons.baseline_deg)[[0, -1]])
        resid = file["photons/resid"][:]
        assert np.array_equal(np.bincount(resid - 10000, minlength=20), photons.counts)
        assert photons.phase_deg[0] == pytest.approx(photons.phase[0] * w.DEGREE_PER_PHASE_UNIT)


def test_windows_longer_than_32_bits_have_64(made: Made, tmp_path: Path) -> None:
    convert_window(write(tmp_path, made), beam_map(), made.start_us - 4_300 * SECOND_US, made.stop_us, tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5") as file, PhotonTable(tmp_path / "t.h5") as table:
        assert file["photons/time_us"].dtype == np.dtype("u8")
        assert np.array_equal(np.sort(table.read().time_us), np.sort(made.rows()[:, 0] - made.start_us + 4_300 * SECOND_US))


def test_the_same_files_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    files = write(tmp_path, made)
    contents = []
    for name in ("a.h5", "b.h5"):
        convert_window(files, beam_map(), made.start_us, made.stop_us, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
        time.sleep(1.1)  # times in files have whole seconds
    assert contents[0] == contents[1]
    convert_window(files, beam_map(), made.start_us, made.stop_us, tmp_path / "a.h5")  # equal content is success
    with pytest.raises(FinalExistsError):
        convert_window(files, beam_map(), made.start_us, made.stop_us - 1000, tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == contents[0]


@pytest.mark.parametrize("stage", ["open", "write", "fsync", "publish"])
def test_a_failure_leaves_nothing(stage: str, made: Made, tmp_path: Path) -> None:
    def full(at: str, _: Path) -> None:
        if at == stage:
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out").mkdir()
    files = write(tmp_path, made)
    with injected_faults(full), pytest.raises(TransientError, match="No space left"):
        convert_window(files, beam_map(), made.start_us, made.stop_us, tmp_path / "out" / "t.h5")
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_readable_is_no_table(tmp_path: Path) -> None:
    (tmp_path / f"{SECOND}.bin").write_bytes(b"")
    with pytest.raises(RejectedInput, match="is empty"):
        convert_window({SECOND: tmp_path / f"{SECOND}.bin"}, beam_map(), START_US, START_US + SECOND_US, tmp_path / "t.h5")
    with pytest.raises(RejectedInput, match="no file of these seconds"):
        convert_window({}, beam_map(), START_US, START_US + SECOND_US, tmp_path / "t.h5")
    assert not (tmp_path / "t.h5").exists()
    assert part_files(tmp_path) == []


def test_files_that_are_no_tables(made: Made, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="no such file"):
        PhotonTable(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(RejectedInput, match="is no HDF5 file"):
        PhotonTable(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(RejectedInput, match="but no photon table"):
        PhotonTable(tmp_path / "other.h5")
    convert_window(write(tmp_path, made), beam_map(), made.start_us, made.stop_us, tmp_path / "t.h5")
    data = (tmp_path / "t.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(RejectedInput, match="damaged"):
        PhotonTable(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        del file["index/first_row"]
    with pytest.raises(RejectedInput, match="has no index/first_row"):
        PhotonTable(tmp_path / "t.h5")


def test_ranges_outside_the_array_are_refused(made: Made, tmp_path: Path) -> None:
    convert_window(write(tmp_path, made), beam_map(), made.start_us, made.stop_us, tmp_path / "t.h5")
    with PhotonTable(tmp_path / "t.h5") as table:
        for wrong in (range(21), range(-1, 3), range(0, 10, 2)):
            with pytest.raises(Refused, match="pixels are a range"):
                table.read(wrong)


def test_slabs_hold_some_two_million_photons() -> None:
    assert table_writer.slab_period_us(2e6) == 1_000_000
    assert table_writer.slab_period_us(0) == 64_000_000
    assert table_writer.slab_period_us(5e7) == 31_250
    assert table_writer.slab_period_us(1e12) == 15_625


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.uint64])
@pytest.mark.parametrize("noisy", [0, 1, 2, None])
@pytest.mark.parametrize("size", [1, 5000, CHUNK_ROWS])
def test_packed_chunks_are_what_every_reader_unpacks(dtype: type, noisy: int | None, size: int) -> None:
    """A zlib stream of the shuffled rows, however many of their bytes are stored as they are."""
    width = np.dtype(dtype).itemsize
    rows: NDArray[Any] = np.random.default_rng(3).integers(0, 1 << 20, size).astype(dtype)
    plain = zlib.decompress(packed(rows, width if noisy is None else noisy))
    found: NDArray[Any] = np.frombuffer(plain, np.uint8).reshape(width, CHUNK_ROWS).T.copy().view(dtype).ravel()
    assert np.array_equal(found[:size], rows)
    assert not found[size:].any()


def test_bytes_that_are_noise_are_told_from_those_that_pack() -> None:
    rng = np.random.default_rng(3)
    assert noisy_bytes(rng.integers(0, 1 << 20, 1000).astype(np.uint32)) == 2
    assert noisy_bytes(np.rint(rng.normal(5000, 400, 1000)).astype(np.int32)) == 1
    assert noisy_bytes(np.repeat(np.arange(10), 100).astype(np.uint32)) == 0
    assert noisy_bytes(rng.integers(0, 2**64, 1000, dtype=np.uint64)) == 8
    assert noisy_bytes(rng.integers(0, 1 << 20, 100).astype(np.uint32)) == 0  # too few to tell
