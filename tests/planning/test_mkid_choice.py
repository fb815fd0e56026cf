"""Which solutions photon lists are read with, and which flats are calibrated together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nightcrew.mkid.solution_grades import grade_of_share
from nightcrew.planning.model import Plan
from nightcrew.planning.set_mkid import plan
from nightcrew.planning.set_plan import plan_set
from tests.planning.test_set_mkid import AS_OF_LATER, LASERS, MAP, exposure, files_of, log, seconds
from tests.planning.test_sets import row, snapshot

AGAIN = (exposure("c", "laser", 20, "850"), exposure("d", "laser", 22, "1100"))
TEXTS = {**MAP, **seconds(0, 40), **log(*LASERS, exposure("early", "science", 6), *AGAIN, exposure("late", "science", 25))}


def planned(folder: Path, texts: dict[str, str], grades: dict[str, str], bad: str = "") -> Plan:
    """The plan when the products ``grades`` (by recipe and key) are made."""
    start = snapshot(files_of(folder, texts), quiet_s=600.0)
    first = plan_set(start, plan, AS_OF_LATER)
    made = {
        one.fingerprint: row(one.fingerprint, recipe=one.recipe, key=one.key, grade=grades[name], marked_bad=bad if name in bad else "")
        for one in first.products
        if (name := f"{one.recipe} {one.key}") in grades
    }
    return plan_set(replace(start, products=made), plan, AS_OF_LATER)


def solution_of(made: Plan, science: str) -> tuple[str, list[str]]:
    (one,) = [one for one in made.products if one.recipe == "mkid_calibrated" and one.key == science]
    known = {other.fingerprint: other.key for other in made.products if other.recipe == "mkid_wavecal"}
    (used,) = [known[item.fingerprint] for item in one.inputs if item.fingerprint in known]
    (report,) = [one for one in made.products if one.recipe == "mkid_report"]
    return used, report.facts["problems"]


def test_a_worthless_solution_is_passed_over_for_one_that_is_further_away(tmp_path: Path) -> None:
    assert solution_of(planned(tmp_path, TEXTS, {}), "late") == ("c", [])
    assert solution_of(planned(tmp_path, TEXTS, {"mkid_wavecal a": "C", "mkid_wavecal c": "B"}), "late") == ("c", [])
    used, notes = solution_of(planned(tmp_path, TEXTS, {"mkid_wavecal a": "B", "mkid_wavecal c": "D"}), "late")
    assert used == "a"
    assert notes == ["late: the nearer wavelength solution c (grade D) was passed over for a"]


def test_a_worthless_solution_that_comes_later_makes_nothing_anew(tmp_path: Path) -> None:
    lines = log(*LASERS, exposure("early", "science", 6), exposure("f", "flat", 9), exposure("late", "science", 25))
    before = planned(tmp_path / "1", {**MAP, **seconds(0, 40), **lines}, {})
    lines = log(*LASERS, exposure("early", "science", 6), exposure("f", "flat", 9), *AGAIN, exposure("late", "science", 25))
    after = planned(tmp_path / "2", {**MAP, **seconds(0, 40), **lines}, {"mkid_wavecal a": "A", "mkid_wavecal c": "D"})
    kept = {one.name: one.fingerprint for one in after.products}
    earlier = {one.name: one.fingerprint for one in before.products if one.recipe != "mkid_report"}
    assert "mkid_wavecal a" in earlier
    assert {name: kept[name] for name in earlier} == earlier


def test_where_every_solution_is_worthless_the_nearest_is_taken(tmp_path: Path) -> None:
    assert solution_of(planned(tmp_path, TEXTS, {"mkid_wavecal a": "D", "mkid_wavecal c": "D"}), "late") == ("c", [])


def test_a_solution_that_a_person_marked_bad_is_passed_over(tmp_path: Path) -> None:
    used, notes = solution_of(planned(tmp_path, TEXTS, {"mkid_wavecal a": "A", "mkid_wavecal c": "A"}, bad="mkid_wavecal c"), "late")
    assert used == "a"
    assert notes == ["late: the nearer wavelength solution c (marked bad) was passed over for a"]


@pytest.mark.parametrize(("share", "grade"), [(1.0, "A"), (0.7, "A"), (0.69, "B"), (0.3, "C"), (0.001, "D"), (0.0, "D")])
def test_a_grade_follows_the_share_of_the_pixels(share: float, grade: str) -> None:
    assert grade_of_share(share) == grade


def test_white_flats_and_flats_of_lasers_are_not_calibrated_together(tmp_path: Path) -> None:
    flats = (exposure("w", "flat", 6), exposure("l1", "flat", 9, "850"), exposure("l2", "flat", 12, "1100"), exposure("w2", "flat", 15))
    made = planned(tmp_path, {**MAP, **seconds(0, 40), **log(*LASERS, *flats)}, {})
    tables = {one.fingerprint: one.key for one in made.products if one.recipe == "mkid_table"}
    used = {
        one.key: ([tables[item.fingerprint] for item in one.inputs if item.fingerprint in tables], one.parameters["laser"])
        for one in made.products
        if one.recipe == "mkid_flatcal"
    }
    assert used == {"w": (["w"], False), "l1": (["l1", "l2"], True), "w2": (["w2"], False)}
