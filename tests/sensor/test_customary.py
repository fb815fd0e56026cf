"""The gain that a clip at 3 sigma makes: too high by what theory says, on sensors of known gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.curve_fit import CurveData, fit_curve
from nightcrew.sensor.customary import CUSTOMARY_EXCESS, gain_clipped_at_three_sigma, sample, uneven_gain
from nightcrew.sensor.frames import SensorFrame, Window, of_array
from nightcrew.sensor.pairs import kept_by_repeated_clip
from nightcrew.sensor.regions import Region
from nightcrew.simulate.sensor import Amplifier, SensorModel
from reports.sensor import few_words, grade_of, summary_of
from reports.sensor_quantities import quantities
from tests.sensor.sets import QUICK, SMALL, frames_of, measured, small_plan, whole


def flats(gain: float, side: int, seed: int) -> list[SensorFrame]:
    rng = np.random.default_rng(seed)
    frames = [rng.poisson(30_000.0, (side, side)) / gain + rng.normal(1000, 5.0, (side, side)) for _ in range(2)]
    return [
        of_array(np.rint(frame).astype(np.uint16), name=f"f{n}", kind="flat", exposure_s=1.0, temperature_c=None)
        for n, frame in enumerate(frames)
    ]


def region(side: int) -> Region:
    return Region("whole", (Window(0, side, 0, side),))


@pytest.mark.parametrize(("gain", "side"), [(1.94, 600), (0.8, 1300)])  # the larger is sampled
def test_it_is_too_high_by_what_theory_says(gain: float, side: int) -> None:
    one, two = flats(gain, side, 1)
    found = gain_clipped_at_three_sigma(sample(one, two, region(side)), 1000.0, 25.0)
    assert found is not None
    error = np.sqrt(2 / min(side**2, 800_000))
    assert found / gain - 1 == pytest.approx(CUSTOMARY_EXCESS, abs=4 * error)


def test_theory_is_that_of_the_repeated_clip() -> None:
    values = np.random.default_rng(2).standard_normal(1_000_000)
    kept = values
    while (inside := kept[np.abs(kept) < 3 * kept.std()]).size < kept.size:
        kept = inside
    assert kept_by_repeated_clip(3.0) == pytest.approx(kept.var(), abs=4 * np.sqrt(2e-6))
    assert kept_by_repeated_clip(3.0) == pytest.approx(0.96992, abs=1e-5)


def test_flats_of_no_noise_or_no_light_have_none() -> None:
    level = of_array(np.full((8, 8), 1000, np.uint16), name="f", kind="flat", exposure_s=1.0, temperature_c=None)
    pair = sample(level, level, region(8))
    assert gain_clipped_at_three_sigma(pair, 1000.0, 25.0) is None
    assert gain_clipped_at_three_sigma(pair, 100.0, 0.0) is None
    line = fit_curve(
        CurveData(
            signal=np.array([900.0]), variance=np.array([600.0]), relative_error=np.ones(1), floor_slope=np.ones(1), bias_variance=25.0
        )
    )
    assert uneven_gain(pair, 100.0, line) == ""


def test_it_stands_beside_the_gain_in_the_summary() -> None:
    found = {one.name: one.value for one in quantities(measured(small_plan(SMALL), 1))}
    gain, clipped = found["gain"], found["gain_clipped_3_sigma"]
    assert gain is not None
    assert clipped is not None
    assert gain < clipped < 1.15 * gain  # 64 x 64 pixels: 2.2 %


PLAIN = replace(QUICK, bootstrap=0)
TWO = (
    Amplifier(gain_e_per_adu=1.5, read_noise_e=8.0, offset_adu=1000.0),
    Amplifier(gain_e_per_adu=3.0, read_noise_e=12.0, offset_adu=1500.0),
)


@pytest.mark.parametrize("levels", [(0.1, 0.2, 0.3, 0.4, 0.5), (0.5,)])
def test_amplifiers_measured_as_one_are_told(levels: tuple[float, ...]) -> None:
    # a gain of 1.99 +- 0.10 of the two, which are 1.5 and 3, had grade A and no warning
    plan = small_plan(SensorModel(nx=128, ny=96, amplifiers=TWO), flat_levels=levels, biases=4)
    frames = frames_of(plan, 5)
    result = characterise(frames, PLAIN)
    grade, reasons = grade_of(result)
    assert grade == "B"
    assert any("several amplifiers, which --amplifiers measures apart?" in reason for reason in reasons)
    assert any("several amplifiers" in warning for warning in summary_of(result, frames).warnings)
    apart = characterise(frames, replace(PLAIN, amplifiers=(2, 1)))
    assert not any(flat.doubts for region in apart.set_ups[0].regions for flat in region.flats)


LEVELS_E = (16_000.0, 32_000.0, 48_000.0, 64_000.0)


def tilted(
    seed: int, levels_e: tuple[float, ...] = LEVELS_E, *, gains: tuple[float, float] = (1.5, 1.5), side: int = 512
) -> list[SensorFrame]:
    """Flats of a strong brighter-fatter effect under light that falls off by 40 % to the left: variances of its law, no more."""
    a00, read_e, rng = -2e-6, 5.0, np.random.default_rng(seed)
    light = np.linspace(0.6, 1.4, side)[None, :] * np.ones((side, 1))
    gain = np.where(np.arange(side) < side // 2, *gains)[None, :]

    def frame(level_e: float, kind: str, name: str) -> SensorFrame:
        mean = level_e * light
        spread = np.sqrt(np.expm1(2 * a00 * mean) / (2 * a00) + read_e**2)
        data = np.rint((mean + spread * rng.standard_normal(mean.shape)) / gain + 1000).astype(np.uint16)
        return of_array(data, name=name, kind=kind, exposure_s=level_e / 4000, temperature_c=-10.0, saturation_adu=65_535.0)

    biases = [frame(0.0, "bias", f"b{n}") for n in range(4)]
    return biases + [frame(level, "flat", f"f{level:.0f}-{n}") for level in levels_e for n in range(2)]


def uneven(frames: list[SensorFrame]) -> list[str]:
    (flat,) = whole(characterise(frames, PLAIN)).flats
    return [doubt for doubt in flat.doubts if "quarters of the frame" in doubt]


@pytest.mark.parametrize("levels_e", [LEVELS_E, LEVELS_E[-1:]])
def test_uneven_light_on_one_amplifier_is_not_several(levels_e: tuple[float, ...]) -> None:
    # quarters of 1.76, 1.84 ... for a gain of 1.50, and grade B
    assert uneven(tilted(1, levels_e)) == []


def test_gains_of_quarters_are_those_of_their_amplifiers() -> None:
    for levels_e in (LEVELS_E, LEVELS_E[-1:]):
        (told,) = uneven(tilted(2, levels_e, gains=(1.5, 3.0)))
        values = [float(value) for value in told.split("gains of ")[1].split(" e-")[0].split(", ")]
        if len(levels_e) > 1:
            assert values == pytest.approx([1.5, 3.0, 1.5, 3.0], rel=0.03)
        else:
            assert "too high by the brighter-fatter effect" in told


@pytest.mark.slow
@pytest.mark.parametrize("levels_e", [LEVELS_E, LEVELS_E[1:], LEVELS_E[-1:]])
def test_uneven_light_is_taken_for_amplifiers_in_less_than_one_of_a_hundred(levels_e: tuple[float, ...]) -> None:
    assert sum(bool(uneven(tilted(seed, levels_e))) for seed in range(100)) <= 1


@pytest.mark.parametrize("model", [replace(SMALL, vignetting=0.5), replace(SMALL, flicker=0.01), replace(SMALL, bayer="RGGB")])
def test_even_sensors_raise_no_doubt(model: SensorModel) -> None:
    result = measured(small_plan(model, biases=4), 2, PLAIN)
    doubts = [flat.doubts for region in result.set_ups[0].regions for flat in region.flats]
    assert doubts
    assert not any(doubts)


def test_gain_that_was_changed_within_the_sweep_is_told() -> None:
    plan = small_plan(replace(SMALL, nx=256, ny=256), flat_levels=(0.1, 0.15, 0.2, 0.25, 0.4, 0.5, 0.6), biases=4, by_illumination=True)
    frames = [
        frame
        if frame.header.kind != "flat" or frame.name < "flat04"
        else replace(frame, data=np.rint(1000 + (np.asarray(frame.data, np.float64) - 1000) / 1.2).astype(np.uint16))
        for frame in frames_of(plan, 3)
    ]
    result = characterise(frames, PLAIN)
    grade, reasons = grade_of(result)
    assert whole(result).gain is not None
    assert grade == "B"
    assert any("leave the transfer curve" in reason for reason in reasons)


def test_frames_scaled_to_one_are_told() -> None:
    frames = [
        replace(
            frame, data=(np.asarray(frame.data, np.float64) / 65535).astype(np.float32), header=replace(frame.header, saturation_adu=1.0)
        )
        for frame in frames_of(small_plan(flat_levels=(0.1, 0.3, 0.5), biases=4), 3)
    ]
    result = characterise(frames, PLAIN)
    grade, reasons = grade_of(result)
    assert grade == "B"
    assert any("frames that were scaled, not in ADU" in reason for reason in reasons)


def test_the_same_of_many_flats_is_one_sentence() -> None:
    many = [f"f{n}: no second flat of its level" for n in range(6)]
    assert few_words(many) == ["6 flats, no second flat of its level: f0, f1, f2, f3 ..."]
    assert few_words(many[:1]) == many[:1]
    assert few_words(["a: b", "other"]) == ["a: b", "other"]
