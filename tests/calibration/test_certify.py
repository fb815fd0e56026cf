"""Frames without light that light fell on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.calibration.certify import Certificate, certify, lit, lit_pixels, outlying

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


def test_light_is_what_stands_above_a_frames_own_level() -> None:
    darkest = np.full((40, 48), 1000.0, np.float32)
    frame = darkest + 3 * np.float32(NOISE_ADU)
    frame[10:20, 20:30] += 9.9 * NOISE_ADU
    assert lit_pixels(frame, darkest, NOISE_ADU) == 0
    frame[10:20, 20:30] += 0.2 * NOISE_ADU
    assert lit_pixels(frame, darkest, NOISE_ADU) == 8 * 8
    assert list(lit([4, 5, 0, 6])) == [1, 3]


@pytest.mark.parametrize(
    ("levels", "sigmas", "odd", "said"),
    [
        # 6 robust sigmas of the siblings: 1.4826 times a median deviation of 1
        ([100.0, 101.0, 99.0, 100.0, 108.8], [1.0] * 5, [], ""),
        ([100.0, 101.0, 99.0, 100.0, 109.0], [1.0] * 5, [4], "its level of 109.0 ADU is far from the others' 100.0 ADU"),
        # never less than 6 quarters of a frame's noise
        ([100.0, 100.0, 100.0, 111.9], [8.0] * 4, [], ""),
        ([100.0, 100.0, 100.0, 87.9], [8.0] * 4, [3], "its level of 87.9 ADU"),
        # nor than 1.2 ADU
        ([100.0, 100.0, 101.1], [0.0] * 3, [], ""),
        ([100.0, 100.0, 101.3], [0.0] * 3, [2], "its level"),
        # scatter: never less than 6 fifths of the median
        ([100.0] * 4, [10.0, 10.0, 10.0, 21.9], [], ""),
        ([100.0] * 4, [10.0, 22.1, 10.0, 10.0], [1], "its scatter of 22.1 ADU is far from the others' 10.0 ADU"),
        ([100.0, 5000.0], [1.0, 1.0], [], ""),  # of two, nobody can tell which
    ],
)
def test_a_frame_is_outlying_beyond_six_sigmas_of_its_siblings(levels: list[float], sigmas: list[float], odd: list[int], said: str) -> None:
    found = outlying(levels, sigmas)
    assert list(found) == odd
    assert all(said in reason for reason in found.values())


@pytest.mark.parametrize(
    ("used", "noise", "expected", "reason"),
    [
        (5, 8.9, 3.0, ""),
        (5, 9.1, 3.0, "its frames scatter by 9.10 ADU, the read noise is 3.00 ADU"),
        (4, 3.0, 3.0, "too few frames: 4 usable, 5 are needed"),
        (5, None, 3.0, ""),
        (5, 99.0, None, ""),
        (5, 0.0, 3.0, ""),  # what quantisation leaves
    ],
)
def test_a_master_is_certified_by_its_frames(used: int, noise: float | None, expected: float | None, reason: str) -> None:
    assert certify(used=used, minimum=5, noise_adu=noise, expected_noise_adu=expected) == Certificate(passed=not reason, reason=reason)
