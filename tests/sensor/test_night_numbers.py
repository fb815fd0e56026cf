"""The night's by-product: its gain and read noise agree with the characterisation, and a change beyond learned limits is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.quality import camera_numbers
from nightcrew.simulate.sensor import SensorModel, build_sensor
from reports.model import TrendPoint
from reports.trends import trend
from tests.sensor.sets import frames_of, measured, small_plan, whole

MODEL = SensorModel(nx=160, ny=160)
NIGHTS = [f"2026-05-{day:02d}" for day in range(1, 11)]


def night(model: SensorModel, seed: int) -> camera_numbers.Measurement:
    """Gain from six flats and six biases of one night, as the service measures it."""
    sensor = build_sensor(model, 7)  # the same camera each night, other noise
    flats = [sensor.flat(30_000, 5.0, -10.0, seed, n) for n in range(6)]
    biases = [sensor.bias(seed, n) for n in range(6)]
    return camera_numbers.gain(flats, biases, fraction=1.0)


def test_night_and_characterisation_agree() -> None:
    plan = small_plan(MODEL)
    frames = frames_of(plan, 3)
    biases = [frame.data for frame in frames if frame.header.kind == "bias" and frame.data is not None]
    flats = [frame.data for frame in frames if frame.header.kind == "flat" and frame.data is not None][4:12]
    found, region = camera_numbers.gain(flats, biases, fraction=1.0), whole(measured(plan, 3))
    assert found.value is not None
    assert found.error is not None
    assert region.gain is not None
    assert found.value == pytest.approx(region.gain.value, abs=4 * found.error)
    noise = camera_numbers.read_noise(biases, fraction=1.0)
    assert noise.value == pytest.approx(region.noises[0].adu, abs=4 * (noise.error or 0))


@pytest.mark.parametrize(("gain", "outside"), [(1.5, False), (1.65, True)])
def test_change_of_the_gain_leaves_the_learned_limits(gain: float, outside: bool) -> None:
    points = []
    for number, date in enumerate(NIGHTS):
        last = date == NIGHTS[-1]
        found = night(replace(MODEL, gain_e_per_adu=gain) if last else MODEL, number)
        assert found.value is not None
        points.append(TrendPoint(night=date, value=found.value, error=found.error))
    seen = trend("gain", "Gain", "e-/ADU", "CAM", points, NIGHTS[-1])
    assert seen.limits is not None
    assert seen.outside is outside
