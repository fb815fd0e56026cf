"""Fingerprints change with everything that counts, and with nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from nightcrew.frames.model import FrameHeader
from nightcrew.planning import builder as builders
from nightcrew.planning.fingerprints import (
    LIGHT_FACTS,
    USED_VALUES,
    UsedValues,
    canonical,
    canonical_facts,
    canonical_light,
    fingerprint,
)
from nightcrew.planning.model import Input
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import LightParameters, MasterParameters, PhotometryParameters
from tests.planning.test_groups import frame
from tests.support.made_nights import Crew, header, series, small_night

HEAD = ("recipe", "key")


def of(role: str, one: FrameHeader, sha256: str = "s") -> str:
    row = frame(1)._replace(header=one, header_hash=one.canonical())
    return fingerprint(HEAD, [Input(role, sha256, row)], UsedValues())


def another(value: Any, name: str) -> Any:
    if name in ("trim", "overscan"):
        return (0, 1, 0, 2)
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else "another"


@pytest.mark.parametrize("role", sorted(USED_VALUES))
@pytest.mark.parametrize("name", [f.name for f in fields(FrameHeader)])
def test_used_header_values_count_and_others_do_not(role: str, name: str) -> None:
    one = header("light" if role == "light" else role)
    other = replace(one, **{name: another(getattr(one, name), name)})
    assert (of(role, one) != of(role, other)) == (name in USED_VALUES[role])


def test_every_used_value_is_a_field() -> None:
    names = {f.name for f in fields(FrameHeader)}
    assert {name for used in USED_VALUES.values() for name in used} <= names


def test_content_role_and_order_of_inputs_count() -> None:
    one, two = Input("light", "a"), Input("light", "b")
    prints = {fingerprint(HEAD, inputs, UsedValues()) for inputs in ([one, two], [two, one], [one], [Input("dark", "a"), two])}
    assert len(prints) == 4
    assert of("light", header(), "s") != of("light", header(), "t")


def test_neighbouring_texts_cannot_run_into_each_other() -> None:
    used = UsedValues()
    assert fingerprint(("a", "bc"), [], used) != fingerprint(("ab", "c"), [], used)
    assert fingerprint(("a",), [Input("b", "c")], used) != fingerprint(("a", "b"), [Input("c", "")], used)


def test_a_frame_of_which_nothing_is_known_to_be_unused_counts_whole() -> None:
    assert of("some role", header()) != of("some role", replace(header(), target="another"))


def test_canonical_text_has_one_order_and_no_nan() -> None:
    assert canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})


def prints(crew: Crew) -> dict[str, set[str]]:
    """Recipe -> fingerprints of the plan of the closed night."""
    found: dict[str, set[str]] = {}
    for product in crew.plan().products:
        found.setdefault(product.recipe, set()).add(product.fingerprint)
    return found


def changed(before: dict[str, set[str]], after: dict[str, set[str]]) -> set[str]:
    """Recipes of which every product has another fingerprint; none may have kept some."""
    for recipe, old in before.items():
        assert old == after[recipe] or not old & after[recipe], recipe
    return {recipe for recipe, old in before.items() if old != after[recipe]}


MASTERS = {"bias_master", "dark_master", "thermal_master", "flat_master", "bad_pixel_mask"}
LIGHTS = {"reduce_light", "photometry", "stack", "stack_photometry"}


@pytest.fixture
def night(crew: Crew) -> Crew:
    crew.put(small_night())
    crew.close()
    return crew


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"masters": MasterParameters(method="mean")}, MASTERS | LIGHTS),
        ({"masters": MasterParameters(hot_sigma=9.0)}, {"bad_pixel_mask"} | LIGHTS),
        ({"masters": MasterParameters(cold_fraction=0.4)}, {"flat_master"} | LIGHTS),
        ({"lights": LightParameters(cosmic_rays=False)}, LIGHTS),
        ({"lights": LightParameters(use_flat=False)}, LIGHTS),
        ({"lights": LightParameters(stack_method="median")}, {"stack", "stack_photometry"}),
        ({"photometry": PhotometryParameters(radius_px=5.0)}, {"photometry", "stack", "stack_photometry"}),
        ({"group_quiet_s": 1.0}, set()),
    ],
)
def test_a_parameter_makes_stale_what_it_touches(night: Crew, parameters: dict[str, Any], expected: set[str]) -> None:
    before = prints(night)
    night.parameters = replace(night.parameters, **parameters)
    assert changed(before, prints(night)) == expected


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("bias_master", {"bias_master", "thermal_master"}),
        ("flat_master", {"flat_master"} | LIGHTS),
        ("reduce_light", LIGHTS),
        ("stack_photometry", {"stack_photometry"}),
        ("camera_numbers", {"camera_numbers"}),
    ],
)
def test_a_newer_recipe_makes_stale_what_it_touches(night: Crew, monkeypatch: pytest.MonkeyPatch, recipe: str, expected: set[str]) -> None:
    before = prints(night)
    newer = {**RECIPES, recipe: replace(RECIPES[recipe], version=RECIPES[recipe].version + 1)}
    monkeypatch.setattr(builders, "RECIPES", newer)
    assert changed(before, prints(night)) == expected


def test_another_grade_of_an_input_makes_stale_what_is_made_from_it(crew: Crew) -> None:
    crew.put([*series("dark", 3), *series("light", 1, 4000.0)])
    crew.close()
    before = prints(crew)
    crew.rules = crew.rules.model_copy(update={"dark_age_days": (0.01, 90.0, 365.0)})
    assert changed(before, prints(crew)) == LIGHTS


def test_two_ledgers_agree_and_the_night_counts(night: Crew, new_crew: Any) -> None:
    other = new_crew()
    other.put([replace(one, name=f"elsewhere/{one.name}", content=one.name) for one in reversed(small_night())])
    other.close()
    assert prints(other) == prints(night)
    moved = new_crew()
    moved.put([replace(one, header=replace(one.header, night="2026-03-15")) for one in small_night() if one.header])
    moved.close()
    after: dict[str, set[str]] = {}
    for product in moved.plan("2026-03-15").products:
        after.setdefault(product.recipe, set()).add(product.fingerprint)
    assert changed(prints(night), after) == set(after)


@pytest.mark.parametrize("exposure_s", [None, 60, 60.0, -0.0, 1e-7])
@pytest.mark.parametrize("target", ["", "M 31", 'it\'s "one"', "a\n, ('time_utc', 'x')"])
def test_the_quick_text_of_a_lights_facts_is_the_canonical_one(exposure_s: float | None, target: str) -> None:
    for time_utc in ("2026-03-14T22:00:00.000", ""):
        quick = canonical_light("cam", exposure_s, "B", "100", "9x9+0+0b1x1", target, time_utc)
        values = ("cam", exposure_s, "B", "100", "9x9+0+0b1x1", target, time_utc)
        assert quick == canonical_facts(dict(zip(LIGHT_FACTS, values, strict=True)))
