"""The five printed sensors of the reference, and what the chain refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from nightcrew.errors import Refused
from nightcrew.sensor.exposure_limits import (
    DarkSignal,
    TrappedCharge,
    data_sheet_rate,
    gain_from_full_well,
    maximum_practical_exposure_s,
    minimum_practical_exposure_s,
)

EXPOSURE_S, BINNING = 450.0, (2, 2)


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One sensor of "KAF16200 charge trapping" (R. Crisp 2019): what went in, and what is printed as its results."""

    gain: float  # e-/DN
    read: float  # e-
    std: float  # DN, of the difference of two darks; without a flood, then with
    std_flooded: float
    total: tuple[float, float]
    shot: tuple[float, float]
    signal: tuple[float, float]
    trapped: float
    percent: float
    rate: float
    limit_s: float
    flooded_limit_s: float | None

    @property
    def darks(self) -> tuple[DarkSignal, DarkSignal]:
        """Without a flood, with a flood."""
        return (
            DarkSignal.of_difference(self.std, self.gain, self.read),
            DarkSignal.of_difference(self.std_flooded, self.gain, self.read),
        )


SENSORS = {
    1: Printed(
        gain=gain_from_full_well(65535, 1000, 41000), read=7.4, std=33.074, std_flooded=35.841,
        total=(14.8580, 16.1010), shot=(12.8841, 14.2998), signal=(166.0001, 204.4832), trapped=38.4831, percent=23.18,
        rate=0.0922223, limit_s=593.7829, flooded_limit_s=None,
    ),
    2: Printed(
        gain=0.66, read=6.761, std=27.169, std_flooded=35.42,
        total=(12.67951, 16.53018), shot=(10.72655, 15.08428), signal=(115.0589, 227.5356), trapped=112.4767, percent=97.76,
        rate=0.063922, limit_s=715.1119, flooded_limit_s=361.6138,
    ),
    3: Printed(
        gain=0.61, read=6.0, std=24.321, std_flooded=34.15,
        total=(10.4905, 14.73009), shot=(8.605268, 13.45272), signal=(74.05063, 180.9757), trapped=106.9251, percent=144.39,
        rate=0.041139, limit_s=875.077, flooded_limit_s=358.0591,
    ),
    4: Printed(
        gain=0.64, read=6.8, std=35.419, std_flooded=39.318,
        total=(16.02881, 17.7933), shot=(14.51491, 16.44267), signal=(210.6827, 270.3614), trapped=59.67863, percent=28.33,
        rate=0.117046, limit_s=395.0585, flooded_limit_s=307.8546,
    ),
    5: Printed(
        gain=0.663, read=6.44, std=36.453, std_flooded=48.646,
        total=(17.0896, 22.80582), shot=(15.82974, 21.87765), signal=(250.5807, 478.6318), trapped=228.0511, percent=91.01,
        rate=0.139212, limit_s=297.9179, flooded_limit_s=155.9706,
    ),
}  # fmt: skip  # read as a table
LAST_DIGIT = 1e-5  # relative: the sheets print seven digits, at times six
each = pytest.mark.parametrize("sensor", SENSORS.values(), ids=[f"sensor {number}" for number in SENSORS])


@each
def test_noises_and_signals_from_the_measured_scatter(sensor: Printed) -> None:
    for dark, total, shot, signal in zip(sensor.darks, sensor.total, sensor.shot, sensor.signal, strict=True):
        assert dark.total_noise_e == pytest.approx(total, rel=LAST_DIGIT)
        assert dark.shot_noise_e == pytest.approx(shot, rel=LAST_DIGIT)
        assert dark.signal_e == pytest.approx(signal, rel=LAST_DIGIT)


@each
def test_trapped_charge_from_the_measured_scatter(sensor: Printed) -> None:
    dark, flooded = sensor.darks
    trap = TrappedCharge.between(flooded, dark)
    assert trap.signal_e == pytest.approx(sensor.trapped, rel=LAST_DIGIT)
    assert 100 * trap.fraction == pytest.approx(sensor.percent, abs=0.005)


@each
def test_rate_and_limits_from_the_measured_scatter(sensor: Printed) -> None:
    dark, flooded = sensor.darks
    rate = dark.rate_e_per_s(EXPOSURE_S, BINNING)
    assert rate == pytest.approx(sensor.rate, rel=LAST_DIGIT)
    assert dark.limit_s(EXPOSURE_S, sensor.read, BINNING) == pytest.approx(sensor.limit_s, rel=LAST_DIGIT)
    assert maximum_practical_exposure_s(sensor.read, rate) == pytest.approx(sensor.limit_s, rel=LAST_DIGIT)
    if sensor.flooded_limit_s is not None:
        assert flooded.limit_s(EXPOSURE_S, sensor.read, BINNING) == pytest.approx(sensor.flooded_limit_s, rel=LAST_DIGIT)


def first() -> tuple[DarkSignal, DarkSignal]:
    return SENSORS[1].darks


def test_trapped_noise_is_quadratic_not_the_linear_difference() -> None:
    dark, flooded = first()
    noise = TrappedCharge.between(flooded, dark).noise_e
    assert noise == pytest.approx(math.sqrt(flooded.shot_noise_e**2 - dark.shot_noise_e**2))
    assert noise == pytest.approx(6.203475, rel=LAST_DIGIT)
    assert noise != pytest.approx(flooded.shot_noise_e - dark.shot_noise_e, rel=0.1)  # 1.41566 in the work sheet


def test_data_sheet_example() -> None:
    expected = data_sheet_rate(112.0, 60.0, -30.0, 11.0)
    assert expected == pytest.approx(112 / 2 ** (90 / 11))
    assert expected == pytest.approx(0.385696, rel=1e-5)


def test_limits_are_named_apart() -> None:
    assert maximum_practical_exposure_s(8.0, 0.5) == pytest.approx(128.0)
    assert minimum_practical_exposure_s(8.0, 0.5) == pytest.approx(128.0)
    assert minimum_practical_exposure_s(8.0, 0.5, times=3.0) == pytest.approx(9 * 128.0)


def test_gain_of_a_matched_converter() -> None:
    assert gain_from_full_well(65535, 1000, 41_000) == pytest.approx(41_000 / 64_535)


@pytest.mark.parametrize("noise_e", [7.3, math.nan])
def test_noise_below_the_read_noise_is_refused(noise_e: float) -> None:
    with pytest.raises(Refused, match="no dark signal"):
        DarkSignal.of_noise(noise_e, SENSORS[1].read)


def test_flood_that_took_charge_away_is_refused() -> None:
    dark, flooded = first()
    with pytest.raises(Refused, match="no trapped charge"):
        TrappedCharge.between(dark, flooded)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_rates_that_cannot_be_are_refused(value: float) -> None:
    with pytest.raises(Refused, match="dark_rate_e_per_s"):
        maximum_practical_exposure_s(8.0, value)
