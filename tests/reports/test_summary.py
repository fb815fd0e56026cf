from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from nightcrew.quality.intervals import Interval
from reports.night_summary import night_summary
from reports.summary import BadSummaryError, Quantity, Summary, as_json, determined, parse
from reports.verdict import judge
from tests.reports import samples


def summary(*quantities: Quantity, **changes: Any) -> Summary:
    values: dict[str, Any] = {
        "recipe": "photon_transfer",
        "inputs": ({"file": "a.fits", "sha256": "00"},),
        "grade": "A",
        "quantities": quantities,
    }
    return Summary(**(values | changes))


def test_a_summary_survives_the_way_to_json_and_back() -> None:
    made = summary(Quantity(name="gain", value=2.01, error=0.02, unit="e-/ADU", where={"temperature_c": -10}), warnings=("few steps",))
    assert parse(as_json(made)) == made


def test_an_interval_stands_beside_the_error_where_there_is_one() -> None:
    made = summary(Quantity(name="hot", value=3, interval=Interval(2, 5)), Quantity(name="gain", value=1.0))
    first, second = json.loads(as_json(made))["quantities"]
    assert first["interval"] == {"low": 2, "high": 5, "level": 0.95}
    assert "interval" not in second
    assert parse(as_json(made)) == made
    assert determined("hot", None, "no darks", interval=Interval(2, 5)).interval is None
    with pytest.raises(BadSummaryError, match="no summary"):
        parse(as_json(made).replace('"low"', '"least"'))


def test_the_form_is_the_documented_one() -> None:
    body = json.loads(as_json(summary(Quantity(name="gain", value=None, unit="e-/ADU", note="too few steps"))))
    assert list(body) == ["format", "recipe", "inputs", "grade", "quantities", "warnings"]
    assert body["format"] == 1
    assert body["quantities"] == [{"name": "gain", "value": None, "error": None, "unit": "e-/ADU", "where": {}, "note": "too few steps"}]


@pytest.mark.parametrize(
    ("quantity", "rule"),
    [
        (Quantity(name="gain", value=float("nan")), "value is nan"),
        (Quantity(name="gain", value=1.0, error=float("inf")), "error is inf"),
        (Quantity(name="gain", value=None), "needs its reason"),
        (Quantity(name="gain", value=None, error=1.0, note="x"), "an error without a value"),
        (Quantity(name="gain", value=1.0, error=-1.0), "negative"),
        (Quantity(name="Gain!", value=1.0), "names are lower-case"),
        (Quantity(name="gain", value=1.0, where={"t": float("nan")}), "t is nan"),
        (Quantity(name="hot", value=3, interval=Interval(4, 5)), "does not hold its value"),
        (Quantity(name="hot", value=None, note="x", interval=Interval(4, 5)), "does not hold its value"),
        (Quantity(name="hot", value=3, interval=Interval(1, float("inf"))), "is none of numbers"),
        (Quantity(name="hot", value=3, interval=Interval(1, 5, 95)), "at a level between 0 and 1"),
        (Quantity(name="gain", value=np.float32(1.0)), "is a float32"),  # type: ignore[arg-type]  # the mistake that is looked for
    ],
)
def test_what_breaks_the_form_is_refused_by_name(quantity: Quantity, rule: str) -> None:
    with pytest.raises(BadSummaryError, match=rule):
        as_json(summary(quantity))


def test_a_quantity_stands_once_for_each_condition() -> None:
    once = Quantity(name="gain", value=1.0, where={"t": 1})
    with pytest.raises(BadSummaryError, match="stands twice"):
        as_json(summary(once, once))
    as_json(summary(once, Quantity(name="gain", value=1.0, where={"t": 2})))


def test_grades_are_letters() -> None:
    with pytest.raises(BadSummaryError, match="grade 'E'"):
        as_json(summary(grade="E"))


def test_nan_becomes_null_with_its_reason() -> None:
    assert determined("fwhm", float("nan"), "too few stars", error=1.0) == Quantity(name="fwhm", value=None, note="too few stars")
    assert determined("fwhm", 2.0, "too few stars", error=float("nan")).error is None


def test_other_forms_are_refused() -> None:
    for text in ("{}", "[]", "nonsense", '{"format": 2}'):
        with pytest.raises(BadSummaryError):
            parse(text)


def test_the_night_as_summary() -> None:
    page = samples.troubled_night()
    text = as_json(night_summary(page, judge(page)))
    found = parse(text)
    assert found.grade == "D"
    done = {(q.where["kind"]): q.value for q in found.quantities if q.name == "files_done"}
    assert done == {"bias": 20, "dark": 30, "flat": 39, "light": 30, "foreign": 0}
    assert sum(q.name == "fwhm" for q in found.quantities) == 40
    assert len(found.warnings) == 7
    assert {q.name: q.value for q in found.quantities if q.name.startswith("plates_")} == {
        "plates_from_header": 10, "plates_solved": 2, "plates_unsolved": 28, "plates_failure_rate": pytest.approx(93.33, abs=0.01),
        "plates_rms": 1.69,
    }  # fmt: skip  # read as a table
    assert as_json(night_summary(page, judge(page))) == text
