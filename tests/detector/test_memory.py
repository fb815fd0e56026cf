"""What the fits hold in memory does not grow with the number of frames."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.detector import stack as stack_module
from nightcrew.detector.bias_model import fit_bias
from nightcrew.detector.stack import FrameStack
from nightcrew.errors import RejectedInput
from nightcrew.io import spare, spill
from nightcrew.io.images import ImageFile
from nightcrew.io.planes import pwrite_all
from nightcrew.irradiation import open_frames
from nightcrew.lab.masters import make_masters
from nightcrew.lab.records import LabFrame
from tests.detector.made import biases

SIDE = 300


def planes(count: int, value: float) -> list[np.ndarray]:
    """Frames of many pixels that take no memory themselves: one row, shown again and again."""
    rng = np.random.default_rng(1)
    row = rng.normal(0, 30, (count, SIDE)) + value
    return [np.broadcast_to(one.astype(np.float32), (SIDE, SIDE)) for one in row]


def peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_fit_of_four_times_the_frames_takes_no_more_memory() -> None:
    def bias(count: int) -> object:
        return fit_bias(planes(count, 3000), np.linspace(0, 20, count).tolist(), threads=1, memory_bytes=16 << 20)

    few, many = (peak_mb(partial(bias, n)) for n in (130, 520))
    assert many < 1.2 * few + 10
    assert many < 200


def test_a_sample_of_many_frames_is_no_larger_than_of_few() -> None:
    sizes = []
    for count in (50, 100, 1000):
        with FrameStack(planes(1, 0) * count) as stack:
            sizes.append(stack.sample_rows(1 << 17).size * stack.shape[1] * count)
    assert sizes[1] == pytest.approx(sizes[2], rel=0.2)
    assert sizes[0] <= 1.1 * sizes[1]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were decoded, file by file."""
    taken: list[int] = []
    read = ImageFile.read_rows

    def count(image: ImageFile, y0: int, y1: int, plane: int | None = None) -> np.ndarray:
        taken.append(y1 - y0)
        return read(image, y0, y1, plane)

    monkeypatch.setattr(ImageFile, "read_rows", count)
    return taken


@pytest.mark.parametrize("form", ["gz", "fz"])
def test_frames_beyond_those_that_are_open_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(stack_module, "MOST_OPEN", 2)
    monkeypatch.setattr(open_frames, "MOST_OPEN", 2)
    monkeypatch.setattr(spare, "spare_bytes", lambda: 1 << 40)
    pixels = [np.random.default_rng(n).integers(0, 4000, (24, 20)).astype(np.int16) for n in range(4)]
    paths = [tmp_path / f"{n}.fits.{form}" for n in range(4)]
    for path, data in zip(paths, pixels, strict=True):
        whole = fits.CompImageHDU(data, compression_type="RICE_1", tile_shape=(24, 20)) if form == "fz" else fits.PrimaryHDU(data)
        fits.HDUList([whole] if form == "gz" else [fits.PrimaryHDU(), whole]).writeto(path)
    taken = counted(monkeypatch)
    with FrameStack(paths) as stack:
        got = np.concatenate([stack.rows(y, y + 2) for y in range(0, 24, 2)], axis=1)
        assert sum(taken) == 4 * 24
        assert stack.sample(20).shape[0] == 4
    np.testing.assert_array_equal(got, np.array([data.reshape(-1) for data in pixels]))
    taken.clear()
    with open_frames.OpenFrames(paths) as images:
        got = np.concatenate([images.rows(y, y + 2) for y in range(0, 24, 2)], axis=1)
    np.testing.assert_array_equal(got, np.array([data.reshape(-1) for data in pixels]))
    assert sum(taken) == 4 * 24


def test_without_room_for_them_they_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.arange(480, dtype=np.int16).reshape(24, 20)
    fits.writeto(tmp_path / "a.fits.gz", data)
    monkeypatch.setattr(spare, "spare_bytes", lambda: 1 << 40)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill, "pwrite_all", full)
    aside = spill.FramesAside()
    for y in (0, 12, 5):
        np.testing.assert_array_equal(aside.rows(0, tmp_path / "a.fits.gz", y, y + 3), data[y : y + 3])


def test_frames_are_put_aside_while_there_is_room_to_spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four frames two fit; nothing is written of the others, and their rows are right all the same."""
    pixels = [np.random.default_rng(n).integers(0, 4000, (24, 20)).astype(np.int16) for n in range(4)]
    for n, data in enumerate(pixels):
        fits.writeto(tmp_path / f"{n}.fits.gz", data)
    left = [2 * pixels[0].nbytes + 100]
    write = pwrite_all

    def written(descriptor: int, data: memoryview, offset: int) -> None:
        left[0] -= len(data)
        write(descriptor, data, offset)

    monkeypatch.setattr(spill, "pwrite_all", written)
    monkeypatch.setattr(spare, "spare_bytes", lambda: left[0])
    aside = spill.FramesAside()
    for y in (0, 12, 5):
        for n, data in enumerate(pixels):
            np.testing.assert_array_equal(aside.rows(n, tmp_path / f"{n}.fits.gz", y, y + 3), data[y : y + 3])
    assert left == [100]


def test_a_frame_that_did_not_get_in_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.arange(480, dtype=np.int16).reshape(24, 20)
    for n in range(2):
        fits.writeto(tmp_path / f"{n}.fits.gz", data + n)
    monkeypatch.setattr(spare, "spare_bytes", lambda: 1 << 40)
    monkeypatch.setattr(spill, "STRIP", 8 * 40)
    write, offsets = pwrite_all, []

    def nearly_full(descriptor: int, view: memoryview, offset: int) -> None:
        offsets.append(offset)
        if offset > data.nbytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, view, offset)

    monkeypatch.setattr(spill, "pwrite_all", nearly_full)
    aside = spill.FramesAside()
    for n in range(2):
        np.testing.assert_array_equal(aside.rows(n, tmp_path / f"{n}.fits.gz", 3, 9), data[3:9] + n)
    assert os.fstat(aside._file._descriptor).st_size == data.nbytes
    with ImageFile(tmp_path / "1.fits.gz") as image:  # a thread that waited for the lock meanwhile
        seen = len(offsets)
        assert not aside._keep(1, image)
        assert len(offsets) == seen


def test_every_one_of_very_many_frames_has_the_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "MOST_OPEN", 2)
    for n in range(4):
        fits.writeto(tmp_path / f"{n}.fits", np.zeros((6 + 2 * (n == 2), 5), np.int16))
    with pytest.raises(RejectedInput, match=r"2\.fits: is \(8, 5\)"), FrameStack([tmp_path / f"{n}.fits" for n in range(4)]):
        pass


def test_masters_of_many_attempts_are_joined_one_by_one(tmp_path: Path) -> None:
    frames = biases(0.0).frames[:1]
    shown = np.tile(frames[0], (4, 4))

    def joined(count: int) -> float:
        some = []
        for n in range(count):
            path = tmp_path / f"{count}-{n}.fits"
            fits.writeto(path, shown)
            size = shown.shape
            some.append(LabFrame(path=path, caltype="BIAS", temperature_c=10.0, attempt=f"attempt{n}", nx=size[1], ny=size[0]))
        return peak_mb(lambda: make_masters(some, tmp_path / f"out{count}"))

    joined(1)
    few, many = joined(3), joined(18)
    assert many < 1.3 * few + 2
