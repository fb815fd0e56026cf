"""Fits, turn-off, linearity, Arrhenius and EMVA 1288 on exact numbers; what cannot be known says why."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor import emva1288
from nightcrew.sensor.arrhenius import BOLTZMANN_EV_PER_K, Arrhenius, arrhenius
from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.curve_fit import CurveData, fit_curve
from nightcrew.sensor.curve_points import CurvePoint
from nightcrew.sensor.frames import of_array
from nightcrew.sensor.linearity import linearity, straightened
from nightcrew.sensor.options import SensorOptions
from nightcrew.sensor.stacks import stack
from nightcrew.sensor.turn_off import turn_off
from nightcrew.simulate.sensor_set import preset
from tests.sensor.sets import QUICK, SMALL, frames_of, measured, small_plan, whole

SIGNAL = np.array([100.0, 1000, 3000, 6000, 10_000, 20_000, 30_000, 40_000])


def curve(gain: float, floor: float, a00: float = 0.0) -> CurveData:
    charge = SIGNAL * gain
    variance = floor + (np.expm1(2 * a00 * charge) / (2 * gain**2 * a00) if a00 else SIGNAL / gain)
    return CurveData(
        signal=SIGNAL,
        variance=variance,
        relative_error=np.full(SIGNAL.size, 0.01),
        floor_slope=np.ones(SIGNAL.size),
        bias_variance=floor,
        bias_error=0.01 * floor,
    )


def test_line_without_noise_is_exact() -> None:
    fit = fit_curve(curve(1.7, 20.0), bright_fat=False)
    assert fit.gain == pytest.approx(1.7, rel=1e-10)
    assert fit.floor == pytest.approx(20.0, rel=1e-8)


def test_variance_model_of_astier_alone() -> None:
    # the third-order expansion leaves out (2 a mu g)^4 / 24: below 1e-5 here
    fit = fit_curve(curve(1.7, 20.0, -1e-6))
    assert fit.gain == pytest.approx(1.7, rel=1e-4)
    assert fit.a00 == pytest.approx(-1e-6, rel=1e-3)


def test_one_level_and_a_bias_give_a_gain() -> None:
    data = replace(
        curve(2.0, 9.0), signal=SIGNAL[4:5], variance=9 + SIGNAL[4:5] / 2, relative_error=np.array([0.01]), floor_slope=np.ones(1)
    )
    assert fit_curve(data).gain == pytest.approx(2.0)


def test_biases_of_hidden_noise_do_not_outweigh_every_flat() -> None:
    # constant biases have no error of their own: with a weight of 1e24 they force the line through their 0
    hidden = replace(curve(1.7, 20.0), bias_variance=0.0, bias_error=0.0)
    forced, free = fit_curve(hidden, bright_fat=False), fit_curve(replace(hidden, bias_variance=None, bias_error=None), bright_fat=False)
    assert forced.floor_error > 0.05
    assert forced.floor_error == pytest.approx(1 / 12, rel=0.05)
    assert free.floor == pytest.approx(20.0, rel=1e-6)


def test_constant_biases_leave_the_floor_to_the_flats() -> None:
    # a camera without a black level: its biases are all 0, though its noise is not
    plan = small_plan(flat_levels=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5))
    frames = [
        replace(frame, data=np.zeros((64, 64), np.uint16))
        if frame.header.kind == "bias"
        else replace(frame, data=np.asarray(frame.data, np.int32) - 1000)
        for frame in frames_of(plan, 1)
    ]
    curve_found = whole(characterise(frames, QUICK)).flats[0].curve
    assert curve_found.fit is not None
    assert curve_found.fit.gain == pytest.approx(1.5, abs=4 * curve_found.gain_error)
    assert curve_found.fit.floor == pytest.approx((8.0 / 1.5) ** 2 + 1 / 12, abs=4 * curve_found.fit.floor_error)
    assert any("do not vary at all" in remark for remark in curve_found.remarks)


def test_one_level_alone_gives_none() -> None:
    with pytest.raises(ValueError, match="cannot give a gain"):
        fit_curve(replace(curve(2.0, 9.0), signal=SIGNAL[:1], variance=SIGNAL[:1], bias_variance=None))


def point(signal: float, variance: float) -> CurvePoint:
    return CurvePoint(
        group="", filter="", exposure_s=signal, signal=signal, signal_scatter=0.0, variance=variance, relative_error=0.01, pairs=()
    )


def test_turn_off_lies_between_the_last_good_level_and_the_plateau() -> None:
    points = [point(s, s / 2) for s in (100.0, 1000.0, 2000.0, 3000.0)] + [point(3300.0, 500.0), point(3400.0, 4.0)]
    found = turn_off(points, None)
    assert found is not None
    assert found.lower == 3000.0
    assert found.upper == pytest.approx(3400, rel=0.01)
    assert not found.by_converter


def test_noise_is_no_turn_off() -> None:
    assert turn_off([point(s, s / 2 * f) for s, f in ((100.0, 1.0), (1000.0, 1.02), (1030.0, 0.97), (3000.0, 1.0))], None) is None


def test_converter_that_ends_first_is_told() -> None:
    found = turn_off([point(1000.0, 500.0), point(2000.0, 1000.0), point(2500.0, 0.0)], 2500.0)
    assert found is not None
    assert (found.lower, found.upper, found.by_converter) == (2000.0, 2500.0, True)


def test_curved_response_is_straightened() -> None:
    t = np.linspace(1, 20, 12)
    x = 2000 * t
    alpha = 1.5e-6
    found = linearity(t.tolist(), (x - alpha * x**2).tolist(), [1e-5] * t.size, None)
    assert found.alpha_per_adu == pytest.approx(alpha, rel=1e-6)
    assert found.curved
    back, slope = straightened(x - alpha * x**2, alpha)
    assert back == pytest.approx(x)
    assert slope == pytest.approx(1 / (1 - 2 * alpha * x))


def test_few_exposures_are_no_linearity() -> None:
    assert "are needed" in linearity([1.0, 2.0], [10.0, 20.0], [0.01, 0.01], None).reason


def test_arrhenius_is_exact() -> None:
    t = np.array([-30.0, -20, -10, 0])
    rates = np.exp(-0.6 / BOLTZMANN_EV_PER_K / (t + 273.15)) * 1e12
    fit = arrhenius(list(t), list(rates), list(1e-3 * rates))
    assert isinstance(fit, Arrhenius)
    assert fit.activation_ev == pytest.approx(0.6, rel=1e-9)
    assert fit.rate_at(-20.0) == pytest.approx(rates[1], rel=1e-9)
    near = arrhenius([fit.middle_c, fit.middle_c + fit.doubling_k], [1.0, 2.0], [0.01, 0.01])
    assert isinstance(near, Arrhenius)
    assert near.activation_ev == pytest.approx(0.6, rel=0.04)  # the doubling holds at the middle, not over its whole span


@pytest.mark.parametrize(
    ("t", "rates", "why"),
    [([-10.0], [1.0], "two are needed"), ([-10.0, 0.0], [1.0, -1.0], "two are needed"), ([-10.0, 0.0], [2.0, 1.0], "grow")],
)
def test_arrhenius_says_why_not(t: list[float], rates: list[float], why: str) -> None:
    found = arrhenius(t, rates, [0.01] * len(t))
    assert isinstance(found, str)
    assert why in found


def test_spatial_split_of_planted_patterns() -> None:
    rng = np.random.default_rng(2)
    rows, columns, pixels = rng.normal(0, 3, (400, 1)), rng.normal(0, 5, (1, 500)), rng.normal(0, 7, (400, 500))
    found = emva1288.spatial_variance(1000 + rows + columns + pixels, 0.0)
    assert found.row == pytest.approx(rows.var(), rel=0.02)
    assert found.column == pytest.approx(columns.var(), rel=0.02)
    assert found.pixel == pytest.approx(pixels.var(), rel=0.02)
    assert found.total == pytest.approx(found.row + found.column + found.pixel, rel=0.01)


def test_highpass_keeps_its_share_of_a_white_pattern_and_no_shading() -> None:
    white = np.random.default_rng(4).normal(0, 10, (300, 300))
    y, x = np.mgrid[:300, :300]
    rough, share = emva1288.highpass(white + 1000 + 0.5 * x + 2e-3 * y**2)
    inner = rough[20:-20, 20:-20]
    assert inner.var() / share == pytest.approx(100, rel=0.02)


def test_spectrogram_of_white_and_of_a_wave() -> None:
    white = np.random.default_rng(4).normal(0, 3, (256, 256))
    frequency, power = emva1288.spectrogram(white + 2 * np.sin(2 * np.pi * 0.25 * np.arange(256))[None, :], 1)
    wave = int(power.argmax())
    assert frequency[wave] == pytest.approx(0.25)
    # 127 frequencies of 256 rows each: the mean power of white noise is known to 1 / sqrt(127 * 256) of itself
    assert np.delete(power, [0, wave]).mean() == pytest.approx(9, rel=4 / np.sqrt(127 * 256))


def test_stack_leaves_cosmic_rays_out() -> None:
    rng = np.random.default_rng(1)
    images = [rng.normal(1000, 5, (64, 64)) for _ in range(4)]
    images[2][10, 10] += 5000
    frames = [of_array(image, name=str(n), kind="dark", exposure_s=1.0, temperature_c=0.0) for n, image in enumerate(images)]
    found = stack(frames, frames[0].light_window)
    assert found.rays == 1
    assert found.mean[10, 10] < 1020
    assert found.temporal_variance == pytest.approx(25, rel=0.05)


def test_read_noise_leaves_the_rounding_out() -> None:
    plan = small_plan(replace(SMALL, nx=128, ny=128, read_noise_e=0.9, gain_e_per_adu=1.2))
    noise = whole(measured(plan, 3)).noises[0]
    assert noise.adu == pytest.approx(0.9 / 1.2, rel=0.02)


def test_flicker_is_flagged() -> None:
    curve_found = whole(measured(small_plan(replace(SMALL, flicker=0.01)), 3)).flats[0].curve
    assert any("banded" in remark for remark in curve_found.remarks)


def test_trapped_charge_of_flooded_darks() -> None:
    model = replace(SMALL, nx=128, ny=128, trapped_e=40.0)
    plan = small_plan(model, dark_exposures_s=(300.0,), darks=6, flooded_darks=6)
    residual = whole(measured(plan, 3)).residuals[0]
    assert residual.trapped is not None
    assert residual.trapped_error_e is not None
    assert residual.trapped.signal_e == pytest.approx(40.0, abs=4 * residual.trapped_error_e)
    assert residual.level_difference_e == pytest.approx(40.0, rel=0.05)


def test_amplifiers_and_colours_have_their_own_numbers() -> None:
    plan = replace(preset("amplifiers"), dark_exposures_s=(), flat_darks=False)
    result = characterise(frames_of(plan, 2), replace(QUICK, amplifiers=(2, 1)))
    for region, truth in zip(result.set_ups[0].regions, plan.sensor.outputs, strict=True):
        flat = region.flats[0].curve
        assert flat.fit is not None
        assert flat.fit.gain == pytest.approx(truth.gain_e_per_adu, abs=4 * flat.gain_error)
        assert flat.read_noise_e is not None
        assert flat.read_noise_e[0] == pytest.approx(truth.read_noise_e, abs=4 * flat.read_noise_e[1])
    cmos = replace(preset("cmos"), dark_exposures_s=(), flat_darks=False)
    colours = characterise(frames_of(cmos, 2), QUICK).set_ups[0].regions
    assert [region.region.name for region in colours] == ["B", "G", "R"]
    for region in colours:
        fit = region.flats[0].curve.fit
        assert fit is not None
        assert fit.gain == pytest.approx(4.0, abs=4 * region.flats[0].curve.gain_error)


def test_sweep_by_illumination_has_its_levels() -> None:
    plan = small_plan(by_illumination=True)
    flat = whole(measured(plan, 1)).flats[0]
    assert len(flat.curve.points) >= len(plan.flat_levels) - 2  # the last ones are equal: saturated
    assert flat.curve.fit is not None
    assert flat.curve.fit.gain == pytest.approx(SMALL.gain_e_per_adu, abs=4 * flat.curve.gain_error)
    assert flat.linearity is None


@pytest.mark.parametrize("without", ["bias", "dark", "flat"])
def test_missing_kinds_are_told_and_the_rest_goes_on(without: str) -> None:
    plan = small_plan(dark_exposures_s=(60.0, 300.0))
    frames = [frame for frame in frames_of(plan, 1) if frame.header.kind != without]
    result = characterise(frames, QUICK)
    region = whole(result)
    if without == "bias":  # darks of a minute hold more than the offset
        assert any("no biases" in remark for remark in result.set_ups[0].remarks)
        assert region.gain is None
        assert "longer than the flats" in region.gain_reason
        assert region.darks[0].rate_adu_per_s is not None
    if without == "flat":
        assert region.gain is None
        assert region.gain_reason == "no flats"
        assert region.darks[0].rate_adu_per_s is not None
    if without == "dark":
        assert region.darks == ()
        assert region.gain is not None


def test_saturated_flats_give_a_reason() -> None:
    region = whole(measured(small_plan(flat_levels=(1.2, 1.5)), 1))
    assert region.gain is None
    assert region.gain_reason


def test_flats_without_light_give_a_reason() -> None:
    image = np.full((64, 64), 1000, np.uint16)
    kinds = (("bias", 0.0), ("flat", 1.0))
    frames = [of_array(image, name=f"{k}{n}", kind=k, exposure_s=t, temperature_c=None) for k, t in kinds for n in range(2)]
    region = whole(characterise(frames, SensorOptions(max_lag=2)))
    assert region.gain is None
    assert region.gain_reason
    assert math.isfinite(region.noises[0].bias.level)
