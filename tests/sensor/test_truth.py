"""Every quantity of a sensor, in its unit, against the truth of a simulated one: with a gain of 2.5 no wrong unit passes.

Sweeps by exposure and by the lamp, each with a dark series of other exposures and temperatures.
"""

from __future__ import annotations

import math

import pytest

from nightcrew.sensor.arrhenius import BOLTZMANN_EV_PER_K
from nightcrew.simulate.sensor import SensorModel
from nightcrew.simulate.sensor_set import SensorPlan
from reports.sensor_quantities import quantities
from reports.summary import Quantity
from tests.sensor.sets import measured, small_plan

MODEL = SensorModel(
    nx=80,
    ny=80,
    gain_e_per_adu=2.5,
    read_noise_e=12.0,
    offset_adu=1000.0,
    offset_pattern_e=8.0,
    prnu=0.015,
    dark_rate_e_per_s=0.8,
    dark_spread=0.0,
    full_well_e=60_000.0,
)
DARKS_C, DARKS_S = (-15.0, -5.0), (60.0, 150.0, 300.0)
EXACT = 0.03  # of values without an error of their own: 3 errors of the gain that they are scaled with
UNITS = {
    "gain": "e-/adu",
    "full_well": "e-",
    "read_noise": "e-",
    "read_noise_adu": "adu",
    "bias_level": "adu",
    "prnu": "%",
    "dsnu": "e-",
    "dark_current": "e-/s",
    "dark_current_median": "e-/s",
    "dark_current_adu": "adu/s",
    "doubling_temperature": "K",
    "activation_energy": "eV",
    "emva.gain": "DN/e-",
    "emva.responsivity": "DN/s",
    "emva.dark_noise": "e-",
    "emva.absolute_sensitivity_threshold": "e-",
    "emva.dsnu": "e-",
    "emva.prnu": "%",
    "emva.snr_max": "dB",
    "emva.dynamic_range": "dB",
}


def truth_of(found: Quantity, plan: SensorPlan) -> float | None:
    """What the simulated sensor has; None for what it has no truth of."""
    m, at_c = MODEL, float(found.where.get("temperature_c") or 0.0)
    noise_e = math.hypot(m.read_noise_e, m.gain_e_per_adu / math.sqrt(12))  # EMVA's dark noise counts the rounding
    rate = m.dark_rate_e_per_s * m.dark_factor(at_c)
    middle_k = 273.15 + float(found.where.get("at_temperature_c") or 0.0)
    values = {
        "gain": m.gain_e_per_adu,
        "full_well": m.full_well_e,
        "read_noise": m.read_noise_e,
        "read_noise_adu": m.read_noise_e / m.gain_e_per_adu,
        "bias_level": m.offset_adu,
        "prnu": 100 * m.prnu,
        "dsnu": m.offset_pattern_e,
        "dark_current": rate,
        "dark_current_median": rate,
        "dark_current_adu": rate / m.gain_e_per_adu,
        "doubling_temperature": math.log(2) * BOLTZMANN_EV_PER_K * middle_k**2 / m.activation_ev,
        "activation_energy": m.activation_ev,
        "emva.gain": 1 / m.gain_e_per_adu,
        "emva.responsivity": plan.lamp_e_per_s / m.gain_e_per_adu,
        "emva.dark_noise": m.read_noise_e,
        "emva.absolute_sensitivity_threshold": noise_e + 0.5,
        "emva.snr_max": 10 * math.log10(m.full_well_e),
        "emva.dynamic_range": 20 * math.log10(m.full_well_e / (noise_e + 0.5)),
    }
    if found.where.get("part") in ("total", "pixel"):
        values |= {"emva.dsnu": m.offset_pattern_e, "emva.prnu": 100 * m.prnu}
    return values.get(found.name)


@pytest.mark.parametrize("by_illumination", [False, True])
def test_every_quantity_is_the_truth_in_its_unit(by_illumination: bool) -> None:
    plan = small_plan(MODEL, by_illumination=by_illumination, temperatures_c=DARKS_C, dark_exposures_s=DARKS_S)
    seen: set[str] = set()
    for found in quantities(measured(plan, 3)):
        truth = truth_of(found, plan)
        if truth is None or (by_illumination and found.name == "emva.responsivity"):
            continue
        assert found.value is not None, (found.name, found.note)
        assert found.unit == UNITS[found.name], found.name
        assert abs(float(found.value) - truth) < max(5 * (found.error or 0.0), EXACT * abs(truth)), (found.name, found.value, truth)
        seen.add(found.name)
    assert seen == UNITS.keys() - ({"emva.responsivity"} if by_illumination else set())


def test_a_dark_series_of_its_own_serves_a_sweep_by_the_lamp() -> None:
    """Dark current at each temperature of the series, of exposures that no flat has."""
    plan = small_plan(MODEL, by_illumination=True, temperatures_c=DARKS_C, dark_exposures_s=DARKS_S)
    found = quantities(measured(plan, 3))
    rates = {float(str(one.where["temperature_c"])) for one in found if one.name == "dark_current" and one.value is not None}
    assert rates == set(DARKS_C)
    assert {one.where["exposure_s"] for one in found if one.name == "dsnu" and one.value is not None} == set(DARKS_S)
    (linear,) = (one for one in found if one.name == "linearity_error")
    assert (linear.value, linear.note) == (None, "flats of one exposure time: linearity needs a sweep by exposure")
