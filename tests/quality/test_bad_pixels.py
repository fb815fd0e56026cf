"""Bad pixels planted in simulated darks and flats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.quality.bad_pixels import (
    _scatter,
    _too_variable,
    _trimmed_moments,
    bad_pixel_mask,
    cold_pixels,
    hot_pixels,
    smooth_level,
    unstable_pixels,
)

SHAPE = (512, 480)


def plant(rng: np.random.Generator, number: int) -> np.ndarray:
    where = np.zeros(SHAPE, np.bool_)
    where.ravel()[rng.choice(where.size, number, replace=False)] = True
    return where


def dark_frames(n: int, seed: int = 1, exposure_s: float = 60.0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Frames with a glow, hot pixels, pixels that jump, and cosmic rays in each; masks of the hot and the jumping ones."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(4.0, 0.02, SHAPE) + 0.4 * np.exp(-np.hypot(*np.indices(SHAPE)) / 40.0)
    hot, jumping = plant(rng, 250), plant(rng, 120)
    jumping &= ~hot
    rate[hot] = np.exp(rng.uniform(np.log(8), np.log(400), np.count_nonzero(hot)))
    frames = []
    for _ in range(n):
        electrons = rng.poisson(rate * exposure_s) + rng.normal(0, 7.0, SHAPE)
        electrons[jumping] += rng.choice([0.0, 200.0], np.count_nonzero(jumping))
        electrons[plant(rng, 80)] += 2000.0
        frames.append(np.rint(electrons / 1.5 + 300.0).clip(0, 65535).astype(np.uint16))
    return frames, hot, jumping


def test_planted_hot_pixels_are_found_and_little_else() -> None:
    frames, hot, jumping = dark_frames(10)
    found = hot_pixels(np.median(frames, axis=0))
    assert np.mean(found[hot]) >= 0.95
    assert np.mean(found[~hot & ~jumping]) <= 1e-3


def test_planted_dead_and_weak_pixels_are_found_and_little_else() -> None:
    rng = np.random.default_rng(2)
    flat = (1.0 + rng.normal(0, 0.012, SHAPE)) * (1.0 - 0.3 * np.linspace(-1, 1, SHAPE[0])[:, None] ** 2)
    weak = plant(rng, 150)
    weak[100:180, 77] = True
    flat[weak] *= rng.uniform(0.0, 0.5, np.count_nonzero(weak))
    found = cold_pixels(flat.astype(np.float32))
    assert np.mean(found[weak]) >= 0.95
    assert np.mean(found[~weak]) <= 1e-3


def test_zero_negative_and_missing_flat_pixels_are_cold() -> None:
    flat = np.ones((64, 64))
    flat[0, 0], flat[1, 1], flat[2, 2] = 0.0, -1.0, np.nan
    assert np.argwhere(cold_pixels(flat)).tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("gain", [1.5, None])
def test_jumping_pixels_are_found_hot_and_hit_ones_are_not(gain: float | None) -> None:
    frames, hot, jumping = dark_frames(10)
    found = unstable_pixels(frames, gain_e_per_adu=gain)
    assert np.mean(found[jumping]) >= 0.95
    assert np.mean(found[~jumping]) <= 1e-3
    assert np.mean(found[hot]) <= 0.05


def test_rows_may_come_from_a_reader() -> None:
    frames, _, _ = dark_frames(5)

    class Reader:
        def __init__(self, image: np.ndarray) -> None:
            self.image, self.shape = image, image.shape

        def read_rows(self, y0: int, y1: int) -> np.ndarray:
            return self.image[y0:y1]

    assert np.array_equal(unstable_pixels([Reader(f) for f in frames], rows_at_once=50), unstable_pixels(frames))


def test_a_pixel_bad_in_every_dark_is_bad() -> None:
    """The older program joined its maps by XOR: 40 pixels hot in both of two darks were not flagged."""
    frames, hot, _ = dark_frames(6)
    master = np.median(frames, axis=0)
    both = bad_pixel_mask(darks=[master, master])
    assert np.array_equal(both, bad_pixel_mask(darks=[master]))
    assert np.mean((both[hot] & PixelFlag.HOT) != 0) >= 0.95


def test_kinds_are_joined_by_or() -> None:
    frames, hot, _ = dark_frames(6)
    flat = np.ones(SHAPE, np.float32)
    y, x = np.argwhere(hot)[0]
    flat[y, x] = 0.1
    mask = bad_pixel_mask(darks=[np.median(frames, axis=0)], dark_frames=[frames, frames[:2]], flats=[flat])
    assert mask[y, x] & PixelFlag.HOT
    assert mask[y, x] & PixelFlag.COLD
    assert mask.dtype == np.uint16


def test_coarse_quantisation_does_not_make_every_pixel_hot() -> None:
    rng = np.random.default_rng(4)
    dark = np.where(rng.random(SHAPE) < 0.03, 12.0, 11.0)
    dark[5, 5] = 60.0
    found = hot_pixels(dark)
    assert found[5, 5]
    assert np.mean(found) <= 1e-3


def test_a_dark_without_any_scatter_has_no_hot_pixel() -> None:
    assert not hot_pixels(np.full(SHAPE, 11.3, np.float32)).any()


def test_slow_pattern_is_followed() -> None:
    y, x = np.indices(SHAPE)
    ramp = 0.3 * x + 0.1 * y
    assert np.abs(smooth_level(ramp) - ramp)[16:-16, 16:-16].max() < 1e-3


def test_what_cannot_be_is_rejected() -> None:
    with pytest.raises(RejectedInput, match="at least one"):
        bad_pixel_mask()
    with pytest.raises(RejectedInput, match="at least 4"):
        unstable_pixels([np.ones((8, 8))] * 3)
    with pytest.raises(RejectedInput, match="one shape"):
        bad_pixel_mask(darks=[np.ones((8, 8)), np.ones((9, 9))])
    with pytest.raises(RejectedInput, match="one shape"):
        unstable_pixels([np.ones((8, 8))] * 3 + [np.ones((8, 9))])


def test_a_missing_pixel_leaves_the_level_elsewhere_as_it_was() -> None:
    image = np.random.default_rng(3).normal(size=(128, 192)).astype(np.float32)
    holed = image.copy()
    holed[5, 7] = np.nan  # boxes of its band are then taken one by one
    whole, other = smooth_level(image), smooth_level(holed)
    assert np.array_equal(whole[64:], other[64:])
    assert np.array_equal(whole[:32, 96:], other[:32, 96:])
    assert np.abs(whole - other).max() < 0.1


def test_cold_is_both_far_below_and_far_out_of_the_scatter() -> None:
    rng = np.random.default_rng(6)
    for sigma, still_good, cold in ((0.01, 0.87, 0.83), (0.05, 0.75, 0.6)):  # 15 %, and 6 times 5 %
        flat = rng.normal(1.0, sigma, (128, 128)).clip(1 - 4 * sigma, 1 + 4 * sigma)
        flat[5, 5], flat[9, 9] = still_good, cold
        assert np.argwhere(cold_pixels(flat)).tolist() == [[9, 9]]
    assert cold_pixels(np.full((64, 64), -5.0)).all()


@pytest.mark.parametrize(("column", "mean"), [([1.0, 3.0, 2.0, 10.0], 2.0), ([-50.0, 9.0, 11.0, 10.0], 10.0)])
def test_moments_without_the_farthest_value(column: list[float], mean: float) -> None:
    found = _trimmed_moments([np.full((1, 1), value) for value in column], (1, 1), 4)
    assert [float(one[0, 0]) for one in found] == pytest.approx([mean, 1.0])


def test_the_limit_is_that_of_a_chi_squared_law_in_units_of_its_median() -> None:
    limit = chi2.isf(1e-5, 3) / chi2.median(3)
    mean, variance = np.full((30, 40), 50.0), np.ones((30, 40))
    for quiet, signal, gain, allowed in ((1.0, 0.0, 4.0, 1.0), (1.0, 1200.0, 4.0, 301.0), (0.0, 0.0, 4.0, 1 / 12)):
        for factor in (0.99, 1.01):
            variance[:] = quiet
            mean[3, 4], variance[3, 4] = 50.0 + signal, factor * limit * allowed
            assert np.argwhere(_too_variable(mean, variance, 3, 1e-5, gain)).tolist() == ([[3, 4]] if factor > 1 else [])


def test_four_frames_leave_two_degrees_of_freedom() -> None:
    """Deviations -10, 0, 0, 10 in any order: without one extreme the variance is 100 / 3 everywhere."""
    rng = np.random.default_rng(7)
    frames = rng.permuted(np.broadcast_to(np.array([-10.0, 0.0, 0.0, 10.0])[:, None, None], (4, 64, 64)), axis=0)
    limit = chi2.isf(1e-5, 2) / chi2.median(2)
    for factor in (0.95, 1.05):
        frames[:, 8, 8] = np.sqrt(factor * limit) * np.array([-10.0, 0.0, 0.0, 10.0])
        mask = bad_pixel_mask(dark_frames=[list(frames)], gain_e_per_adu=1e9)
        assert np.argwhere(mask == PixelFlag.UNSTABLE).tolist() == ([[8, 8]] if factor > 1 else [])


def test_scatter_where_most_are_equal() -> None:
    assert _scatter(np.repeat([0.0, 1.96, -1.96], [900, 50, 50]).astype(np.float32)) == pytest.approx(1.0)
