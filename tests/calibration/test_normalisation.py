"""Normalising frames to one level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.calibration.combine import combine
from nightcrew.calibration.methods import DropExtremes
from nightcrew.calibration.normalisation import FrameCalibration, Normalise, half_sample_mode, sky_level, statistic_of
from nightcrew.errors import Refused, RejectedInput


def levels(*values: float, shape: tuple[int, int] = (8, 10)) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    pattern = rng.normal(1, 0.1, shape)
    return [(value * pattern).astype(np.float32) for value in values]


@pytest.mark.parametrize("statistic", ["mean", "median", "sum", "mode", "sky"])
def test_scaling_makes_levels_equal(statistic: Any) -> None:
    frames = levels(100, 200, 400)
    got = combine(frames, method="max", normalise=Normalise(statistic=statistic, reference="first"))
    np.testing.assert_allclose(got.result, frames[0], rtol=1e-6)
    assert [info.scale for info in got.frames] == pytest.approx([1, 0.5, 0.25], rel=1e-6)


def test_offset_adds_the_difference() -> None:
    frames = [np.full((3, 3), value, np.uint16) for value in (10, 20, 60)]
    got = combine(frames, method="max", normalise=Normalise(how="offset"))
    np.testing.assert_array_equal(got.result, np.full((3, 3), 30))
    got = combine(frames, method="min", normalise=Normalise(how="offset", reference="unit"))
    np.testing.assert_array_equal(got.result, np.zeros((3, 3)))


def test_flats_less_their_own_dark_then_by_their_median() -> None:
    """One pass: every flat minus its dark, to unit median, combined; the sky's slope cancels, the pattern stays."""
    rng = np.random.default_rng(5)
    pattern = rng.normal(1, 0.03, (20, 21)).astype(np.float32)
    dark = rng.normal(200, 20, (20, 21)).astype(np.float32)
    flats = [(level * pattern + exposure * dark).astype(np.float32) for level, exposure in ((9000, 1), (15000, 2), (30000, 4))]
    steps = [FrameCalibration(subtract=[(dark, exposure)]) for exposure in (1.0, 2.0, 4.0)]
    got = combine(flats, per_frame=steps, normalise=Normalise(statistic="median", reference="unit"), unit="median")
    np.testing.assert_allclose(got.result, pattern / np.median(pattern), rtol=2e-6)
    assert got.frames[1].statistic == pytest.approx(15000 * float(np.median(pattern)), rel=1e-5)


def test_box_and_mask_bound_the_statistic() -> None:
    frame = np.zeros((6, 6), np.float32)
    frame[1:4, 2:5] = 50
    frame[1, 2] = 1e6
    mask = frame > 1000
    got = combine([frame], normalise=Normalise(statistic="mean", reference="unit", box=(2, 5, 1, 4), mask=mask))
    assert got.frames[0].statistic == 50
    assert got.result[2, 3] == 1


def test_star_trails_do_not_bias_the_median() -> None:
    rng = np.random.default_rng(9)
    frames = [np.full((60, 60), level, np.float32) for level in (1000.0, 2000.0, 3000.0)]
    for number, frame in enumerate(frames):
        frame[10 * number + 5] += 5e5 * rng.random()
    got = combine(frames, clip=DropExtremes(high=1), normalise=Normalise(statistic="median"), unit="mean")
    np.testing.assert_allclose(got.result, 1, atol=1e-6)


def test_statistics() -> None:
    rng = np.random.default_rng(2)
    assert statistic_of(np.array([1, 2, 2, 3, 3, 9]), "mode") == 2
    skewed = rng.gamma(4, 25, 20001) + 0.123
    assert half_sample_mode(np.sort(skewed)) == pytest.approx(75, abs=12)
    sky = rng.normal(300, 10, 100_000)
    sky[:5000] += rng.exponential(2000, 5000)
    assert sky_level(sky) == pytest.approx(300, abs=0.3)
    assert half_sample_mode(np.array([1.0, 2.0, 3.0])) == 2
    assert half_sample_mode(np.array([1.0, 1.5, 3.0])) == 1.25


@pytest.mark.parametrize("reference", ["first", "mean", "unit"])
def test_a_level_of_the_other_sign_is_refused(reference: Any) -> None:
    frames = [np.full((4, 5), value, np.float32) for value in (100.0, 90.0, -5.0)]
    with pytest.raises(RejectedInput, match="frame 3: its mean is -5, so it cannot be scaled to"):
        combine(frames, normalise=Normalise(statistic="mean", reference=reference))


def test_what_cannot_be_normalised_says_why() -> None:
    zero = np.zeros((3, 3), np.uint16)
    with pytest.raises(RejectedInput, match="frame 1: its median is 0"):
        combine([zero], normalise=Normalise())
    with pytest.raises(RejectedInput, match="no good pixel"):
        combine([np.full((3, 3), np.nan, np.float32)], normalise=Normalise())
    with pytest.raises(RejectedInput, match="unit mean"):
        combine([zero], unit="mean")
    with pytest.raises(Refused, match="does not fit"):
        combine([zero], normalise=Normalise(box=(0, 9, 0, 3)))
    with pytest.raises(Refused, match="cannot normalise by 'middle'"):
        Normalise(statistic="middle")  # type: ignore[arg-type]  # what a user may write


@pytest.mark.parametrize(("unit", "level"), [("mean", 3.0), ("median", 2.0)])
def test_a_result_is_brought_to_unit_with_its_uncertainty(unit: Any, level: float) -> None:
    middle, spread = np.array([[1.0, 2.0, 6.0]], np.float32), np.array([[1.0, 2.0, 4.0]], np.float32)
    got = combine([middle - spread, middle + spread], method="mean", unit=unit)
    assert got.uncertainty is not None
    np.testing.assert_allclose(got.result, middle / level, rtol=1e-6)
    np.testing.assert_allclose(got.uncertainty, spread / level, rtol=1e-6)  # s = spread sqrt(2), over sqrt(2)


def test_a_shift_is_scaled_with_its_frame() -> None:
    frames = [np.full((3, 4), value, np.float32) for value in (10.0, 30.0)]
    steps = [FrameCalibration(scale=2.0, shift=5.0), FrameCalibration(shift=-10.0)]
    got = combine(frames, method="max", per_frame=steps, normalise=Normalise(statistic="mean", reference="unit"))
    np.testing.assert_allclose(got.result, 1.0, rtol=1e-6)
    assert [info.statistic for info in got.frames] == [25.0, 20.0]


def test_the_sky_is_told_from_median_and_mean() -> None:
    near = np.repeat([0.0, 10.0, 21.0], [45, 10, 45])  # median 10, mean 10.45: 0.05 sigma apart
    assert sky_level(near) == pytest.approx(2.5 * 10 - 1.5 * 10.45)
    crowded = np.repeat([10.0, 20.0], [60, 40])  # mean 14: 0.8 sigma apart
    assert sky_level(crowded) == 10
    for far in (-3.5, 3.5):  # left out, so that the mean is 0 again
        assert sky_level(np.array([-1.0] * 500 + [0.0] * 9 + [1.0] * 500 + [far])) == pytest.approx(0, abs=1e-12)
