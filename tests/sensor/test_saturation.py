"""What a sweep that does not reach saturation may say of it, and which fall of the variance is a full well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor.characterise import SensorResult
from nightcrew.sensor.curve_points import CurvePoint
from nightcrew.sensor.emva1288 import Linear1288, TemporalData, linear_model
from nightcrew.sensor.turn_off import fall, turn_off
from reports.sensor_quantities import quantities
from reports.sensor_sheet import LINES
from tests.sensor.sets import SMALL, measured, small_plan, whole

UP_TO_HALF = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
OF_SATURATION = ("emva.saturation_capacity", "emva.snr_max", "emva.dynamic_range", "emva.linearity_error", "full_well")


def named(result: SensorResult) -> dict[str, tuple[float | None, str]]:
    return {one.name: (one.value, one.note) for one in quantities(result)}


@pytest.mark.parametrize("by_illumination", [False, True])
def test_sweep_that_ends_below_saturation_states_none(by_illumination: bool) -> None:
    found = named(measured(small_plan(flat_levels=UP_TO_HALF, by_illumination=by_illumination), 1))
    for name in OF_SATURATION:
        value, note = found[name]
        assert value is None, name  # half the full well was stated as the saturation capacity
        assert note
    assert float(found["emva.saturation_capacity"][1].split()[-2]) == pytest.approx(40_000, rel=0.02)  # the highest level: at least that
    assert found["emva.gain"][0] == pytest.approx(1 / 1.5, rel=0.05)
    assert found["emva.absolute_sensitivity_threshold"][0] == pytest.approx(8.5, rel=0.1)


def test_sweep_beyond_saturation_states_all() -> None:
    found = named(measured(small_plan(), 1))
    assert all(found[name][0] is not None for name in OF_SATURATION)
    assert found["emva.saturation_capacity"][0] == pytest.approx(SMALL.full_well_e, rel=0.05)


def test_noise_at_the_end_of_a_sweep_is_no_saturation() -> None:
    mean = np.array([100.0, 1000, 2000, 3000, 3010])
    variance = np.array([60.0, 510, 1010, 1510, 1490])  # the last two are one level, and the last by chance the lower
    data = TemporalData(
        exposure_s=np.arange(1, 6.0), photons=None, mean=mean, variance=variance, dark_mean=np.zeros(5), dark_variance=np.full(5, 10.0)
    )
    found = linear_model(data)
    assert isinstance(found, Linear1288)
    assert not found.saturated
    assert (found.saturation_e, found.snr_max, found.snr_max_db, found.dynamic_range_db) == (None, None, None, None)
    assert found.highest_e == pytest.approx(3010 / found.gain_dn_per_e)


def test_linearity_of_an_open_sweep_says_how_far_it_holds() -> None:
    value, note = named(measured(small_plan(flat_levels=UP_TO_HALF), 1))["linearity_error"]
    assert value is not None
    assert "does not show saturation" in note


def point(signal: float, variance: float, error: float) -> CurvePoint:
    return CurvePoint(
        group="", filter="", exposure_s=signal, signal=signal, signal_scatter=0.0, variance=variance, relative_error=error, pairs=()
    )


RISING = [(1000.0, 500.0), (2000.0, 1000.0), (3000.0, 1500.0)]


def test_small_fall_beyond_chance_is_no_full_well() -> None:
    points = [point(s, v, 3e-4) for s, v in (*RISING, (3100.0, 1480.0))]  # 1.3 %, but 45 of its errors: frames of 16 Mpx
    assert turn_off(points, None) is None
    found = fall(points)
    assert found is not None
    assert found.signal == 3000.0
    assert found.drop == pytest.approx(20 / 1500)


def test_variance_that_rises_again_has_not_turned_off() -> None:
    points = [point(s, v, 0.01) for s, v in (*RISING, (3500.0, 900.0), (4000.0, 2000.0))]  # one bad pair
    assert turn_off(points, None) is None


def test_deep_fall_is_one() -> None:
    found = turn_off([point(s, v, 0.01) for s, v in (*RISING, (3300.0, 40.0))], None)
    assert found is not None
    assert found.lower == 3000.0
    assert found.upper == pytest.approx(3300.0, rel=0.01)


def test_levels_beyond_a_small_fall_are_not_fitted_and_that_is_told() -> None:
    # the last level clips a few pixels of a hundred: its variance is 3 % too low, far beyond its error on a large sensor
    plan = small_plan(replace(SMALL, nx=512, ny=512), flat_levels=(0.2, 0.4, 0.6, 0.8, 0.9, 0.97))
    curve = whole(measured(plan, 1)).flats[0].curve
    assert curve.turn_off is None or curve.turn_off.upper >= 0.97 * SMALL.full_well_e / SMALL.gain_e_per_adu
    assert curve.fit is not None
    assert curve.fit.gain == pytest.approx(SMALL.gain_e_per_adu, abs=4 * curve.gain_error)


def test_data_sheet_asks_for_quantities_that_exist() -> None:
    known = set(named(measured(small_plan(dark_exposures_s=(60.0, 120.0, 300.0)), 1)))
    assert {name for name, _ in LINES} - known <= {"trapped_charge", "dark_current_over_data_sheet", "gain_stated"}


def test_linearity_error_of_emva_1288_has_its_interval() -> None:
    found = {one.name: one for one in quantities(measured(small_plan(), 1))}
    between, value = found["emva.linearity_error"].interval, found["emva.linearity_error"].value
    assert between is not None
    assert value is not None
    assert between.low <= value <= between.high
    assert "noise alone makes" in found["emva.linearity_error"].note


def test_linearity_error_without_errors_of_the_signals_has_no_interval() -> None:
    variance = np.array([510.0, 1010, 1510, 2010, 100])
    mean = np.array([1000.0, 2000, 3010, 4000, 4100])
    data = TemporalData(
        exposure_s=np.arange(1, 6.0), photons=None, mean=mean, variance=variance, dark_mean=np.zeros(5), dark_variance=np.full(5, 10.0)
    )
    bare, known = linear_model(data), linear_model(replace(data, relative_error=np.full(5, 1e-4)))
    assert isinstance(bare, Linear1288)
    assert isinstance(known, Linear1288)
    assert bare.linearity_error_percent == known.linearity_error_percent
    assert bare.linearity_interval is None
    assert known.linearity_interval is not None
    assert known.linearity_interval.low > 0  # a third of a percent, of errors of a hundredth
