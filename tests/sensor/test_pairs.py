"""Variance, clipping, bands and covariances of a pair, against plain definitions."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nightcrew.sensor.covariances import CovarianceSums
from nightcrew.sensor.frames import SensorFrame, Window, of_array
from nightcrew.sensor.pairs import PairOptions, PairStatistics, clip_factor, pair_statistics
from nightcrew.simulate.sensor import SensorModel, build_sensor

Image = NDArray[Any]


def frame(image: Image) -> SensorFrame:
    return of_array(image, name="a", kind="flat", exposure_s=1.0, temperature_c=-10.0)


def measure(one: Image, two: Image, offset: float = 0.0, **options: Any) -> PairStatistics:
    window = Window(0, one.shape[1], 0, one.shape[0])
    return pair_statistics(frame(one), frame(two), [window], offset, PairOptions(**options))


def noise(sigma: float, seed: int, shape: tuple[int, int] = (200, 220), level: float = 1000.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(level, sigma, shape)


def test_variance_equals_the_plain_one_without_clipping() -> None:
    one, two = noise(10, 1), noise(10, 2)
    found = measure(one, two, scale=False, clip_sigma=30.0)
    assert found.variance == pytest.approx(np.var(one - two, ddof=1) / 2, rel=1e-5)
    assert found.variance_error == pytest.approx(found.variance * math.sqrt(2 / one.size), rel=0.05)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 40), st.floats(-300, 3000), st.integers(0, 1000))
def test_an_offset_changes_nothing(sigma: float, offset: float, seed: int) -> None:
    one, two = noise(sigma, seed, (60, 60)), noise(sigma, seed + 5000, (60, 60))
    plain, moved = measure(one, two, scale=False), measure(one + offset, two + offset, scale=False)
    assert moved.variance == pytest.approx(plain.variance, rel=2e-3)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 1000))
def test_variance_goes_with_the_square_of_a_factor(factor: float, seed: int) -> None:
    one, two = noise(20, seed, (60, 60)), noise(20, seed + 5000, (60, 60))
    assert measure(factor * one, factor * two).variance == pytest.approx(factor**2 * measure(one, two).variance, rel=1e-3)


def test_fixed_pattern_and_lamp_drift_cancel() -> None:
    pattern = 1 + np.random.default_rng(7).normal(0, 0.05, (200, 220))
    one, two = 10_000 * pattern + noise(50, 1, level=100), 10_800 * pattern + noise(50, 2, level=100)
    found = measure(one, two, offset=100.0)
    assert found.variance == pytest.approx(2500, rel=0.03)
    assert found.ratio == pytest.approx(10_000 / 10_800, rel=1e-3)


@pytest.mark.parametrize(("sigma", "kept"), [(3.0, 0.9733369), (4.0, 0.998929), (5.0, 0.9999851)])
def test_share_of_a_gaussian_that_a_clip_keeps(sigma: float, kept: float) -> None:
    assert clip_factor(sigma) == pytest.approx(kept, abs=1e-6)


@pytest.mark.parametrize("sigma", [3.0, 4.0, 5.0])
def test_what_the_clip_takes_is_put_back(sigma: float) -> None:
    one, two = noise(10, 1, (500, 500)), noise(10, 2, (500, 500))
    assert measure(one, two, scale=False, clip_sigma=sigma).variance == pytest.approx(100, rel=4 * math.sqrt(2 / 250_000))


def test_cosmic_rays_leave_with_their_neighbours() -> None:
    one, two = noise(5, 1), noise(5, 2)
    one[50, 60:64] += 4000
    found = measure(one, two, scale=False)
    assert found.clipped + found.defects == 4 + 2 + 8
    assert found.variance == pytest.approx(25, rel=0.03)


def test_hot_pixels_leave_by_their_level() -> None:
    one, two = noise(5, 1), noise(5, 2)
    one[3, 4] = two[3, 4] = 9000.0
    assert measure(one, two, scale=False).defects == 1


def test_saturated_pixels_are_counted_and_kept() -> None:
    one = np.full((64, 64), 65535, np.uint16)
    found = measure(one, one, saturation_adu=65535.0)
    assert found.saturated_fraction == 1.0
    assert found.variance == 0.0


@pytest.mark.parametrize("rows", [True, False])
def test_bands_are_recognised_and_taken_out(rows: bool) -> None:
    one, two = noise(10, 1), noise(10, 2)
    wave = 6 * np.sin(np.arange(one.shape[0 if rows else 1]) / 3)
    one += wave[:, None] if rows else wave[None, :]
    found = measure(one, two, scale=False)
    assert found.bands is not None
    assert (found.bands.found_rows, found.bands.found_columns) == (rows, not rows)
    assert found.variance == pytest.approx(100, rel=0.03)
    assert max(found.bands.row_rms, found.bands.column_rms) == pytest.approx(6 / math.sqrt(2) / math.sqrt(2), rel=0.15)
    assert measure(one, two, scale=False, flatten_bands=False).variance > 106


def test_no_bands_where_there_are_none() -> None:
    found = [measure(noise(10, n), noise(10, n + 100), scale=False).bands for n in range(20)]
    assert all(bands is not None and not bands.found for bands in found)


def test_covariances_equal_their_definition() -> None:
    image = np.random.default_rng(3).normal(size=(61, 50)).astype(np.float32)
    sums = CovarianceSums.empty(4, 50)
    for y in range(0, 61, 7):
        sums.add(image[y : y + 7])
    found = sums.mean(image.size, 0.0)
    for i in range(5):
        for j in range(5):
            right = image[: 61 - i, : 50 - j] * image[i:, j:]
            left = image[: 61 - i, j:] * image[i:, : 50 - j]
            assert found[i, j] == pytest.approx((right.mean() + left.mean()) / 2, abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 61))
def test_covariances_do_not_depend_on_the_strips(step: int) -> None:
    image = np.random.default_rng(3).normal(size=(61, 30)).astype(np.float32)
    sums, whole = CovarianceSums.empty(3, 30), CovarianceSums.empty(3, 30)
    whole.add(image)
    for y in range(0, 61, step):
        sums.add(image[y : y + step])
    assert np.allclose(sums.sums, whole.sums, rtol=1e-4, atol=1e-3)


def test_covariance_of_a_smoothed_image() -> None:
    sharp = [noise(20, n, (300, 301), level=0.0) for n in (1, 2)]
    one, two = (image[:, 1:] + 0.5 * image[:, :-1] + 5000 for image in sharp)
    found = measure(one, two, scale=False, max_lag=2).covariances
    assert found is not None
    assert found[0, 0] == pytest.approx(400 * 1.25, rel=0.03)
    assert found[0, 1] == pytest.approx(400 * 0.5, rel=0.05)
    assert abs(found[1, 0]) < 8
    assert abs(found[0, 2]) < 8


def test_windows_of_a_region_are_put_together() -> None:
    one, two = noise(10, 1), noise(10, 2)
    one[:, 110:], two[:, 110:] = noise(20, 3)[:, 110:], noise(20, 4)[:, 110:]
    halves = [Window(0, 110, 0, 200), Window(110, 220, 0, 200)]
    found = pair_statistics(frame(one), frame(two), halves, 0.0, PairOptions(scale=False))
    assert found.variance == pytest.approx((100 + 400) / 2, rel=0.03)


def test_simulated_bright_fat_covariances_lose_no_light() -> None:
    kernel = SensorModel(bright_fat_per_e=-2e-6).bright_fat_kernel()
    assert kernel.sum() == pytest.approx(0.0, abs=1e-20)
    sensor = build_sensor(SensorModel(bright_fat_per_e=-2e-6, prnu=0.0, dark_rate_e_per_s=0.0), 1)
    assert sensor.flat(50_000, 1.0, -10.0, 1).mean() == pytest.approx(1000 + 50_000 / 1.5, rel=1e-3)


def test_blank_integers_of_files_are_no_values(tmp_path: Path) -> None:
    frames, arrays = [], []
    for k in range(2):
        pixels = np.rint(noise(10, k)).astype(np.int16)
        pixels[50 + k, 60:90] = -5
        fits.writeto(tmp_path / f"{k}.fits", pixels, fits.Header([("BLANK", -5)]))
        arrays.append(np.where(pixels == -5, np.nan, pixels.astype(np.float32)))
        frames.append(dataclasses.replace(frame(arrays[-1]), data=None, path=tmp_path / f"{k}.fits"))
    window = [Window(0, 220, 0, 200)]
    found = pair_statistics(frames[0], frames[1], window, 0.0, PairOptions())
    expected = measure(arrays[0], arrays[1])
    assert [found.variance, found.variance_error, found.level] == [expected.variance, expected.variance_error, expected.level]
    assert found.variance == pytest.approx(100, rel=4 * math.sqrt(2 / arrays[0].size))
