"""What page and data sheet show: tables of EMVA 1288, rows of the sheet, temperatures."""

from __future__ import annotations

import pytest

from nightcrew.sensor.emva1288 import Linear1288
from reports import sensor_tables
from reports.analysis import AnalysisPage
from reports.analysis_words import conditions, temperature
from reports.sensor_sheet import LINES, MOST_ROWS, _lines, sheet_rows
from reports.summary import Quantity, Summary
from tests.sensor.sets import measured, small_plan, whole


def test_interval_of_emva_linearity_and_all_parts_of_the_pattern_stand_in_the_tables() -> None:
    result = measured(small_plan(), 1)
    found = whole(result).flats[0]
    noise, ratio, parts = sensor_tables.emva(result.set_ups[0])
    assert isinstance(found.emva, Linear1288)
    assert found.emva.linearity_interval is not None
    (row,) = ratio.rows
    assert row[-3:] == (found.emva.linearity_error_percent, found.emva.linearity_interval.low, found.emva.linearity_interval.high)
    assert [row[2] for row in parts.rows] == ["total", "row", "column", "pixel"]
    assert found.uniformity.split is not None
    assert parts.rows[0][3] == found.uniformity.split.total
    assert len(noise.columns) == len(noise.rows[0]) == 7


def test_sheet_shows_every_quantity_before_it_shows_many_of_one() -> None:
    many = [Quantity(name=name, value=1.0, unit="e-", where={"temperature_c": float(n)}) for name, _ in LINES for n in range(5)]
    page = page_of(many)
    rows = sheet_rows(page)
    assert len(rows) <= MOST_ROWS
    assert {words for words, _, _ in rows} == {words for _, words in LINES}
    assert all("4 more in summary.json" in where for words, _, where in rows if words != "DSNU")
    few = sheet_rows(page_of(many[:10]))
    assert [row[0] for row in few].count("Gain") == 3


def page_of(quantities: list[Quantity]) -> AnalysisPage:
    summary = Summary(recipe="sensor_characterisation", inputs=(), grade="A", quantities=tuple(quantities))
    return AnalysisPage(kind="sensor", title="t", verdict="v", status="good", summary=summary, key_quantities=(), sections=())


def test_long_reasons_on_the_sheet_take_two_lines_and_no_more() -> None:
    note = "no fall of the variance beyond 10 % to the end of the sweep at 36975 e-: brighter flats are needed"
    assert " ".join(_lines(note)) == note
    assert len(_lines(note)) == 2
    assert len(_lines(note * 3)) == 2
    assert _lines("") == []


@pytest.mark.parametrize(("value", "shown"), [(0.01, "0.01"), (-5.02, "\u22125.02"), (-10.0, "\u221210"), (-0.001, "0"), (20.5, "20.5")])
def test_temperatures_have_no_more_decimals_than_a_thermometer(value: float, shown: str) -> None:
    assert temperature(value) == shown
    found = conditions(Quantity(name="gain", value=1.0, where={"temperature_c": value}))
    assert found == f"temperature {shown}\u00a0\u00b0C"
