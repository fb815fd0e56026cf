"""Why: what became of a file or a product, with the candidates, the rules that they failed, and what would mend it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from nightcrew.ledger import products
from nightcrew.planning.explain import Explanation, explain_file, explain_product
from nightcrew.planning.model import OUTDATED
from nightcrew.planning.night import plan_night
from nightcrew.recipes.parameters import LightParameters
from tests.planning.test_lights import without
from tests.support.made_nights import Crew, Made, small_night


def why(crew: Crew, name: str) -> Explanation:
    """Of a file."""
    snapshot = crew.snapshot()
    return explain_file(crew.file(name), snapshot, plan_night(snapshot, crew.database.now()))


def night(crew: Crew, *frames: Made) -> None:
    """Taken in, closed and run."""
    crew.put(frames)
    crew.now += timedelta(hours=1)
    crew.close()
    crew.run_all()


def test_a_light_names_its_needs_the_candidates_and_the_rule_that_each_failed(crew: Crew) -> None:
    night(crew, *without("flat-V"))
    told = why(crew, "light-V2026-03-14-0000.fit")
    assert told.verdict == "degraded: grade D: no flat in V: the step was skipped"
    flat = next(choice for choice in told.choices if choice.need == "flat master V")
    (candidate,) = flat.considered
    assert candidate.verdict == "filter differs: the frame has 'V', the master 'B'"
    assert candidate.mend == "take flats in this filter"
    assert {product["recipe"] for product in told.products} == {"reduce_light"}
    assert told.facts["filter"] == "V"


def test_a_light_that_waits_says_for_what(crew: Crew) -> None:
    crew.put(without("flat-V"))
    told = why(crew, "light-V2026-03-14-0000.fit")
    assert told.verdict.startswith("waiting: waits for: ")
    assert "flat master V" in told.verdict
    assert [choice.found for choice in told.choices if choice.need == "flat master V"] == [False]


def test_a_file_that_is_no_frame_says_what_the_ledger_says(crew: Crew) -> None:
    crew.put([*small_night(), Made("notes.fit", None)])
    told = why(crew, "notes.fit")
    assert told.verdict == "rejected: not a frame"
    assert told.choices == ()
    assert explain_file(crew.file("notes.fit"), None, None) == told


def test_the_answer_is_plain_json(crew: Crew) -> None:
    night(crew, *without("flat-V"))
    told = why(crew, "light-V2026-03-14-0000.fit").as_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [len(choice["candidates"]) for choice in told["choices"]] == [2, 1]


def product(crew: Crew, recipe: str) -> Explanation:
    """Of the first product of a recipe."""
    row = next(row for row in crew.current() if row.recipe == recipe)
    with crew.database.read() as connection:
        dependants = products.dependants(connection, row.fingerprint)
    return explain_product(row, crew.plan(), dependants)


def test_a_product_names_its_grade_and_what_was_made_from_it(crew: Crew) -> None:
    night(crew, *small_night())
    told = product(crew, "flat_master")
    assert told.verdict == "current, grade A"
    assert {one["recipe"] for one in told.products} == {"reduce_light"}


def test_a_product_that_is_not_used_or_superseded_says_so(crew: Crew) -> None:
    night(crew, *small_night())
    row = next(row for row in crew.current() if row.recipe == "flat_master")
    products.mark_bad(crew.database, row.id, "a cloud", remake_scopes=1)
    assert product(crew, "flat_master").verdict == "not used: marked bad by a person: a cloud"
    crew.parameters = replace(crew.parameters, lights=LightParameters(cosmic_rays=False))
    assert product(crew, "reduce_light").verdict.startswith("superseded: the rules choose other")
    row = next(row for row in crew.current() if row.recipe == "reduce_light")._replace(version=0)
    assert explain_product(row, crew.plan(), []).verdict.startswith("superseded: made by version 0 of its recipe, which is at")


@pytest.mark.parametrize("case", ["marked bad", "failed certification"])
def test_the_frames_of_a_master_that_is_not_used_are_told_so_and_why(crew: Crew, case: str) -> None:
    """The word "present" and a good grade would say that it serves."""
    night(crew, *small_night())
    snapshot = crew.snapshot()
    row = next(row for row in crew.current() if row.recipe == "flat_master" and row.key.startswith("V"))
    bad = row._replace(marked_bad="a cloud") if case == "marked bad" else row._replace(certified=False, certification="noise 9 ADU")
    seen = replace(snapshot, products={**snapshot.products, row.fingerprint: bad})
    told = explain_file(crew.file("flat-V2026-03-14-0000.fit"), seen, plan_night(seen, crew.database.now()))
    (flat,) = [one for one in told.products if one["recipe"] == "flat_master"]
    why_not = "marked bad by a person: a cloud" if case == "marked bad" else "failed certification: noise 9 ADU"
    assert (flat["status"], flat["grade"], flat["reason"]) == ("not used", "", why_not)
    (beside,) = explain_product(row, None, [bad]).products
    assert (beside["status"], beside["grade"]) == (f"not used: {why_not}", "")


def test_an_outdated_product_of_an_old_night_stands_and_says_how_to_remake_it(crew: Crew) -> None:
    night(crew, *small_night())
    crew.parameters = replace(crew.parameters, lights=LightParameters(cosmic_rays=False))
    row = next(row for row in crew.current() if row.recipe == "reduce_light")
    plan = plan_night(replace(crew.snapshot(), remake=False), crew.database.now())
    assert explain_product(row, plan, []).verdict == f"current, grade A; {OUTDATED}"
