"""Association: one rule a test, with the candidate's line that names it."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest

from nightcrew.frames.profiles import Rules
from nightcrew.planning.associate import Association, Master, need_of
from nightcrew.planning.groups import EQUAL_FACTS, equal_keys
from nightcrew.planning.model import Choice
from tests.support.made_nights import header

RULES = Rules()
LIGHT = header("light", exposure_s=60.0, temperature_c=-20.0, filter="V")


def master(
    recipe: str, print_: str = "m", *, night: str = "", grade: str = "A", changed: bool = False, barred: str = "", **facts: Any
) -> Master:
    """A master that fits ``LIGHT`` but for what is said."""
    usual = {
        **dict(zip(EQUAL_FACTS, equal_keys(LIGHT), strict=True)),
        "temperature_c": -20.0,
        "exposure_s": 60.0,
        "filter": "V",
        "time_utc": LIGHT.time_utc,
    }
    reasons = (f"{print_} is {grade}",) if grade != "A" else ()
    return Master(
        recipe=recipe,
        key=f"key-{print_}",
        fingerprint=print_,
        facts={**usual, **facts},
        grade="A" if changed else grade,
        judge=lambda: (grade, reasons),
        barred=barred,
        borrowed_from=night,
    )


def choose(recipe: str, *masters: Master, rules: Rules = RULES, **values: Any) -> Choice:
    return Association(masters, rules).choose(need_of(recipe, replace(LIGHT, **values)))


def failed(choice: Choice) -> str:
    """The rule that the only candidate failed."""
    assert not choice.found
    (only,) = choice.considered
    return only.verdict


def days_off(days: float) -> str:
    from datetime import datetime, timedelta

    return (datetime.fromisoformat(LIGHT.time_utc) - timedelta(days=days)).isoformat(timespec="milliseconds")


def test_what_fits_is_chosen_with_grade_a() -> None:
    choice = choose("dark_master", master("dark_master"))
    assert (choice.fingerprint, choice.grade, choice.reasons) == ("m", "A", ())
    assert [(c.name, c.verdict) for c in choice.considered] == [("dark_master key-m", "")]


def test_nothing_is_never_any() -> None:
    choice = choose("dark_master", master("bias_master"))
    assert not choice.found
    assert choice.considered == ()
    assert choice.need == "dark master 60s -20.0C"


@pytest.mark.parametrize("name", EQUAL_FACTS)
def test_keys_that_must_be_equal(name: str) -> None:
    other: dict[str, Any] = {name: "another"}
    verdict = failed(choose("bias_master", master("bias_master", **other)))
    assert verdict.startswith(f"{name.replace('_', ' ')} differs: the frame has '")
    assert verdict.endswith("the master 'another'")


def test_a_missing_key_equals_only_a_missing_key() -> None:
    blank = master("bias_master", gain_setting="")
    assert not choose("bias_master", blank).found
    assert choose("bias_master", blank, gain_setting="").found


def test_flats_need_their_filter_and_others_do_not_care() -> None:
    assert failed(choose("flat_master", master("flat_master", filter="B"))) == "filter differs: the frame has 'V', the master 'B'"
    assert choose("dark_master", master("dark_master", filter="B")).found
    assert choose("flat_master", master("flat_master", filter=None), filter="").found


@pytest.mark.parametrize(("exposure_s", "fits"), [(60.05, True), (60.07, False), (59.95, True), (0.0, False)])
def test_darks_need_their_exposure_within_a_part_in_a_thousand(exposure_s: float, fits: bool) -> None:
    choice = choose("dark_master", master("dark_master", exposure_s=exposure_s))
    assert choice.found == fits
    if not fits:
        assert failed(choice) == f"exposure differs: the frame has 60 s, the master {exposure_s:g} s (tolerance 0.10%)"


def test_an_unknown_exposure_fits_nothing() -> None:
    assert "not known" in failed(choose("dark_master", master("dark_master"), exposure_s=None))
    assert "not known" in failed(choose("dark_master", master("dark_master", exposure_s=None)))


@pytest.mark.parametrize(("temperature_c", "grade"), [(-20.0, "A"), (-19.0, "A"), (-21.0, "A"), (-18.9, "B"), (-15.0, "B"), (-14.9, "")])
def test_temperature_gives_a_then_b_then_none(temperature_c: float, grade: str) -> None:
    choice = choose("dark_master", master("dark_master", temperature_c=temperature_c))
    assert choice.grade == grade
    if grade == "":
        assert failed(choice) == "temperature differs by 5.1 C: -20.0 and -14.9 C (limit 5 C)"
    if grade == "B":
        assert choice.reasons == (f"dark_master key-m: {temperature_c + 20:.1f} C from the frame's temperature",)


def test_a_distance_of_exactly_the_limit_is_within_it() -> None:
    for tenth in range(100):
        frame_c = -20.0 + tenth / 10
        assert choose("dark_master", master("dark_master", temperature_c=round(frame_c + 1.0, 2)), temperature_c=frame_c).grade == "A"


def test_flats_may_have_any_temperature() -> None:
    assert choose("flat_master", master("flat_master", temperature_c=20.0)).grade == "A"


@pytest.mark.parametrize("who", ["frame", "master"])
def test_a_temperature_known_of_one_only_is_b(who: str) -> None:
    values: dict[str, Any] = {"temperature_c": None} if who == "frame" else {}
    facts: dict[str, Any] = {"temperature_c": None} if who == "master" else {}
    choice = choose("bias_master", master("bias_master", **facts), **values)
    assert (choice.grade, len(choice.reasons)) == ("B", 1)


def test_a_temperature_known_of_neither_is_a() -> None:
    assert choose("bias_master", master("bias_master", temperature_c=None), temperature_c=None).grade == "A"


@pytest.mark.parametrize(
    ("recipe", "days", "grade"),
    [
        ("bias_master", 30.0, "A"),
        ("bias_master", 30.1, "B"),
        ("bias_master", 90.1, "C"),
        ("bias_master", 365.1, ""),
        ("dark_master", -30.1, "B"),
        ("thermal_master", 90.1, "C"),
        ("bad_pixel_mask", 365.1, ""),
        ("flat_master", 7.0, "A"),
        ("flat_master", 7.1, "B"),
        ("flat_master", 30.1, "C"),
        ("flat_master", 180.1, ""),
    ],
)
def test_age_gives_a_then_b_then_c_then_never(recipe: str, days: float, grade: str) -> None:
    choice = choose(recipe, master(recipe, time_utc=days_off(days)))
    assert choice.grade == grade
    if grade == "":
        assert "days from the frame (limit" in failed(choice)
    elif grade > "A":
        assert choice.reasons == (f"{recipe} key-m: {abs(days):.0f} days from the frame",)


@pytest.mark.parametrize("who", ["frame", "master"])
def test_a_borrowed_master_of_unknown_age_is_b(who: str) -> None:
    values: dict[str, Any] = {"time_utc": ""} if who == "frame" else {}
    facts: dict[str, Any] = {"time_utc": ""} if who == "master" else {}
    assert choose("bias_master", master("bias_master", night="2026-03-01", **facts), **values).grade == "B"
    assert choose("bias_master", master("bias_master", **facts), **values).grade == "A"


def test_the_nearest_in_time_wins_among_equals() -> None:
    masters = [master("bias_master", name, time_utc=days_off(days)) for name, days in (("a", 9), ("b", -2), ("c", 3))]
    for order in itertools.permutations(masters):
        choice = choose("bias_master", *order)
        assert choice.fingerprint == "b"
        verdicts = [(c.fingerprint, c.verdict) for c in choice.considered]
        assert verdicts == [("b", ""), ("c", "bias_master key-b is nearer or better"), ("a", "bias_master key-b is nearer or better")]


def test_a_better_grade_wins_over_a_nearer_time() -> None:
    near, far = master("bias_master", "near", temperature_c=-17.0), master("bias_master", "far", time_utc=days_off(20))
    assert choose("bias_master", near, far).fingerprint == "far"


def test_a_master_that_changed_is_b_but_loses_to_no_older_one() -> None:
    tonight, before = master("bias_master", "tonight", grade="B", changed=True), master("bias_master", "before", time_utc=days_off(1))
    choice = choose("bias_master", tonight, before)
    assert (choice.fingerprint, choice.grade, choice.reasons) == ("tonight", "B", ("tonight is B",))


def test_ties_are_broken_by_the_fingerprint() -> None:
    masters = [master("bias_master", name) for name in "cab"]
    assert {choose("bias_master", *order).fingerprint for order in itertools.permutations(masters)} == {"a"}


def test_the_masters_own_grade_and_reasons_are_passed_on() -> None:
    choice = choose("bias_master", master("bias_master", grade="B", temperature_c=-18.0))
    assert (choice.grade, choice.reasons) == ("B", ("m is B", "bias_master key-m: 2.0 C from the frame's temperature"))
    assert choose("bias_master", master("bias_master", grade="D")).grade == "D"


def test_a_barred_master_is_never_used_and_says_why() -> None:
    assert failed(choose("bias_master", master("bias_master", barred="failed certification: 1 frame"))) == "failed certification: 1 frame"


def test_borrowed_masters_say_from_which_night() -> None:
    (only,) = choose("bias_master", master("bias_master", night="2026-03-01")).considered
    assert only.name == "bias_master key-m of 2026-03-01"


def test_what_would_mend_it() -> None:
    assert choose("flat_master", master("flat_master", filter="B")).considered[0].mend == "take flats in this filter"


def test_a_later_candidate_is_seen() -> None:
    association = Association([], RULES)
    need = need_of("bias_master", LIGHT)
    assert not association.choose(need).found
    association.add(master("bias_master"))
    assert association.choose(need).found


def test_tolerances_are_data() -> None:
    strict = Rules(temperature_a_c=0.1, temperature_b_c=0.5, exposure_tolerance=0.0)
    assert choose("dark_master", master("dark_master", temperature_c=-19.7), rules=strict).grade == "B"
    assert not choose("dark_master", master("dark_master", temperature_c=-19.4), rules=strict).found
    assert not choose("dark_master", master("dark_master", exposure_s=60.001), rules=strict).found


def test_a_choice_travels_without_its_candidates() -> None:
    choice = choose("bias_master", master("bias_master"))
    arrived = copy.copy(choice)  # by the same protocol that sends it to a worker
    assert (arrived, arrived.considered) == (choice, ())
