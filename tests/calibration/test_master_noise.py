"""The uncertainty plane of a master against the scatter that it should tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from nightcrew.calibration.combine import combine
from nightcrew.calibration.master_noise import chi_squared_median, smoothed_uncertainty


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 20, 99])
def test_chi_squared_median(degrees: int) -> None:
    assert chi_squared_median(degrees) == pytest.approx(chi2.median(degrees), rel=0.004)


@pytest.mark.parametrize("frames", [3, 5, 10])
def test_mean_variance_is_that_of_the_master_in_spite_of_hits(frames: int) -> None:
    rng = np.random.default_rng(frames)
    stack = rng.normal(1000.0, 8.0, (frames, 256, 256)).astype(np.float32)
    hit = rng.integers(0, 256, (200, 2))
    stack[0, hit[:, 0], hit[:, 1]] += 5000.0
    done = combine(list(stack), method="median")
    assert done.uncertainty is not None
    uncertainty = smoothed_uncertainty(done.uncertainty, done.result, frames=frames)
    clean = np.ones((256, 256), bool)
    clean[hit[:, 0], hit[:, 1]] = False
    truth = float(np.var(done.result[clean]))
    # 65,536 pixels: the variance is known to sqrt(2 / N) = 0.6 %, the box medians to about as much
    assert float(np.mean(np.square(uncertainty, dtype=np.float64))) == pytest.approx(truth, rel=0.03)


def test_a_warm_pixel_has_its_photon_noise() -> None:
    master = np.full((128, 128), 100.0, np.float32)
    master[64, 64] = 4100.0
    scatter = np.full((128, 128), 2.0, np.float32)
    uncertainty = smoothed_uncertainty(scatter, master, frames=5, gain_e_per_adu=2.0)
    assert uncertainty[64, 64] ** 2 - uncertainty[0, 0] ** 2 == pytest.approx(1.434 * 4000.0 / (2.0 * 5), rel=0.01)


def test_one_frame_has_the_floor() -> None:
    plane = np.full((16, 16), np.nan, np.float32)
    assert np.all(smoothed_uncertainty(plane, np.zeros((16, 16), np.float32), frames=1, floor=0.29) == np.float32(0.29))


def test_a_cold_pixel_is_as_noisy_as_its_neighbours() -> None:
    master = np.full((128, 128), 1000.0, np.float32)
    master[64, 64] = 0.0
    uncertainty = smoothed_uncertainty(np.full((128, 128), 2.0, np.float32), master, frames=5, gain_e_per_adu=2.0)
    assert uncertainty[64, 64] == uncertainty[0, 0]


def test_nothing_is_surer_than_its_quantisation() -> None:
    plane = np.full((64, 64), 0.001, np.float32)
    uncertainty = smoothed_uncertainty(plane, np.zeros((64, 64), np.float32), frames=4, floor=0.25)
    assert uncertainty == pytest.approx(0.25, rel=1e-6)
