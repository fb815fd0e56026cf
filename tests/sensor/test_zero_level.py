"""The level of no light: a single bias, biases of another temperature, darks that are short enough, and none at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor.characterise import SensorResult, characterise
from nightcrew.sensor.frames import SensorFrame, of_array
from reports.sensor import grade_of
from tests.sensor.sets import QUICK, SMALL, frames_of, small_plan, whole

PLAN = small_plan(flat_levels=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5))
OFFSET = SMALL.offset_adu


def flats_and(*others: SensorFrame) -> list[SensorFrame]:
    return [*(frame for frame in frames_of(PLAN, 1) if frame.header.kind == "flat"), *others]


def zero(kind: str, number: int, *, t: float = 0.0, warm: float = -10.0, level: float = OFFSET) -> SensorFrame:
    noise = np.random.default_rng(number).normal(level, SMALL.read_noise_e / SMALL.gain_e_per_adu, (SMALL.ny, SMALL.nx))
    return of_array(np.rint(noise).astype(np.uint16), name=f"{kind}{number}-{t}", kind=kind, exposure_s=t, temperature_c=warm)


def right(result: SensorResult) -> None:
    gain = whole(result).gain
    assert gain is not None
    assert gain.value == pytest.approx(SMALL.gain_e_per_adu, abs=4 * gain.error)


def test_one_bias_alone_still_tells_the_offset() -> None:
    result = characterise(flats_and(zero("bias", 1)), QUICK)
    right(result)  # with an offset of 0 the signal, and so the gain, came out too large by half
    assert whole(result).flats[0].curve.points[0].signal < 0.06 * SMALL.full_well_e / SMALL.gain_e_per_adu
    grade, reasons = grade_of(result)
    assert grade == "B"
    assert any("one bias alone" in reason for reason in reasons)


def test_one_bias_of_the_flats_temperature_goes_before_pairs_of_another() -> None:
    result = characterise(flats_and(zero("bias", 1), *(zero("bias", n, warm=5.0, level=OFFSET + 300) for n in (2, 3))), QUICK)
    right(result)
    assert "the noise that of" in whole(result).flats[0].curve.remarks[0]
    near = characterise(flats_and(zero("bias", 1, warm=-12.0), *(zero("bias", n, warm=5.0, level=OFFSET + 300) for n in (2, 3))), QUICK)
    right(near)  # a bias of 2 K away tells more of the offset than a pair of 15 K away


def test_short_dark_stands_for_the_bias_and_the_grade_falls() -> None:
    result = characterise(flats_and(*(zero("dark", n, t=0.5) for n in (1, 2))), QUICK)
    right(result)
    assert grade_of(result)[0] == "B"
    assert whole(result).noises == ()  # a dark tells of no read noise


def test_long_dark_does_not_stand_for_the_bias() -> None:
    result = characterise(flats_and(*(zero("dark", n, t=300.0, level=OFFSET + 400) for n in (1, 2))), QUICK)
    region = whole(result)
    assert region.gain is None
    assert "300 s) are longer than the flats" in region.gain_reason
    assert region.flats[0].uniformity.prnu_percent is None
    assert isinstance(region.flats[0].emva, str)


def test_flats_alone_have_no_offset_and_no_gain() -> None:
    result = characterise(flats_and(), QUICK)
    assert whole(result).gain_reason == "no biases: the offset is not known"
    assert grade_of(result)[0] == "C"


def test_camera_that_took_the_bias_out_itself() -> None:
    frames = [
        replace(frame, data=np.asarray(frame.data, np.float32) - OFFSET, header=replace(frame.header, bias_subtracted=True))
        for frame in flats_and()
    ]
    result = characterise(frames, QUICK)
    right(result)
    assert "took the bias out" in whole(result).flats[0].curve.remarks[0]
