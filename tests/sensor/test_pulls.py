"""Values of simulated sensors are right within their errors, and the errors are right: pulls over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nightcrew.sensor.arrhenius import Arrhenius
from nightcrew.sensor.characterise import RegionResult
from nightcrew.sensor.options import SensorOptions
from nightcrew.simulate.sensor import Amplifier, SensorModel, build_sensor
from nightcrew.simulate.sensor_set import SensorPlan
from tests.sensor.sets import QUICK, SMALL, check_pulls, flat_pulls, frames_of, measured, pulls_of_region, small_plan, whole

MANY = range(1000, 1200)
FEW = range(1000, 1010)
LEVELS = (0.05, 0.15, 0.3, 0.45, 0.6, 0.8)
SENSORS: dict[str, dict[str, Any]] = {
    "plain": {},
    "low noise": {"read_noise_e": 1.2, "gain_e_per_adu": 1.0},
    "curved": {"nonlinearity_per_e": 1e-6},
    "cosmic rays": {"cosmic_rays_per_mpx_s": 2.0},
    "vignetted": {"vignetting": 0.1},
    "flicker": {"flicker": 0.01},
}


def plan_of(name: str) -> SensorPlan:
    return small_plan(replace(SMALL, **SENSORS[name]))


@pytest.mark.parametrize("name", SENSORS)
def test_pulls_of_the_flats(name: str) -> None:
    check_pulls(flat_pulls, plan_of(name), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", SENSORS)
def test_pulls_of_the_flats_over_many_seeds(name: str) -> None:
    check_pulls(flat_pulls, plan_of(name), MANY)


@pytest.mark.slow
def test_pulls_under_the_brighter_fatter_effect_over_many_seeds() -> None:
    check_pulls(flat_pulls, small_plan(replace(SMALL, bright_fat_per_e=-1.5e-6)), MANY)


def covariance_pulls(plan: SensorPlan, seed: int) -> Mapping[str, float]:
    return pulls_of_covariances(whole(measured(plan, seed, replace(QUICK, max_lag=2))), plan.sensor)


def pulls_of_covariances(region: RegionResult, model: SensorModel) -> Mapping[str, float]:
    fit = region.flats[0].curve.fit
    assert fit is not None
    assert fit.a is not None
    assert fit.a_error is not None
    truth = model.bright_fat_kernel()[1:, 1:]
    return {f"a{i}{j}": float((fit.a[i, j] - truth[i, j]) / fit.a_error[i, j]) for i in (0, 1) for j in (0, 1)}


def test_pulls_under_the_brighter_fatter_effect() -> None:  # of one measurement each: the simulation takes its time
    check_pulls(all_pulls, small_plan(replace(SMALL, bright_fat_per_e=-3e-6), flat_levels=LEVELS), FEW)


@pytest.mark.slow
def test_pulls_of_the_covariances_over_many_seeds() -> None:
    check_pulls(covariance_pulls, small_plan(replace(SMALL, bright_fat_per_e=-3e-6)), MANY)


OUTPUTS = (
    Amplifier(gain_e_per_adu=1.5, read_noise_e=8.0, offset_adu=1000.0),
    Amplifier(gain_e_per_adu=1.7, read_noise_e=6.0, offset_adu=1400.0),
)
TWO_OUTPUTS = small_plan(replace(SMALL, nx=128, amplifiers=OUTPUTS), flat_levels=LEVELS, by_illumination=True)
"""Two amplifiers, and levels by the lamp at one exposure."""


def output_pulls(plan: SensorPlan, seed: int) -> Mapping[str, float]:
    regions = measured(plan, seed, replace(QUICK, amplifiers=(2, 1))).set_ups[0].regions
    found: dict[str, float] = {}
    for region, output in zip(regions, plan.sensor.outputs, strict=True):
        truth = replace(plan.sensor, gain_e_per_adu=output.gain_e_per_adu, read_noise_e=output.read_noise_e)
        found |= {f"{region.region.name} {name}": pull for name, pull in pulls_of_region(region, truth).items()}
    return found


def test_pulls_of_each_amplifier() -> None:
    check_pulls(output_pulls, TWO_OUTPUTS, FEW)


@pytest.mark.slow
def test_pulls_of_each_amplifier_over_many_seeds() -> None:
    check_pulls(output_pulls, TWO_OUTPUTS, MANY)


DARK = SensorModel(nx=64, ny=64, dark_spread=0.0, dark_rate_e_per_s=0.5, offset_pattern_e=6.0)
DARK_PLAN = small_plan(DARK, temperatures_c=(-20.0, -10.0, 0.0), dark_exposures_s=(60.0, 180.0, 400.0), flat_levels=(0.1, 0.3, 0.5, 0.7))


def dark_pulls(plan: SensorPlan, seed: int) -> Mapping[str, float]:
    region, model = whole(measured(plan, seed)), plan.sensor
    pulls: dict[str, float] = {}
    assert region.gain is not None
    for series in region.darks:
        assert series.rate_adu_per_s is not None
        assert series.rate_error_adu_per_s is not None
        assert series.temperature_c is not None
        truth = model.dark_rate_e_per_s * model.dark_factor(series.temperature_c)
        # per ADU: the gain's error is common to all and tested by itself
        pulls[f"rate at {series.temperature_c}"] = (series.rate_adu_per_s - truth / model.gain_e_per_adu) / series.rate_error_adu_per_s
        point = series.points[0]
        assert point.dsnu is not None
        assert point.dsnu_error is not None
        pulls[f"dsnu at {series.temperature_c}"] = (point.dsnu - model.offset_pattern_e / model.gain_e_per_adu) / point.dsnu_error
    assert isinstance(region.arrhenius, Arrhenius)
    doubling = model.doubling_k(region.arrhenius.middle_c)
    pulls["doubling"] = (region.arrhenius.doubling_k - doubling) / region.arrhenius.doubling_error_k
    return pulls


def test_pulls_of_the_darks() -> None:
    check_pulls(dark_pulls, DARK_PLAN, FEW)


@pytest.mark.slow
def test_pulls_of_the_darks_over_many_seeds() -> None:
    check_pulls(dark_pulls, DARK_PLAN, MANY)


THREE = small_plan(replace(SMALL, bright_fat_per_e=-3e-6), flats=3, biases=9, flat_levels=LEVELS)
"""Odd numbers of frames: the last three of a level make three pairs that have frames in common."""


def all_pulls(plan: SensorPlan, seed: int) -> Mapping[str, float]:
    region = whole(measured(plan, seed, replace(QUICK, max_lag=2)))
    return {**pulls_of_region(region, plan.sensor), **pulls_of_covariances(region, plan.sensor)}


def test_pulls_of_three_flats_a_level() -> None:
    check_pulls(flat_pulls, replace(THREE, sensor=SMALL), FEW)


@pytest.mark.slow
def test_pulls_of_three_flats_a_level_over_many_seeds() -> None:
    check_pulls(all_pulls, THREE, MANY)


def test_hot_pixels_are_found_and_counted() -> None:
    model = SensorModel(nx=128, ny=128, hot_fraction=2e-3, cosmic_rays_per_mpx_s=0.5)
    plan = small_plan(model, dark_exposures_s=(300.0,), flat_levels=(0.3,))
    sensor = build_sensor(model, 5)
    from nightcrew.sensor.characterise import characterise

    series = whole(characterise(frames_of(plan, 5, sensor), SensorOptions(max_lag=0, bootstrap=0))).darks[0]
    assert series.hot is not None
    found = np.zeros(sensor.hot.shape, np.bool_)
    found[series.hot.y, series.hot.x] = True
    assert (found & sensor.hot).sum() == sensor.hot.sum()  # none is missed: each is far above the threshold
    tail = sensor.dark_e_per_s[~sensor.hot & found]
    assert tail.size <= 5  # of 16384 pixels the brightest of the spread itself
    rates = series.hot.rate_adu_per_s * model.gain_e_per_adu
    assert rates == pytest.approx(sensor.dark_e_per_s[series.hot.y, series.hot.x], rel=0.05)
