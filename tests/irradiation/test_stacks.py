"""Stacks of frames: noise with its errors, outliers with their stated rate, hits taken out, hot pixels and what heals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.irradiation.annealing import fit_annealing, recovered
from nightcrew.irradiation.hits import hot_from, mean_without_hits
from nightcrew.irradiation.hot_pixels import exponential_tail, growth, hot_limit, hot_mask
from nightcrew.irradiation.moments import stack_noise
from nightcrew.irradiation.open_frames import OpenFrames
from nightcrew.irradiation.outliers import Prior, estimate_prior, find_outliers, levels_removed
from nightcrew.irradiation.stacks import frame_numbers, stored_step


def frames(rng: np.random.Generator, n: int, pixels: int, sigma: float | np.ndarray = 5.0) -> np.ndarray:
    return (1000 + rng.standard_normal((n, pixels)) * sigma).astype(np.float32)


def with_hits(rng: np.random.Generator, n: int, pixels: int, rate: float = 0.05) -> np.ndarray:
    """Normal noise of 5, and hits of 300 +- 200 (gamma) at ``rate`` a pixel and frame."""
    values = frames(rng, n, pixels)
    count = rng.poisson(rate, values.shape)
    shape, scale = (300 / 200) ** 2, 200**2 / 300
    values += np.where(count > 0, rng.gamma(np.maximum(count, 1) * shape, scale), 0).astype(np.float32)
    return values


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_noise_and_its_error_for_normal_noise(n: int) -> None:
    tries, pulls = 60, []
    for seed in range(tries):
        found = stack_noise(frames(np.random.default_rng(seed), n, 2000).reshape(n, 40, 50))
        pulls.append((found.variance - 25) / found.variance_error)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(tries)
    assert abs(np.std(pulls) - 1) < 4 / math.sqrt(2 * tries)


def test_errors_and_covariance_of_level_and_noise_with_hits() -> None:
    # hits make the noise skew: level and variance of a stack move together
    tries = 150
    levels, variances, errors, covariances = [], [], [], []
    for seed in range(tries):
        stack = with_hits(np.random.default_rng(seed), 6, 3000)
        found = stack_noise(stack.reshape(6, 50, 60))
        levels.append(stack.mean())
        variances.append(found.variance)
        errors.append(found.variance_error)
        covariances.append(found.covariance)
    assert np.mean(variances) == pytest.approx(25 + 0.05 * (300**2 + 200**2), rel=4 * float(np.std(variances)) / 6525 / math.sqrt(tries))
    assert np.mean(errors) == pytest.approx(np.std(variances), rel=4 / math.sqrt(2 * tries))
    assert np.mean(covariances) == pytest.approx(np.cov(levels, variances)[0, 1], rel=0.4)


def test_one_frame_has_no_noise() -> None:
    assert math.isnan(stack_noise(np.ones((1, 3, 3))).variance)


@pytest.mark.parametrize("n", [3, 5, 20])
def test_pure_noise_stays_below_the_stated_rate(n: int) -> None:
    values = frames(np.random.default_rng(n), n, 200_000)
    rate = 1e-4
    found = find_outliers(values, estimate_prior(values), false_alarm=rate)
    expected = rate * values.size
    assert found.sum() < expected + 4 * math.sqrt(expected)
    assert found.sum() > 0.3 * expected


def test_pixels_of_different_noise_keep_the_stated_rate() -> None:
    rng = np.random.default_rng(2)
    sigma = np.sqrt(1 / rng.gamma(3.0, 1 / 3.0, 200_000))  # the family of laws that the prior describes
    values = frames(rng, 6, 200_000, sigma)
    prior = estimate_prior(values)
    assert prior.freedom == pytest.approx(6.0, rel=0.15)
    assert prior.variance == pytest.approx(1.0, rel=0.05)
    found = find_outliers(values, prior, false_alarm=1e-4)
    assert found.sum() < 120 + 4 * math.sqrt(120)


def test_a_hit_of_ten_sigma_in_five_frames_is_found() -> None:
    # the older suite's clip includes the frame itself and can never find it
    values = frames(np.random.default_rng(1), 5, 65_536)
    places = np.arange(0, 65_536, 700)
    values[2, places] += 50
    found = find_outliers(values, estimate_prior(values))
    assert found[2, places].mean() > 0.99
    found[2, places] = False
    assert found.sum() <= 4  # 327680 values at 1e-6


def test_two_hits_do_not_hide_each_other_and_nan_is_none() -> None:
    values = frames(np.random.default_rng(1), 8, 5000)
    values[2, 10] += 1000
    values[5, 10] += 400
    values[4, 11] = np.nan
    found = find_outliers(values, estimate_prior(np.nan_to_num(values, nan=1000)))
    assert found[2, 10]
    assert found[5, 10]
    assert not found[4, 11]


def test_a_huge_hit_does_not_make_the_others_outliers() -> None:
    values = frames(np.random.default_rng(6), 10, 4000)
    values[3, ::40] += 6000
    found = find_outliers(values, estimate_prior(values))
    assert found[3, ::40].all()
    assert found.sum() == 100


def test_two_frames_cannot_tell_which_stands_out() -> None:
    assert not find_outliers(frames(np.random.default_rng(1), 2, 50), Prior(25.0, 100.0)).any()
    with pytest.raises(Refused, match="at least 3"):
        estimate_prior(frames(np.random.default_rng(1), 2, 50))


def test_values_that_never_change_give_no_alarm() -> None:
    values = np.full((5, 400), 160, np.float32)
    assert not find_outliers(values, estimate_prior(values, least_variance=16**2 / 12)).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(-500, 500), st.permutations(range(5)))
def test_outliers_do_not_depend_on_levels_and_order(seed: int, offset: float, order: list[int]) -> None:
    values = frames(np.random.default_rng(seed), 5, 300)
    values[1, 7] += 200
    prior = Prior(25.0, 1000.0)
    one = find_outliers(levels_removed(values.reshape(5, 15, 20)), prior)
    moved = values.astype(np.float64) + np.array([0, offset, 2 * offset, 5, -7])[:, None]
    other = find_outliers(levels_removed(moved[order].reshape(5, 15, 20)), prior)
    assert np.array_equal(one[order], other)


@pytest.mark.parametrize("n", [4, 5, 10])
def test_hits_are_taken_out_of_a_stack(n: int) -> None:
    rng = np.random.default_rng(n)
    values = with_hits(rng, n, 60_000)
    found = mean_without_hits(values)
    clean, hits = found.mean, found.hits
    assert clean.mean() == pytest.approx(1000, abs=1.5)  # hits below the clip stay: 0.05 x what they hold
    assert hits.mean() == pytest.approx(0.048, abs=0.004)
    assert np.mean(clean > 1000 + 8 * 5) < 0.02**2 * n  # pixels with hits in most frames


def test_hot_pixels_are_no_hits() -> None:
    rng = np.random.default_rng(3)
    values = frames(rng, 6, 20_000)
    hot = np.arange(0, 20_000, 40)
    values[:, hot] += 2000 + rng.standard_normal((6, hot.size)).astype(np.float32) * 45
    found = mean_without_hits(values)
    clean, hits = found.mean, found.hits
    assert clean[hot].mean() == pytest.approx(3000, abs=8)
    assert hits[:, hot].mean() < 0.01


def test_a_pixel_that_becomes_hot_is_no_hit() -> None:
    values = frames(np.random.default_rng(4), 6, 2000)
    values[3:, 7] += 1000  # from the middle on
    values[4:, 8] += 1000  # only in the last two: as good as hits
    found = mean_without_hits(values)
    assert hot_from(6) == 3
    assert found.became_hot[7]
    assert found.mean[7] == pytest.approx(1500, abs=15)
    assert not found.became_hot[8]
    assert found.mean[8] == pytest.approx(1000, abs=15)


def test_pure_noise_is_not_clipped() -> None:
    values = frames(np.random.default_rng(3), 6, 50_000)
    found = mean_without_hits(values)
    clean, hits = found.mean, found.hits
    assert hits.mean() < 2e-4
    assert clean.mean() == pytest.approx(values.mean(), abs=0.01)


def test_two_frames_are_averaged_as_they_are() -> None:
    found = mean_without_hits(np.array([[1.0, 2.0], [3.0, 1000.0]], np.float32))
    assert found.mean.tolist() == [2.0, 501.0]
    assert not found.hits.any()


def test_hot_limit_and_mask() -> None:
    rng = np.random.default_rng(0)
    dark = rng.normal(240, 4, (100, 100)).astype(np.float32)
    limit = hot_limit(dark)
    assert limit.excess_adu == pytest.approx(32, rel=0.05)
    dark[3, 4], dark[5, 6], dark[7, 8] = 400, np.nan, 250
    mask = hot_mask(dark, limit)
    assert np.argwhere(mask).tolist() == [[3, 4]]
    assert hot_limit(dark, noise_adu=10).excess_adu == 80


def test_growth_of_hot_pixels_has_right_errors() -> None:
    n, doses = 300, np.array([0.0, 5, 10, 20, 40])
    pulls = []
    for seed in range(n):
        counts = 40 + np.concatenate([[0], np.cumsum(np.random.default_rng(seed).poisson(12 * np.diff(doses)))])
        found = growth(doses[::-1], counts[::-1].tolist())
        pulls.append((found.per_krad - 12) / found.per_krad_error)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(n)
    assert abs(np.std(pulls) - 1) < 4 / math.sqrt(2 * n)
    assert growth(doses, [40, 100, 160, 280, 520]).before == pytest.approx(40)
    assert growth([5.0], [3]).why == "fewer than two doses"


def test_tail_of_the_dark_signal() -> None:
    rng = np.random.default_rng(5)
    dark = rng.normal(100, 3, (200, 200)).astype(np.float32)
    dark.reshape(-1)[:4000] += rng.exponential(80, 4000).astype(np.float32)
    found = exponential_tail(dark, 30.0)
    assert found.scale_adu == pytest.approx(80, abs=4 * found.scale_error_adu)
    assert found.scale_error_adu == pytest.approx(80 / math.sqrt(4000 * math.exp(-30 / 80)), rel=0.1)
    assert found.probability > 1e-3
    assert "20 are needed" in exponential_tail(dark, 3000.0).why


@pytest.mark.parametrize("t", [[1.0, 2.0, 3.0, 4.0, 5.0], [1e-3, 1.0, 1e3, 1e6, 1e9], [0.0, 1e-9, 2e-9, 1e5, 2e5]])
@pytest.mark.parametrize("seed", range(6))
def test_annealing_of_any_course_does_not_overflow(t: list[float], seed: int) -> None:
    # the fit may try a time constant of exp(800): that ended the whole analysis
    rng = np.random.default_rng(seed)
    for level in (rng.normal(0, 1e3, 5), np.exp(rng.normal(0, 8, 5)), np.array([0, 0, 0, 0, 1e12]), np.array([1, np.nan, 1, 1, 2])):
        found = fit_annealing(t, level, np.full(5, 1e-6))
        assert found.why or (found.time_constant_s > 0 and math.isfinite(found.time_constant_error_s))
    assert fit_annealing(t, rng.normal(0, 1, 5), np.zeros(5)).why is not None


def test_annealing_is_found_and_its_absence_said() -> None:
    t = np.array([60, 600, 1800, 3600, 7200, 14400.0])
    rng = np.random.default_rng(1)
    y = 50 + 20 * np.exp(-t / 3000) + rng.normal(0, 0.05, t.size)
    found = fit_annealing(t, y, np.full(t.size, 0.05))
    assert found.time_constant_s == pytest.approx(3000, abs=4 * found.time_constant_error_s)
    assert found.rest == pytest.approx(50, abs=4 * found.rest_error)
    assert found.level(np.array([0.0]))[0] == pytest.approx(70, abs=0.5)
    assert "are needed, there are 3" in fit_annealing(t[:3], y[:3]).why
    assert "does not change" in fit_annealing(t, np.full(6, 3.0)).why
    assert fit_annealing(t, 50 + rng.normal(0, 1, 6), np.full(6, 1.0)).why
    assert recovered(10, 30, 15) == pytest.approx(0.75)
    assert math.isnan(recovered(10, 10, 12))


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_blank_integers_are_no_values(tmp_path: Path, dtype: str) -> None:
    pixels = 16 * np.arange(1, 101).reshape(10, 10).astype(dtype)
    pixels[4, 2] = 7
    hdu = fits.PrimaryHDU(pixels)
    hdu.header["BLANK"] = 7 - (32768 if dtype == "uint16" else 0)
    hdu.writeto(tmp_path / "a.fits")
    found, shape = frame_numbers(tmp_path / "a.fits")
    known = pixels[pixels != 7].astype(float)
    assert shape == (10, 10)
    assert [found.mean, found.std] == pytest.approx([known.mean(), known.std()])
    assert stored_step([tmp_path / "a.fits"]) == 16
    with OpenFrames([tmp_path / "a.fits"]) as images:
        assert np.isnan(images.rows(4, 5)[0]).nonzero()[0].tolist() == [2]
