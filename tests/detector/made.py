"""Frames of a simulated sensor in memory, with their truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.lab_plan import LabPlan, LabSensor
from nightcrew.simulate.lab_sensor import SensorMaps, expose, make_sensor
from nightcrew.simulate.randomness import generator

SENSOR = LabSensor(ny=96, nx=128)


@dataclass(frozen=True, eq=False)
class Made:
    """Frames [y, x], their temperatures (C) and exposures (s), and the sensor."""

    maps: SensorMaps
    frames: list[NDArray[np.uint16]]
    temperatures_c: list[float]
    exposures_s: list[float]


def _exposed(maps: SensorMaps, kind: str, cells: list[tuple[float, float]], each: int, jitter_c: float, seed: int) -> Made:
    rng = generator(seed, kind, "frames in memory")
    frames, temperatures, exposures = [], [], []
    for t, seconds in cells:
        for _ in range(each):
            actual = t + float(rng.normal(0, jitter_c)) if jitter_c else t
            frames.append(expose(maps, kind, actual, seconds, rng).pixels)
            temperatures.append(actual)
            exposures.append(seconds)
    return Made(maps, frames, temperatures, exposures)


@cache
def biases(jitter_c: float = 0.05, each: int = 8, seed: int = 1, **changed: float) -> Made:
    """Bias frames at five temperatures."""
    plan = LabPlan()
    maps = make_sensor(replace(SENSOR, **changed), seed)  # type: ignore[arg-type]  # fields of a sensor, most of them numbers
    return _exposed(maps, "BIAS", [(t, 1.2e-5) for t in plan.bias_temperatures_c], each, jitter_c, seed)


@cache
def darks(jitter_c: float = 0.05, each: int = 4, seed: int = 1, exposures_s: tuple[float, ...] = (1, 5, 10, 20), **changed: float) -> Made:
    """Darks at four temperatures."""
    plan = LabPlan()
    maps = make_sensor(replace(SENSOR, **changed), seed)  # type: ignore[arg-type]  # fields of a sensor, most of them numbers
    cells = [(t, float(s)) for t in plan.dark_temperatures_c for s in exposures_s]
    return _exposed(maps, "DARK", cells, each, jitter_c, seed)
