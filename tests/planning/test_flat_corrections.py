"""Flats without a dark or bias: a laboratory's models in their place, and what is said of it; lights that share a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nightcrew.detector.set_up import SetUp
from nightcrew.frames.profiles import Rules
from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.builder import Builder
from nightcrew.planning.flat_corrections import merged_reasons
from nightcrew.planning.groups import known_temperature
from nightcrew.planning.light_models import choose_model, model_fails
from nightcrew.planning.lights import LightPlanner
from nightcrew.planning.model import PlannedProduct, Snapshot
from nightcrew.planning.night import plan_night
from nightcrew.recipes.parameters import MasterParameters
from tests.planning.test_masters import of, roles
from tests.support.made_nights import Crew, Made, header, series

LABORATORY: dict[str, Any] = {"laboratory": "bench", "bias_missing": "model", "dark_missing": "model"}


def known(grade: str = "A", *reasons: str, set_up: SetUp | None = None, temperatures_c: Sequence[float] = (-30.0, -10.0)) -> dict[str, Any]:
    """A model of the made nights' camera."""
    return {
        "shape": [64, 64],
        "temperatures_c": list(temperatures_c),
        "exposures_s": [1.0, 60.0],
        "set_up": (set_up or SetUp(camera="Simulated 1", gain_setting="100")).as_dict(),
        "grade": grade,
        "reasons": list(reasons),
        "time_utc": "2026-01-10T12",
    }


def laboratory(models: dict[str, Any]) -> ProductRow:
    return cast(ProductRow, SimpleNamespace(fingerprint="f" * 64, state="made", metrics={"models": models}))


def snapshot_of(crew: Crew, frames: Sequence[Made], models: dict[str, Any], **rules: Any) -> Snapshot:
    crew.rules = crew.rules.model_copy(update={**LABORATORY, **rules})
    crew.put(frames)
    crew.close()
    return replace(crew.snapshot(), models=laboratory(models))


def flat_of(crew: Crew, frames: Sequence[Made], models: dict[str, Any], **rules: Any) -> PlannedProduct:
    (flat,) = of(plan_night(snapshot_of(crew, frames, models, **rules), crew.database.now()), "flat_master")
    return flat


def corrections(flat: PlannedProduct) -> set[str]:
    return {role for one in flat.parameters["corrections"].values() for role in one}


@pytest.mark.parametrize(
    ("dark_missing", "why"),
    [
        ("model", "the dark model of the laboratory set bench cannot serve: the set has no such model"),
        ("scale", "the rules allow no model of it (dark_missing)"),
    ],
)
def test_a_flat_from_which_no_dark_was_taken_says_so(crew: Crew, dark_missing: str, why: str) -> None:
    flat = flat_of(crew, series("flat", 3), {"bias": known()}, dark_missing=dark_missing)
    assert (flat.grade, corrections(flat), roles(flat)) == ("C", {"bias_model"}, {"flat": 3, "detector_model": 1})
    assert "flats of 2s: no dark, bias only" in flat.grade_reasons
    assert f"no dark: {why}" in flat.grade_reasons


def test_a_refusal_is_told_with_a_bias_and_with_nothing(crew: Crew, new_crew: Any) -> None:
    flat = flat_of(crew, [*series("bias", 3), *series("flat", 3, 900.0)], {"bias": known()})
    assert (flat.grade, corrections(flat)) == ("C", {"bias"})
    assert any("the dark model of the laboratory set bench cannot serve" in reason for reason in flat.grade_reasons)
    flat = flat_of(new_crew(), series("flat", 3), {"dark": known()})
    assert (flat.grade, corrections(flat)) == ("D", set())
    assert flat.grade_reasons == (
        "flats of 2s: neither dark nor bias",
        "the bias model of the laboratory set bench cannot serve: the set has no such model",
    )


