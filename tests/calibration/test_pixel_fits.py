"""Per-pixel fits: exact planes come back, errors are those of polyfit and of the scatter, kernels and masks agree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.calibration.kernels.library import library
from nightcrew.calibration.normalisation import FrameCalibration
from nightcrew.calibration.pixel_fits import fit_pixels, line, two_variables
from nightcrew.calibration.sources import ArraySource
from nightcrew.errors import Refused

KERNELS = ["numpy", pytest.param("c", marks=pytest.mark.skipif(library() is None, reason="no C compiler here"))]
SHAPE = (23, 31)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_dark_line_of_the_handbook(kernel: str) -> None:
    """11.8, 17.8, 23.6 at 60, 120, 180 s: 5.9333 and 0.09833, errors by scatter 0.125 and 0.00096, for sigma 1 1.5275 and 0.01179."""
    frames = [np.full(SHAPE, value) for value in (11.8, 17.8, 23.6)]
    got = fit_pixels(frames, line([60, 120, 180]), kernel=kernel)
    assert got.errors is not None
    assert got.coefficients[:, 0, 0] == pytest.approx([5.93333, 0.0983333], rel=1e-5)
    assert got.errors[:, 0, 0] == pytest.approx([0.12472, 0.000962], rel=1e-3)
    known = fit_pixels(frames, line([60, 120, 180]), frame_sigma=[1, 1, 1], kernel=kernel)
    assert known.errors is not None
    assert known.errors[:, 0, 0] == pytest.approx([1.52753, 0.0117851], rel=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 0.7)])
def test_equals_polyfit_with_its_errors(weights: tuple[float, ...] | None, kernel: str) -> None:
    rng = np.random.default_rng(2)
    x = np.array([1.0, 2, 5, 10, 60, 120, 300])
    frames = [rng.integers(900, 1100, SHAPE).astype(np.uint16) + np.uint16(2 * t) for t in x]
    got = fit_pixels(frames, line(x.tolist()), frame_sigma=weights, kernel=kernel)
    w = None if weights is None else 1 / np.array(weights)
    for y0, x0 in ((0, 0), (5, 7), (22, 30)):
        values = np.array([float(frame[y0, x0]) for frame in frames])
        want, cov = np.polyfit(x, values, 1, w=w, cov=True if weights is None else "unscaled")
        assert got.coefficients[:, y0, x0] == pytest.approx(want[::-1], rel=1e-5)
        assert got.errors is not None
        assert got.errors[:, y0, x0] == pytest.approx(np.sqrt(np.diag(cov))[::-1], rel=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("product", [False, True])
def test_two_variables_come_back(product: bool, kernel: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 300, 12), rng.uniform(-20, 5, 12)
    truth = rng.normal(0, 1, (4, *SHAPE)) * np.array([100, 0.5, 3, 0.01 * product])[:, None, None]
    frames = [truth[0] + truth[1] * a + truth[2] * b + truth[3] * a * b for a, b in zip(x, y, strict=True)]
    got = fit_pixels(frames, two_variables(x.tolist(), y.tolist(), product=product), kernel=kernel)
    for j in range(len(got.names)):
        np.testing.assert_allclose(got.coefficients[j], truth[j], rtol=1e-5, atol=1e-6)
    assert got.scatter is not None
    assert float(np.max(got.scatter)) < 1e-9


@pytest.mark.parametrize("kernel", KERNELS)
def test_errors_tell_the_scatter_of_the_coefficients(kernel: str) -> None:
    rng = np.random.default_rng(4)
    x = [0.0, 1, 2, 4, 8, 16, 32, 64]
    frames = [rng.normal(300 + 2 * t, 5, (150, 150)).astype(np.float32) for t in x]
    got = fit_pixels(frames, line(x), kernel=kernel)
    assert got.errors is not None
    for j, true in enumerate((300, 2)):
        predicted = math.sqrt(float(np.mean(got.errors[j].astype(float) ** 2)))
        assert float(np.std(got.coefficients[j].astype(float) - true)) == pytest.approx(predicted, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["u2", ">u2", "f4", "f8"]), known=st.booleans())
def test_masked_pixels_use_the_frames_they_have_and_kernels_agree(seed: int, dtype: str, known: bool) -> None:
    rng = np.random.default_rng(seed)
    n, x = 8, rng.uniform(0, 100, 8)
    dark = rng.normal(10, 1, SHAPE).astype(np.float32)
    data = [rng.normal(200 + 3 * t, 4, SHAPE).astype(dtype) for t in x]
    masks = [(rng.random(SHAPE) < 0.15).astype(np.uint16) for _ in range(n)]
    masks[0][0, 0] = 0
    for mask in masks[1:]:
        mask[0, 0] = 1
    sources = [ArraySource(data=d, mask=m, saturation=495) for d, m in zip(data, masks, strict=True)]
    options: dict[str, Any] = {"per_frame": [FrameCalibration(subtract=[(dark, 1.5)])] * n, "frame_sigma": [2.0] * n if known else None}
    got = fit_pixels(sources, line(x.tolist()), kernel="numpy", **options)
    assert got.errors is not None
    assert np.isnan(got.coefficients[:, 0, 0]).all()
    for y0, x0 in ((3, 4), (10, 20)):
        good = [not m[y0, x0] and d[y0, x0] < 495 for d, m in zip(data, masks, strict=True)]
        assert got.count[y0, x0] == sum(good)
        values = np.array([float(d[y0, x0]) - 1.5 * float(dark[y0, x0]) for d in data])
        if sum(good) > 3:
            want, cov = np.polyfit(x[good], values[good], 1, w=np.full(sum(good), 0.5), cov="unscaled" if known else True)
            assert got.coefficients[:, y0, x0] == pytest.approx(want[::-1], rel=1e-4, abs=1e-4)
            assert got.errors[:, y0, x0] == pytest.approx(np.sqrt(np.diag(cov))[::-1], rel=1e-4, abs=1e-6)
    other = fit_pixels(sources, line(x.tolist()), memory_bytes=1 << 14, **options)
    for name in ("coefficients", "errors", "scatter", "count"):
        np.testing.assert_allclose(getattr(got, name), getattr(other, name), rtol=2.0**-22)


def test_files_and_arrays_alike_and_without_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frames = [rng.integers(0, 60000, SHAPE, dtype=np.uint16) for _ in range(5)]
    paths = []
    for number, frame in enumerate(frames):
        paths.append(tmp_path / f"{number}.fits")
        fits.PrimaryHDU(frame).writeto(paths[-1])
    from_files, from_arrays = fit_pixels(paths, line([1, 2, 3, 4, 5])), fit_pixels(frames, line([1, 2, 3, 4, 5]), errors=False)
    np.testing.assert_array_equal(from_files.coefficients, from_arrays.coefficients)
    assert from_arrays.errors is None
    assert from_arrays.scatter is None


def test_what_cannot_be_fitted_is_refused() -> None:
    frames = [np.zeros(SHAPE)] * 3
    with pytest.raises(Refused, match="do not determine constant, slope"):
        fit_pixels(frames, line([5, 5, 5]))
    with pytest.raises(Refused, match="for 2 frames, there are 3"):
        fit_pixels(frames, line([1, 2]))
    with pytest.raises(Refused, match="above 0"):
        fit_pixels(frames, line([1, 2, 3]), frame_sigma=[1, 0, 1])
    with pytest.raises(Refused, match="1 calibrations"):
        fit_pixels(frames, line([1, 2, 3]), per_frame=[None])
    with pytest.raises(Refused, match="calibration plane"):
        fit_pixels(frames, line([1, 2, 3]), per_frame=[FrameCalibration(divide=np.ones((2, 2), np.float32))] * 3)
    with pytest.raises(Refused, match="one variable"):
        two_variables([1, 2], [1])
