"""The five printed sensors of the reference, and what the chain refuses."""

from __future__ import annotations

import math

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

READ_E, EXPOSURE_S, BINNING = 7.4, 450.0, (2, 2)
UNFLOODED_E, FLOODED_E = 14.8580, 16.1010  # printed total noises of the first sensor
PRINTED = (33.074, 35.841)  # its differences in DN


def first() -> tuple[DarkSignal, DarkSignal]:
    gain = UNFLOODED_E * math.sqrt(2) / PRINTED[0]
    return DarkSignal.of_difference(PRINTED[0], gain, READ_E), DarkSignal.of_difference(PRINTED[1], gain, READ_E)


def test_total_and_shot_noise_of_the_first_sensor() -> None:
    dark, flooded = first()
    assert dark.total_noise_e == pytest.approx(14.8580, abs=5e-5)
    assert flooded.total_noise_e == pytest.approx(16.1010, abs=1e-4)
    assert dark.shot_noise_e == pytest.approx(12.8841, abs=1e-4)
    assert flooded.shot_noise_e == pytest.approx(14.2998, abs=1e-4)


def test_dark_signal_and_trapped_charge_of_the_first_sensor() -> None:
    dark, flooded = first()
    trap = TrappedCharge.between(flooded, dark)
    assert dark.signal_e == pytest.approx(166.0001, rel=1e-5)
    assert flooded.signal_e == pytest.approx(204.4832, rel=2e-5)
    assert trap.signal_e == pytest.approx(38.4831, rel=1e-4)
    assert 100 * trap.fraction == pytest.approx(23.18, abs=0.005)


def test_trapped_noise_is_quadratic_not_the_linear_difference() -> None:
    dark, flooded = first()
    noise = TrappedCharge.between(flooded, dark).noise_e
    assert noise == pytest.approx(math.sqrt(flooded.shot_noise_e**2 - dark.shot_noise_e**2))
    assert noise == pytest.approx(6.2035, abs=1e-3)
    assert noise != pytest.approx(flooded.shot_noise_e - dark.shot_noise_e, rel=0.1)


def test_dark_rate_and_limit_of_the_first_sensor() -> None:
    dark, _ = first()
    rate = dark.rate_e_per_s(EXPOSURE_S, BINNING)
    assert rate == pytest.approx(0.0922223, rel=1e-5)
    assert dark.limit_s(EXPOSURE_S, READ_E, BINNING) == pytest.approx(593.7829, rel=1e-5)
    assert maximum_practical_exposure_s(READ_E, rate) == pytest.approx(593.7829, rel=1e-5)


@pytest.mark.parametrize("printed_s", [593.7829, 715.112, 875.077, 395.058, 297.918, 361.614, 358.059, 307.855, 155.971])
def test_every_printed_limit_follows_from_its_dark_signal(printed_s: float) -> None:
    # the limit fixes the dark signal of 450 s at 2 x 2: 450 x 4 x 7.4^2 / limit; the chain has to lead back from its noise
    signal_e = EXPOSURE_S * 4 * READ_E**2 / printed_s
    dark = DarkSignal.of_noise(math.sqrt(signal_e + READ_E**2), READ_E)
    assert dark.limit_s(EXPOSURE_S, READ_E, BINNING) == pytest.approx(printed_s, rel=1e-9)


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
        DarkSignal.of_noise(noise_e, READ_E)


def test_flood_that_took_charge_away_is_refused() -> None:
    dark, flooded = first()
    with pytest.raises(Refused, match="no trapped charge"):
        TrappedCharge.between(dark, flooded)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_rates_that_cannot_be_are_refused(value: float) -> None:
    with pytest.raises(Refused, match="dark_rate_e_per_s"):
        maximum_practical_exposure_s(8.0, value)
