"""Plate solutions in a night's plan: which one a light takes, and when it does without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nightcrew.errors import RejectedInput
from nightcrew.ledger import products
from nightcrew.ledger.rows import NewProduct
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.plates import HEADER, RECIPE, SOLVED, made_of
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import PlateParameters
from tests.planning.test_masters import of, roles
from tests.support.made_nights import Crew, fake_unit, series


def solving(source: str = SOLVED, **changed: Any) -> Any:
    """A unit that gives every light a plate solution."""

    def unit(context: object, planned: PlannedProduct) -> NewProduct:
        frame = planned.inputs[0].frame
        assert frame is not None
        return replace(fake_unit(context, planned), metrics={"source": source, "made_of": made_of(frame.header), **changed})

    return unit


def failing(_context: object, planned: PlannedProduct) -> NewProduct:
    raise RejectedInput(f"no solution of {planned.key}")


def ran(crew: Crew, unit: Any, **parameters: Any) -> PlannedProduct:
    """The light as it stands when a solver with these parameters worked on the night."""
    crew.units[RECIPE] = unit
    crew.parameters = replace(crew.parameters, plates=PlateParameters(**{"solver": "one", **parameters}))
    crew.run()
    (light,) = of(crew.plan(), "reduce_light")
    assert light.status == "present"
    return light


def taken(light: PlannedProduct) -> list[str]:
    """The plate solutions that the light was made with."""
    return [item.fingerprint for item in light.inputs if item.role == RECIPE]


@pytest.fixture
def night(crew: Crew) -> Crew:
    """A closed night with one light."""
    crew.put(series("light", 1))
    crew.close()
    return crew


def test_a_light_takes_what_was_solved_and_nothing_else_changes_it(night: Crew) -> None:
    night.run()
    (without,) = of(night.plan(), "reduce_light")
    for unit in (failing, solving(HEADER)):
        assert ran(night, unit, solver=str(unit)).fingerprint == without.fingerprint
    light = ran(night, solving(), solver="that knows")
    assert roles(light) == {"light": 1, RECIPE: 1}
    assert light.fingerprint != without.fingerprint
    assert light.grade == without.grade
    night.parameters = replace(night.parameters, plates=None)
    (off,) = of(night.plan(), "reduce_light")
    assert off.fingerprint == without.fingerprint


def test_what_one_solver_gave_stands_while_the_next_has_nothing(night: Crew) -> None:
    first = taken(ran(night, solving()))
    assert len(first) == 1
    assert taken(ran(night, failing, solver="two")) == first
    assert taken(ran(night, failing, solver="", unavailable="it is not installed")) == first
    (later,) = taken(ran(night, solving(), solver="three"))
    assert later != first[0]


@pytest.mark.parametrize("limits", [{"radius_deg": 1.0}, {"scale_low": 1.0}, {"scale_high": 2.0}])
@pytest.mark.parametrize("unavailable", ["", "it is not installed"])
def test_a_solution_outside_of_the_limits_of_today_does_not_stand(night: Crew, limits: dict[str, float], unavailable: str) -> None:
    assert taken(ran(night, solving()))
    assert taken(ran(night, failing, **limits, solver="" if unavailable else "two", unavailable=unavailable)) == []


@pytest.mark.parametrize("unavailable", ["", "it is not installed"])
def test_a_solution_of_other_pixels_does_not_stand(night: Crew, unavailable: str) -> None:
    assert taken(ran(night, solving(made_of="another cut of the frame")))
    assert taken(ran(night, failing, solver="" if unavailable else "two", unavailable=unavailable)) == []


def test_a_solution_of_an_older_recipe_does_not_stand(night: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(ran(night, solving()))
    monkeypatch.setitem(RECIPES, RECIPE, replace(RECIPES[RECIPE], version=RECIPES[RECIPE].version + 1))
    assert taken(ran(night, failing)) == []


def test_a_solution_that_a_person_marked_bad_is_taken_by_nobody(night: Crew) -> None:
    assert taken(ran(night, solving()))
    (row,) = (row for row in night.current() if row.recipe == RECIPE)
    products.mark_bad(night.database, row.id, "another field", remake_scopes=3)
    for solver in ("one", "two"):
        assert taken(ran(night, failing, solver=solver)) == []
