"""Response laws: the acceptance rows with numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from nightcrew.irradiation.least_squares import fit, line
from nightcrew.irradiation.response import (
    Level,
    chosen,
    dose_model,
    dose_slope,
    exposures,
    frame_rates,
    on_rate,
    rate_model,
    shifts,
    std_on_mean,
)


def level(
    dose: float, mean: float, *, std: float = 1.0, rate: float = 0.0, stage: str = "radiating", kind: str = "BIAS", exposure: float = 0.0
) -> Level:
    return Level(stage=stage, kind=kind, dose_krad=dose, mean=mean, std=std, rate_krad_per_s=rate, exposure_s=exposure)


def test_rate_model_of_the_check_values() -> None:
    rows = [(0, 0, 2, 0.5), (1, 0, 3.5, 0.55), (0, 2, 2.4, 0.7), (1, 2, 3.9, 0.75)]
    found = rate_model([level(d, m, std=s, rate=r) for d, r, m, s in rows], "BIAS", None)
    assert found.mean.values == pytest.approx([2, 1.5, 0.2])
    assert found.std.values == pytest.approx([0.5, 0.05, 0.1])


def test_a_constant_rate_is_undetermined_and_says_what_holds_it() -> None:
    found = rate_model([level(d, 2 + 1.5 * d + 0.2 * 3, rate=3.0) for d in (0.0, 1.0, 2.0)], "BIAS", None).mean
    assert math.isnan(found.value("a2"))
    assert "3 in all 3 points" in found.why["a2"]
    assert found.value("a1") == pytest.approx(1.5)
    assert found.value("a0") == pytest.approx(2.6)
    assert "a2" in found.notes["a0"]


@pytest.mark.parametrize("spread", [1e-4, 1e-3, 1e-2])
def test_a_rate_that_hardly_changes_is_undetermined(spread: float) -> None:
    # the older rule asked for a part of 3e-5 only: rates that differ by their own errors gave numbers
    rates = 0.003 * (1 + spread * np.array([-1.0, 1.0, 1.0, -1.0, 0.5]))
    found = rate_model([level(d, 100 + 8 * d, rate=r) for d, r in zip((1.0, 2.0, 3.0, 4.0, 5.0), rates, strict=True)], "BIAS", None).mean
    assert math.isnan(found.value("a2"))
    assert "2 % are needed" in found.why["a2"]
    assert found.value("a1") == pytest.approx(8.0, rel=1e-9)
    assert "a2" in found.notes["a0"]


def test_a_rate_that_follows_the_dose_is_undetermined() -> None:
    levels = [level(d, 100 + 8 * d, rate=0.001 * d * (1 + 1e-3 * (-1) ** int(d))) for d in (1.0, 2.0, 3.0, 4.0)]
    assert "a2" in rate_model(levels, "BIAS", None).mean.why


def test_a_rate_term_with_an_error_beyond_the_levels_is_undetermined() -> None:
    rng = np.random.default_rng(1)
    rates = (0.003, 0.0032, 0.0029, 0.0031, 0.003)
    levels = [
        dataclasses.replace(level(d, 100 + float(rng.normal(0, 5)), rate=r), mean_error=5.0)
        for d, r in zip((1.0, 1.1, 1.2, 1.3, 1.4), rates, strict=True)
    ]
    found = rate_model(levels, "BIAS", None).mean
    spread = fit({"a0": np.ones(5), "a1": [one.dose_krad for one in levels], "a2": rates}, [one.mean for one in levels], [5.0] * 5)
    wide = spread.error("a2") * 3e-4 > np.ptp([one.mean for one in levels])
    assert wide == math.isnan(found.value("a2"))
    narrow = [dataclasses.replace(one, mean_error=50.0) for one in levels]
    assert "is known to" in rate_model(narrow, "BIAS", None).mean.why["a2"]


def test_rates_that_are_all_zero_leave_the_level_pure() -> None:
    # the older suite died here (SVD did not converge)
    found = rate_model([level(d, 2 + 1.5 * d) for d in (0.0, 1.0, 2.0)], "BIAS", None).mean
    assert "is 0" in found.why["a2"]
    assert found.notes == {}
    mean, std = on_rate([level(d, 2 + 1.5 * d) for d in (0.0, 1.0)])
    assert math.isnan(mean.value("slope"))
    assert math.isnan(std.value("slope"))


def test_three_fits_for_bias_and_two_exposures() -> None:
    levels = [level(d, 1 + d) for d in (0.0, 1.0)]
    levels += [level(d, 10 * t + 2 * t * d, kind="DARK", exposure=t) for d in (0.0, 1.0) for t in (1.0, 2.0)]
    assert exposures(chosen(levels, kind="DARK")) == [1.0, 2.0]
    slopes = [dose_model(chosen(levels, kind="BIAS")).value("slope")]
    slopes += [dose_model(chosen(levels, kind="DARK", exposure_s=t)).value("slope") for t in (1.0, 2.0)]
    assert slopes == pytest.approx([1, 2, 4])


def test_std_on_mean_lines() -> None:
    assert std_on_mean([level(0, 0.1, std=0.2), level(1, 0.05, std=0.3)]).value("slope") == pytest.approx(-2)
    mean, std = on_rate([level(0, 2.0, std=0.2, rate=0.1), level(1, 3.0, std=0.3, rate=0.05)])
    assert (mean.value("slope"), mean.value("intercept")) == pytest.approx((-20, 4))
    assert (std.value("slope"), std.value("intercept")) == pytest.approx((-2, 0.4))


def test_base_level_trends_of_bias_and_dark() -> None:
    assert dose_model([level(0, 10), level(1, 11)]).value("slope") == pytest.approx(1)
    assert dose_model([level(0, 5, kind="DARK", exposure=1), level(1, 7, kind="DARK", exposure=1)]).value("slope") == pytest.approx(2)


@pytest.mark.parametrize(
    ("kind", "means", "expected"),
    [("BIAS", (10, 12, 14, 13), (2, 1)), ("DARK", (20, 22, 25, 24), (2, 1)), ("BIAS", (1, 2, 5, 4), (1, 1))],
)
def test_shifts_are_irradiated_minus_reference(kind: str, means: tuple[float, ...], expected: tuple[float, float]) -> None:
    pre, first, last, post = means
    levels = [
        level(0, pre, stage="pre", kind=kind),
        level(1, first, kind=kind),
        level(2, last, kind=kind),
        level(2, post, stage="post", kind=kind),
    ]
    assert [one.value for one in shifts(levels, kind, 0.0)] == pytest.approx(expected)


def test_a_missing_stage_is_a_reason_not_a_number() -> None:
    first, last = shifts([level(0, 10, stage="pre"), level(1, 12)], "BIAS", 0.0)
    assert first.value == 2
    assert math.isnan(last.value)
    assert "post" in last.why


def test_legacy_rates_of_frames() -> None:
    assert frame_rates([0.5, 1.0], [0.0, 10.0]) == [None, 0.05]
    rates = frame_rates([1, 1, 2, 2], [0, 10, 20, 40])
    assert rates[0] is None
    assert rates[1:] == pytest.approx([0, 0.1, 0])
    assert np.mean([0.1, 0]) == 0.05
    assert frame_rates([1, 2], [5, 5]) == [None, None]


def test_the_slope_of_a_kind_and_why_there_is_none() -> None:
    value, error, _ = dose_slope([level(d, 3 * d) for d in (1.0, 2.0, 3.0)])
    assert value == pytest.approx(3)
    assert error == pytest.approx(0, abs=1e-9)
    value, _, why = dose_slope([level(5.0, 3.0)])
    assert math.isnan(value)
    assert "points" in why


def test_bands_and_errors_of_a_line() -> None:
    n, pulls = 300, []
    x = np.linspace(0, 10, 8)
    for seed in range(n):
        found = line(x, 3 + 2 * x + np.random.default_rng(seed).normal(0, 0.5, x.size), np.full(x.size, 0.5))
        at, band = found.predict({"intercept": [1.0], "slope": [20.0]})
        pulls.append([(found.value("slope") - 2) / found.error("slope"), (at[0] - 43) / band[0]])
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 4 / math.sqrt(n))
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 4 / math.sqrt(2 * n))


def test_two_points_fix_a_line_without_errors() -> None:
    found = line([0, 1], [1, 3])
    assert found.value("slope") == pytest.approx(2)
    assert math.isnan(found.error("slope"))
    assert line([0, 1], [1, 3], [0.1, 0.1]).error("slope") == pytest.approx(math.hypot(0.1, 0.1))


def test_values_that_are_not_finite_are_left_out() -> None:
    assert fit({"a": [1, 1, 1]}, [2.0, math.nan, 4.0]).value("a") == pytest.approx(3)
