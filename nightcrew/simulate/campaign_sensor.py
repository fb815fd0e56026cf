"""The damaged sensor itself: maps that are the truth, and frames at a dose, a dose rate and an exposure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.simulate.campaign_plan import DamagedSensor
from nightcrew.simulate.randomness import FloatImage, generator, poisson

TOP_ADU = 65520
LONGEST_KRAD = 1000.0  # damage is planted up to this dose, so that it does not depend on how long a campaign is


@dataclass(frozen=True, eq=False)
class DamageMaps:
    """Truth of every pixel [y, x]: bias (adu) and its growth (adu/kRad), dark rate (adu/s) and its growth, hot pixels by their dose.

    ``hot_dose_krad``: NaN for pixels that never become hot; ``hot_adu_per_s``: what they then add.
    """

    sensor: DamagedSensor
    bias: FloatImage
    alpha: FloatImage
    dark: FloatImage
    beta: FloatImage
    response: FloatImage
    hot_dose_krad: FloatImage
    hot_adu_per_s: FloatImage

    def bias_at(self, dose_krad: float) -> FloatImage:
        """Mean level [y, x] without exposure."""
        level: FloatImage = self.bias + self.alpha * np.float32(dose_krad)
        return level

    def rate_at(self, dose_krad: float, healed: float = 0.0) -> FloatImage:
        """Dark rate [y, x] in adu/s; ``healed``: part of the damage that is gone."""
        hot = np.where(self.hot_dose_krad <= dose_krad, self.hot_adu_per_s, np.float32(0))
        rate: FloatImage = self.dark + self.beta * np.float32(dose_krad * (1 - healed)) + hot
        return rate

    def hot_at(self, dose_krad: float) -> int:
        """Number of hot pixels at a dose."""
        return int(np.count_nonzero(self.hot_dose_krad <= dose_krad))


def make_damage(sensor: DamagedSensor, seed: int) -> DamageMaps:
    """The maps, fixed by the sensor and the seed.  The means over the pixels of alpha, DC0 and beta are exactly those of the sensor."""
    rng = generator(seed, "campaign sensor")
    shape = (sensor.ny, sensor.nx)

    def around(mean: float) -> FloatImage:
        values = 1 + sensor.spread * rng.standard_normal(shape)
        return np.asarray(mean * values / values.mean(), dtype=np.float32)

    level = rng.normal(0, sensor.level_rms_adu, shape)
    hot_dose, hot_rate = _hot_pixels(sensor, rng, shape)
    return DamageMaps(
        sensor=sensor,
        bias=(sensor.b0_adu + level - level.mean()).astype(np.float32),
        alpha=around(sensor.alpha_adu_per_krad),
        dark=around(sensor.dc0_adu_per_s),
        beta=around(sensor.beta_adu_per_s_krad),
        response=around(1.0),
        hot_dose_krad=hot_dose,
        hot_adu_per_s=hot_rate,
    )


def _hot_pixels(sensor: DamagedSensor, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[FloatImage, FloatImage]:
    n_pixels = shape[0] * shape[1]
    before = round(sensor.hot_before * n_pixels)
    later = rng.poisson(sensor.hot_per_krad * n_pixels * LONGEST_KRAD)
    count = min(before + later, n_pixels)
    places = rng.permutation(n_pixels)[:count]
    dose = np.full(n_pixels, np.nan, np.float32)
    rate = np.zeros(n_pixels, np.float32)
    dose[places] = np.concatenate([np.zeros(before), rng.uniform(0, LONGEST_KRAD, count - before)])
    rate[places] = sensor.hot_least_adu_per_s + rng.exponential(sensor.hot_scale_adu_per_s, count)
    return dose.reshape(shape), rate.reshape(shape)


def expose_damaged(
    maps: DamageMaps,
    kind: str,
    dose_krad: float,
    rate_krad_per_s: float,
    exposure_s: float,
    rng: np.random.Generator,
    *,
    healed: float = 0.0,
) -> tuple[NDArray[np.uint16], int]:
    """One frame [y, x] and the number of hits in it."""
    sensor = maps.sensor
    signal = maps.rate_at(dose_krad, healed) * np.float32(exposure_s)
    if kind == "FLAT":
        signal = signal + maps.response * np.float32(sensor.flat_adu)
    gain = np.float32(sensor.gain_e_per_adu)
    adu = poisson(rng, np.maximum(signal * gain, 0)) / gain
    hits = _hits(sensor, rate_krad_per_s * exposure_s, rng, adu)
    adu += maps.bias_at(dose_krad)
    adu += rng.standard_normal(adu.shape, dtype=np.float32) * np.float32(sensor.read_noise_adu)
    steps = np.floor(adu / np.float32(sensor.step_adu) + np.float32(0.5)) * sensor.step_adu
    return np.clip(steps, 0, TOP_ADU).astype(np.uint16), hits


def _hits(sensor: DamagedSensor, mean: float, rng: np.random.Generator, adu: FloatImage) -> int:
    if mean <= 0:
        return 0
    count = int(rng.poisson(mean * adu.size))
    places = rng.integers(0, adu.size, count)
    shape = (sensor.q_adu_per_krad / sensor.sigma_q_adu) ** 2
    charge = rng.gamma(shape, sensor.q_adu_per_krad / shape, count)
    np.add.at(adu.reshape(-1), places, charge.astype(np.float32))
    return count


def healed_part(sensor: DamagedSensor, since_s: float) -> float:
    """Part of the damage that is gone ``since_s`` after the beam."""
    return sensor.healing * (1 - math.exp(-max(since_s, 0.0) / sensor.healing_time_s))
