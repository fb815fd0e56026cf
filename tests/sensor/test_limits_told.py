"""Exposure limits and full wells as the report states them: after a flood, for n read noises, and where the converter ends first."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest

from nightcrew.sensor.characterise import RegionResult
from reports.sensor_limits import limits
from reports.sensor_quantities import quantities
from reports.summary import Quantity
from tests.sensor.sets import QUICK, SMALL, measured, small_plan, whole

FLOODED = small_plan(
    replace(SMALL, trapped_e=60.0), flat_levels=(0.1, 0.2, 0.3, 0.4, 0.5), dark_exposures_s=(100.0, 300.0), flooded_darks=4, flooded_s=300.0
)


@lru_cache(maxsize=1)
def region() -> RegionResult:
    return whole(measured(FLOODED, 1))


def told(times: float = 1.0) -> list[Quantity]:
    return list(limits(region(), {"region": "whole"}, replace(QUICK, sky_e_per_s=(("V", 0.5),), times_read_noise=times), (1, 1)))


def read_noise_e() -> float:
    noise, gain = region().noises[0].adu, region().gain
    assert noise is not None
    assert gain is not None
    return noise * gain.value


def test_maximum_after_a_flood_counts_what_the_flood_left() -> None:
    found = [one for one in told() if one.name == "max_practical_exposure"]
    dry, wet = (next(one for one in found if bool(one.where.get("flooded")) is flood) for flood in (False, True))
    signal = region().residuals[0].flooded
    assert signal is not None
    assert wet.value == pytest.approx(read_noise_e() ** 2 * 300 / signal.signal_e)
    assert wet.where["exposure_s"] == 300.0
    truth = SMALL.read_noise_e**2 * 300 / (300 * SMALL.dark_rate_e_per_s + 60)  # 91 s; without the flood 128 s
    assert wet.error is not None
    assert wet.value == pytest.approx(truth, abs=4 * wet.error)
    assert dry.error is not None
    assert dry.value == pytest.approx(SMALL.read_noise_e**2 / SMALL.dark_rate_e_per_s, abs=4 * dry.error)


@pytest.mark.parametrize("times", [1.0, 3.0])
def test_minimum_goes_with_the_square_of_n(times: float) -> None:
    (least,) = [one for one in told(times) if one.name == "min_practical_exposure"]
    assert least.value == pytest.approx(times**2 * read_noise_e() ** 2 / 0.5)
    assert (least.where["filter"], least.where["times_read_noise"]) == ("V", times)


def test_converter_that_ends_first_gives_no_interval_of_the_full_well() -> None:
    result = measured(small_plan(replace(SMALL, adc_max=40_000), dark_exposures_s=()), 1)  # 58 500 e- above the offset
    found = next(one for one in quantities(result) if one.name == "full_well")
    assert found.value == pytest.approx(58_500, rel=0.05)
    assert found.interval is None
    assert "the converter ends there: the pixels hold more than" in found.note


def test_full_well_linearity_and_hot_pixels_have_their_intervals_in_the_summary() -> None:
    result = measured(small_plan(dark_exposures_s=(60.0, 300.0)), 1)
    found = {one.name: one for one in quantities(result)}
    for name in ("full_well", "linearity_error", "hot_pixels"):
        one = found[name]
        assert one.interval is not None
        assert one.value is not None
        assert one.interval.level == 0.95
        assert one.interval.low <= one.value <= one.interval.high
    assert "noise alone makes" in found["linearity_error"].note
    assert "above the mean of the others" in found["hot_pixels"].note


def test_hot_pixels_without_a_gain_have_no_interval_and_say_why() -> None:
    result = measured(small_plan(dark_exposures_s=(60.0, 300.0), flat_levels=()), 1)
    found = next(one for one in quantities(result) if one.name == "hot_pixels")
    assert found.value is not None
    assert found.interval is None
    assert "no interval: no gain" in found.note
