"""Frames from files: every storage that the engine promises, opened once and closed."""

from __future__ import annotations

import contextlib
import gzip
import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.calibration import opening
from nightcrew.calibration.combine import combine
from nightcrew.calibration.pixel_fits import fit_pixels, line
from nightcrew.calibration.slabs import rows_per_slab
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import Refused, RejectedInput, TransientError

SHAPE = (37, 53)


def stack(dtype: str, n: int = 5) -> list[NDArray[Any]]:
    rng = np.random.default_rng(11)
    values = rng.normal(30000 if dtype == "u2" else 100, 20, (n, *SHAPE))
    return [v.astype(dtype) for v in values]


def write(folder: Path, frames: list[NDArray[Any]], **cards: Any) -> list[Path]:
    paths = []
    for number, frame in enumerate(frames):
        hdu = fits.PrimaryHDU(frame)
        hdu.header.update(cards)
        paths.append(folder / f"frame{number}.fits")
        hdu.writeto(paths[-1])
    return paths


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("kernel", ["auto", "numpy"])
def test_plain_files_equal_arrays(dtype: str, kernel: Any, tmp_path: Path) -> None:
    frames = stack(dtype)
    got, want = combine(write(tmp_path, frames), kernel=kernel), combine(frames, kernel=kernel)
    for plane in ("result", "uncertainty", "count"):
        np.testing.assert_array_equal(getattr(got, plane), getattr(want, plane))


