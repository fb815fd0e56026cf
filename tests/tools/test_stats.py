"""Each statistic against its definition, and the defects of img_stats (section 3.3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.tools.stats import half_sample_mode, parse_names, statistics

ALL = ("num", "bad", "sum", "mean", "median", "mode", "std", "var", "rms", "mad", "madstd", "min", "max", "q0.25", "p75")


def test_definitions_on_numbers_done_by_hand() -> None:
    found = statistics(np.array([[1, 2], [2, 7]], dtype=np.int16), ALL)
    assert found["num"] == 4
    assert found["sum"] == 12
    assert (found["mean"], found["median"], found["mode"]) == (3.0, 2.0, 2)
    assert found["var"] == pytest.approx((4 + 1 + 1 + 16) / 4)
    assert found["rms"] == pytest.approx(math.sqrt((1 + 4 + 4 + 49) / 4))  # the root mean square, not the deviation
    assert (found["mad"], found["min"], found["max"]) == (0.5, 1, 7)
    assert (found["q0.25"], found["p75"]) == (1.75, 3.25)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_every_type_agrees_with_numpy_in_float64(dtype: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (30, 41)).astype(dtype)
    wide = pixels.astype(np.float64)
    found = statistics(pixels, ALL)
    assert found["sum"] == wide.sum()
    assert found["mean"] == pytest.approx(wide.mean(), rel=1e-14)
    assert found["median"] == np.median(wide)
    assert found["std"] == pytest.approx(wide.std(), rel=1e-12)
    assert found["q0.25"] == pytest.approx(np.quantile(wide, 0.25), rel=1e-14)
    assert found["mode"] == np.bincount(pixels.ravel().astype(int)).argmax()


def test_float32_is_accumulated_in_float64() -> None:
    pixels = np.full((3000, 3000), 16777217.0 / 2, dtype=np.float32)  # float32 sums stall at 2^24 of these
    found = statistics(pixels, ("sum", "mean", "std"))
    assert found["sum"] == float(pixels[0, 0]) * 9_000_000
    assert found["std"] == 0.0


def test_large_offset_does_not_spoil_the_deviation() -> None:
    pixels = 1e9 + np.array([1.0, 2.0, 3.0, 4.0])
    assert statistics(pixels, ("std",))["std"] == pytest.approx(math.sqrt(1.25), rel=1e-9)


def test_sums_of_64_bit_integers_are_exact() -> None:
    pixels = np.array([2**62, 2**62, 2**62, -1], dtype=np.int64)
    assert statistics(pixels, ("sum",))["sum"] == 3 * 2**62 - 1
    assert statistics(np.array([2**63, 2**63], dtype=np.uint64), ("sum",))["sum"] == 2**64


def test_nan_and_flagged_pixels_are_left_out_and_counted() -> None:
    pixels = np.array([1.0, np.nan, 3.0, np.inf, 100.0])
    flagged = np.array([0, 0, 0, 0, 8])
    assert statistics(pixels, ("num", "bad", "mean", "max"), flagged) == {"num": 2, "bad": 3, "mean": 2.0, "max": 3.0}


def test_no_good_pixel_gives_none_not_a_crash() -> None:
    found = statistics(np.full(5, np.nan), ALL)
    assert (found["num"], found["bad"]) == (0, 5)
    assert {found[name] for name in ALL[2:]} == {None}


def test_mode_of_continuous_floats_is_not_the_minimum() -> None:
    rng = np.random.default_rng(3)
    pixels = np.concatenate([rng.normal(100, 2, 20_000), rng.exponential(50, 10_000) + 95]).astype(np.float32)
    mode = statistics(pixels, ("mode",))["mode"]
    assert mode == pytest.approx(100, abs=1.5)


def test_mode_takes_the_smallest_of_equals_and_counts_whole_floats() -> None:
    assert statistics(np.array([5, 3, 5, 3, 9]), ("mode",))["mode"] == 3
    assert statistics(np.repeat([10.0, 11.0, 12.0], [30, 40, 30]), ("mode",))["mode"] == 11.0


def test_half_sample_mode_of_few_numbers() -> None:
    assert half_sample_mode(np.array([4.0])) == 4.0
    assert half_sample_mode(np.array([4.0, 6.0])) == 5.0
    assert half_sample_mode(np.array([1.0, 2.0, 9.0])) == 1.5
    assert half_sample_mode(np.array([1.0, 8.0, 9.0])) == 8.5
    assert half_sample_mode(np.array([1.0, 2.0, 3.0])) == 2.0


def test_names_aliases_and_the_unknown_one() -> None:
    assert parse_names("num, average,STD q0.5") == ("num", "mean", "std", "q0.5")
    for wrong in ("skew", "q1.5", "p101", "x0.5", "q", "qnan"):
        with pytest.raises(Refused, match=f"no statistic '{wrong}'"):
            parse_names(wrong)
    with pytest.raises(Refused, match="no statistic is named"):
        parse_names(" , ")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=30), st.integers(-500, 500), st.integers(1, 5))
def test_shift_and_scale(values: list[int], shift: int, scale: int) -> None:
    before = statistics(np.array(values, dtype=np.float64), ALL)
    after = statistics(np.array(values, dtype=np.float64) * scale + shift, ALL)
    for name in ("mean", "median", "mode", "min", "max", "q0.25"):
        assert after[name] == pytest.approx((before[name] or 0.0) * scale + shift, abs=1e-9)
    for name in ("std", "mad"):
        assert after[name] == pytest.approx((before[name] or 0.0) * scale, abs=1e-6)
