"""Affine resampling: against scipy, against itself in slabs, and what happens to flags and noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from nightcrew.calibration.kernels.library import library
from nightcrew.calibration.kernels.resample import resample_affine, rows_needed
from nightcrew.frames.flags import PixelFlag

OUTSIDE = int(PixelFlag.EDGE | PixelFlag.NO_DATA)
KERNELS = ["numpy", pytest.param("c", marks=pytest.mark.skipif(library() is None, reason="no C compiler here"))]


def transform(angle_deg: float, scale: float, dx: float, dy: float) -> NDArray[np.float64]:
    c, s = scale * math.cos(math.radians(angle_deg)), scale * math.sin(math.radians(angle_deg))
    return np.array([[c, -s, dx], [s, c, dy]])


def image(shape: tuple[int, int] = (40, 50)) -> NDArray[np.float32]:
    return np.random.default_rng(4).normal(100, 10, shape).astype(np.float32)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("back", [transform(0, 1, 3.3, -2.7), transform(7, 1.01, 2, 5), transform(180, 1, 48.6, 38.2)])
def test_equals_scipy_where_both_are_inside(back: NDArray[np.float64], kernel: str) -> None:
    data = image()
    got = resample_affine(data, back, kernel=kernel).image
    (a, b, c), (d, e, f) = back
    want = affine_transform(data.astype(float), [[e, d], [b, a]], offset=(f, c), order=1, mode="constant", cval=np.nan)
    both = np.isfinite(got) & np.isfinite(want)
    assert both.mean() > 0.5
    np.testing.assert_allclose(got[both], want[both], rtol=1e-6)
    assert (np.isfinite(got) != np.isfinite(want)).mean() < 0.01


@pytest.mark.parametrize("kernel", KERNELS)
def test_whole_pixels_are_copied_with_their_flags(kernel: str) -> None:
    data, mask = image(), np.zeros((40, 50), np.uint16)
    data[10, 10], mask[10, 10] = np.nan, PixelFlag.COSMIC_RAY
    got = resample_affine(data, transform(0, 1, 3 + 1e-9, -2 - 1e-9), mask=mask, uncertainty=data, kernel=kernel)
    np.testing.assert_array_equal(got.image[2:, :47], data[:38, 3:])
    assert got.uncertainty is not None
    np.testing.assert_allclose(got.uncertainty[2:, :47], data[:38, 3:], rtol=1e-6)
    assert got.mask[12, 7] == PixelFlag.COSMIC_RAY
    assert (got.mask != 0).sum() == 1 + 40 * 50 - 38 * 47
    assert (got.mask[:2] == OUTSIDE).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_flags_reach_every_pixel_that_takes_from_them(kernel: str) -> None:
    mask = np.zeros((9, 9), np.uint16)
    mask[4, 4] = PixelFlag.HOT
    got = resample_affine(np.ones((9, 9)), transform(0, 1, 0.25, 0.25), mask=mask, kernel=kernel)
    assert np.argwhere(got.mask == PixelFlag.HOT).tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    got = resample_affine(np.ones((9, 9)), transform(0, 1, 0.25, 0), mask=mask, kernel=kernel)
    assert np.argwhere(got.mask == PixelFlag.HOT).tolist() == [[4, 3], [4, 4]]


def test_noise_of_pixels_and_of_sums() -> None:
    data, sigma = np.random.default_rng(0).normal(0, 5, (300, 300)), np.full((300, 300), 5.0)
    back = transform(0, 1, 0.5, 0.5)
    got = resample_affine(data, back, uncertainty=sigma, smoothed_noise=True)
    inner = got.image[:290, :290].astype(float)
    assert got.uncertainty is not None
    assert inner.std() == pytest.approx(float(got.uncertainty[5, 5]), rel=0.02)
    sums = inner.reshape(29, 10, 29, 10).sum(axis=(1, 3))
    whole = resample_affine(data, back, uncertainty=sigma).uncertainty
    assert whole is not None
    assert sums.std() == pytest.approx(10 * float(whole[5, 5]), rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    angle=st.sampled_from([0.0, 0.3, -2.0, 45.0, 180.0]),
    dx=st.floats(-60, 60),
    dy=st.floats(-60, 60),
    n_rows=st.integers(1, 40),
    scale=st.sampled_from([1.0, 0.9, 1.3]),
)
def test_kernels_and_slabs_agree(angle: float, dx: float, dy: float, n_rows: int, scale: float) -> None:
    data, back = image(), transform(angle, scale, dx, dy)
    mask = (np.random.default_rng(1).random(data.shape) < 0.05).astype(np.uint16)
    whole = resample_affine(data, back, mask=mask, uncertainty=data, nx=30, kernel="numpy")
    parts = []
    for y0 in range(0, 40, n_rows):
        y1 = min(40, y0 + n_rows)
        first, last = rows_needed(back, y0, y1, 30, (40, 50))
        part = slice(first, last) if first < last else slice(0, 40)
        options: dict[str, Any] = {"mask": mask[part], "uncertainty": data[part]}
        parts.append(resample_affine(data[part], back, **options, rows=(y0, y1), nx=30, first_row=first, frame_rows=40))
    for name in ("image", "uncertainty", "mask"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))


def test_missing_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="are needed"):
        resample_affine(image()[:10], transform(0, 1, 0, 0), frame_rows=40)
    with pytest.raises(ValueError, match="one shape"):
        resample_affine(image(), transform(0, 1, 0, 0), mask=np.zeros((2, 2)))
