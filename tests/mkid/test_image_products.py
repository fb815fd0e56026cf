"""A science exposure becomes files and sections of a page; the wishes of the observing log are heard, or it is said why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.errors import Refused
from nightcrew.mkid import science_products
from nightcrew.mkid.calibrated import Calibrations
from nightcrew.mkid.science_products import ScienceWishes, make_science_products
from reports.analysis import AnalysisPage, write_analysis
from reports.mkid_images import quantities_of, sections_of, speckle_plot
from reports.summary import Summary
from tests.mkid.made_tables import beam_map, linear_solution, table
from tests.mkid.test_image_cube import random_table


def test_an_exposure_becomes_files_and_a_page(tmp_path: Path) -> None:
    path = random_table(tmp_path / "star.h5", 3, n=20_000)
    wishes = ScienceWishes.from_log({"speckles": "binned", "speckle_bin_s": "0.05", "target": "x"})
    made = make_science_products(path, Calibrations(wavelength=linear_solution(beam_map(), bad=[3])), wishes, tmp_path / "out")
    assert [name for name, _ in made.files] == ["image.fits", "time_cube.fits", "cube.fits", "speckles.fits"]
    assert fits.getdata(tmp_path / "out" / "time_cube.fits").shape == (10, *beam_map().shape)
    assert fits.getdata(tmp_path / "out" / "image.fits", "PHOTONS").sum() == 20_000
    sections = sections_of(made, tmp_path / "out")
    assert [section.title for section in sections] == ["Image", "Light in time and wavelength", "Speckle statistics"]
    for section in sections:
        for figure in section.figures:
            assert (tmp_path / "out" / figure.numbers).is_file()
    with np.load(tmp_path / "out" / "numbers" / "image.npz") as numbers:
        assert np.array_equal(numbers["rate_cps"], made.image.rate_cps[0, 0])
    quantities = quantities_of(made)
    page = AnalysisPage(
        kind="mkid",
        title="star",
        verdict="One exposure.",
        status="good",
        summary=Summary(recipe="science", inputs=(), grade="A", quantities=quantities),
        key_quantities=("photons",),
        sections=sections,
    )
    write_analysis(page, tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()
    named = {quantity.name: quantity for quantity in quantities}
    assert named["photons"].value == 20_000
    assert named["decorrelation_time"].value is None
    assert named["decorrelation_time"].note


def test_without_a_solution_there_is_an_image_and_a_sentence(tmp_path: Path) -> None:
    made = make_science_products(table(tmp_path / "t.h5", beam_map(), [], []), [], ScienceWishes(), tmp_path / "out")
    assert made.cube is None
    assert "no wavelength solution" in made.remarks[0]
    assert sections_of(made, tmp_path / "out")


def test_the_step_with_the_most_valid_pixels_is_drawn(tmp_path: Path) -> None:
    path = random_table(tmp_path / "star.h5", 3, n=60_000)
    made = make_science_products(path, [], ScienceWishes(speckles="binned", speckle_step_s=2.0), tmp_path / "out")
    assert made.speckles is not None
    valid = np.zeros_like(made.speckles.valid)
    valid[3, :2], valid[1, :1] = True, True
    plot = speckle_plot(replace(made.speckles, valid=valid))
    assert plot.caption == "10 of 20 pixels may be believed; the best of 5 steps, 6 to 8 s"


@pytest.mark.parametrize(
    ("columns", "speckles", "companion", "problem"),
    [
        ({}, "", False, ""),
        ({"speckles": "no"}, "", False, ""),
        ({"speckles": "yes"}, "binned", False, ""),
        ({"speckles": "Intervals+companion"}, "intervals", True, ""),
        ({"speckles": "<b>maybe"}, "", False, "not understood"),
        ({"speckles": "yes", "speckle_bin_s": "soon"}, "binned", False, "no number of seconds"),
        ({"speckles": "yes", "time_step_s": "nan"}, "binned", False, "no number of seconds"),
    ],
)
def test_wishes_of_the_log(columns: dict[str, str], speckles: str, companion: bool, problem: str) -> None:
    wishes = ScienceWishes.from_log(columns)
    assert (wishes.speckles, wishes.companion) == (speckles, companion)
    assert problem in " ".join(wishes.problems)
    assert bool(wishes.problems) is bool(problem)


def test_what_is_refused_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = random_table(tmp_path / "star.h5", 3)
    solution = Calibrations(wavelength=linear_solution(beam_map()))

    def refused(*_: object, **__: object) -> None:
        raise Refused("too much")

    monkeypatch.setattr(science_products, "make_maps", refused)
    wishes = ScienceWishes(time_step_s=1e-5, energy_width_ev=100.0, speckles="binned")
    made = make_science_products(path, solution, wishes, tmp_path / "out")
    assert [name for name, _ in made.files] == ["image.fits", "time_cube.fits"]
    assert made.time_cube.shape[0] == 10
    for part, sentence in zip(("cube in time", "No cube in wavelength", "No speckle maps"), made.remarks, strict=True):
        assert part in sentence
    assert sections_of(made, tmp_path / "out")


def test_ten_steps_are_ten_steps(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", beam_map(), [0], [1], duration_s=1.000004)
    assert make_science_products(path, [], ScienceWishes(), tmp_path / "out").time_cube.shape[0] == 10


def test_speckle_maps_of_too_short_a_time_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = table(tmp_path / "t.h5", beam_map(), [0], [1], duration_s=0.05)
    made = make_science_products(path, [], ScienceWishes(speckles="binned"), tmp_path / "out")
    assert made.speckles is None
    assert "ten bins" in " ".join(made.remarks)
