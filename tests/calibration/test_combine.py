"""Combining: every method against its plain definition, on every pixel, for all kinds of frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.calibration.combine import combine, combine_to
from nightcrew.calibration.job import Kernel
from nightcrew.calibration.kernels.library import library
from nightcrew.calibration.kernels.slab import OutRows
from nightcrew.calibration.methods import Clip, DropExtremes, SigmaClip
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from tests.calibration import reference

METHODS = ["mean", "median", "sum", "min", "max", "quantile", "std", "var", "root_mean_square"]
CLIPS: list[Clip | None] = [None, SigmaClip(low=3, high=3), SigmaClip(low=1.5, high=2.5), DropExtremes(low=1, high=2), DropExtremes(high=1)]
DTYPES = ["u1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">u2", ">f4"]
KERNELS = ["numpy", pytest.param("c", marks=pytest.mark.skipif(library() is None, reason="no C compiler here"))]


def sample(rng: np.random.Generator, dtype: str, n: int, shape: tuple[int, int] = (6, 7)) -> list[NDArray[Any]]:
    """Frames with noise, outliers, ties and, for floats, NaN."""
    kind = np.dtype(dtype)
    frames = []
    for _ in range(n):
        values = rng.normal(100, 8, shape)
        values[rng.random(shape) < 0.08] *= 2.4
        if kind.kind == "f":
            values[rng.random(shape) < 0.1] = np.nan
        else:
            values = np.clip(np.rint(values), 0, 255)
        frames.append(values.astype(kind))
    return frames


def assert_equal_to_reference(frames: list[NDArray[Any]], method: str, clip: Clip | None, kernel: Kernel) -> None:
    got = combine(frames, method=method, clip=clip, quantile=0.3, kernel=kernel)
    want = reference.combine([frame.astype(float) for frame in frames], method, clip, 0.3)
    assert got.count is not None
    np.testing.assert_array_equal(got.count, want["count"])
    tolerance = 2.0**-22  # two units in the last place of float32
    np.testing.assert_allclose(got.result, want["result"], rtol=tolerance, atol=0.0)
    if method in ("mean", "median", "sum"):
        assert got.uncertainty is not None
        np.testing.assert_allclose(got.uncertainty, want["uncertainty"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_equals_the_definition_for_every_type(dtype: str, clip: Clip | None, kernel: Kernel) -> None:
    rng = np.random.default_rng(1)
    for method in ("mean", "median"):
        assert_equal_to_reference(sample(rng, dtype, 8), method, clip, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [4, 5, 11])
def test_equals_the_definition_for_every_method(method: str, n: int, kernel: Kernel) -> None:
    rng = np.random.default_rng(n)
    for dtype in ("u2", "f4"):
        for clip in CLIPS:
            assert_equal_to_reference(sample(rng, dtype, n), method, clip, kernel)


ADVERSARIAL: dict[str, list[float]] = {
    "all equal": [7] * 9,
    "ties": [5, 5, 5, 6, 6, 6, 9, 9, 60],
    "one far out": [1000.0] * 8 + [65535.0],
    "exactly on the limit": [7, 7, 7, 7, 10],
    "saturated": [65535] * 9,
    "zeros and full scale": [0, 65535] * 5,
    "two": [3.0, 9],
    "one": [11],
}


LIMITS = [SigmaClip(low=2.5, high=2.5), SigmaClip(low=0.5, high=0.5), SigmaClip(low=1, high=5, iterations=1)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("clip", LIMITS, ids=str)
def test_adversarial_columns(name: str, clip: Clip, kernel: Kernel) -> None:
    for dtype in ("u2", "f4", "f8"):
        frames = [np.full((1, 3), value, dtype) for value in ADVERSARIAL[name]]
        for method in ("mean", "median", "std"):
            assert_equal_to_reference(frames, method, clip, kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_deviations_that_vanish_in_float32_are_seen(kernel: Kernel) -> None:
    """The deviations from 16,777,216 are smaller than float32 resolves in sums of squares of the values themselves."""
    base = 2.0**24
    column = [base, base + 2, base - 1, base + 2, base, base - 1, base + 4, base, base + 2, base + 30]
    frames = [np.full((2, 2), value, np.float32) for value in column]
    for k in (2.0, 2.5, 2.9, 3.0):
        assert_equal_to_reference(frames, "mean", SigmaClip(low=k, high=k), kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_sigma_clip_of_any_integers(kernel: Kernel, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    values = st.sampled_from([0, 1, 2, 3, 100, 101, 32767, 32768, 65534, 65535])
    columns = np.array(data.draw(st.lists(st.lists(values, min_size=n, max_size=n), min_size=1, max_size=4)), dtype=np.uint16)
    k = data.draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5, 3.0]))
    frames = [np.ascontiguousarray(row[None]) for row in columns.T]
    assert_equal_to_reference(frames, "mean", SigmaClip(low=k, high=k), kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["u2", "f4", "f8"]), method=st.sampled_from(METHODS))
def test_order_slabs_and_threads_do_not_matter(kernel: Kernel, seed: int, dtype: str, method: str) -> None:
    rng = np.random.default_rng(seed)
    frames = sample(rng, dtype, 9, (40, 30))
    clip = CLIPS[seed % len(CLIPS)]
    options: dict[str, Any] = {"method": method, "clip": clip, "quantile": 0.7, "kernel": kernel}
    one = combine(frames, threads=1, **options)
    other = combine([frames[i] for i in rng.permutation(9)], threads=2, memory_bytes=1 << int(rng.integers(10, 16)), **options)
    for plane in ("result", "uncertainty", "count", "mask"):
        assert getattr(one, plane).tobytes() == getattr(other, plane).tobytes()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 31, 32, 33, 64, 65])
def test_median_is_numpys(n: int, kernel: Kernel) -> None:
    rng = np.random.default_rng(n)
    frames = [rng.integers(0, 65536, (33, 35), dtype=np.uint16) for _ in range(n)]
    got = combine(frames, planes=("result",), kernel=kernel)
    np.testing.assert_array_equal(got.result, np.median(np.stack(frames), axis=0).astype(np.float32))
    assert got.uncertainty is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_masks_nan_and_saturation_leave_pixels_out(kernel: Kernel) -> None:
    data = np.array([[1.0, 2.0, np.nan, np.inf, 50.0]], np.float32)
    mask = np.array([[0, PixelFlag.HOT, 0, 0, 0]], np.uint16)
    got = combine([ArraySource(data=data, mask=mask, saturation=50.0)], method="mean", kernel=kernel)
    np.testing.assert_array_equal(got.result, [[1, np.nan, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(got.count, [[1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(got.mask, [[0] + [PixelFlag.NO_DATA.value] * 4])
    assert got.uncertainty is not None
    assert np.isnan(got.uncertainty).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_column_that_a_clip_empties_is_rejected(kernel: Kernel) -> None:
    frames = [np.array([[1.0, 1.0]], np.float32), np.array([[2.0, np.nan]], np.float32), np.array([[3.0, np.nan]], np.float32)]
    got = combine(frames, clip=DropExtremes(high=2), kernel=kernel)
    np.testing.assert_array_equal(got.result, [[1, np.nan]])
    np.testing.assert_array_equal(got.mask, [[0, PixelFlag.REJECTED.value]])


@pytest.mark.parametrize("kernel", KERNELS)
def test_frame_calibration_comes_first(kernel: Kernel) -> None:
    raw = [np.full((2, 3), 1000 + 10 * i, np.uint16) for i in range(3)]
    bias, dark, flat = np.full((2, 3), 100, np.float32), np.full((2, 3), 2, np.float32), np.full((2, 3), 2, np.float32)
    flat[0, 0], bias[1, 1] = 0, np.nan
    steps = [FrameCalibration(subtract=[(bias, 1.0), (dark, 5.0 * i)], divide=flat, scale=3.0, shift=1.0) for i in range(3)]
    got = combine(raw, method="mean", per_frame=steps, kernel=kernel)
    want = np.full((2, 3), 900 / 2 * 3.0 + 1, np.float32)
    want[0, 0] = want[1, 1] = np.nan
    np.testing.assert_array_equal(got.result, want)
    assert got.mask is not None
    assert got.mask[0, 0] == PixelFlag.NO_DATA


def test_a_window_is_a_window() -> None:
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 99, (9, 8), dtype=np.uint16) for _ in range(5)]
    masks = [rng.random((9, 8)) < 0.2 for _ in range(5)]
    whole = combine([ArraySource(data=f, mask=m) for f, m in zip(frames, masks, strict=True)])
    part = combine([ArraySource(data=f, mask=m, window=(2, 7, 1, 6)) for f, m in zip(frames, masks, strict=True)])
    np.testing.assert_array_equal(part.result, whole.result[1:6, 2:7])


def test_uncertainties_are_right_for_normal_noise() -> None:
    """Over many columns the mean variance equals the true variance of the result."""
    rng = np.random.default_rng(8)
    for method, n in (("mean", 6), ("median", 5), ("median", 10), ("std", 12)):
        frames = [rng.normal(500, 10, (200, 200)).astype(np.float32) for _ in range(n)]
        got = combine(frames, method=method)
        assert got.uncertainty is not None
        predicted = math.sqrt(float(np.mean(got.uncertainty.astype(float) ** 2)))
        assert predicted == pytest.approx(float(np.std(got.result.astype(float))), rel=0.02)


def test_frames_that_do_not_agree_are_named() -> None:
    good, odd = np.zeros((4, 5), np.uint16), np.zeros((5, 4), np.uint16)
    with pytest.raises(Refused, match=r"size: odd\.fits has 4 x 5 pixels, 2 of 3 have 5 x 4"):
        combine([good, ArraySource(data=odd, name="odd.fits"), good])
    with pytest.raises(Refused, match="unit: frame 1 has adu"):
        combine([ArraySource(data=good, unit=unit) for unit in ("adu", "electron", "electron")])
    with pytest.raises(Refused, match="gain setting: frame 3 has 200"):
        combine([ArraySource(data=good, gain_setting=gain) for gain in ("100", "100", "200")])


def test_bad_options_are_refused_in_one_sentence() -> None:
    frames = [np.zeros((2, 2), np.uint16)] * 3
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"method": "middle"}, "no method 'middle'"),
        ({"method": "quantile"}, "number from 0 to 1"),
        ({"clip": DropExtremes(low=1, high=2)}, "leaves nothing"),
        ({"planes": ("errors",)}, "no plane 'errors'"),
        ({"per_frame": [None]}, "1 calibrations for 3 frames"),
        ({"per_frame": [FrameCalibration(divide=np.ones((3, 3), np.float32))] * 3}, "calibration plane"),
        ({"dtype": "f2"}, "f4 or f8"),
        ({"threads": 0}, "at least one thread"),
    ]
    for options, words in mistakes:
        with pytest.raises(Refused, match=words):
            combine(frames, **options)
    with pytest.raises(Refused, match="no frame"):
        combine([])
    with pytest.raises(RejectedInput, match="complex"):
        combine([np.zeros((2, 2), complex)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_rows_can_be_given_away_as_they_are_done(dtype: str, kernel: Any) -> None:
    frames = sample(np.random.default_rng(2), dtype, 7, (50, 31))
    seen: dict[int, OutRows] = {}
    infos = combine_to(seen.__setitem__, frames, method="mean", memory_bytes=4000, planes=("result", "mask"), kernel=kernel)
    want = combine(frames, method="mean", kernel=kernel)
    assert len(seen) > 1
    np.testing.assert_array_equal(np.concatenate([seen[y].result for y in sorted(seen)]), want.result)
    assert all(rows.uncertainty is None and rows.mask is not None for rows in seen.values())
    assert infos == want.frames


def test_an_error_in_the_sink_is_raised() -> None:
    def sink(y0: int, rows: OutRows) -> None:
        raise OSError(f"disk full at {y0}, {rows.result.shape}")

    with pytest.raises(OSError, match="disk full"):
        combine_to(sink, [np.zeros((40, 40), np.uint16)] * 3, memory_bytes=4000)
