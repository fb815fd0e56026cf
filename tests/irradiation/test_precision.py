"""Precision: the check values of the older suite, and laws with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nightcrew.irradiation.bit_depth import sweep
from nightcrew.irradiation.joint import fit_joint
from nightcrew.irradiation.precision import (
    dynamic_range,
    magnitude_error,
    precision_at,
    precision_maps,
    relative_precision,
    zones,
)
from nightcrew.irradiation.star_noise import Star, forecast, limiting_magnitude, pixel_variance_e2, star_magnitude_error
from tests.irradiation.observations import exact


def test_the_check_value_of_the_magnitude_error() -> None:
    assert magnitude_error(1000, 4, 5) == pytest.approx(0.00604783, abs=5e-9)


def test_precision_worsens_with_noise_and_is_the_mean_over_pairs() -> None:
    one = precision_at([(1000, 4)], [(100, 5)])
    other = precision_at([(1000, 4)], [(100, 10)])
    assert one.mean == pytest.approx(0.0060478, abs=5e-8)
    assert one.std == 0
    assert other.mean > one.mean
    both = precision_at([(1000, 4)], [(100, 5), (100, 10)])
    assert both.mean == pytest.approx((one.mean + other.mean) / 2)
    assert both.std == pytest.approx((other.mean - one.mean) / 2)
    assert math.isnan(precision_at([], [(1, 1)]).mean)


def test_without_head_room_there_is_no_magnitude_error() -> None:
    assert math.isnan(magnitude_error(65536, 1, 1))


def test_dynamic_range_of_the_acceptance_case() -> None:
    found = dynamic_range(10, 5, 1, 2)
    assert found.dynamic_range_16 == 65521
    assert found.dynamic_range_12 == pytest.approx(65521 / 16)
    assert found.noise_adu == pytest.approx(math.sqrt(5))
    assert found.reduction_percent == pytest.approx(100 * 15 / 65536)
    assert found.magnitude_loss == pytest.approx(-2.5 * math.log10(65521 / 65536))
    assert found.magnitude_loss_error == pytest.approx(2.5 / math.log(10) * math.sqrt(5) / 65521)
    assert found.base_level_12 == 15 / 16


def test_no_range_left_is_infinite_not_wrong() -> None:
    assert dynamic_range(65536, 10, 1, 1).noise_mag == math.inf


def test_relative_precision_is_zero_before_the_beam() -> None:
    rows = [
        ("pre", 0.0, dynamic_range(10, 5, 1, 2)),
        ("radiating", 5.0, dynamic_range(20, 9, 2, 3)),
        ("post", 5.0, dynamic_range(18, 8, 2, 2)),
    ]
    found = relative_precision(rows)
    assert found[0].noise16_diff == 0
    assert found[1].noise16_diff == pytest.approx(math.sqrt(13) - math.sqrt(5))
    assert found[1].noise12_diff == pytest.approx((math.sqrt(13) - math.sqrt(5)) / 16)
    assert found[1].mag12 == pytest.approx(found[1].mag16)
    assert math.isnan(relative_precision(rows[1:])[0].noise16_diff)


def test_maps_and_zones() -> None:
    bias = np.full((4, 6), 1000.0)
    bias[:2, 3:] = 3000
    found = precision_maps(bias, np.full((4, 6), 4.0), np.full((4, 6), 5.0))
    assert found.magnitude[3, 0] == pytest.approx(0.00604783, abs=5e-9)
    assert found.adu_16[3, 0] == pytest.approx(math.sqrt(32268 + 41))
    assert np.array_equal(found.adu_12, found.adu_16 / 16)
    q1, q2, q3, q4 = zones(found.magnitude)
    assert q1 == q3 == q4 < q2


def test_single_frames_of_1000_and_10_give_one_row() -> None:
    found = precision_maps(np.full((3, 3), 1000.0), np.zeros((3, 3)), np.zeros((3, 3)))
    assert found.magnitude.mean() == pytest.approx(1.0857 / math.sqrt(32268))
    assert found.magnitude.std() == pytest.approx(0, abs=1e-15)
    assert found.adu_16.mean() == pytest.approx(math.sqrt(32268))


def test_bit_depths_differ_by_their_steps() -> None:
    found = {one.bits: one for one in sweep(5.0, 1000.0, math.sqrt(36 + 16**2 / 12), stored_step_adu=16.0)}
    assert found[12].noise_steps * 16 == pytest.approx(math.sqrt(36 + 16**2 / 12))
    assert found[16].noise_steps == pytest.approx(math.sqrt(36 + 1 / 12))
    assert found[8].magnitude_error > found[12].magnitude_error > found[16].magnitude_error
    assert found[16].dynamic_range_db == pytest.approx(20 * math.log10(64536 / math.sqrt(36 + 1 / 12)))


def test_a_star_over_pure_photon_noise() -> None:
    star = Star(magnitude=10, zero_point_mag=20, exposure_s=10, sky_e_per_s=0)
    assert star.electrons == pytest.approx(1e5)
    assert star_magnitude_error(star, 0.0) == pytest.approx(2.5 / math.log(10) / math.sqrt(1e5))


def test_the_limit_is_where_the_star_reaches_the_asked_ratio() -> None:
    star = Star(sky_e_per_s=2.0)
    variance = pixel_variance_e2(star, dark_e_per_s=3.0, read_e=8.0)
    assert variance == pytest.approx(20 + 30 + 64)
    limit = limiting_magnitude(star, variance)
    faint = Star(sky_e_per_s=2.0, magnitude=limit)
    assert star_magnitude_error(faint, variance) == pytest.approx(2.5 / math.log(10) / 5)


def test_a_forecast_follows_the_response_and_has_a_band() -> None:
    fit = fit_joint(exact(), gain_e_per_adu=1.0)
    star = Star(magnitude=14, exposure_s=10)
    low, high = forecast(fit, star, [0.0, 100.0], gain_e_per_adu=1.0)
    assert low.dark_e_per_s == pytest.approx(24)
    assert high.dark_e_per_s == pytest.approx(24 + 0.9 * 100)
    assert low.magnitude_error == pytest.approx(star_magnitude_error(star, pixel_variance_e2(star, dark_e_per_s=24, read_e=8)))
    assert high.magnitude_error > low.magnitude_error
    assert high.limiting_magnitude < low.limiting_magnitude
    assert high.magnitude_error_error > 0


def test_a_forecast_without_dark_exposures_says_why() -> None:
    data = exact()
    keep = data.exposure_s == 0
    only_bias = type(data)(**{name: column[keep] for name, column in vars(data).items() if column is not None})
    (found,) = forecast(fit_joint(only_bias, gain_e_per_adu=1.0), Star(), [10.0], gain_e_per_adu=1.0)
    assert math.isnan(found.magnitude_error)
    assert "exposure" in found.why
