"""Which masters a night should have: groups, clusters, corrections, grades, waiting and closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from nightcrew.planning.model import Plan, PlannedProduct
from nightcrew.planning.states import frame_states
from nightcrew.recipes.parameters import MasterParameters
from tests.support.made_nights import Crew, Made, header, series, small_night


def planned(crew: Crew, *frames: Made, closed: bool = True) -> Plan:
    crew.put(frames)
    if closed:
        crew.close()
    return crew.plan()


def of(plan: Plan, recipe: str) -> list[PlannedProduct]:
    return sorted((p for p in plan.products if p.recipe == recipe), key=lambda p: p.key)


def roles(product: PlannedProduct) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in product.inputs:
        found[item.role] = found.get(item.role, 0) + 1
    return found


def told(crew: Crew) -> dict[str, tuple[str, str]]:
    """State and reason of every frame by its file's name."""
    snapshot, plan = crew.snapshot(), crew.plan()
    states = frame_states(snapshot, plan)
    return {f.path.decode().rpartition("/")[2]: (states[f.id].state, states[f.id].reason) for f in snapshot.frames}


def test_a_whole_night(crew: Crew) -> None:
    plan = planned(crew, *small_night())
    count = {recipe: len(of(plan, recipe)) for recipe in {p.recipe for p in plan.products}}
    assert count == {
        "bias_master": 1,
        "dark_master": 2,
        "thermal_master": 1,
        "bad_pixel_mask": 1,
        "flat_master": 2,
        "camera_numbers": 1,
        "reduce_light": 4,
        "photometry": 4,
        "stack": 2,
        "stack_photometry": 2,
    }
    assert {p.grade for p in plan.products} == {"A"}
    assert {p.recipe for p in plan.with_status("ready")} == {"bias_master", "dark_master", "camera_numbers"}


@pytest.mark.parametrize("name", ["camera", "detector", "nx", "binning_x", "window_y0", "gain_setting", "offset_setting", "readout_mode"])
def test_set_ups_are_not_mixed(crew: Crew, name: str) -> None:
    other = {name: 2 if name in ("nx", "binning_x", "window_y0") else "another"}
    plan = planned(crew, *series("bias", 3), *series("bias", 3, 900.0, name="other", **other))
    assert [roles(p) for p in of(plan, "bias_master")] == [{"bias": 3}] * 2
    assert len({p.key for p in of(plan, "bias_master")}) == 2


def test_bias_at_two_temperatures_is_not_mixed(crew: Crew) -> None:
    plan = planned(crew, *series("bias", 3), *series("bias", 2, 900.0, name="warm", temperature_c=-18.5))
    assert [(p.key[:6], roles(p)) for p in of(plan, "bias_master")] == [("-18.5C", {"bias": 2}), ("-20.0C", {"bias": 3})]


def test_darks_by_exposure_and_temperature(crew: Crew) -> None:
    frames = [*series("dark", 2), *series("dark", 2, 900.0, exposure_s=30.0), *series("dark", 2, 1800.0, name="warm", temperature_c=-15.0)]
    plan = planned(crew, *frames)
    assert [p.key.rsplit("_", 3)[0] for p in of(plan, "dark_master")] == ["30s_-20.0C", "60s_-15.0C", "60s_-20.0C"]


def test_a_dark_keeps_its_bias_or_says_that_it_was_removed(crew: Crew) -> None:
    plan = planned(crew, *series("bias", 3), *series("dark", 3, 900.0))
    (kept,) = of(plan, "dark_master")
    assert (kept.facts["bias"], kept.parameters["bias"], roles(kept)) == ("kept", "kept", {"dark": 3})
    crew.parameters = replace(crew.parameters, masters=MasterParameters(keep_bias_in_dark=False))
    (removed,) = of(crew.plan(), "dark_master")
    assert (removed.facts["bias"], removed.parameters["bias"], roles(removed)) == ("removed", "removed", {"dark": 3, "bias_master": 1})


def test_flats_of_each_filter_with_their_own_darks(crew: Crew) -> None:
    plan = planned(crew, *small_night())
    flats = of(plan, "flat_master")
    assert [flat.facts["filter"] for flat in flats] == ["B", "V"]
    for flat in flats:
        assert roles(flat) == {"flat": 3, "dark_master": 1}
        assert {correction for one in flat.parameters["corrections"].values() for correction in one} == {"dark"}


def test_flats_without_their_dark_are_scaled_with_grade_b(crew: Crew) -> None:
    plan = planned(crew, *(one for one in small_night() if not one.name.startswith("dark-2.0")))
    flats = of(plan, "flat_master")
    assert [flat.facts["filter"] for flat in flats] == ["B", "V"]
    for flat in flats:
        assert (flat.grade, roles(flat)) == ("B", {"flat": 3, "bias_master": 1, "thermal_master": 1})
        assert flat.grade_reasons == ("flats of 2s: dark scaled from the thermal rate",)


