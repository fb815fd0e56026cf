"""A master against its predecessor: a large change grades it B, and what is made from it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from nightcrew.ledger.rows import NewProduct, ProductRow
from nightcrew.planning.changes import change_against_predecessor, predecessor
from nightcrew.planning.model import PlannedProduct
from tests.support.made_nights import Crew, fake_unit, series, small_night

NIGHTS = ("2026-03-12", "2026-03-13", "2026-03-14")


def metrics_unit(**metrics: Any) -> Any:
    """A unit whose product has these numbers."""

    def unit(context: object, planned: PlannedProduct) -> NewProduct:
        made = fake_unit(context, planned)
        return replace(made, metrics={**made.metrics, **metrics})

    return unit


def master(crew: Crew, night: str, recipe: str = "bias_master") -> ProductRow:
    (row,) = [row for row in crew.current(night) if row.recipe == recipe]
    return row


def make(crew: Crew, night: str, recipe: str, frames: Sequence[Any], **metrics: Any) -> ProductRow:
    crew.units = {recipe: metrics_unit(**metrics)}
    crew.put(frames)
    crew.close()
    crew.run(night)
    return master(crew, night, recipe)


def test_the_nearest_earlier_one_that_passed_is_the_predecessor(crew: Crew) -> None:
    rows = [make(crew, night, "bias_master", series("bias", 3, night=night)) for night in NIGHTS]
    assert predecessor(rows[2], rows, crew.rules) == rows[1]
    assert predecessor(rows[0], rows, crew.rules) is None
    failed = rows[1]._replace(certified=False)
    assert predecessor(rows[2], [rows[0], failed, rows[2]], crew.rules) == rows[0]


@pytest.mark.parametrize(
    "values", [{"camera": "another"}, {"gain_setting": "200"}, {"temperature_c": -18.0}, {"readout_mode": "fast"}, {"nx": 32}]
)
def test_only_alike_masters_are_compared(crew: Crew, values: dict[str, Any]) -> None:
    first = make(crew, NIGHTS[0], "bias_master", series("bias", 3, night=NIGHTS[0], **values), level_adu=900.0)
    second = make(crew, NIGHTS[1], "bias_master", series("bias", 3, night=NIGHTS[1]), level_adu=1000.0)
    assert predecessor(second, [first], crew.rules) is None


def test_darks_are_compared_by_exposure_and_flats_by_filter(crew: Crew) -> None:
    first = make(crew, NIGHTS[0], "dark_master", series("dark", 3, night=NIGHTS[0], exposure_s=30.0))
    second = make(crew, NIGHTS[1], "dark_master", series("dark", 3, night=NIGHTS[1]))
    assert predecessor(second, [first], crew.rules) is None
    third = make(crew, NIGHTS[0], "flat_master", series("flat", 3, 9000.0, night=NIGHTS[0], filter="B"), grid=[1.0] * 64)
    fourth = make(crew, NIGHTS[1], "flat_master", series("flat", 3, 9000.0, night=NIGHTS[1], filter="V"), grid=[1.0] * 64)
    assert predecessor(fourth, [third], crew.rules) is None


def test_darks_with_and_without_their_bias_are_not_compared(crew: Crew) -> None:
    off, *kept = (make(crew, night, "dark_master", series("dark", 3, night=night, bias_subtracted=night == NIGHTS[0])) for night in NIGHTS)
    assert predecessor(kept[0], [off], crew.rules) is None
    assert predecessor(kept[1], [off, kept[0]], crew.rules) == kept[0]


@pytest.mark.parametrize(("level_adu", "changed"), [(1004.0, False), (1006.0, True), (994.0, True)])
def test_a_level_may_drift_by_the_noise(crew: Crew, level_adu: float, changed: bool) -> None:
    first = make(crew, NIGHTS[0], "bias_master", series("bias", 3, night=NIGHTS[0]), level_adu=1000.0)
    second = make(crew, NIGHTS[1], "bias_master", series("bias", 3, night=NIGHTS[1]), level_adu=level_adu)
    told = change_against_predecessor(second, [first], crew.rules)
    assert bool(told) == changed
    if changed:
        assert f"level {level_adu:.1f} ADU, 1000.0 ADU on {NIGHTS[0]}" in told


@pytest.mark.parametrize(("bump", "changed"), [(1.05, False), (1.5, True)])
def test_a_flat_may_change_its_shape_a_little(crew: Crew, bump: float, changed: bool) -> None:
    first = make(crew, NIGHTS[0], "flat_master", series("flat", 3, night=NIGHTS[0]), grid=[1.0] * 64)
    second = make(crew, NIGHTS[1], "flat_master", series("flat", 3, night=NIGHTS[1]), grid=[2.0 * bump] + [2.0] * 62 + [None])
    assert ("its shape changed by" in change_against_predecessor(second, [first], crew.rules)) == changed


def test_a_changed_master_makes_what_depends_on_it_b_and_says_why(crew: Crew) -> None:
    for night, level_adu in zip(NIGHTS, (1000.0, 1100.0), strict=False):
        crew.units = {"dark_master": metrics_unit(level_adu=level_adu)}
        crew.put(small_night(night))
        crew.close()
        crew.run(night)
    lights = [row for row in crew.current(NIGHTS[1]) if row.recipe == "reduce_light"]
    assert {light.grade for light in lights} == {"B"}
    assert all(f"1000.0 ADU on {NIGHTS[0]}" in light.grade_reasons[0] for light in lights)
    darks = [row for row in crew.current(NIGHTS[1]) if row.recipe == "dark_master"]
    assert {dark.grade for dark in darks} == {"A"}  # the file holds what it was made with; its use is B
    assert crew.run(NIGHTS[1]).made == 0


def test_the_first_of_its_kind_has_nothing_to_change_against(crew: Crew) -> None:
    only = make(crew, NIGHTS[0], "bias_master", series("bias", 3, night=NIGHTS[0]), level_adu=None)
    assert change_against_predecessor(only, [only], crew.rules) == ""
