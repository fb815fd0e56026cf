"""A simulated CMOS sensor with known bias(T), dark(T, t), response, hot and telegraph pixels: charge in, 12 bits stored x16 out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.lab_plan import LabSensor
from nightcrew.simulate.randomness import FloatImage, generator, poisson

STEP_ADU = 16
TOP = 4095


@dataclass(frozen=True, eq=False)
class SensorMaps:
    """The truth about every pixel, all [y, x]: bias level at 0 C (adu) and its slope (adu/K), dark rate at the reference (adu/s),
    response (median 1 without vignetting), vignetting, and which pixels are hot or telegraph."""

    sensor: LabSensor
    level: FloatImage
    slope: FloatImage
    dark_rate: FloatImage
    response: FloatImage
    vignetting: FloatImage
    hot: NDArray[np.bool_]
    telegraph: NDArray[np.bool_]

    def bias(self, temperature_c: float) -> FloatImage:
        """Mean bias [y, x] in adu."""
        return self.level + self.slope * np.float32(temperature_c)

    def dark_factor(self, temperature_c: float) -> float:
        """Rate over that at the reference temperature."""
        return float(2.0 ** ((temperature_c - self.sensor.reference_c) / self.sensor.doubling_c))

    def dark(self, temperature_c: float, exposure_s: float) -> FloatImage:
        """Mean dark signal [y, x] in adu, without bias and with telegraph pixels in their lower state."""
        seconds = exposure_s ** (1.0 + self.sensor.gamma) if exposure_s > 0 else 0.0
        return self.dark_rate * np.float32(self.dark_factor(temperature_c) * seconds)

    def light(self, temperature_c: float, exposure_s: float) -> FloatImage:
        """Mean signal [y, x] of the flat lamp in adu."""
        change = 1 + self.sensor.response_per_k * (temperature_c - self.sensor.reference_c)
        return self.response * self.vignetting * np.float32(self.sensor.flux_adu_per_s * exposure_s * change)


def make_sensor(sensor: LabSensor, seed: int) -> SensorMaps:
    """The maps of a sensor, fixed by its properties and the seed."""
    rng = generator(seed, "lab sensor")
    shape = (sensor.ny, sensor.nx)
    level = sensor.level_adu + rng.normal(0, sensor.level_rms_adu, shape) + rng.normal(0, sensor.column_rms_adu, sensor.nx)
    slope = rng.normal(sensor.slope_adu_per_k, sensor.slope_rms_adu_per_k, shape)
    dark = sensor.dark_rate_adu_per_s * np.exp(rng.normal(0, sensor.dark_spread, shape))
    n_pixels = sensor.ny * sensor.nx
    n_hot, n_telegraph = round(sensor.hot_fraction * n_pixels), round(sensor.telegraph_fraction * n_pixels)
    places = rng.choice(n_pixels, n_hot + n_telegraph, replace=False)
    hot, telegraph = np.zeros(shape, bool), np.zeros(shape, bool)
    hot.flat[places[:n_hot]] = True
    telegraph.flat[places[n_hot:]] = True
    low, high = np.log(sensor.hot_factors)
    dark.flat[places[:n_hot]] = sensor.dark_rate_adu_per_s * np.exp(rng.uniform(low, high, n_hot))
    response = 1 + rng.normal(0, sensor.prnu, shape)
    return SensorMaps(
        sensor,
        level.astype(np.float32),
        slope.astype(np.float32),
        dark.astype(np.float32),
        response.astype(np.float32),
        _vignetting(sensor).astype(np.float32),
        hot,
        telegraph,
    )


def _vignetting(sensor: LabSensor) -> NDArray[np.float64]:
    half_diagonal = np.hypot(sensor.ny, sensor.nx) / 2
    y = (np.arange(sensor.ny) - (sensor.ny - 1) / 2)[:, None] / half_diagonal - sensor.vignetting_centre[0]
    x = (np.arange(sensor.nx) - (sensor.nx - 1) / 2)[None, :] / half_diagonal - sensor.vignetting_centre[1]
    r2 = y * y + x * x
    return np.asarray(1 - sensor.vignetting[0] * r2 - sensor.vignetting[1] * r2 * r2)


@dataclass(frozen=True, eq=False)
class Exposed:
    """A raw frame [y, x] as stored, and where it was hit."""

    pixels: NDArray[np.uint16]
    hits: int


def expose(maps: SensorMaps, kind: str, temperature_c: float, exposure_s: float, rng: np.random.Generator) -> Exposed:
    """One frame: dark current and (for flats) light with Poisson noise, telegraph states, hits, bias, read noise, 12 bits x16."""
    sensor = maps.sensor
    mean = maps.dark(temperature_c, exposure_s).astype(np.float64)
    if kind == "FLAT":
        mean += maps.light(temperature_c, exposure_s)
    upper = maps.telegraph & (rng.random(mean.shape) < 0.5)
    mean += upper * sensor.telegraph_factor * sensor.dark_rate_adu_per_s * maps.dark_factor(temperature_c) * exposure_s
    electrons = poisson(rng, (mean * sensor.gain_e_per_adu).astype(np.float32))
    signal = electrons / np.float64(sensor.gain_e_per_adu) + maps.bias(temperature_c)
    hits = int(rng.poisson(sensor.hits_per_mpx_s * exposure_s * mean.size / 1e6))
    signal.reshape(-1)[rng.integers(0, mean.size, hits)] += rng.uniform(*sensor.hit_adu, hits)
    signal += rng.standard_normal(mean.shape, dtype=np.float32) * np.float32(sensor.read_noise_adu)
    steps = np.clip(np.rint(signal / STEP_ADU), 0, TOP).astype(np.uint16)
    return Exposed(steps * np.uint16(STEP_ADU), hits)
