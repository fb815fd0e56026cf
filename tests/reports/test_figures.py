from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from reports.figures import COURSES, EmptyFigureError, course_figure, trend_figure
from reports.figures_counts import grid_figure
from reports.model import TrendPoint
from reports.values import Picture
from tests.reports import samples


def pixels(picture: Picture) -> np.ndarray:
    with Image.open(io.BytesIO(picture.data)) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def colour_share(picture: Picture, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels(picture) - colour).sum(axis=2) < 12).mean())


def test_a_trend_shows_its_band_and_warns_in_red() -> None:
    inside = trend_figure(samples.trends()[1], "t")
    outside = trend_figure(samples.trends(bad=True)[1], "t")
    assert colour_share(inside.picture, (0xDF, 0xE9, 0xF3)) > 0.2
    assert colour_share(inside.picture, (0xB3, 0x26, 0x1E)) == 0
    assert colour_share(outside.picture, (0xB3, 0x26, 0x1E)) > 0.0005
    assert "outside the limits" in outside.caption
    assert "within the limits" in inside.caption


def test_both_dresses_and_the_numbers_are_there() -> None:
    figure = trend_figure(samples.trends()[0], "t")
    assert figure.dark is not None
    assert pixels(figure.picture)[0, 0].tolist() == [255, 255, 255]
    assert pixels(figure.dark)[0, 0].tolist() == [0x1B, 0x1F, 0x24]
    assert len(figure.numbers.rows) == 21
    assert figure.picture.alt.startswith("Bias level (ADU).")
    assert (figure.picture.width_px, figure.picture.height_px) == pixels(figure.picture).shape[1::-1]


def test_figures_are_deterministic() -> None:
    assert trend_figure(samples.trends()[0], "t").picture.data == trend_figure(samples.trends()[0], "t").picture.data


@pytest.mark.parametrize(("attribute", "title", "unit"), COURSES)
def test_courses_through_the_night(attribute: str, title: str, unit: str) -> None:
    figure = course_figure(samples.lights(), attribute, title, unit, attribute)
    assert len(figure.numbers.rows) == 40
    assert figure.caption.startswith("40 lights, median")
    assert colour_share(figure.picture, (0x3F, 0x7F, 0xD6)) > 0.001  # the B lights


def test_a_figure_that_would_be_empty_is_an_error() -> None:
    blind = tuple(dataclasses.replace(light, fwhm_px=None) for light in samples.lights(3))
    with pytest.raises(EmptyFigureError, match="none of 3 lights has a value"):
        course_figure(blind, "fwhm_px", "Sharpness", "px", "x")
    with pytest.raises(EmptyFigureError, match="no finite value"):
        trend_figure(dataclasses.replace(samples.trends()[0], points=(TrendPoint(night="2026-03-01", value=float("nan")),)), "x")
    with pytest.raises(EmptyFigureError, match="no calibration"):
        grid_figure(())


def test_hostile_texts_start_no_formula() -> None:
    lights = tuple(dataclasses.replace(light, filter="$\\frac{1}{0}$ \u202e<b>") for light in samples.lights(3))
    figure = course_figure(lights, "fwhm_px", "Sharpness", "px", "x")
    assert "\u202e" not in figure.picture.alt
    assert [row[1] for row in figure.numbers.rows] == ["$\\frac{1}{0}$ \u202e<b>"] * 3
    trend = trend_figure(dataclasses.replace(samples.trends()[0], label="$x_", unit="$"), "x")
    assert trend.picture.alt.startswith("$x_ ($).")


def test_one_light_and_one_night_are_enough() -> None:
    course = course_figure(samples.lights(1), "fwhm_px", "Sharpness", "px", "x")
    assert course.caption.startswith("1 light, median")
    lonely = dataclasses.replace(samples.trends()[0], points=(TrendPoint(night=samples.NIGHT, value=1.0),), limits=None)
    trend = trend_figure(lonely, "x")
    assert len(trend.numbers.rows) == 1
    for figure in (course, trend):
        shown = pixels(figure.picture)
        assert (shown.max(axis=2) - shown.min(axis=2) > 25).sum() > 10  # the one point, in its colour


def words_inside_their_tiles(picture: Picture) -> bool:
    """No white letter lies within some pixels of the left edge of the first tile."""
    shown = pixels(picture)
    coloured = (shown.max(axis=2) - shown.min(axis=2)) > 25
    left = int(np.flatnonzero(coloured.any(axis=0))[0])
    rows = np.flatnonzero(coloured[:, left + 2])
    first = rows[: np.flatnonzero(np.diff(rows) > 12)[0] + 1] if (np.diff(rows) > 12).any() else rows
    return bool(coloured[first[0] : first[-1] + 1, left + 2 : left + 12].all())


def test_counts_for_the_mail() -> None:
    ranged = dataclasses.replace(samples.calibrations()[0], kind="dark", label="60 s, −4.2 to −1.1 °C")
    for cells in (samples.calibrations(), (ranged,) * 3):
        assert words_inside_their_tiles(grid_figure(cells).picture)
    grid = grid_figure(samples.calibrations())
    assert grid.caption == "5 existed, 2 borrowed, 1 late, 0 missing"