def test_flats_with_a_bias_alone_are_c_and_with_nothing_d(crew: Crew, new_crew: Callable[..., Crew]) -> None:
    (flat,) = of(planned(crew, *series("bias", 3), *series("flat", 3, 900.0)), "flat_master")
    assert (flat.grade, flat.grade_reasons) == ("C", ("flats of 2s: no dark, bias only",))
    (flat,) = of(planned(new_crew(), *series("flat", 3)), "flat_master")
    assert (flat.grade, flat.grade_reasons) == ("D", ("flats of 2s: neither dark nor bias",))


def test_flats_wait_for_their_dark_while_the_night_is_open(crew: Crew) -> None:
    plan = planned(crew, *series("bias", 3), *series("flat", 3, 900.0), closed=False)
    assert of(plan, "flat_master") == []
    assert told(crew)["flat--0000.fit"] == ("waiting", "waits for: dark 2s")


def test_five_flats_of_another_temperature_make_the_flat_b(crew: Crew) -> None:
    warm = series("flat", 2, 3000.0, name="warm", temperature_c=-18.0)
    (flat,) = of(planned(crew, *series("dark", 3, exposure_s=2.0), *series("flat", 3, 900.0), *warm), "flat_master")
    assert (flat.grade, roles(flat)) == ("B", {"flat": 5, "dark_master": 1})
    (reason,) = flat.grade_reasons
    assert reason.startswith("dark_master 2s_-20.0C_")
    assert reason.endswith(": up to 2.0 C from the temperature of 2 frames")


def test_groups_that_still_grow_wait_and_say_when_to_look_again(crew: Crew) -> None:
    crew.parameters = replace(crew.parameters, group_quiet_s=60.0)
    plan = planned(crew, *small_night(), closed=False)
    assert plan.products == ()
    assert plan.wake_at == "2026-03-15T18:01:00.000"
    states = told(crew)
    assert states["bias-2026-03-14-0000.fit"] == ("waiting", "bias frames of this set are still coming in")
    assert states["flat-B2026-03-14-0000.fit"] == ("waiting", "flats in B are still coming in")
    assert states["light-B2026-03-14-0000.fit"][1].startswith("waits for: dark master 60s -20.0C")
    crew.close()
    assert crew.plan().wake_at == ""


def test_a_quiet_group_is_made_while_another_grows(crew: Crew) -> None:
    crew.parameters = replace(crew.parameters, group_quiet_s=60.0)
    crew.put(series("bias", 3))
    crew.now += timedelta(seconds=61)
    crew.put(series("dark", 3, 900.0))
    plan = crew.plan()
    assert [p.recipe for p in plan.products] == ["bias_master"]
    assert plan.wake_at == "2026-03-15T18:02:01.000"


def test_thermal_frames_need_a_bias(crew: Crew) -> None:
    thermal = series("thermal", 3, exposure_s=60.0)
    crew.put(thermal)
    assert told(crew)[thermal[0].name] == ("waiting", "waits for a bias master")
    crew.close()
    assert told(crew)[thermal[0].name] == ("set_aside", "no bias master fits: no rate can be made of it")
    crew.put(series("bias", 3, 900.0))
    assert [p.recipe for p in crew.plan().products] == ["bias_master", "thermal_master"]


def test_the_mask_is_made_of_the_longest_darks(crew: Crew) -> None:
    (mask,) = of(planned(crew, *small_night()), "bad_pixel_mask")
    assert mask.facts["exposure_s"] == 60.0
    assert roles(mask) == {"dark": 3, "dark_master": 1}


def test_camera_numbers_take_few_frames_and_pairs_of_a_filter(crew: Crew) -> None:
    frames = [*series("bias", 20), *series("flat", 5, 3000.0, filter="B"), *series("flat", 11, 6000.0), *series("dark", 1, 9000.0)]
    (numbers,) = of(planned(crew, *frames), "camera_numbers")
    assert roles(numbers) == {"bias": 6, "flat": 10}


def test_names_that_look_alike_in_a_file_name_do_not_share_a_key(crew: Crew) -> None:
    frames = [*series("flat", 3, filter="H"), *series("flat", 3, 900.0, filter="Hα"), *series("flat", 3, 1800.0, name="x", filter="H ")]
    plan = planned(crew, *frames)
    keys = [p.key for p in of(plan, "flat_master")]
    assert len(keys) == len(set(keys)) == 3
    assert {p.facts["filter"] for p in of(plan, "flat_master")} == {"H", "Hα", "H "}
    crew.run()
    assert {state for state, _ in crew.states().values()} == {"done"}


def test_frames_of_no_use_are_set_aside_with_their_reason(crew: Crew) -> None:
    planned(
        crew, Made("spectrum.fit", header("other", other_reason="CTYPE1: the image is a spectrum")), Made("odd.fit", header("other", 9.0))
    )
    assert told(crew) == {
        "spectrum.fit": ("set_aside", "CTYPE1: the image is a spectrum"),
        "odd.fit": ("set_aside", "of a kind that no recipe of a night takes"),
    }