def test_scaled_files_are_physical_values(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        hdu = fits.PrimaryHDU(np.full(SHAPE, 10 + number, np.int16))
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 100.0
        hdu.header["BLANK"] = 11
        paths.append(tmp_path / f"scaled{number}.fits")
        paths[-1].write_bytes(_bytes_of(hdu))
    got = combine(paths, method="mean")
    np.testing.assert_array_equal(got.result, np.full(SHAPE, (105 + 106) / 2, np.float32))
    assert got.count is not None
    assert (got.count == 2).all()


@pytest.mark.parametrize("kind", ["int16", "uint16", "int8", "int32", "compressed"])
@pytest.mark.parametrize("kernel", ["auto", "numpy"])
def test_blank_integers_are_no_values(kind: str, kernel: Any, tmp_path: Path) -> None:
    stored, zero = {"uint16": (">i2", 32768), "int8": ("u1", -128), "int32": (">i4", 0)}.get(kind, (">i2", 0))
    paths = []
    for number in range(3):
        pixels = np.full(SHAPE, 20 + number).astype(stored)
        pixels[number, 0] = 7
        header = fits.Header([("SIMPLE", True), ("BITPIX", 8 * pixels.itemsize), ("NAXIS", 2), ("NAXIS1", SHAPE[1]), ("NAXIS2", SHAPE[0])])
        header["BLANK"], header["BZERO"] = 7, zero
        data = header.tostring().encode() + pixels.tobytes()
        paths.append(tmp_path / f"blank{number}.fits")
        paths[-1].write_bytes(data + b"\0" * (-len(data) % 2880))
        if kind == "compressed":
            hdu = fits.CompImageHDU(pixels.astype("i2"), compression_type="RICE_1")
            hdu.header["BLANK"] = 7
            paths[-1] = tmp_path / f"blank{number}.fits.fz"
            hdu.writeto(paths[-1])
    got = combine(paths, method="mean", kernel=kernel)
    wanted = np.full(SHAPE, 21.0 + zero)
    wanted[:3, 0] = [21.5 + zero, 21.0 + zero, 20.5 + zero]
    np.testing.assert_array_equal(got.result, wanted.astype(np.float32))
    assert got.count is not None
    assert (got.count[:3, 0] == 2).all()
    assert got.count.sum() == 3 * got.count.size - 3


def test_unit_gain_and_exposure_may_stand_in_the_primary_header(tmp_path: Path) -> None:
    paths = []
    for number, gain in enumerate((2, 3, 2.0)):
        first = fits.PrimaryHDU()
        first.header["GAIN"], first.header["EXPTIME"] = gain, 30.0
        paths.append(tmp_path / f"extension{number}.fits")
        fits.HDUList([first, fits.ImageHDU(np.ones(SHAPE, np.int16))]).writeto(paths[-1])
    assert combine([paths[0], paths[2]], method="sum").result[0, 0] == 2  # 2 and 2.0 are one setting
    with pytest.raises(Refused, match=r"do not agree in gain setting: extension1\.fits has GAIN 3"):
        combine(paths)
    assert combine(paths[:1], method="mean", weights="exposure").frames[0].exposure_s == 30.0


def test_variances_become_standard_deviations_and_other_forms_are_rejected(tmp_path: Path) -> None:
    def made(form: str) -> ArraySource:
        second = fits.ImageHDU(np.full(SHAPE, 4.0, np.float32), name="UNCERT")
        second.header["UTYPE"] = form
        path = tmp_path / f"{form}.fits"
        fits.HDUList([fits.PrimaryHDU(np.ones(SHAPE, np.float32)), second]).writeto(path)
        return ArraySource(data=path, uncertainty="UNCERT")

    np.testing.assert_array_equal(combine([made("VarianceUncertainty")], method="mean").uncertainty, 2.0)
    np.testing.assert_array_equal(combine([made("StdDevUncertainty")], method="mean").uncertainty, 4.0)
    with pytest.raises(RejectedInput, match="its uncertainty is a InverseVariance"):
        combine([made("InverseVariance")], method="mean")


def _bytes_of(hdu: Any) -> bytes:
    """The stored integers as they are, with the scaling cards on top."""
    data: bytes = hdu.data.astype(">i2").tobytes()
    header: str = hdu.header.tostring()
    return header.encode() + data + b"\0" * (-len(data) % 2880)


@pytest.mark.parametrize(("zero", "level"), [("'32768,0'", 32778.0), ("'0,5'", 10.5), ("32768", 32778.0)])
def test_a_zero_with_a_decimal_comma_is_a_number(zero: str, level: float, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        hdu = fits.PrimaryHDU(np.full(SHAPE, 10, np.int16))
        hdu.header["BZERO"] = "here"
        paths.append(tmp_path / f"comma{number}.fits")
        paths[-1].write_bytes(_bytes_of(hdu).replace(b"'here    '", zero.encode().ljust(10), 1))
    np.testing.assert_array_equal(combine(paths, method="mean").result, np.full(SHAPE, level, np.float32))


def test_slabs_of_a_narrow_window_count_the_rows_as_they_are_stored(tmp_path: Path) -> None:
    wide = (np.arange(64 * 4096) % 60_000).astype(np.uint16).reshape(64, 4096)
    path = tmp_path / "wide.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(wide, compression_type="RICE_1")]).writeto(path)
    window, memory_bytes, threads = (8, 24, 0, 64), 1 << 18, 2
    frames = opening.open_all([ArraySource(data=path, window=window)] * 3)
    try:
        step = rows_per_slab(frames, memory_bytes, threads)
        held = 0
        for frame in frames:
            buffers: dict[str, NDArray[Any]] = {}
            rows = frame.rows(0, step, buffers)
            held += rows.data.nbytes + sum(buffer.nbytes for buffer in buffers.values())
    finally:
        opening.close_all(frames)
    assert held * threads <= memory_bytes
    assert held * threads > memory_bytes / 2
    got = combine([ArraySource(data=path, window=window)] * 3, threads=threads, memory_bytes=memory_bytes)
    np.testing.assert_array_equal(got.result, wide[:, 8:24].astype(np.float32))


def test_compressed_files_equal_plain_ones(tmp_path: Path) -> None:
    frames = stack("u2")
    plain = write(tmp_path, frames)
    gz = [path.with_suffix(".fits.gz") for path in plain]
    fz = [path.with_suffix(".fits.fz") for path in plain]
    for source, zipped, tiled, frame in zip(plain, gz, fz, frames, strict=True):
        zipped.write_bytes(gzip.compress(source.read_bytes()))
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(frame, compression_type="RICE_1")]).writeto(tiled)
    want = combine(frames)
    for paths in (gz, fz, [plain[0], gz[1], fz[2], plain[3], gz[4]]):
        for threads in (1, 2):
            got = combine(paths, threads=threads, memory_bytes=1 << 14)
            np.testing.assert_array_equal(got.result, want.result)


def test_planes_of_cubes_and_windows(tmp_path: Path) -> None:
    cube = np.stack(stack("u2"))
    paths = write(tmp_path, [cube, cube + 7])
    got = combine([ArraySource(data=path, plane=2, window=(3, 40, 5, 30)) for path in paths], method="mean")
    np.testing.assert_array_equal(got.result, (cube[2] + 3.5)[5:30, 3:40].astype(np.float32))
    with pytest.raises(RejectedInput, match="cube of 5 planes"):
        combine(paths)


def test_masks_and_uncertainties_of_a_product(tmp_path: Path) -> None:
    frames = stack("f4", 3)
    paths = []
    for number, frame in enumerate(frames):
        mask = np.zeros(SHAPE, np.uint16)
        mask[number, :] = 1
        path = tmp_path / f"product{number}.fits"
        fits.HDUList([fits.PrimaryHDU(frame), fits.ImageHDU(mask, name="MASK")]).writeto(path)
        paths.append(path)
    got = combine([ArraySource(data=path, hdu=0, mask="MASK") for path in paths], method="max")
    assert got.count is not None
    assert got.count[:3].tolist() == np.full((3, SHAPE[1]), 2).tolist()
    np.testing.assert_array_equal(got.result[0], np.maximum(frames[1], frames[2])[0])


