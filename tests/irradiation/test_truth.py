"""Simulated campaigns of known truth in every layout: what is found is what was planted."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from nightcrew.irradiation.discover import find_campaigns
from nightcrew.irradiation.hits import late_part, mean_without_hits
from nightcrew.irradiation.joint_names import NAMES
from nightcrew.irradiation.masters import Master
from nightcrew.irradiation.results import Analysis
from nightcrew.simulate.campaign_plan import DamagedSensor
from nightcrew.simulate.campaign_sensor import DamageMaps, make_damage
from tests.irradiation.campaigns import SMALL, STRONG, analysed, plan_of, simulated

LAYOUTS: dict[str, dict[str, Any]] = {
    "irr, whole log": {},
    "irr, numbers that restart, no times": {"logs": "numbers"},
    "irr, no log": {"logs": "none"},
    "krad, logs in the folders, FITS": {"layout": "krad", "logs": "folders", "converted": True},
    "krad, constant logs, numbers run on": {"layout": "krad", "logs": "constant", "numbering_restarts": False},
    "two campaigns": {"layout": "many"},
}


def level_of(master: Master, maps: DamageMaps) -> float:
    """True mean level of a group's frames, each at its own dose: the bias, or the dark signal."""
    kind, seconds = master.group.kind, master.group.exposure_s
    level = maps.bias_at if kind == "BIAS" else maps.rate_at
    return float(np.mean([level(one.dose_krad).mean(dtype=np.float64) for one in master.group.doses])) * (1 if kind == "BIAS" else seconds)


def groups_of(found: Analysis, kind: str, exposure_s: float, *stages: str) -> list[Master]:
    of_kind = [one for one in found.masters if one.group.kind == kind and (kind == "BIAS" or one.group.exposure_s == exposure_s)]
    return sorted((one for one in of_kind if one.group.stage in stages), key=lambda one: one.group.dose_krad)


def shift_pulls(found: Analysis, maps: DamageMaps) -> dict[tuple[str, str, float], float]:
    """(found - truth) / error of the shifts, by transition, kind and exposure."""
    pulls = {}
    for shift in found.shifts:
        beam = groups_of(found, shift.kind, shift.exposure_s, "radiating")
        (quiet,) = groups_of(found, shift.kind, shift.exposure_s, "pre" if shift.transition == "first_pre" else "post")
        irradiated = beam[0] if shift.transition == "first_pre" else beam[-1]
        true = level_of(irradiated, maps) - level_of(quiet, maps)
        pulls[shift.transition, shift.kind, shift.exposure_s] = (shift.value - true) / shift.error
    return pulls


@pytest.mark.parametrize("name", LAYOUTS)
def test_response_in_every_layout(tmp_path: Path, name: str) -> None:
    # the limits are those that are stated, without a part that grows with the errors
    plan = dataclasses.replace(STRONG, **LAYOUTS[name])
    truth = simulated(tmp_path, plan)["effective"]
    found = analysed(tmp_path)
    maps = make_damage(plan.sensor, 1)
    assert found.left_out == {}
    for slope in found.slopes:
        some = groups_of(found, slope.kind, slope.exposure_s, "pre", "radiating")
        doses = [one.group.dose_krad for one in some]
        expected = np.polyfit(doses, [level_of(one, maps) for one in some], 1)[0]
        assert slope.value == pytest.approx(expected, rel=0.005 if slope.kind == "BIAS" else 0.01), slope.exposure_s
    assert next(s for s in found.slopes if s.kind == "BIAS").value == pytest.approx(plan.sensor.alpha_adu_per_krad, rel=0.005)
    fit = found.main_fit
    assert fit is not None
    assert (fit.values["B0"], fit.values["DC0"]) == pytest.approx((truth["B0"], truth["DC0"]), rel=0.01)
    for key in NAMES:
        assert fit.values[key] == pytest.approx(truth[key], rel=0.03), key


