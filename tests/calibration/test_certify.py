"""Frames without light that light fell on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.calibration.certify import bright_pixels, lit

NOISE_ADU = 5.0


def biases(count: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(1000.0, NOISE_ADU, (count, 128, 96))


def told(frames: NDArray[np.float64]) -> dict[int, str]:
    master = frames.mean(axis=0)
    return lit([bright_pixels(frame, master, NOISE_ADU) for frame in frames])


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_frame_with_a_star_is_told_however_few_there_are(count: int) -> None:
    frames = biases(count)
    frames[1, 40:50, 30:40] += 2000.0
    assert list(told(frames)) == [1]
    assert told(frames)[1].startswith("there is light in it: 100 pixels")


def test_levels_that_drift_hits_and_pixels_without_value_are_no_light() -> None:
    frames = biases(5)
    frames += np.array([0.0, 100.0, -50.0, 3.0, 8.0])[:, None, None]
    frames[2, 10, 10:40] += 3000.0  # a long track of a cosmic ray
    frames[3, 60:90] = np.nan
    assert told(frames) == {}


def test_pixels_that_are_unsteady_in_every_frame_are_no_light() -> None:
    frames = biases(6)
    jumps = np.random.default_rng(2).random(frames.shape) < 0.02
    frames[jumps] += 500.0
    assert told(frames) == {}


def test_one_frame_has_no_siblings() -> None:
    assert lit([1000]) == {}
