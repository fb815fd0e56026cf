"""Levels that do not belong together: darks whose level falls with the exposure, flats of another offset than the biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nightcrew.sensor.characterise import SensorResult, characterise
from nightcrew.sensor.frames import SensorFrame
from nightcrew.sensor.linearity import Linearity, linearity
from reports.sensor import grade_of, summary_of
from tests.sensor.sets import QUICK, SMALL, frames_of, small_plan, whole

PLAIN = replace(QUICK, bootstrap=0)


def changed(kind: str, by: Callable[[SensorFrame], float], **values: object) -> SensorResult:
    """A set of which all frames of a kind have their numbers moved."""
    frames = [
        frame if frame.header.kind != kind else replace(frame, data=np.rint(np.asarray(frame.data) + by(frame)).astype(np.uint16))
        for frame in frames_of(small_plan(replace(SMALL, nx=96, ny=96), biases=4, darks=2, **values), 5)
    ]
    return characterise(frames, PLAIN)


@pytest.mark.parametrize("exposures_s", [(60.0, 300.0), (60.0, 120.0, 300.0)])
def test_dark_level_that_falls_with_the_exposure_is_no_dark_current(exposures_s: tuple[float, ...]) -> None:
    # -1.00 +- 0.006 e-/s had grade A and no warning, and its maximum exposure was said to lie above 5561 s
    result = changed("dark", lambda frame: -(frame.header.exposure_s or 0.0), dark_exposures_s=exposures_s)
    found = {one.name: one for one in summary_of(result, ()).quantities}
    for name in ("dark_current", "dark_current_adu", "dark_current_median", "max_practical_exposure"):
        assert found[name].value is None, name
        assert "falls with their exposure" in found[name].note
    assert grade_of(result)[0] == "B"
    assert any("it tells no dark current" in warning for warning in summary_of(result, ()).warnings)


def test_dark_level_that_stays_is_a_rate_within_its_error_of_nothing() -> None:
    result = changed("dark", lambda frame: -0.5 * (frame.header.exposure_s or 0.0) / SMALL.gain_e_per_adu, dark_exposures_s=(60.0, 300.0))
    (series,) = whole(result).darks
    assert series.rate_adu_per_s == pytest.approx(0.0, abs=0.02)
    assert grade_of(result)[0] == "A"


def test_flats_of_another_offset_than_the_biases_are_told() -> None:
    # a gain of 1.66 instead of 1.50 had grade A and no warning
    result = changed("flat", lambda _: 300.0)
    summary = summary_of(result, ())
    warnings = summary.warnings
    assert summary.grade == grade_of(result)[0] == "B"
    (told,) = [warning for warning in warnings if "at no exposure the flats would have a signal of" in warning]
    assert float(told.split("signal of ")[1].split()[0]) == pytest.approx(300, abs=15)
    as_taken = summary_of(changed("flat", lambda _: 0.0), ())
    assert as_taken.grade == "A"
    assert not any("at no exposure" in warning for warning in as_taken.warnings)


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
def test_curved_response_has_no_foot_and_a_slow_shutter_has_one(alpha: float) -> None:
    t = np.linspace(1, 20, 12)

    def foot(late_s: float) -> str:
        straight = 2500 * (t + late_s)
        return linearity(t.tolist(), (straight - alpha * straight**2).tolist(), [1e-4] * 12, 52_000.0).foot

    assert foot(0.0) == ""
    assert "0.1 s longer than the exposure" in foot(0.1)
    assert "0.1 s less than the exposure" in foot(-0.1)


def swept(t: np.ndarray, foot_adu: float, lamp: float, seed: int) -> Linearity:
    """A sweep at 2500 ADU/s of a lamp that wanders."""
    signal = 2500 * t * (1 + lamp * np.random.default_rng(seed).standard_normal(t.size)) + foot_adu
    return linearity(t.tolist(), signal.tolist(), [lamp] * t.size, 62_000.0)


@pytest.mark.parametrize(
    ("t", "foot_adu", "told"),
    [
        (np.linspace(1, 20, 12), 300.0, True),
        (np.linspace(5, 20, 5), 600.0, True),  # 600 +- 150 with a curvature that nothing asks for
        (np.linspace(10, 16, 4), 300.0, False),
        (np.linspace(10, 16, 4), 3000.0, True),
    ],
)
def test_foot_of_a_short_sweep_is_told_or_said_to_be_untested(t: np.ndarray, foot_adu: float, told: bool) -> None:
    for seed in range(40):
        found = swept(t, foot_adu, 0.002, seed)
        if told:
            assert found.foot or found.curved, seed
        else:
            assert found.foot or "not tested below" in found.untested_foot, seed


def test_foot_has_the_error_that_it_says_and_none_is_seen_where_there_is_none() -> None:
    for t in (np.linspace(1, 20, 12), np.linspace(5, 20, 5), np.linspace(10, 16, 4)):
        found = [swept(t, 0.0, 0.002, seed) for seed in range(300)]
        pulls = [one.zero_adu / one.zero_error_adu for one in found if one.zero_adu is not None and one.zero_error_adu]
        assert np.std(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(600))
        assert not any(one.foot for one in found)