def test_an_exact_dark_without_bias_is_used_beside_the_model_of_the_bias(crew: Crew) -> None:
    crew.parameters = replace(crew.parameters, masters=MasterParameters(keep_bias_in_dark=False))
    frames = [
        *series("bias", 3, temperature_c=-24.0),  # near enough for the dark, too far for the flats
        *series("dark", 3, 900.0, exposure_s=2.0),
        *series("flat", 3, 1800.0, temperature_c=-16.0),
    ]
    flat = flat_of(crew, frames, {"bias": known(), "dark": known()})
    assert (flat.grade, corrections(flat)) == ("C", {"dark", "bias_model"})
    assert roles(flat) == {"flat": 3, "dark_master": 1, "detector_model": 1}
    assert "no bias fits: made by the model of the laboratory set bench" in flat.grade_reasons


@pytest.mark.parametrize(("grade", "used"), [("A", {"bias", "dark_model"}), ("D", {"bias"})])
def test_a_model_is_not_taken_where_it_makes_the_grade_worse(crew: Crew, grade: str, used: set[str]) -> None:
    frames = [*series("bias", 3), *series("flat", 3, 900.0)]
    flat = flat_of(crew, frames, {"dark": known(grade, "the median pixel's reduced chi^2 is 4")})
    assert (flat.grade, corrections(flat)) == ("C", used)
    said = "no dark: its model would make the grade D: the dark model: the median pixel's reduced chi^2 is 4"
    assert (said in flat.grade_reasons) == (grade == "D")


def test_flats_of_many_temperatures_and_exposures_say_it_once(crew: Crew) -> None:
    frames = [Made(f"flat-{n}.fit", header("flat", 60.0 * n, temperature_c=-9.6 + 0.1 * n, exposure_s=2.0 + n)) for n in range(3)]
    flat = flat_of(crew, frames, {"bias": known(), "dark": known()})
    beyond = "-9.6 to -9.4 C lies a little beyond the -30 to -10 C that the {} model was measured at"
    assert flat.grade_reasons == (
        *(beyond.format(what) for what in ("bias", "dark")),
        "flats of 2 to 4s: corrected by models of the laboratory",
    )


def test_merging_leaves_single_sentences_alone() -> None:
    said = ["flats of 0.5s: no dark, bias only", "no dark: set 7 cannot serve: 3e-05 s is longer than the 1e-06 s", "another"]
    assert merged_reasons([*said, *said]) == sorted(said)


def test_a_flat_of_no_exposure_has_no_dark_of_a_model(crew: Crew) -> None:
    flat = flat_of(crew, series("flat", 3, exposure_s=0.0), {"bias": known(), "dark": known()})
    assert corrections(flat) == {"bias_model"}
    assert any(reason.endswith("an exposure of 0 s has no dark signal") for reason in flat.grade_reasons)


def test_lights_that_share_a_decision_do_not_depend_on_which_came_first(crew: Crew) -> None:
    lights = [Made(f"light-{n}.fit", header("light", 60.0 * n, temperature_c=t)) for n, t in enumerate((20.0012, 20.0049))]
    models = {what: known(temperatures_c=(0.0, 19.0)) for what in ("bias", "dark")}
    snapshot = snapshot_of(crew, lights, models)
    found = []
    for frames in (list(snapshot.frames), list(snapshot.frames)[::-1]):
        builder = Builder(snapshot, crew.database.now())
        planner = LightPlanner(builder)
        for frame in frames:
            planner.plan(frame)
        found.append(set(builder.products))
        (light, _) = (p for p in builder.products.values() if p.recipe == "reduce_light")
        assert "20 C lies a little beyond the 0 to 19 C that the dark model was measured at" in light.grade_reasons
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_a_temperature_is_judged_as_it_is_told() -> None:
    assert f"{known_temperature(header(temperature_c=-0.001)):g}" == "0"
    models = {"dark": known()}
    assert model_fails(models, header(temperature_c=-7.996), "dark") == ""
    assert model_fails(models, header(temperature_c=-7.994), "dark").startswith("-7.99 C lies outside")


