"""Frames whose bias the camera or its program took off before they came: it is never taken off a second time."""

from __future__ import annotations

import pytest

from nightcrew.planning.groups import BIAS_TAKEN_OFF
from nightcrew.planning.model import Plan, PlannedProduct
from tests.planning.test_masters import of, planned, roles, told
from tests.support.made_nights import Crew, Made, series, small_night


def night(*off: str) -> list[Made]:
    """A small night; of the kinds ``off`` every frame came without its bias."""
    kinds = {
        "bias": series("bias", 3, bias_subtracted="bias" in off),
        "dark": series("dark", 3, 600.0, bias_subtracted="dark" in off),
        "flat": series("flat", 3, 3000.0, bias_subtracted="flat" in off),
        "light": series("light", 2, 6000.0, bias_subtracted="light" in off),
    }
    return [frame for frames in kinds.values() for frame in frames]


def only_light(plan: Plan) -> PlannedProduct:
    return of(plan, "reduce_light")[0]


def test_a_dark_that_holds_its_bias_is_not_taken_off_a_light_without(crew: Crew) -> None:
    light = only_light(planned(crew, *night("light")))
    assert roles(light) == {"light": 1, "thermal_master": 1, "flat_master": 1, "bad_pixel_mask": 1, "bias_witness": 1}
    assert (light.grade, light.parameters["dark"]) == ("C", "scaled")
    assert BIAS_TAKEN_OFF in light.grade_reasons
    (dark,) = (choice for choice in light.choices if choice.need.startswith("dark master"))
    assert dark.need == "dark master 60s without bias -20.0C"
    assert [one.verdict for one in dark.considered] == ["it holds its bias, which was taken off the frame before it came"]


def test_darks_without_bias_serve_lights_without_bias_as_they_are(crew: Crew) -> None:
    plan = planned(crew, *night("dark", "light"))
    (dark,) = of(plan, "dark_master")
    assert (dark.facts["bias"], dark.parameters["bias"], roles(dark)) == ("removed", "removed", {"dark": 3, "bias_witness": 1})
    light = only_light(plan)
    assert roles(light) == {"light": 1, "dark_master": 1, "flat_master": 1, "bad_pixel_mask": 1, "bias_witness": 1}
    assert (light.grade, light.parameters["dark"]) == ("B", "exact")
    assert light.grade_reasons[0] == "the bias of its darks was taken off before they came, and with what is not known"
    assert BIAS_TAKEN_OFF in light.grade_reasons


def test_darks_without_bias_leave_a_raw_light_its_bias_master(crew: Crew) -> None:
    light = only_light(planned(crew, *night("dark")))
    assert roles(light) == {"light": 1, "dark_master": 1, "bias_master": 1, "flat_master": 1, "bad_pixel_mask": 1}
    assert light.parameters["dark"] == "exact"


def test_darks_of_both_states_are_never_one_master(crew: Crew) -> None:
    plan = planned(crew, *night(), *series("dark", 3, 1800.0, name="dark-off", bias_subtracted=True))
    assert sorted(dark.facts["bias"] for dark in of(plan, "dark_master")) == ["kept", "removed"]
    assert len({dark.key for dark in of(plan, "dark_master")}) == 2
    light = only_light(plan)
    assert "bias_master" not in roles(light)  # of two darks that fit the one that nobody touched serves
    assert BIAS_TAKEN_OFF not in light.grade_reasons


@pytest.mark.parametrize("kind", ["bias", "thermal"])
def test_a_bias_without_bias_is_no_bias(crew: Crew, kind: str) -> None:
    plan = planned(crew, *night(), *series(kind, 3, 300.0, name="off", exposure_s=0.0 if kind == "bias" else 60.0, bias_subtracted=True))
    assert len(of(plan, "bias_master")) == len(of(plan, "thermal_master")) == 1
    assert told(crew)["off-0000.fit"] == ("set_aside", BIAS_TAKEN_OFF)


def test_flats_without_bias_have_none_taken_off(crew: Crew) -> None:
    plan = planned(crew, *small_night(filters=("B",)), *series("flat", 3, 9000.0, name="flat-off", bias_subtracted=True))
    (raw,) = (flat for flat in of(plan, "flat_master") if flat.facts["filter"] == "B")
    (off,) = (flat for flat in of(plan, "flat_master") if flat.facts["filter"] == "V")
    assert (roles(raw), raw.grade) == ({"flat": 3, "dark_master": 1}, "A")
    assert (roles(off), off.grade) == ({"flat": 3, "thermal_master": 1, "bias_witness": 1}, "B")
    assert off.grade_reasons == (f"flats of 2s: {BIAS_TAKEN_OFF}",)
    (numbers,) = of(plan, "camera_numbers")  # their level is no signal above the bias frames
    assert {item.frame.header.filter for item in numbers.inputs if item.role == "flat" and item.frame} == {"B"}
