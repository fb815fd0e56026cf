"""Odd numbers of frames: the last three make three pairs, which is the pixel-wise variance of three frames, with its error."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.sensor.frames import SensorFrame, of_array
from nightcrew.sensor.pairing import combined, disjoint, frame_levels, independent_pixels, mean_covariances, paired
from nightcrew.sensor.pairs import PairOptions, PairStatistics, pair_statistics
from nightcrew.sensor.regions import Region
from nightcrew.sensor.zero_level import bias_noise

SHAPE = (48, 64)


def images(count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(1000, 7, (count, *SHAPE))


def frames(cube: NDArray[np.float64]) -> list[SensorFrame]:
    return [of_array(image, name=f"{n}", kind="bias", exposure_s=0.0, temperature_c=0.0) for n, image in enumerate(cube)]


def pairs(cube: NDArray[np.float64], max_lag: int = 0) -> list[PairStatistics]:
    found = frames(cube)
    options = PairOptions(scale=False, flatten_bands=False, max_lag=max_lag, clip_sigma=8.0)
    return [pair_statistics(found[a], found[b], [found[a].light_window], 0.0, options) for a, b in paired(len(found))]


def pixel_variance(cube: NDArray[np.float64]) -> float:
    """Pixel-wise, over n - 1, of frames less their means."""
    return float((cube - cube.mean(axis=(1, 2), keepdims=True)).var(axis=0, ddof=1).mean())


def test_every_frame_is_in_a_pair() -> None:
    assert [paired(n) for n in range(6)] == [
        [],
        [],
        [(0, 1)],
        [(0, 1), (0, 2), (1, 2)],
        [(0, 1), (2, 3)],
        [(0, 1), (2, 3), (2, 4), (3, 4)],
    ]


def test_three_frames_give_their_pixel_wise_variance() -> None:
    cube = images(3, 1)
    variance, _ = combined(pairs(cube))
    assert variance == pytest.approx(pixel_variance(cube), rel=1e-3)  # one part in 48 x 64 of freedom goes to each pair's mean


def test_five_frames_weigh_by_their_freedom() -> None:
    cube = images(5, 2)
    two, three = pixel_variance(cube[:2]), pixel_variance(cube[2:])
    assert combined(pairs(cube))[0] == pytest.approx((two + 2 * three) / 3, rel=1e-3)


@pytest.mark.parametrize(("count", "freedom"), [(2, 1), (3, 2), (5, 3)])
def test_error_of_pairs_that_share_frames(count: int, freedom: int) -> None:
    found = [combined(pairs(images(count, seed))) for seed in range(60)]
    errors = np.array([error for _, error in found])
    assert np.mean(errors) == pytest.approx(49 * np.sqrt(2 / (freedom * SHAPE[0] * SHAPE[1])), rel=0.03)
    scatter = np.std([variance for variance, _ in found], ddof=1)
    assert abs(scatter / np.mean(errors) - 1) < 4 / np.sqrt(2 * 60)
    assert independent_pixels(pairs(images(count, 0))) == pytest.approx(freedom * SHAPE[0] * SHAPE[1])


def test_covariances_and_levels_count_each_frame_once() -> None:
    cube = images(3, 3)
    found = pairs(cube, max_lag=2)
    covariances = mean_covariances(found)
    assert covariances is not None
    assert covariances[0, 0] == pytest.approx(combined(found)[0], rel=1e-3)
    assert frame_levels(found) == pytest.approx(cube.mean(axis=(1, 2)), abs=1e-3)
    assert [pair.names for pair in disjoint(found)] == [("0", "1")]
    bias = bias_noise(frames(cube), Region("whole", (frames(cube)[0].light_window,)), 0)
    assert bias is not None
    assert bias.level == pytest.approx(cube.mean(), abs=1e-3)
    beyond_noise = cube.mean(axis=(1, 2)).var(ddof=1) - bias.variance / cube[0].size
    assert bias.drift == pytest.approx(np.sqrt(max(beyond_noise, 0.0)), abs=2e-3)
