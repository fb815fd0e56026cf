"""Grades of models: what they rest on, and how well they describe their own frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nightcrew.detector.bias_model import Curvature
from nightcrew.detector.held_out import HeldOut
from nightcrew.lab.options import LabOptions
from nightcrew.lab.quality import bias_quality, campaign_quality, dark_quality
from nightcrew.lab.results import BiasMade, DarkMade, FlatMade, LabMade
from reports.lab import advice, lab_page
from tasks.lab_bias import bias_step
from tasks.lab_dark import dark_step
from tests.lab.conftest import Campaign

pytestmark = pytest.mark.usefixtures("undrawn_figures")

QUICK = LabOptions(save_plots=False)


@pytest.fixture(scope="module")
def bias(tiny: Campaign, tmp_path_factory: pytest.TempPathFactory) -> BiasMade:
    return bias_step(tiny.frames, tmp_path_factory.mktemp("bias"), QUICK)


@pytest.fixture(scope="module")
def dark(tiny: Campaign, bias: BiasMade, tmp_path_factory: pytest.TempPathFactory) -> DarkMade:
    return dark_step(tiny.frames, bias.model, tmp_path_factory.mktemp("dark"), QUICK, mode="evaluate_2d_model")


def test_a_whole_campaign_is_a_but_for_a_bias_that_was_extrapolated(bias: BiasMade, dark: DarkMade) -> None:
    assert bias_quality(bias) == ("A", ())
    grade, reasons = dark_quality(dark)
    assert grade == "B"
    assert len(reasons) == 1
    assert reasons[0].startswith("the bias of 9 of 27 darks was extrapolated")
    assert dark_quality(replace_made(dark, bias_beyond="")) == ("A", ())


def replace_made(dark: DarkMade, **changed: object) -> DarkMade:
    return DarkMade(**{**vars(dark), **changed})


def test_a_level_of_two_frames_is_b_for_what_it_is_only(tiny: Campaign, tmp_path: Path) -> None:
    frames = [frame for frame in tiny.frames if frame.caltype == "BIAS" and abs((frame.temperature_c or 0) - 10) < 1][:2]
    assert bias_quality(bias_step(frames, tmp_path, QUICK)) == (
        "B",
        ("2 bias frames of one temperature: how it goes with temperature is not known",),
    )


def test_temperatures_of_the_equipment_are_b(bias: BiasMade) -> None:
    other = replace(bias, frames=[replace(frame, temperature_from="EQTEMP") for frame in bias.frames])
    assert bias_quality(other) == ("B", ("temperatures of some frames are those of the equipment, not of the sensor",))


def test_temperatures_of_an_unknown_source_are_b(bias: BiasMade) -> None:
    other = replace(bias, frames=[replace(frame, temperature_from="") for frame in bias.frames])
    grade, (reason,) = bias_quality(other)
    assert grade == "B"
    assert "nothing tells whether they were measured at the sensor" in reason


def test_temperatures_are_counted_by_clusters_and_not_by_whole_degrees(bias: BiasMade, dark: DarkMade) -> None:
    """9.4 and 9.6 C are one temperature, and were two."""
    t = [9.4, 9.6, 20.0]
    frames = [replace(frame, temperature_c=t[n % 3]) for n, frame in enumerate(bias.frames)]
    assert bias_quality(replace(bias, frames=frames)) == ("B", ("two temperatures do not say whether its course is straight",))
    assert any("2 say nothing about a bent course" in text for text in advice(LabMade(title="x", bias=replace(bias, frames=frames))))
    darks = [replace(frame, temperature_c=t[n % 3]) for n, frame in enumerate(dark.frames)]
    assert dark_quality(replace_made(dark, bias_beyond="", frames=darks)) == (
        "B",
        ("two temperatures do not say whether its course is that of the law",),
    )


def test_cells_of_darks_that_are_off_or_missing_are_b(dark: DarkMade) -> None:
    def judged(*rows: HeldOut) -> tuple[str, tuple[str, ...]]:
        return dark_quality(replace_made(dark, bias_beyond="", left_out=list(rows)))

    good = HeldOut(temperature_c=20.0, exposure_s=5.0, frames=3, measured=4000.0, predicted=4010.0, error=1.0)
    off = replace(good, predicted=4200.0)
    assert judged(good) == ("A", ())
    assert judged(good, off) == ("B", ("left out, 20.0 C and 5 s were foretold as 4200 adu and measured as 4000",))
    assert judged(good, replace(off, error=50.0)) == ("A", ())
    lost = HeldOut(temperature_c=10.0, exposure_s=5.0, frames=3, reason="too few")
    assert judged(good, lost) == ("A", ())
    assert judged(good, lost, lost) == ("B", ("only 1 of 3 cells that were left out could be foretold from the others",))
    for none in ((), (lost,), (replace(good, extrapolated=True),)):
        assert judged(*none) == ("B", ("no cell could be left out and foretold from the others: nothing tests it",))


def test_pixels_of_a_bias_that_are_off_by_more_than_noise_are_b(bias: BiasMade) -> None:
    row = next(row for row in bias.left_out if not row.extrapolated)
    assert row.mae is not None
    assert row.expected == pytest.approx(row.mae, rel=0.2)
    other = replace(bias, left_out=[replace(row, mae=1.7 * row.mae)])
    grade, (reason,) = bias_quality(other)
    assert grade == "B"
    assert reason.startswith(f"left out, pixels at {row.temperature_c:.1f} C are")


def test_parts_that_could_not_be_made_of_their_frames_are_d(bias: BiasMade) -> None:
    """A set without any model had grade A."""
    frames = bias.frames
    assert campaign_quality(LabMade(title="x", frames=frames, bias=bias)) == ("A", ())
    assert campaign_quality(LabMade(title="x", frames=frames, bias=bias, missing={"dark": "there are none"})) == ("A", ())
    darks = [*frames, replace(frames[0], caltype="DARK")]
    lost = LabMade(title="x", frames=darks, bias=bias, missing={"dark": "they are saturated"})
    assert campaign_quality(lost) == ("D", ("no dark result: they are saturated",))
    assert lab_page(lost).summary.grade == "D"
    empty = LabMade(title="x", frames=frames[:0], missing={"bias": "none", "dark": "none"})
    assert campaign_quality(empty) == ("D", ("no model could be made",))
    assert lab_page(empty).summary.grade == "D"


def test_flats_with_darks_that_were_not_scaled_are_b(bias: BiasMade) -> None:
    made = LabMade(title="x", frames=bias.frames, bias=bias, flat=FlatMade(unscaled="2 of 3 flats"))
    assert campaign_quality(made) == ("B", ("flat model: 2 of 3 flats",))


@pytest.mark.parametrize(("largest_adu", "grade"), [(1.0, "A"), (10.0, "B"), (60.0, "D")])
def test_a_bent_course_lowers_the_grade(bias: BiasMade, largest_adu: float, grade: str) -> None:
    bent = replace(bias.model, curvature=Curvature(0.1, 0.001, largest_adu))
    assert bias_quality(replace(bias, model=bent))[0] == grade


def test_a_model_that_does_not_foretell_its_own_cells_is_d(bias: BiasMade, dark: DarkMade) -> None:
    wrong = HeldOut(temperature_c=20.0, exposure_s=5.0, frames=3, measured=400.0, predicted=520.0, mae=120.0)
    grade, reasons = dark_quality(replace_made(dark, left_out=[wrong]))
    assert grade == "D"
    assert "20.0 C and 5 s were foretold as 520 adu and measured as 400" in reasons[-1]
    assert dark_quality(replace_made(dark, left_out=[replace(wrong, extrapolated=True)]))[0] == "B"
    off = HeldOut(temperature_c=10.0, exposure_s=None, frames=4, measured=3264.0, predicted=3364.0)
    assert bias_quality(replace(bias, left_out=[off]))[0] == "D"


def test_a_model_without_noise_as_expected_is_not_a(bias: BiasMade) -> None:
    assert bias_quality(replace(bias, model=replace(bias.model, chi2=bias.model.chi2 * 1.6)))[0] == "B"
    assert bias_quality(replace(bias, model=replace(bias.model, chi2=bias.model.chi2 * 3)))[0] == "D"


def test_the_page_has_the_grade_of_its_worst_model(bias: BiasMade, dark: DarkMade) -> None:
    page = lab_page(LabMade(title="x", frames=bias.frames, bias=bias, dark=dark))
    assert page.summary.grade == "B"
    poor = replace(bias, model=replace(bias.model, chi2=bias.model.chi2 * 3))
    page = lab_page(LabMade(title="x", frames=bias.frames, bias=poor, dark=dark))
    assert (page.summary.grade, page.status) == ("D", "attention")
    assert any("The bias model has grade D" in text for text in page.needs_person)