def open_files(below: Path) -> int:
    """How many descriptors of this process lead below a folder: others may come and go with what other tests left to the collector."""
    targets = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(entry.readlink()))
    return sum(target.startswith(f"{below}/") for target in targets)


def test_files_are_closed_whatever_happens(tmp_path: Path) -> None:
    paths = write(tmp_path, stack("u2"), GAIN=100)
    odd = tmp_path / "odd"
    odd.mkdir()
    other = write(odd, stack("u2", 1), GAIN=200)
    combine(paths)
    with pytest.raises(Refused, match=r"gain setting: frame0\.fits has GAIN 200, 5 of 6 have GAIN 100"):
        combine([*paths, *other])
    with pytest.raises(Refused):
        combine(paths, method="quantile", quantile=3)
    assert open_files(tmp_path) == 0


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, stack("u2"))
    paths[1].write_bytes(paths[1].read_bytes()[:4000])
    with pytest.raises(RejectedInput, match=r"frame1\.fits.*cut short"):
        combine(paths)


@pytest.mark.parametrize("kernel", ["auto", "numpy"])
def test_many_frames_do_not_hold_many_files_open(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_OPEN", 3)
    frames = stack("u2", 9)
    paths = write(tmp_path, frames)
    opened = opening.open_all(paths)
    assert open_files(tmp_path) == 3
    opening.close_all(opened)
    got = combine(paths, kernel=kernel, memory_bytes=1 << 14)
    np.testing.assert_array_equal(got.result, combine(frames).result)
    assert open_files(tmp_path) == 0


@pytest.mark.parametrize("kernel", ["auto", "numpy"])
def test_a_file_that_changes_meanwhile_is_noticed(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_OPEN", 1)
    paths = write(tmp_path, stack("u2", 3))

    def touch(frames: Any) -> None:
        os.utime(paths[2], ns=(1, 1))

    monkeypatch.setattr(opening, "_check_agreement", touch)
    with pytest.raises(TransientError, match=r"frame2\.fits: changed"):
        combine(paths, kernel=kernel)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=st.sampled_from(["u1", "u2", "i4", "f4"]), in_files=st.booleans())
def test_any_window_is_cut_alike_by_both_kernels(data: st.DataObject, dtype: str, in_files: bool, tmp_path: Path) -> None:
    x0, y0 = data.draw(st.integers(0, SHAPE[1] - 1)), data.draw(st.integers(0, SHAPE[0] - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, SHAPE[1])), data.draw(st.integers(y0 + 1, SHAPE[0]))
    frames = stack(dtype, 4)
    folder = tmp_path / f"{dtype}"
    if in_files and not folder.exists():
        folder.mkdir()
        write(folder, frames)
    places: list[Any] = sorted(folder.glob("*.fits")) if in_files else frames
    cut = [ArraySource(data=place, window=(x0, x1, y0, y1)) for place in places]
    plain, compiled = (combine(cut, kernel=kernel, memory_bytes=1 << 12) for kernel in ("numpy", "auto"))
    np.testing.assert_array_equal(plain.result, compiled.result)
    np.testing.assert_array_equal(plain.result, combine([frame[y0:y1, x0:x1] for frame in frames]).result)
    same = fit_pixels([frame[y0:y1, x0:x1] for frame in frames], line([1, 2, 3, 4])).coefficients
    np.testing.assert_array_equal(fit_pixels(cut, line([1, 2, 3, 4]), memory_bytes=1 << 12).coefficients, same)


def most_held_at_once(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kernel", ["auto", "numpy"])
def test_fifty_frames_are_combined_within_the_budget(kernel: Any, tmp_path: Path) -> None:
    """Fifty bias frames of 2 MB with 4 MB for their rows: what is held at once does not depend on how many there are.

    Growth is measured on one thread: whether two hold their rows at the same moment is chance, and chance is not growth.
    """
    rng = np.random.default_rng(7)
    kinds = [rng.normal(1000, 5, (1000, 1000)).astype("u2") for _ in range(5)]
    paths, budget = write(tmp_path, kinds), 4 << 20

    def combined(count: int, threads: int) -> Any:
        frames = [paths[k % 5] for k in range(count)]
        return combine(frames, method="median", kernel=kernel, planes=("result",), memory_bytes=budget, threads=threads).result

    np.testing.assert_array_equal(combined(50, 2), np.median(np.array(kinds), axis=0))
    few, many = (most_held_at_once(partial(combined, count, 1)) for count in (10, 50))
    assert many < few + (1 << 20)
    for threads in (1, 2):
        most = most_held_at_once(partial(combined, 50, threads))
        assert (
            most < np.zeros_like(kinds[0], dtype=np.float32).nbytes + 3 * budget
        )  # the rows as they are stored, and what numpy makes of them where no compiler is
        assert most < 50 * kinds[0].nbytes / 5
