"""Finder charts and sub-frame figures: their numbers, their names, and that they are drawn."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.photometry.figures import finder_chart, finder_name, safe_part, subframe_figure, subframe_name
from nightcrew.photometry.measure import Photometry, measure
from nightcrew.photometry.parameters import PhotometryParameters
from reports import figures_photometry as drawn
from tests.photometry.field import make_field


@pytest.fixture(scope="module")
def result() -> Photometry:
    positions = np.array([[60.3, 60.7], [150.2, 40.1], [6.0, 120.4], [110.8, 150.5]])
    field = make_field(positions[:, 0], positions[:, 1], np.array([9e4, 6e4, 5e4, 3e4]), size=200)
    return measure(field.image, field.uncertainty, exposure_s=5.0, gain_e_per_adu=1.5, parameters=PhotometryParameters(sky="subframe"))


def image_of(result: Photometry) -> Any:
    assert result.field is not None
    return result.field.image


class TestNames:
    def test_are_those_of_the_specification(self) -> None:
        assert finder_name("pg2213", "V", 150, 5.0) == "finder_pg2213_master_V_150_5.png"
        assert finder_name("pg2213", "V", 150, 0.25) == "finder_pg2213_master_V_150_0-25.png"
        assert subframe_name("pg2213", 7, "V") == "subframe_pg2213_7_V.png"
        assert finder_name("", "V", None, None) == "finder__master_V_unknown_unknown.png"

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=80), st.text(max_size=80))
    def test_hostile_parts_reach_no_other_place_and_do_not_collide(self, first: str, second: str) -> None:
        name = subframe_name(first, 1, second)
        assert all(c.isascii() and (c.isalnum() or c in "+-._") for c in name)
        assert len(name.encode()) < 200
        assert name.startswith("subframe_")
        if first != second:
            assert safe_part(first) != safe_part(second)


class TestFinder:
    def test_holds_the_sources_and_honest_limits(self, result: Photometry) -> None:
        chart = finder_chart(image_of(result), result.catalogue)
        assert chart.ids.tolist() == [1, 2, 3, 4]
        assert chart.magnitude == pytest.approx(np.asarray(result.catalogue["mag"]))
        assert chart.low < 100 < chart.high
        assert chart.block == 1
        assert finder_chart(image_of(result), result.catalogue, max_sources=2).ids.tolist() == [1, 2]

    def test_large_images_are_averaged_in_blocks(self, result: Photometry) -> None:
        large = np.repeat(np.repeat(image_of(result), 11, axis=0), 11, axis=1)
        chart = finder_chart(large, result.catalogue)
        assert chart.block == 3
        assert max(chart.image.shape) <= 1000
        assert chart.image.mean() == pytest.approx(large[:2199, :2199].mean(), rel=1e-4)

    def test_is_drawn_the_same_each_time(self, result: Photometry) -> None:
        chart = finder_chart(image_of(result), result.catalogue)
        pictures = [drawn.png(drawn.finder_figure(chart, "M 42 $x^2$ \x1b[31m V")) for _ in range(2)]
        assert pictures[0] == pictures[1]
        assert pictures[0].startswith(b"\x89PNG")
        assert_not_blank(pictures[0])

    def test_without_sources_or_data(self) -> None:
        empty = measure(np.full((50, 50), np.nan, np.float32), exposure_s=1.0)
        chart = finder_chart(np.full((50, 50), np.nan, np.float32), empty.catalogue)
        assert drawn.png(drawn.finder_figure(chart, "nothing")).startswith(b"\x89PNG")


class TestSubframe:
    def test_holds_profile_fit_and_sky(self, result: Photometry) -> None:
        data = subframe_figure(result, 1, 25)
        row = result.catalogue[0]
        assert data.accepted
        assert data.sky == pytest.approx(float(row["sky"]))
        assert data.fit_sky == pytest.approx(data.sky, rel=1e-5)
        assert data.r_squared == pytest.approx(float(row["fit_r_squared"]), abs=1e-4)
        assert data.image.shape == (51, 51)
        assert data.image[round(data.y) - data.y0, round(data.x) - data.x0] == data.image.max()
        assert np.interp(data.radius_px[:4], data.fit_radius_px, data.fit_value) == pytest.approx(data.value[:4], rel=0.1)

    def test_is_cut_at_the_edge(self, result: Photometry) -> None:
        at_edge = int(result.catalogue["id"][np.argmin(result.catalogue["x_px"])])
        data = subframe_figure(result, at_edge, 25)
        assert data.x0 == 0
        assert data.image.shape[1] < 51
        assert_not_blank(drawn.png(drawn.subframe_figure(data, "at the edge")))

    def test_numbers_can_be_saved_beside_it(self, result: Photometry) -> None:
        table = subframe_figure(result, 2, 25).table()
        text = io.StringIO()
        table.write(text, format="ascii.ecsv")
        assert "radius_px" in text.getvalue()
        assert str(table["value"].unit) == "electron / pix"

    def test_unknown_source_is_an_error(self, result: Photometry) -> None:
        with pytest.raises(KeyError, match="no source 99"):
            subframe_figure(result, 99, 25)

    def test_rejected_and_missing_fits_are_drawn_as_such(self, result: Photometry) -> None:
        import dataclasses

        data = subframe_figure(result, 1, 25)
        none = dataclasses.replace(data, fit_radius_px=np.empty(0), fit_value=np.empty(0), fit_sky=None, r_squared=None, accepted=False)
        for variant in (data, dataclasses.replace(data, accepted=False), none):
            assert_not_blank(drawn.png(drawn.subframe_figure(variant, "x")))


def assert_not_blank(picture: bytes) -> None:
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(picture))
    assert np.unique(pixels[..., :3].reshape(-1, 3), axis=0).shape[0] > 20
