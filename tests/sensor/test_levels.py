"""Flats by level of light: jitter is one level, a ramp is several, and frames that would stand alone find a partner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.sensor.curve_points import LEVEL_SPAN, MAX_LEVEL_RATIO, _levels, points_of
from nightcrew.sensor.frames import SensorFrame, of_array
from nightcrew.sensor.groups import group_frames
from nightcrew.sensor.pairs import PairOptions
from nightcrew.sensor.regions import Region


def flats(levels: list[float]) -> list[SensorFrame]:
    return [of_array(np.zeros((2, 2)), name=f"{n:03d}", kind="flat", exposure_s=1.0, temperature_c=0.0) for n in range(len(levels))]


def sorted_levels(levels: list[float]) -> list[list[float]]:
    frames = flats(levels)
    level = {id(frame): value for frame, value in zip(frames, levels, strict=True)}
    return [[level[id(frame)] for frame in cluster] for cluster in _levels(frames, level)]


def test_slow_ramp_is_no_single_level() -> None:
    ramp = [1000 * 1.015**n for n in range(100)]  # 1.5 % from one to the next, 4.4 times in all
    found = sorted_levels(ramp)
    assert len(found) > 10
    assert all(max(cluster) <= LEVEL_SPAN * min(cluster) for cluster in found)


def test_jitter_is_one_level() -> None:
    assert [len(c) for c in sorted_levels([1000.0, 1005, 995, 1010, 5000, 5050])] == [4, 2]


def test_sky_flats_find_their_neighbours() -> None:
    assert sorted_levels([20_000.0, 18_500, 16_800, 15_100]) == [[16_800.0, 15_100.0], [20_000.0, 18_500.0]]
    assert sorted_levels([20_000.0, 9_000]) == [[9_000.0], [20_000.0]]


def test_dim_levels_with_a_drifting_bias_are_one() -> None:
    assert sorted_levels([-0.4, 0.3, 0.1, 20_000.0, 20_100.0]) == [[-0.4, 0.3, 0.1], [20_000.0, 20_100.0]]


@settings(max_examples=60)
@given(st.lists(st.floats(-100, 60_000), min_size=1, max_size=40))
def test_every_frame_is_in_one_level_and_levels_are_narrow(levels: list[float]) -> None:
    found = sorted_levels(levels)
    assert sorted(value for cluster in found for value in cluster) == sorted(levels)
    for cluster in found:
        most = max(min(cluster) * (MAX_LEVEL_RATIO if len(cluster) == 2 else LEVEL_SPAN), min(cluster) + 1.0)
        assert max(cluster) <= most * (1 + 1e-12) + 1e-9


def test_ramp_of_flats_gives_the_gain_at_each_of_its_levels() -> None:
    rng = np.random.default_rng(3)
    frames = [
        of_array(rng.poisson(3000 * 1.015**n, (128, 128)) / 2.0 + 100, name=f"{n:03d}", kind="flat", exposure_s=1.0, temperature_c=0.0)
        for n in range(40)
    ]
    (group,) = group_frames(frames).groups
    points, remarks = points_of(group, Region("whole", (frames[0].light_window,)), 100.0, PairOptions())
    assert len(points) > 5  # one heap of levels before
    assert remarks == [] or all("no second flat" in remark for remark in remarks)
    for point in points:
        assert point.signal / point.variance == pytest.approx(2.0, abs=5 * 2.0 * point.relative_error)
