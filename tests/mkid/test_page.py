"""The page of a set: grade, losses in words and numbers, and no figure that takes others with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.errors import Refused
from nightcrew.mkid import flags as f
from nightcrew.mkid.set_words import words_of
from nightcrew.mkid.solution_grades import flat_grade, table_grade, wavelength_grade
from nightcrew.mkid.wavelength_solution import WavelengthSolution
from reports.analysis import AnalysisPage, write_analysis
from reports.mkid import CalibratedFacts, MkidSet, TableFacts, build
from reports.mkid_wavecal import drawn, resolutionimage, rhistogram, rvsf
from reports.summary import Summary, parse
from tasks.set_units import _graded
from tests.mkid.made_tables import beam_map, linear_solution
from tests.mkid.test_calibrated import flat_of

MAP = beam_map()
WORDS: dict[str, Any] = {"photons": 1000, "frames": 500, "lost_frames": {"3": 4, "7": 3}, "orphan": 17, "zero": 0, "unmapped": 5}


def facts(**changes: Any) -> TableFacts:
    values: dict[str, Any] = {
        "name": "late<1>",
        "kind": "science",
        "laser_nm": None,
        "start_us": 1_606_000_000_000_000,
        "duration_s": 10.0,
        "live_s": 8.0,
        "seen_s": np.full(MAP.shape, 8.0),
        "photons": 1000,
        "words": WORDS,
        "missing_seconds": (1_606_000_003, 1_606_000_004),
        "rejected": (),
        "sentences": ("2 seconds are missing: 1606000003-1606000004", "17 photons have no frame header"),
        "grade": "B",
        "counts": np.full(MAP.shape, 50),
        "flag": MAP.flag,
    }
    return TableFacts(**{**values, **changes})


def solution(solved: int) -> WavelengthSolution:
    made = linear_solution(MAP, bad=range(solved, 20))
    known = np.full((3, *MAP.shape), 8.0)
    return replace(made, resolution=known, line_flag=np.zeros((3, *MAP.shape), np.uint8), line_centre_deg=known * -7)


def test_what_was_lost_is_said_by_exposure_and_by_kind(tmp_path: Path) -> None:
    page, _ = build(MkidSet(title="run", tables=[facts()], wavecals={"a": solution(20)}))
    (section,) = [one for one in page.sections if one.title == "Photon tables"]
    exposures, kinds, told = section.tables
    assert exposures.columns[3:5] == ("length / s", "seen / s")
    assert exposures.rows[0][3:7] == (10.0, 8.0, 1000, 50 / 8.0)  # a rate of the time that was seen
    assert kinds.columns == ("exposure", "lost frames", "channels without a place", "without a frame header")
    assert kinds.rows == (("late<1>", 7, 5, 17),)
    assert [row[1] for row in told.rows] == list(facts().sentences)
    write_analysis(page, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "17 photons have no frame header" in text
    assert "late<1>" not in text


def test_rates_are_of_the_time_in_which_the_pixels_board_was_heard() -> None:
    seen_s = np.full(MAP.shape, 8.0)
    seen_s[:, :3] = 2.0  # more than half of the array
    seen_s[0, 0] = 0.0
    one = facts(seen_s=seen_s)
    page, plots = build(MkidSet(title="run", tables=[one], wavecals={"a": solution(20)}))
    assert np.nanmax(one.rate_cps) == 25.0
    assert np.isnan(one.rate_cps[0, 0])
    (section,) = [section for section in page.sections if section.title == "Photon tables"]
    assert section.tables[0].rows[0][6] == 25.0
    (array,) = [plot for plot in plots if plot.name == "array"]
    assert np.array_equal(array.numbers["map_1"], one.rate_cps, equal_nan=True)


@pytest.mark.parametrize(
    ("solved", "changes", "grade"),
    [(20, {}, "B"), (20, {"grade": "A"}, "A"), (9, {"grade": "A"}, "B"), (5, {}, "C"), (1, {}, "D")],
)
def test_a_set_has_the_worst_grade_of_what_it_is_made_of(solved: int, changes: dict[str, Any], grade: str) -> None:
    found = MkidSet(title="run", tables=[facts(**changes)], wavecals={"a": solution(solved)})
    assert found.grade == grade
    found.failed = ["mkid_table x: empty"]
    assert found.grade == "D"


def science(**changes: Any) -> CalibratedFacts:
    values: dict[str, Any] = {
        "name": "s",
        "photons": 5,
        "calibrated_photons": 5,
        "usable_pixels": 20,
        "wavecal": "a",
        "flatcal": "x",
        "grade": "A",
        "grade_reasons": (),
        "rate_cps": np.ones(MAP.shape),
    }
    return CalibratedFacts(**{**values, **changes})


def test_science_that_is_far_from_its_solution_is_told() -> None:
    without: dict[str, Any] = {"flatcal": "", "grade": "D", "grade_reasons": ("there is no flat field",)}
    dark = science(calibrated_photons=0, usable_pixels=0, rate_cps=np.full(MAP.shape, np.nan), **without)
    found = MkidSet(title="run", tables=[facts(grade="A", live_s=0.0)], wavecals={"a": solution(20)}, calibrated=[dark])
    page, plots = build(found)
    assert page.summary.grade == found.grade == "D"
    assert "s: there is no flat field" in page.needs_person
    assert "science" not in [plot.name for plot in plots]  # no pixel has a rate, and the page is made all the same
    assert [table.title for one in page.sections for table in one.tables][-1] == "Science tables"


def test_a_worthless_flat_field_is_told_and_lowers_what_is_read_with_it() -> None:
    blind = replace(flat_of([1.0]), flag=np.full(MAP.shape, f.bit("flatcal.bad"), np.uint32))
    one = science()
    found = MkidSet(title="run", tables=[facts(grade="A")], wavecals={"a": solution(20)}, flats={"x": blind}, calibrated=[one])
    assert found.grade == found.science_grade(one) == "D"
    assert found.solution_grades()["flat field x"][1] == ("0 of the 20 pixels that have wavelengths have flat-field weights (0 %)",)


def test_one_figure_without_anything_to_show_costs_the_others_nothing() -> None:
    made = solution(20)
    plots, notes = drawn([lambda: rhistogram(made), lambda: rvsf(made, {1: 4.0}), lambda: resolutionimage(made)])
    assert [plot.name for plot in plots] == ["rhistogram", "resolutionimage"]
    assert notes == ["not drawn: R against frequency: none of the resonators with a solution has a frequency in the list"]


def test_grades_are_of_the_pixels_that_could_be_solved() -> None:
    flag = MAP.flag.copy()
    flag.ravel()[10:] = f.bit("beammap.noDacTone")
    assert wavelength_grade(solution(8), flag) == ("A", ("8 of the 10 pixels that the beam map places have a wavelength solution (80 %)",))
    assert wavelength_grade(solution(20), flag) == ("A", ())
    assert wavelength_grade(solution(8), MAP.flag) == (
        "B",
        ("8 of the 20 pixels that the beam map places have a wavelength solution (40 %)",),
    )
    assert wavelength_grade(solution(0), MAP.flag)[0] == "D"
    assert flat_grade(flat_of([1.0]), solution(20)) == ("A", ())
    assert flat_grade(flat_of([1.0], bad=3), solution(20)) == (
        "A",
        ("19 of the 20 pixels that have wavelengths have flat-field weights (95 %)",),
    )
    assert flat_grade(flat_of([1.0], bad=3), solution(0))[0] == "D"


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, "A"),
        ({"gaps_us": []}, "A"),
        ({"gaps_us": [[1, 2]]}, "B"),
        ({"missing_seconds": [5]}, "B"),
        ({"words": {**WORDS, "orphan": 5, "unknown": 8}}, "B"),
        ({"words": {**WORDS, "orphan": 5, "lost_frames": {"3": 6}}}, "B"),
        ({"gaps_us": [[0, 100]], "window_us": [0, 1000]}, "C"),
        ({"gaps_us": [[0, 90]], "window_us": [0, 1000]}, "B"),
        ({"gaps_us": [[0, 500]], "window_us": [0, 1000]}, "D"),
        ({"missing_seconds": [5, 6], "window_us": [0, 10_000_000]}, "C"),
        ({"boards": {"3": {"share_lost": 0.3}, "4": {"share_lost": 0.0}}}, "C"),
        ({"boards": {"3": {"share_lost": 0.3}}, "gaps_us": [[0, 300]], "window_us": [0, 1000]}, "D"),
        ({"words": {**WORDS, "orphan": 5, "lost_frames": {"3": 250, "4": 0}}}, "D"),
    ],
)
def test_tables_of_which_something_is_missing_are_worth_less(changes: dict[str, Any], grade: str) -> None:
    report = {"words": {**WORDS, "orphan": 5, "lost_frames": {"3": 1}}, "sentences": ["so it is"], **changes}
    assert table_grade(report) == (grade, () if grade == "A" else ("so it is",))


def test_a_table_of_channels_without_a_place_is_worth_nothing() -> None:
    grade, reasons = table_grade({"words": {**WORDS, "orphan": 5, "unmapped": 2000}, "sentences": ["so it is"]})
    assert grade == "D"
    assert "2000 photons are of channels without a place" in reasons[0]
    assert reasons[1:] == ("so it is",)


@pytest.mark.parametrize(
    "wrong",
    [{"linearity_step_s": 1e-9}, {"linearity_step_s": -1.0}, {"mask_step_s": 1e-9}, {"flat_chunk_s": 1e-7}, {"mask_step_s": float("nan")}],
)
def test_tiny_steps_of_time_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refused):
        words_of(wrong)


@pytest.mark.parametrize(("own", "ledger", "status"), [("A", "D", "attention"), ("A", "B", "good"), ("C", "C", "good"), ("A", "A", "good")])
def test_a_page_has_the_grade_of_the_ledger(own: str, ledger: str, status: str, tmp_path: Path) -> None:
    summary = Summary(recipe="mkid_images", inputs=(), grade=own, quantities=())
    page = AnalysisPage(kind="mkid", title="t", verdict="v", status="good", summary=summary, key_quantities=(), sections=())
    write_analysis(_graded(page, ledger, ("the table lost a board",)), tmp_path)
    found = parse((tmp_path / "summary.json").read_text())
    assert found.grade == ledger
    assert found.warnings == (("the table lost a board",) if own != ledger else ())
    assert _graded(page, ledger, ()).status == status
