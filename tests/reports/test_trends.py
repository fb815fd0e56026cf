from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.model import TrendPoint
from reports.trends import learned_limits, trend


def test_limits_of_normal_values_are_four_sigma() -> None:
    values = np.random.default_rng(1).normal(100, 2, 20_000)
    limits = learned_limits(list(values))
    assert limits is not None
    assert limits.high - limits.median == pytest.approx(8, rel=0.03)
    assert limits.median - limits.low == pytest.approx(8, rel=0.03)


def test_one_wild_night_hardly_moves_the_limits() -> None:
    quiet = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98]
    tame, wild = learned_limits(quiet), learned_limits([*quiet, 1e6])
    assert tame is not None
    assert wild is not None
    assert wild.high < 10.7


def test_too_few_nights_teach_nothing() -> None:
    assert learned_limits([1.0, 2.0, 3.0, float("nan")]) is None


def test_equal_values_leave_room_for_a_step() -> None:
    limits = learned_limits([7.0] * 9, floor=0.3)
    assert limits is not None
    assert limits.low == pytest.approx(7 - 1.2)
    assert limits.high == pytest.approx(7 + 1.2)


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=30), st.randoms())
@settings(max_examples=50)
def test_order_does_not_matter(values: list[float], random: Random) -> None:
    mixed = list(values)
    random.shuffle(mixed)
    assert learned_limits(values) == learned_limits(mixed)


def test_tonight_does_not_widen_its_own_limits() -> None:
    points = [TrendPoint(night=f"2026-03-{day:02d}", value=5 + 0.1 * (day % 3)) for day in range(1, 12)]
    judged = trend("x", "X", "px", "cam", [TrendPoint(night="2026-03-14", value=9.0), *points], "2026-03-14")
    assert judged.outside
    assert judged.tonight
    assert judged.points[-1].value == 9.0
    assert judged.limits is not None
    assert judged.limits.high < 6


def test_a_night_without_value_is_not_outside() -> None:
    points = [TrendPoint(night=f"2026-03-{day:02d}", value=5.0) for day in range(1, 12)]
    judged = trend("x", "X", "px", "cam", points, "2026-03-14")
    assert not judged.tonight
    assert not judged.outside