def test_shifts_are_within_their_errors_and_hot_pixels_within_3_percent(tmp_path: Path) -> None:
    plan = dataclasses.replace(STRONG, sensor=dataclasses.replace(STRONG.sensor, hot_per_krad=1e-3))
    simulated(tmp_path, plan)
    found = analysed(tmp_path)
    maps = make_damage(plan.sensor, 1)
    pulls = list(shift_pulls(found, maps).values())
    assert len(pulls) == 6
    assert np.max(np.abs(pulls)) < 3, pulls
    for one in found.hot.counts:
        assert one.count == pytest.approx(maps.hot_at(one.dose_krad), rel=0.03)
    grown = found.hot.growth
    assert grown is not None
    ends = [one.dose_krad for one in found.hot.counts if one.stage != "post"]
    assert grown.per_krad == pytest.approx((maps.hot_at(max(ends)) - maps.hot_at(min(ends))) / (max(ends) - min(ends)), rel=0.03)
    tail = found.hot.counts[-1].tail
    assert tail.scale_adu == pytest.approx(1500, abs=3 * tail.scale_error_adu)
    assert tail.scale_error_adu < 0.05 * 1500


def test_pixels_that_become_hot_in_the_last_frames_are_in_the_level() -> None:
    # they look like hits and were lost: levels in the beam came out too low, and the step they make was taken for noise of hits
    n, pixels, excess = 6, 120_000, 3000.0
    rng = np.random.default_rng(5)
    values = (1000 + 30 * rng.standard_normal((n, pixels))).astype(np.float32)
    onset = rng.integers(1, n, pixels // 20)
    for place, first in enumerate(onset.tolist()):
        values[first:, place * 20] += excess
    found = mean_without_hits(values)
    lost = float(np.sum((n - onset)[n - onset < 3]) / n * excess / pixels)
    assert found.mean.mean() + lost == pytest.approx(values.mean(), abs=0.5)
    assert found.risen * late_part(n) == pytest.approx(lost, rel=0.05)
    assert late_part(6) == 3 / 12
    assert math.isnan(late_part(3))


def test_jitter_numbering_and_order_change_nothing(tmp_path: Path) -> None:
    results = []
    for place, changes in enumerate(CHANGES):
        root = tmp_path / str(place)
        simulated(root, plan_of(frames=3, **changes))
        found = analysed(root)
        results.append([(one.group.kind, one.group.stage, round(one.group.dose_krad, 9), one.mean, one.std) for one in found.masters])
    assert results[0] == results[1] == results[2]


CHANGES: tuple[dict[str, Any], ...] = ({}, {"jitter_c": 0.0}, {"numbering_restarts": False})


@pytest.mark.parametrize(("stage", "logs"), [("pre", "complete"), ("post", "none")])
def test_a_stage_beside_the_beam_that_is_missing(tmp_path: Path, stage: str, logs: Any) -> None:
    stages = tuple(one for one in ("pre", "radiating", "post") if one != stage)
    truth = simulated(tmp_path, plan_of(stages=stages, frames=3, logs=logs))["effective"]
    found = analysed(tmp_path)
    bias = next(slope for slope in found.slopes if slope.kind == "BIAS")
    assert bias.value == pytest.approx(8.0, rel=0.01)
    fit = found.main_fit
    assert fit is not None
    assert fit.why == {}
    for name in ("B0", "alpha", "DC0", "beta", "q"):
        assert abs(fit.values[name] - truth[name]) < 4 * fit.errors[name], name
    if logs == "complete":
        assert fit.values["alpha"] == pytest.approx(8.0, rel=0.005)
    else:  # nominal doses: nobody knows where in its step a frame was taken
        assert fit.errors["alpha"] > 0.02 * 8
        assert found.doubts
    lost = {"pre": "first_pre", "post": "last_post"}[stage]
    for shift in found.shifts:
        assert shift.why == (f"no {shift.kind.lower()} of the stage {stage}" if shift.transition == lost else "")
        assert math.isnan(shift.value) == (shift.transition == lost)


@pytest.mark.parametrize("logs", ["complete", "none"])
def test_a_beam_that_is_missing(tmp_path: Path, logs: Any) -> None:
    truth = simulated(tmp_path, plan_of(stages=("pre", "post"), frames=3, logs=logs))["effective"]
    found = analysed(tmp_path)
    fit = found.main_fit
    assert fit is not None
    told = logs == "complete"  # the log tells what the frames after the beam had; without one nothing does, and they are left out
    assert set(fit.why) == ({"q", "sigma_q"} if told else {"q", "sigma_q", "alpha", "beta"})
    assert all("beam" in fit.why[name] for name in ("q", "sigma_q"))
    assert len(found.left_out) == (0 if told else 9)
    assert fit.values["B0"] == pytest.approx(truth["B0"], rel=0.005)
    if told:
        assert fit.values["alpha"] == pytest.approx(8.0, rel=0.005)
        assert fit.values["beta"] == pytest.approx(truth["beta"], rel=0.03)
    else:
        assert fit.why["alpha"] == "alpha: no group has a dose above 0"
        assert math.isnan(fit.values["alpha"])
    assert [slope.remark for slope in found.slopes] == ["a1: 1 points do not determine 2 coefficients"] * 3  # theirs is the beam alone
    assert all(math.isnan(slope.value) for slope in found.slopes)
    assert {shift.why for shift in found.shifts} == {"no bias of the stage radiating", "no dark of the stage radiating"}


def test_a_constant_rate_is_undetermined(tmp_path: Path) -> None:
    simulated(tmp_path, plan_of(rates_krad_per_s=(0.003,), stages=("radiating",), frames=3))
    found = analysed(tmp_path)
    model = next(model for model in found.rate_models if model.kind == "BIAS")
    assert math.isnan(model.mean.value("a2"))
    assert "0.003 in all 4 points" in model.mean.why["a2"]
    assert model.mean.value("a1") == pytest.approx(8.0, rel=0.005)


def test_annealing_after_the_beam(tmp_path: Path) -> None:
    sensor = DamagedSensor(ny=48, nx=48, healing=0.3, healing_time_s=3000.0)
    plan = plan_of(sensor=sensor, post_visits=6, visit_apart_s=1500.0, dark_exposures_s=(10.0,), doses_krad=(10.0, 40.0), frames=4)
    simulated(tmp_path, plan)
    found = analysed(tmp_path)
    dark = next(one for one in found.healing if one.kind == "DARK")
    assert dark.fit.time_constant_s == pytest.approx(3000, abs=4 * dark.fit.time_constant_error_s)
    assert dark.fit.healed == pytest.approx(0.3 * 40 * 2 * 10, abs=4 * dark.fit.healed_error + 3)
    assert 0.2 < dark.recovered < 0.3
    assert any("after the beam" in remark for remark in found.remarks)
    fit = found.joint[found.main_bin].fit
    assert fit is not None
    assert fit.values["beta"] == pytest.approx(2.0 + 2e-4 * 270, rel=0.03)  # post is left out, or beta would be a third lower


def test_darks_without_bias_are_in_no_response(tmp_path: Path) -> None:
    simulated(tmp_path, plan_of(frames=3, doses_krad=(5.0, 10.0)))
    for path in (tmp_path / "sim").rglob("Bias*.raw"):
        path.unlink()
    found = analysed(tmp_path)
    assert all(not one.corrected for one in found.masters if one.group.kind == "DARK")
    assert found.slopes == ()
    assert any("its bias was not removed" in remark for remark in found.remarks)


def test_two_campaigns_are_two(tmp_path: Path) -> None:
    simulated(tmp_path, plan_of(layout="many", frames=2, doses_krad=(5.0,)))
    found = find_campaigns(tmp_path / "sim" / "campaign", tmp_path / "out")
    assert [one.name for one in found] == ["CampaignA", "CampaignB"]
    assert all(len(one.frames) == 18 for one in found)


Pulls = dict[Any, list[float]]


def pulls(root: Path, seeds: range, **changes: Any) -> tuple[Pulls, Pulls]:
    """(found - truth) / error of all parameters, and of all shifts, for campaigns that follow the model exactly."""
    sensor = DamagedSensor(ny=32, nx=32, hot_before=0.0, hot_per_krad=0.0, **changes)
    plan = plan_of(sensor=sensor, converted=True, frames=6, doses_krad=(10.0, 20.0, 40.0), jitter_c=0.0)
    of_parameters: Pulls = {}
    of_shifts: Pulls = {}
    for seed in seeds:
        place = root / str(seed)
        truth = simulated(place, plan, seed)
        fit = (found := analysed(place)).joint[found.main_bin].fit
        assert fit is not None
        for name in NAMES:
            of_parameters.setdefault(name, []).append((fit.values[name] - truth["effective"][name]) / fit.errors[name])
        for what, pull in shift_pulls(found, make_damage(plan.sensor, seed)).items():
            of_shifts.setdefault(what, []).append(pull)
    return of_parameters, of_shifts


def check_pulls(found: Pulls) -> None:
    """Neither too small errors nor too large ones."""
    for what, values in found.items():
        n = len(values)
        print(f"{what}: {n} pulls, mean {np.mean(values):.2f}, width {np.std(values):.2f}")  # noqa: T201  seen where the check fails
        assert abs(np.mean(values)) < 4 / math.sqrt(n), what
        assert abs(np.std(values) - 1) < 4 / math.sqrt(2 * n), what


def check_shifts_together(found: Pulls) -> None:
    """Squares of a few campaigns' pulls from both sides: darks share the bias that they lost, so four of six are counted as their own."""
    squares = np.sum(np.square(list(found.values())))
    n = len(found) * len(next(iter(found.values())))
    assert chi2.ppf(1e-4, n * 2 // 3) < squares * 2 / 3 < chi2.isf(1e-4, n * 2 // 3), squares / n


def test_errors_are_honest_over_a_few_seeds(tmp_path: Path) -> None:
    parameters, of_shifts = pulls(tmp_path, range(6))
    check_pulls(parameters)
    check_shifts_together(of_shifts)


@pytest.mark.slow
def test_errors_are_honest_over_100_seeds(tmp_path: Path) -> None:
    for found in pulls(tmp_path, range(100)):
        check_pulls(found)


@pytest.mark.slow
def test_a_larger_campaign_within_the_stated_limits(tmp_path: Path) -> None:
    plan = dataclasses.replace(SMALL, sensor=DamagedSensor(ny=256, nx=256), frames=6)
    truth = simulated(tmp_path, plan)
    found = analysed(tmp_path)
    fit = found.joint[found.main_bin].fit
    assert fit is not None
    for name in NAMES:
        assert fit.values[name] == pytest.approx(truth["effective"][name], rel=0.03), name
    maps = make_damage(plan.sensor, 1)
    for one in found.hot.counts:
        assert one.count == pytest.approx(maps.hot_at(one.dose_krad), rel=0.03, abs=1)


def test_a_beam_without_dose_folders_within_the_same_limits(tmp_path: Path) -> None:
    # Irradiation/Bias and Irradiation/Darks: doses by the log alone; as one chain they were a single group, or one of each frame
    truth = simulated(tmp_path, STRONG)["effective"]
    beam = tmp_path / "sim" / "campaign" / "Irradiation"
    for place, step in enumerate(sorted(beam.iterdir())):
        for attempt in sorted(step.rglob("attempt0")):
            target = beam / attempt.parent.relative_to(step) / f"attempt{place}"
            target.parent.mkdir(parents=True, exist_ok=True)
            attempt.rename(target)
    found = analysed(tmp_path)
    assert found.left_out == {}
    steps = {one.group.step for one in found.masters if one.group.stage == "radiating"}
    assert 4 <= len(steps) <= 10
    assert all(len(one.group.frames) >= 3 for one in found.masters)
    assert all(one.corrected for one in found.masters)
    maps = make_damage(STRONG.sensor, 1)
    for slope in found.slopes:
        some = groups_of(found, slope.kind, slope.exposure_s, "pre", "radiating")
        expected = np.polyfit([one.group.dose_krad for one in some], [level_of(one, maps) for one in some], 1)[0]
        assert slope.value == pytest.approx(expected, rel=0.005 if slope.kind == "BIAS" else 0.01), slope.exposure_s
    fit = found.main_fit
    assert fit is not None
    for key in ("B0", "alpha", "DC0", "beta", "read"):
        assert fit.values[key] == pytest.approx(truth[key], rel=0.01), key
    for key in NAMES:
        assert fit.values[key] == pytest.approx(truth[key], rel=0.03), key
