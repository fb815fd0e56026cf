"""Which lights, catalogues and stacks a night should have: calibrations, grades, waiting, blocked, stacked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nightcrew.errors import RejectedInput
from nightcrew.ledger import history
from nightcrew.planning.model import Plan, PlannedProduct
from nightcrew.recipes.parameters import LightParameters
from tests.planning.test_masters import of, planned, roles, told
from tests.support.made_nights import Crew, Made, fake_unit, header, series, small_night


def without(*starts: str, night: list[Made] | None = None) -> list[Made]:
    return [one for one in (night or small_night()) if not one.name.startswith(starts)]


def lights(plan: Plan) -> list[PlannedProduct]:
    return of(plan, "reduce_light")


def four_lights(plan: Plan) -> list[PlannedProduct]:
    found = lights(plan)
    assert len(found) == 4
    return found


def test_a_light_with_everything_is_a(crew: Crew) -> None:
    plan = planned(crew, *small_night())
    for light in four_lights(plan):
        assert (light.grade, light.parameters["dark"]) == ("A", "exact")
        assert roles(light) == {"light": 1, "dark_master": 1, "flat_master": 1, "bad_pixel_mask": 1}
    assert [roles(p) for p in of(plan, "photometry")] == [{"reduce_light": 1}] * 4


def test_without_its_dark_it_is_scaled_and_c(crew: Crew) -> None:
    for light in four_lights(planned(crew, *without("dark-2026"))):
        assert (light.grade, light.parameters["dark"]) == ("C", "scaled")
        assert roles(light) == {"light": 1, "bias_master": 1, "thermal_master": 1, "flat_master": 1, "bad_pixel_mask": 1}
        assert light.grade_reasons[0] == "no dark of 60s: scaled from the thermal rate with the bias removed"


def test_with_a_bias_alone_the_dark_step_is_skipped_and_d(crew: Crew) -> None:
    for light in four_lights(planned(crew, *without("dark"))):
        assert (light.grade, light.parameters["dark"]) == ("D", "none")
        assert roles(light)["bias_master"] == 1
        assert "no dark of 60s and none to scale: the dark step was skipped" in light.grade_reasons


def test_without_a_flat_it_is_d(crew: Crew) -> None:
    grades = {(light.facts["filter"], light.grade) for light in lights(planned(crew, *without("flat-V")))}
    assert grades == {("B", "A"), ("V", "D")}


def test_with_nothing_it_is_d_with_every_reason(crew: Crew) -> None:
    (light,) = lights(planned(crew, *series("light", 1)))
    assert light.grade == "D"
    assert light.grade_reasons == (
        "no bias: the step was skipped",
        "no dark of 60s and none to scale: the dark step was skipped",
        "no flat in V: the step was skipped",
    )


def test_an_open_night_waits_for_what_may_still_come(crew: Crew) -> None:
    planned(crew, *without("flat-V"), closed=False)
    states = told(crew)
    assert states["light-V2026-03-14-0000.fit"] == ("waiting", "waits for: flat master V (until the night closes)")
    assert {light.facts["filter"] for light in lights(crew.plan())} == {"B"}


@pytest.mark.parametrize("step", ["flat", "dark", "bias"])
def test_a_rule_may_block_a_light(crew: Crew, step: str) -> None:
    crew.rules = crew.rules.model_copy(update={f"{step}_missing": "block"})
    plan = planned(crew, *series("light", 1))
    assert lights(plan) == []
    assert told(crew)["light--0000.fit"] == ("waiting", f"blocked: the instrument's rules allow no light without its {step}")


@pytest.mark.parametrize("step", ["flat", "dark", "bias"])
def test_a_rule_that_waits_goes_on_without_when_the_night_closes(crew: Crew, step: str) -> None:
    crew.rules = crew.rules.model_copy(update={f"{step}_missing": "wait"})
    assert lights(planned(crew, *series("light", 1), closed=False)) == []
    assert told(crew)["light--0000.fit"][0] == "waiting"
    crew.close()
    assert [light.grade for light in lights(crew.plan())] == ["D"]


def test_a_dark_that_was_waited_for_is_scaled_where_it_can_be(crew: Crew) -> None:
    crew.rules = crew.rules.model_copy(update={"dark_missing": "wait"})
    assert lights(planned(crew, *without("dark-2026"), closed=False)) == []
    crew.close()
    assert {(light.grade, light.parameters["dark"]) for light in lights(crew.plan())} == {("C", "scaled")}


def test_scaling_may_be_forbidden(crew: Crew) -> None:
    crew.rules = crew.rules.model_copy(update={"dark_missing": "skip"})
    assert {light.grade for light in lights(planned(crew, *without("dark-2026")))} == {"D"}


def test_steps_may_be_switched_off(crew: Crew) -> None:
    crew.parameters = replace(crew.parameters, lights=LightParameters(use_dark=False, use_flat=False))
    for light in four_lights(planned(crew, *small_night())):
        assert roles(light) == {"light": 1, "bias_master": 1, "bad_pixel_mask": 1}
        assert (light.grade, light.grade_reasons) == (
            "D",
            ("the dark step was switched off (--no-dark)", "the flat step was switched off (--no-flat)"),
        )


def test_a_filter_may_be_excluded(crew: Crew) -> None:
    crew.parameters = replace(crew.parameters, exclude_filters=("V",))
    assert {light.facts["filter"] for light in lights(planned(crew, *small_night()))} == {"B"}
    assert told(crew)["light-V2026-03-14-0001.fit"] == ("set_aside", "filter V was excluded on request")


def test_the_grade_of_a_master_is_passed_down_to_the_stack(crew: Crew) -> None:
    warm = [replace(one, header=replace(one.header, temperature_c=-17.0)) for one in small_night() if one.header and "dark" in one.name]
    plan = planned(crew, *without("dark"), *warm)
    for recipe in ("flat_master", "reduce_light", "photometry", "stack", "stack_photometry"):
        assert {p.grade for p in of(plan, recipe)} == {"B"}, recipe
        assert all("3.0 C from the" in " ".join(p.grade_reasons) for p in of(plan, recipe)), recipe


def test_one_stack_for_each_target_filter_set_up_and_exposure(crew: Crew) -> None:
    more = [
        *series("light", 2, 20_000.0, name="long", exposure_s=300.0),
        *series("light", 2, 30_000.0, name="gain", gain_setting="200"),
        *series("light", 2, 40_000.0, name="other", target="Crew 2"),
    ]
    plan = planned(crew, *small_night(), *more)
    stacks = of(plan, "stack")
    assert len(stacks) == 5
    assert all(roles(p) == {"reduce_light": 2, "photometry": 2} for p in stacks)
    assert [roles(p) for p in of(plan, "stack_photometry")] == [{"stack": 1}] * 5
    crew.parameters = replace(crew.parameters, lights=LightParameters(register=False))
    assert all(roles(p) == {"reduce_light": 2} for p in of(crew.plan(), "stack"))


def test_targets_spelled_alike_in_a_file_name_have_stacks_of_their_own(crew: Crew) -> None:
    planned(crew, *series("light", 2, target="NGC 1"), *series("light", 2, 900.0, name="b", target="NGC/1"))
    crew.run()
    stacks = [row for row in crew.current() if row.recipe == "stack"]
    assert {row.facts["target"] for row in stacks} == {"NGC 1", "NGC/1"}
    assert len({row.key for row in stacks}) == 2
    assert crew.run().made == 0


def test_a_stack_waits_until_its_lights_are_quiet_and_stands_meanwhile(crew: Crew) -> None:
    crew.put(small_night())
    crew.run()
    assert len([row for row in crew.current() if row.recipe == "stack"]) == 2
    crew.parameters = replace(crew.parameters, group_quiet_s=60.0)
    crew.now += timedelta(seconds=120)
    crew.put(series("light", 1, 50_000.0, name="late"))
    plan = crew.plan()
    assert {recipe for recipe, _ in plan.held} == {"stack", "stack_photometry"}
    crew.run()
    stacks = {row.facts["filter"]: row.facts["n_frames"] for row in crew.current() if row.recipe == "stack"}
    assert stacks == {"B": 2, "V": 2}  # the one without the late light stands
    crew.now += timedelta(seconds=120)
    crew.run()
    stacks = {row.facts["filter"]: row.facts["n_frames"] for row in crew.current() if row.recipe == "stack"}
    assert stacks == {"B": 2, "V": 3}


@pytest.mark.parametrize("register", [True, False])
def test_a_light_that_cannot_be_reduced_or_measured_does_not_stop_the_stack(crew: Crew, register: bool) -> None:
    crew.parameters = replace(crew.parameters, lights=LightParameters(register=register))
    broken = "light-V2026-03-14-0000.fit"
    bad = Made(broken, None).sha256[:10]

    def unit(context: object, product: PlannedProduct) -> object:
        if bad in product.key:
            raise RejectedInput("no star in it")
        return fake_unit(context, product)

    for recipe in ("reduce_light", "photometry"):
        crew.units = {recipe: unit}  # type: ignore[dict-item]  # it returns what fake_unit returns
        crew.put(small_night())
        crew.close()
        crew.run()
        stacks = {row.facts["filter"]: row.facts["n_frames"] for row in crew.current() if row.recipe == "stack"}
        left = 1 if register or recipe == "reduce_light" else 2  # without registration no stack asks for stars
        assert stacks == {"B": 2, "V": left}, recipe
        assert crew.states()[broken] == ("rejected", f"{recipe.replace('_', ' ')}: no star in it")
        with crew.database.write() as connection:
            history.forgive(connection, crew.scope().id)


def test_lights_of_no_target_and_no_pointing_are_one_group(crew: Crew) -> None:
    plan = planned(crew, *(Made(f"{n}.fit", header("light", n * 60.0, target="")) for n in range(3)))
    (stack,) = of(plan, "stack")
    assert stack.key.startswith("no-target_V_60s_")


@pytest.mark.parametrize("kind", ["dark", "flat"])
def test_an_open_night_waits_for_better_masters_than_c(crew: Crew, kind: str) -> None:
    """Masters of months ago serve, with grade C; as long as better ones may still come, they are waited for."""
    crew.put(small_night("2026-01-20"))
    crew.close()
    crew.run("2026-01-20")
    crew.rules = crew.rules.model_copy(update={"dark_age_days": (7.0, 30.0, 90.0), "flat_age_days": (7.0, 30.0, 90.0)})
    crew.put(without(kind))
    crew.run()
    name = "light-V2026-03-14-0000.fit"
    told_of = {"dark": "dark master 60s -20.0C", "flat": "flat master V"}[kind]
    state, reason = told(crew)[name]
    assert state == "waiting"
    assert told_of in reason
    crew.close()
    crew.run()
    state, reason = told(crew)[name]
    assert state == "degraded"
    assert "53 days from the frame" in reason


def test_a_warmer_light_of_the_same_hour_has_a_decision_of_its_own_and_the_stack_is_no_better(crew: Crew) -> None:
    warm = series("light", 1, 3120.0, name="warm", temperature_c=-18.0)
    darks = [*series("dark", 3, 600.0), *series("dark", 3, 900.0, exposure_s=2.0)]
    plan = planned(crew, *series("bias", 3), *darks, *series("flat", 3, 1800.0), *series("light", 1, 3000.0), *warm)
    grades = {light.facts["time_utc"][11:16]: light.grade for light in lights(plan)}
    (stack,) = of(plan, "stack")
    assert grades["22:50"] < grades["22:52"]
    assert stack.grade == grades["22:52"]
