"""A camera that hands its buffer out again: no pair is made of one read-out, and the set says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.frames import SensorFrame
from nightcrew.sensor.twins import given_again
from tests.sensor.sets import QUICK, frames_of, small_plan, whole


@pytest.fixture(scope="module")
def frames() -> list[SensorFrame]:
    return frames_of(small_plan(), 1)


def with_twins(frames: list[SensorFrame], kind: str) -> list[SensorFrame]:
    """Every second frame of a kind holds the pixels of the one before it."""
    same = [frame for frame in frames if frame.header.kind == kind]
    twins = {id(second): replace(second, data=first.data) for first, second in zip(same[::2], same[1::2], strict=False)}
    return [twins.get(id(frame), frame) for frame in frames]


def test_honest_frames_are_no_twins(frames: list[SensorFrame]) -> None:
    assert given_again(frames) == {}


def test_a_bias_given_twice_leaves_the_read_noise_as_it_is(frames: list[SensorFrame]) -> None:
    """Half of the biases are the ones before them: without the look the read noise would be that of pairs without noise."""
    spoilt = with_twins(frames, "bias")
    (noise,), (honest,) = (whole(characterise(some, QUICK)).noises for some in (spoilt, frames))
    assert noise.adu is not None
    assert honest.adu is not None
    assert noise.adu_error is not None
    assert abs(noise.adu - honest.adu) < 4 * noise.adu_error
    left_out = characterise(spoilt, QUICK).left_out
    assert len(left_out) == sum(frame.header.kind == "bias" for frame in frames) // 2
    assert all("the camera gave one read-out twice" in reason for _, reason in left_out)


def test_frames_without_contrast_may_be_alike(frames: list[SensorFrame]) -> None:
    flat = [replace(frame, data=np.zeros((64, 64), np.uint16)) for frame in frames]
    assert given_again(flat) == {}
