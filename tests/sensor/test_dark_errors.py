"""Errors of dark rates hold the zero level's; noise chains hold no rounding; no flooded dark is lost without a word."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.dark_signal import _slope
from nightcrew.sensor.frames import says_flooded
from nightcrew.simulate.sensor_set import SensorPlan
from reports.sensor_quantities import quantities
from tests.sensor.sets import QUICK, SMALL, check_pulls, frames_of, measured, small_plan, whole

FLAT = (0.1, 0.3, 0.5)


def test_error_of_the_zero_level_moves_all_levels_alike() -> None:
    times, sigma = np.array([100.0]), np.array([0.03])
    _, error, _, _ = _slope(times, np.array([5.0]), sigma, 0.04)
    assert error == pytest.approx(0.05 / 100)  # one exposure: both errors over the time
    times, sigma = np.array([100.0, 200.0]), np.array([0.03, 0.03])
    rate, error, intercept, _ = _slope(times, 0.05 * times, sigma, 0.04)
    assert rate == pytest.approx(0.05)
    assert intercept is None
    pull = (100 + 200) / (100**2 + 200**2)
    assert error == pytest.approx(math.hypot(0.03 / math.hypot(100, 200), 0.04 * pull))
    free = _slope(np.array([100.0, 200.0, 300.0]), np.array([5.0, 10.0, 15.0]), np.full(3, 0.03), 0.04)
    assert free[1] == pytest.approx(0.03 / math.sqrt(2e4))  # an intercept of its own takes it up
    assert free[3] is not None
    assert free[3] > 0.04


def rate_pulls(plan: SensorPlan, seed: int) -> dict[str, float]:
    """Few biases and many darks: the biases' noise is most of the error."""
    series = whole(measured(plan, seed)).darks[0]
    assert series.rate_adu_per_s is not None
    assert series.rate_error_adu_per_s is not None
    return {"rate": (series.rate_adu_per_s - 0.02 / 1.5) / series.rate_error_adu_per_s}


def test_pulls_of_a_rate_from_one_exposure() -> None:
    model = replace(SMALL, dark_spread=0.0, dark_rate_e_per_s=0.02, read_noise_e=20.0)
    check_pulls(rate_pulls, small_plan(model, biases=2, darks=8, dark_exposures_s=(300.0,), flat_levels=FLAT), range(1000, 1024))


def test_trapped_charge_of_a_coarse_converter_holds_no_rounding() -> None:
    # 20 e-/ADU: the rounding is 33 e-^2 in every frame, a fifth of the dark signal
    model = replace(SMALL, nx=256, ny=256, gain_e_per_adu=20.0, read_noise_e=25.0, dark_rate_e_per_s=0.5, dark_spread=0.0, trapped_e=100.0)
    plan = small_plan(model, dark_exposures_s=(300.0,), darks=6, flooded_darks=6, flat_levels=(0.1, 0.3, 0.5, 0.7))
    region = whole(measured(plan, 2))
    residual, gain = region.residuals[0], region.gain
    assert residual.unflooded is not None
    assert residual.trapped is not None
    assert gain is not None
    scatter = residual.trapped_error_e or 0.0
    true_gain = residual.unflooded.signal_e * (20.0 / gain.value) ** 2
    assert true_gain == pytest.approx(150.0, abs=3 * scatter)  # with the rounding in it: 183
    assert residual.trapped.signal_e == pytest.approx(100.0, abs=4 * scatter)


def trap_pulls(plan: SensorPlan, seed: int) -> dict[str, float]:
    residual = whole(measured(plan, seed)).residuals[0]
    assert residual.trapped is not None
    assert residual.trapped_error_e is not None
    return {"trapped": (residual.trapped.signal_e - 40.0) / residual.trapped_error_e}


def test_pulls_of_the_trapped_charge() -> None:
    model = replace(SMALL, trapped_e=40.0, dark_rate_e_per_s=0.2)
    plan = small_plan(model, dark_exposures_s=(300.0,), darks=4, flooded_darks=4, flat_levels=FLAT, biases=8)
    check_pulls(trap_pulls, plan, range(1000, 1016))


FLOODED = small_plan(SMALL, dark_exposures_s=(300.0,), flooded_darks=2, flat_levels=FLAT)


@pytest.mark.parametrize(
    ("without", "why"), [("dark", "no unflooded darks of 300 s"), ("bias", "no gain"), ("flat", "no gain: no flats"), ("", "")]
)
def test_flooded_darks_have_a_row_whatever_is_missing(without: str, why: str) -> None:
    frames = [frame for frame in frames_of(FLOODED, 3) if frame.header.kind != without or frame.flooded]
    result = characterise(frames, QUICK)
    residual = whole(result).residuals[0]
    assert (why in residual.reason) if why else residual.trapped is not None
    found = {one.name: one for one in quantities(result) if one.where.get("flooded") or one.name == "trapped_charge"}
    assert (found["trapped_charge"].value is None) is bool(why)
    limit = found["max_practical_exposure"]
    if without in ("bias", "flat"):
        assert limit.value is None
        assert limit.note
    elif not without:
        assert limit.value == pytest.approx(8.0**2 / ((150 + 0) / 300), rel=0.3)


@pytest.mark.parametrize(
    ("name", "flooded"),
    [
        ("orbit-set/dark-300.fits", False),
        ("turbine/arbitrary_300s.fits", False),
        ("RBI/dark.fits", True),
        ("dark_rbi01.fits", True),
        ("norbi-dark.fits", False),
        ("dark-no-RBI.fits", False),
        ("non-flooded.fits", False),
        ("without light flood.fits", False),
        ("floodlight/dark-1.fits", False),
        ("DarkFlooded300.fits", True),
        ("light-flood-1.fits", True),
    ],
)
def test_words_for_floods(name: str, flooded: bool) -> None:
    assert says_flooded(name) is flooded
