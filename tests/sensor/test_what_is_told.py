"""What frames cannot tell is said: no number, a lower grade, a reason; and what they can tell is not lost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.sensor.characterise import SensorResult, characterise
from nightcrew.sensor.frames import SensorFrame, of_array
from nightcrew.sensor.groups import group_frames, one_exposure
from nightcrew.sensor.pairs import Floor
from nightcrew.sensor.regions import Region
from nightcrew.sensor.residual import residual_image
from reports.sensor import grade_of, summary_of
from reports.sensor_limits import limits
from reports.sensor_quantities import quantities
from reports.summary import Quantity
from tests.sensor.sets import QUICK, SMALL, frames_of, measured, small_plan, whole

SHAPE = (128, 128)
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
PLAN = small_plan(flat_levels=LEVELS)


def images(count: int, level: float, noise: float, rows: float = 0.0, seed: int = 1) -> list[NDArray[np.float64]]:
    """Frames with the noise of pixels and that of whole rows."""
    rng = np.random.default_rng(seed)
    return [rng.normal(level, noise, SHAPE) + rng.normal(0, rows, (SHAPE[0], 1)) for _ in range(count)]


def frames(kind: str, found: list[NDArray[Any]], t: float = 0.0, warm: float = -10.0, **values: Any) -> list[SensorFrame]:
    return [
        of_array(np.rint(image).astype(np.uint16), name=f"{kind}-{t}-{warm}-{n}", kind=kind, exposure_s=t, temperature_c=warm, **values)
        for n, image in enumerate(found)
    ]


def named(result: SensorResult, name: str) -> Quantity:
    return next(one for one in quantities(result) if one.name == name)


def test_measured_exposures_are_one_and_carry_their_median() -> None:
    times = (5.00012, 5.00031, 4.99987, 5.02)
    found = group_frames([of_array(np.zeros((4, 4)), name=str(t), kind="flat", exposure_s=t, temperature_c=0.0) for t in times]).groups
    assert [(group.exposure_s, len(group.frames)) for group in found] == [(5.00012, 3), (5.02, 1)]
    chain = one_exposure([10 * 1.0005**n for n in range(5)])
    assert len(set(chain.values())) == 2  # no endless chain: every cluster keeps to the tolerance


def test_noise_of_whole_rows_is_read_noise() -> None:
    found = whole(characterise(frames("bias", images(8, 1000, 5.0, rows=3.0)), QUICK)).noises[0]
    assert found.adu is not None
    assert found.adu_error is not None
    assert found.adu == pytest.approx(math.hypot(5, 3), abs=4 * found.adu_error)  # 5.0 with the rows taken out
    rows = 9 * math.sqrt(2 / (SHAPE[0] * 4)) / (2 * math.hypot(5, 3))
    assert 0.7 * rows < found.adu_error < 2 * rows  # of rows there are few


def test_trapped_charge_holds_the_rows_on_both_sides() -> None:
    plain, flooded = (
        group_frames(frames("dark", images(4, 1000, noise, rows=3.0, seed=seed), 300.0, flooded=seed == 2)).groups[0]
        for seed, noise in ((1, 6.0), (2, 7.0))
    )
    region = Region("whole", (plain.frames[0].light_window,))
    found = residual_image(flooded, [plain], region, (1.0, 0.001), math.hypot(5, 3), "")
    assert found.trapped is not None
    assert found.unflooded is not None
    assert found.unflooded.signal_e == pytest.approx(6**2 - 5**2, abs=3.6)  # 2 with the rows taken out of the darks
    assert found.trapped.signal_e == pytest.approx(7**2 - 6**2, abs=5)


@pytest.mark.parametrize(("level", "noise", "lowest"), [(3.0, 5.0, 0.0), (13.0, 5.0, 0.0), (1000.0, 5.0, 990.0), (1000.0, 1.0, 999.0)])
def test_biases_that_are_cut_off_tell_no_noise_and_no_level(level: float, noise: float, lowest: float) -> None:
    cut = [np.maximum(image, lowest) for image in images(4, level, noise)]
    flats = [
        replace(frame, data=np.maximum(np.asarray(frame.data, np.int32) - 1000 + round(level), 0).astype(np.uint16))
        for frame in frames_of(small_plan(replace(SMALL, nx=128, ny=128), flat_levels=LEVELS), 1)
        if frame.header.kind == "flat"
    ]
    result = characterise([*frames("bias", cut), *flats], QUICK)
    assert whole(result).noises[0].adu is None
    grade, reasons = grade_of(result)
    assert grade == "B"
    assert any(f"stand at {lowest:g} ADU, the lowest" in reason for reason in reasons)
    assert "cut off" in named(result, "read_noise").note
    assert named(result, "bias_level").value is None
    gain = whole(result).gain
    assert gain is not None
    assert gain.value == pytest.approx(1.5, abs=4 * gain.error)


@pytest.mark.parametrize("noise", [0.6, 1.0, 5.0])
@pytest.mark.parametrize("level", [1000.0, 1000.45])
def test_whole_biases_are_not_cut_off(level: float, noise: float) -> None:
    found = whole(characterise(frames("bias", images(2, level, noise)), QUICK)).noises[0]
    assert found.bias.hidden == ""
    assert found.adu == pytest.approx(noise, rel=0.05)


def test_lowest_values_are_counted_over_strips() -> None:
    values = np.random.default_rng(1).integers(3, 9, 500)
    at_once, parts = Floor(), Floor()
    at_once.add(values, 1)
    for part in np.split(values, 50):
        parts.add(part, 1)
    assert (parts.lowest, parts.at, parts.of) == (at_once.lowest, at_once.at, at_once.of) == (3, int((values == 3).sum()), 500)


def test_read_noise_that_rounding_hides_has_no_number() -> None:
    result = characterise(frames("bias", images(4, 1000.0, 0.25)), QUICK)
    assert whole(result).noises[0].adu is None  # a variance of 0.05 less 1/12, or what little is left
    assert "it is below 0.4 ADU" in named(result, "read_noise_adu").note
    assert any("rounding hides" in remark for remark in result.set_ups[0].remarks)


def test_last_level_before_a_wide_gap_is_fitted() -> None:
    curve = whole(measured(small_plan(flat_levels=(0.5, 1.2)), 1)).flats[0].curve
    assert curve.fitted.tolist() == [True, False]
    assert curve.fit is not None
    assert curve.fit.gain == pytest.approx(1.5, abs=4 * curve.gain_error)


def test_levels_too_close_to_the_fall_are_not_called_saturated() -> None:
    reason = whole(measured(small_plan(flat_levels=(0.95, 1.2)), 1)).gain_reason
    assert "too close to saturation or to the fall" in reason


def test_gain_with_the_brighter_fatter_term_goes_before_a_smaller_error() -> None:
    frames_found = frames_of(PLAN, 1)
    one_level = small_plan(replace(SMALL, nx=64, ny=64, bright_fat_per_e=-3e-6), flat_levels=(0.6,), flats=80)
    warm = [replace(frame, header=replace(frame.header, temperature_c=5.0)) for frame in frames_of(one_level, 2)]
    region = whole(characterise([*frames_found, *warm], QUICK))
    full, line = (flat.curve for flat in region.flats)
    assert full.fit is not None
    assert line.fit is not None
    assert line.gain_error < full.gain_error
    assert line.fit.gain > 1.6  # what the effect takes from the variance
    assert region.gain is not None
    assert region.gain.value == full.fit.gain


def test_few_levels_are_grade_b_with_a_remark() -> None:
    few, many = (measured(small_plan(flat_levels=levels), 1) for levels in ((0.3, 0.5), LEVELS))
    assert grade_of(many) == ("A", ())
    grade, reasons = grade_of(few)
    assert grade == "B"
    assert "brighter-fatter effect not taken into account" in reasons[0]
    assert "brighter-fatter" in named(few, "gain").note
    assert named(few, "gain").value is not None


def test_zero_dark_stands_for_missing_biases() -> None:
    darks = [frame for t, level in ((0.0, 1000), (60.0, 1012), (300.0, 1060)) for frame in frames("dark", images(2, level, 5), t)]
    series = whole(characterise(darks, QUICK)).darks[0]
    assert [point.exposure_s for point in series.points] == [60.0, 300.0]  # the dark of 60 s stood for the bias
    assert series.rate_adu_per_s == pytest.approx(0.2, abs=0.002)


def test_remarks_on_missing_biases_are_true_of_darks_and_flats() -> None:
    small = {t: [image[:64, :64] for image in images(2, 1000 + t / 5, 5)] for t in (60.0, 300.0)}
    darks = [frame for t, found in small.items() for frame in frames("dark", found, t, warm=5.0)]
    remarks = characterise([*frames_of(PLAN, 1), *darks], QUICK).set_ups[0].remarks
    assert remarks == ("no biases at the temperature of the darks: dark 60 s at 5.0 C stands for them in the dark rate",)


def test_dark_rate_without_a_pair_of_biases_says_what_its_error_lacks() -> None:
    lone = frames_of(replace(PLAN, biases=1, dark_exposures_s=(60.0, 300.0)), 1)
    grade, reasons = grade_of(characterise(lone, QUICK))
    assert grade == "B"
    assert any("level drifts: the error of the dark rate" in reason for reason in reasons)


def test_drifting_temperature_lowers_the_grade_once() -> None:
    drift = [replace(frame, header=replace(frame.header, temperature_c=-10 + 0.3 * (n % 6))) for n, frame in enumerate(frames_of(PLAN, 1))]
    summary = summary_of(characterise(drift, QUICK), drift)
    assert summary.grade == "B"
    assert sum("drifted" in warning for warning in summary.warnings) == 1


def test_constant_biases_are_grade_b() -> None:
    flats = [frame for frame in frames_of(PLAN, 1) if frame.header.kind == "flat"]
    still = [*frames("bias", [np.full((64, 64), 1000.0)] * 4), *flats]
    grade, reasons = grade_of(characterise(still, QUICK))
    assert grade == "B"
    assert "do not vary at all" in reasons[0]


@pytest.mark.parametrize(("rate", "error", "least"), [(0.001, 0.002, 5), (-0.001, 0.002, 4)])
def test_rate_that_is_not_above_its_error_gives_a_lower_limit(rate: float, error: float, least: int) -> None:
    region = whole(measured(replace(PLAN, dark_exposures_s=(60.0, 300.0)), 1))
    assert region.gain is not None
    read = region.noises[0].adu
    assert read is not None
    series = replace(region.darks[0], rate_adu_per_s=rate, rate_error_adu_per_s=error)
    found = next(one for one in limits(replace(region, darks=(series,)), {}, QUICK, (1, 1)) if one.name == "max_practical_exposure")
    assert found.value is None
    assert "not above its error" in found.note
    told = float(found.note.split(" lies above ")[1].split()[0])
    assert told == pytest.approx(read**2 * region.gain.value / (least * 0.001), rel=0.01)