def test_camera_and_gain_that_nobody_states_are_named() -> None:
    rules = Rules(laboratory="bench")
    said = "camera and gain setting: stated neither by the frame nor by the model's frames, so not compared"
    models = laboratory({"dark": known(set_up=SetUp())})
    chosen = choose_model(models, rules, header(camera="", gain_setting=""), "dark")
    assert chosen.fingerprint
    assert said in chosen.reasons
    chosen = choose_model(laboratory({"dark": known()}), rules, header(), "dark")
    assert chosen.reasons == ("no dark fits: made by the model of the laboratory set bench",)


@pytest.mark.parametrize(
    ("taken", "grade", "said"),
    [
        ("2026-03-15T01", "C", ""),
        ("2025-04-01T12", "C", ""),
        ("2025-03-01T12", "D", "the dark model: its frames were taken 378 days from this one (limit 365 days)"),
        (
            "2023-01-01T12",
            "D",
            "the dark model of the laboratory set bench cannot serve: its frames were taken 1168 days from this one (limit 1095 days)",
        ),
        ("", "C", "the dark model: its age is not known, a time is missing"),
    ],
)
def test_the_age_of_a_model_is_judged(taken: str, grade: str, said: str) -> None:
    chosen = choose_model(laboratory({"dark": {**known(), "time_utc": taken}}), Rules(laboratory="bench"), header(), "dark")
    assert chosen.grade == grade
    assert bool(chosen.fingerprint) == ("cannot serve" not in said)
    assert [reason for reason in chosen.reasons if not reason.startswith("no dark fits")] == ([said] if said else [])


def test_the_limits_of_a_models_age_are_rules() -> None:
    rules = Rules(laboratory="bench", model_age_days=(10, 100))
    assert choose_model(laboratory({"bias": known()}), rules, header(), "bias").grade == "D"
    assert (
        choose_model(laboratory({"bias": known()}), rules.model_copy(update={"model_age_days": (10, 20)}), header(), "bias").fingerprint
        == ""
    )


@pytest.mark.parametrize(("exposure_s", "told"), [(10.0, False), (10.1, False), (2.0, True)])
def test_a_light_of_another_exposure_than_all_darks_says_so(exposure_s: float, told: bool) -> None:
    models = laboratory({"dark": {**known(), "exposures_s": [10.0, 10.0]}})
    chosen = choose_model(models, Rules(laboratory="bench"), header(exposure_s=exposure_s), "dark")
    said = "10 s alone do not tell how dark signal goes with exposure: at 2 s it may be 16 % off"
    assert (said in chosen.reasons) == told


def test_a_model_serves_frames_of_its_own_shape_without_an_overscan() -> None:
    models = {"bias": {**known(), "shape": [32, 64]}}  # rows, columns
    light = header("light", nx=64, ny=32)
    assert model_fails(models, light, "bias") == ""
    assert model_fails(models, replace(light, trim=(0, 60, 0, 32)), "bias") == "the frame has 60 x 32 pixels, the model 64 x 32"
    assert model_fails(models, replace(light, nx=32, ny=64), "bias") == "the frame has 32 x 64 pixels, the model 64 x 32"
    assert "its level would be taken off twice" in model_fails(models, replace(light, overscan=(60, 64, 0, 32)), "bias")
    assert model_fails(models, replace(light, bias_subtracted=True), "bias") == "the camera took the bias off already"


def test_a_flat_whose_bias_was_taken_off_is_b_however_good_its_dark(crew: Crew) -> None:
    crew.parameters = replace(crew.parameters, masters=MasterParameters(keep_bias_in_dark=False))
    crew.put([*series("bias", 3), *series("dark", 3, 600.0, exposure_s=2.0), *series("flat", 3, 3000.0, bias_subtracted=True)])
    crew.close()
    plan = plan_night(crew.snapshot(), crew.database.now())
    (dark,), (flat,) = of(plan, "dark_master"), of(plan, "flat_master")
    assert (dark.grade, dark.facts["bias"]) == ("A", "removed")
    assert (flat.grade, corrections(flat)) == ("B", {"dark"})
