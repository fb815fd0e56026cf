"""Sets of simulated frames in memory, and pulls of what is measured from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.sensor.characterise import RegionResult, SensorResult, characterise
from nightcrew.sensor.frames import SensorFrame, of_array
from nightcrew.sensor.options import SensorOptions
from nightcrew.simulate.sensor import SensorModel, SimulatedSensor, build_sensor
from nightcrew.simulate.sensor_set import SensorPlan, planned_frames, take

QUICK = SensorOptions(max_lag=0, bootstrap=50, threads=1)
SMALL = SensorModel(nx=64, ny=64)


def small_plan(model: SensorModel = SMALL, **values: Any) -> SensorPlan:
    """A sweep of flats and the biases, without darks and without scatter of the temperature."""
    usual: dict[str, Any] = {"flat_darks": False, "dark_exposures_s": (), "temperature_jitter_c": 0.0}
    return SensorPlan(sensor=model, **{**usual, **values})


def frames_of(plan: SensorPlan, seed: int, sensor: SimulatedSensor | None = None) -> list[SensorFrame]:
    """The plan's frames in memory."""
    chip = sensor or build_sensor(plan.sensor, seed)
    return [
        of_array(
            take(chip, frame),
            name=frame.name,
            kind=frame.kind,
            exposure_s=frame.exposure_s,
            temperature_c=frame.temperature_c,
            time_utc=frame.time_utc,
            filter=frame.filter,
            flooded=frame.flooded,
            bayer=plan.sensor.bayer,
            saturation_adu=float(plan.sensor.adc_max),
        )
        for frame in planned_frames(plan, seed)
    ]


def measured(plan: SensorPlan, seed: int, options: SensorOptions = QUICK) -> SensorResult:
    """A simulated set, characterised."""
    return characterise(frames_of(plan, seed), options)


def whole(result: SensorResult) -> RegionResult:
    """The first region of the first set-up."""
    return result.set_ups[0].regions[0]


Pulls = Callable[[SensorPlan, int], Mapping[str, float]]


def check_pulls(pulls: Pulls, plan: SensorPlan, seeds: Sequence[int]) -> None:
    """Pulls (value - truth) / error of every quantity: |mean| < 4/sqrt(N) and |width - 1| < 4/sqrt(2N)."""
    rows = [pulls(plan, seed) for seed in seeds]
    n = len(rows)
    for name in rows[0]:
        values: NDArray[np.float64] = np.array([row[name] for row in rows])
        assert np.isfinite(values).all(), name
        width = float(values.std(ddof=1)) if n > 2 else 1.0
        assert abs(values.mean()) < 4 / math.sqrt(n), f"{name}: mean pull {values.mean():.3f} of {n}"
        assert abs(width - 1) < 4 / math.sqrt(2 * n), f"{name}: width of the pulls {width:.3f} of {n}"


def flat_pulls(plan: SensorPlan, seed: int) -> Mapping[str, float]:
    """Gain, read noise, a00 and PRNU."""
    return pulls_of_region(whole(measured(plan, seed)), plan.sensor)


def pulls_of_region(region: RegionResult, model: SensorModel) -> Mapping[str, float]:
    """The same of a region that is measured already."""
    flat = region.flats[0]
    fit, read = flat.curve.fit, flat.curve.read_noise_e
    assert fit is not None
    assert read is not None
    assert fit.a00 is not None
    assert fit.a00_error is not None
    uniformity = flat.uniformity
    assert uniformity.prnu_percent is not None
    assert uniformity.prnu_error_percent is not None
    return {
        "gain": (fit.gain - model.gain_e_per_adu) / flat.curve.gain_error,
        "read noise": (read[0] - model.read_noise_e) / read[1],
        "a00": (fit.a00 - model.bright_fat_per_e) / fit.a00_error,
        "prnu": (uniformity.prnu_percent - 100 * model.prnu) / uniformity.prnu_error_percent,
    }
