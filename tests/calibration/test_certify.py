"""Frames without light that light fell on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.calibration.certify import lit, lit_pixels

NOISE_ADU = 5.0
STAR = (slice(40, 50), slice(30, 40))


def biases(count: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(1000.0, NOISE_ADU, (count, 128, 96))


def told(frames: NDArray[np.float64]) -> dict[int, str]:
    darkest = frames.min(axis=0)
    return lit([lit_pixels(frame, darkest, NOISE_ADU) for frame in frames])


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_frame_with_a_star_is_told_however_few_there_are(count: int) -> None:
    frames = biases(count)
    frames[1][STAR] += 100.0
    assert list(told(frames)) == [1]
    assert told(frames)[1].startswith("light fell on it: spots of bright pixels (64 within them)")


def test_a_star_on_a_quarter_of_a_small_frames_rows_is_no_line() -> None:
    frames = biases(4)[:, :64, :64]
    frames[2, 20:36, 20:36] += 2000.0
    assert list(told(frames)) == [2]


@pytest.mark.parametrize("lit_ones", [(0, 1), (0, 2, 3, 4)])
def test_light_in_most_frames_is_told_by_the_dark_ones(lit_ones: tuple[int, ...]) -> None:
    frames = biases(5 if len(lit_ones) > 2 else 3)
    for place in lit_ones:
        frames[place][STAR] += 2000.0
    assert tuple(told(frames)) == lit_ones


def test_a_star_is_told_beside_thousands_of_unsteady_pixels() -> None:
    frames = biases(6)
    frames[np.random.default_rng(2).random(frames.shape) < 0.02] += 500.0
    assert told(frames) == {}
    frames[4][STAR] += 500.0
    assert list(told(frames)) == [4]


def test_levels_that_drift_tracks_and_pixels_without_value_are_no_light() -> None:
    frames = biases(5)
    frames += np.array([0.0, 100.0, -50.0, 3.0, 8.0])[:, None, None]
    frames[2, 10:12, 10:90] += 3000.0  # a long track of a cosmic ray
    frames[3, 60:90] = np.nan
    assert told(frames) == {}


@pytest.mark.parametrize(
    "part",
    [
        (slice(None), slice(0, 36)),  # an amplifier
        (slice(0, 64), slice(0, 48)),  # a quadrant
        (slice(20, 24), slice(None)),  # a band of rows
        (slice(None), slice(1, None, 2)),  # every other column
        (slice(64, 128), slice(24, 48)),  # one of eight amplifiers in two rows
    ],
)
def test_parts_whose_level_drifts_are_no_light(part: tuple[slice, slice]) -> None:
    frames = biases(5)
    frames[0][part] += 12 * NOISE_ADU
    assert told(frames) == {}


def test_one_frame_shows_nothing() -> None:
    frame = biases(1)
    assert told(frame) == {}
