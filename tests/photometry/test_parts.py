"""Small parts of photometry: cleaning, centroids, shapes, magnitudes, rounding, flags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.frames.flags import PixelFlag
from nightcrew.photometry import detect, flags
from nightcrew.photometry.catalogue import rounded
from nightcrew.photometry.centroid import windowed_centroids
from nightcrew.photometry.cleaning import replace_bad_pixels, unusable_pixels
from nightcrew.photometry.detect import gaussian_kernel
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.magnitudes import instrumental_magnitude, limiting_magnitude, sum_error
from nightcrew.photometry.measure import NOT_DEBLENDED, measure
from nightcrew.photometry.shape import adaptive_shapes, frame_fwhm
from tests.photometry.field import add_star


class TestCleaning:
    def test_a_lone_bad_pixel_follows_a_curved_surface(self) -> None:
        y, x = np.indices((20, 20), dtype=float)
        surface = (100 + 2 * x - y + 0.5 * (x - 10) ** 2 - 0.3 * (y - 9) ** 2 + 0.2 * (x - 10) * (y - 9)).astype(np.float32)
        bad = np.zeros(surface.shape, np.bool_)
        bad[9, 10] = True
        broken = surface.copy()
        broken[9, 10] = 1e9
        clean, left, error = replace_bad_pixels(broken, bad, also=np.full_like(surface, 3.0))
        assert clean[9, 10] == pytest.approx(surface[9, 10], rel=1e-5)
        assert not left.any()
        assert error is not None
        assert error[9, 10] == 3.0
        assert broken[9, 10] == 1e9

    def test_corner_and_pair_take_the_mean_of_good_neighbours(self) -> None:
        image = np.full((10, 10), 4.0, np.float32)
        bad = np.zeros(image.shape, np.bool_)
        bad[5, 5] = bad[5, 6] = True
        image[bad] = np.nan
        clean, left, _ = replace_bad_pixels(image, bad)
        assert np.all(clean == 4.0)
        assert not left.any()

    def test_the_middle_of_a_hole_stays_bad(self) -> None:
        image = np.full((12, 12), 4.0, np.float32)
        bad = np.zeros(image.shape, np.bool_)
        bad[3:8, 3:8] = True
        clean, left, _ = replace_bad_pixels(image, bad)
        assert left[5, 5]
        assert clean[5, 5] == 0.0
        assert left.sum() == 21  # only the corners of the hole have enough good neighbours

    def test_saturated_pixels_are_measured_with_others_are_not(self) -> None:
        mask = np.array([[0, PixelFlag.SATURATED, PixelFlag.HOT, PixelFlag.HOT | PixelFlag.SATURATED]], np.uint16)
        assert unusable_pixels(np.ones((1, 4)), mask).tolist() == [[False, False, True, True]]
        assert unusable_pixels(np.array([[np.nan, 1.0]]), None).tolist() == [[True, False]]


class TestCentroids:
    @settings(max_examples=25, deadline=None)
    @given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(1.0, 3.0))
    def test_centre_of_a_noiseless_star_is_exact(self, dx: float, dy: float, sigma: float) -> None:
        image = np.zeros((60, 60))
        add_star(image, 30 + dx, 30 + dy, 1e5, sigma)
        x, y, failed = windowed_centroids(image.astype(np.float32), np.array([30.0]), np.array([30.0]), 2.3548 * sigma)
        assert not failed[0]
        assert x[0] == pytest.approx(30 + dx, abs=0.01)
        assert y[0] == pytest.approx(30 + dy, abs=0.01)

    def test_a_centre_that_runs_away_stays_where_it_was(self) -> None:
        image = np.zeros((60, 60))
        add_star(image, 36.0, 30.0, 1e5, 3.0)
        x, y, failed = windowed_centroids(image.astype(np.float32), np.array([30.0]), np.array([30.0]), 7.0)
        assert failed[0]
        assert (x[0], y[0]) == (30.0, 30.0)


class TestShapes:
    @settings(max_examples=20, deadline=None)
    @given(st.floats(1.6, 3.0), st.floats(0.75, 1.0), st.floats(-0.5, 0.5))
    def test_width_and_ellipticity_of_noiseless_stars(self, sigma: float, ratio: float, offset: float) -> None:
        image = np.zeros((80, 80))
        add_star(image, 40 + offset, 40 - offset, 1e5, sigma, sigma * ratio)
        shapes = adaptive_shapes(image.astype(np.float32), np.array([40 + offset]), np.array([40 - offset]), 4.0)
        wide, narrow = np.sqrt(sigma**2 + 1 / 12), np.sqrt((sigma * ratio) ** 2 + 1 / 12)
        assert shapes.ok[0]
        assert shapes.fwhm_px[0] == pytest.approx(2.3548 * np.sqrt(wide * narrow), rel=0.03)
        assert shapes.ellipticity[0] == pytest.approx(1 - narrow / wide, abs=0.02)

    def test_no_light_has_no_shape(self) -> None:
        shapes = adaptive_shapes(np.zeros((50, 50), np.float32), np.array([25.0, 0.0]), np.array([25.0, 0.0]), 4.0)
        assert not shapes.ok.any()
        assert np.isnan(shapes.fwhm_px).all()
        assert frame_fwhm(shapes, np.array([50.0, 50.0]), np.ones(2, np.bool_)) is None

    def test_star_at_the_corner_is_no_wider_than_it_is(self) -> None:
        image = np.zeros((50, 50))
        add_star(image, 1.0, 49.0, 1e5, 2.0)
        shapes = adaptive_shapes(image.astype(np.float32), np.array([1.0]), np.array([49.0]), 4.0)
        assert 0.5 < shapes.fwhm_px[0] / (2.3548 * np.sqrt(2.0**2 + 1 / 12)) < 1.03  # of it a quarter shows: it may look narrower
        assert 0.0 <= shapes.ellipticity[0] < 0.5


class TestMagnitudes:
    def test_formula(self) -> None:
        magnitude, error = instrumental_magnitude(np.array([1000.0]), np.array([10.0]), 10.0)
        assert magnitude[0] == pytest.approx(-5.0)
        assert error[0] == pytest.approx(0.010857, rel=1e-3)

    def test_what_has_no_magnitude_is_masked(self) -> None:
        magnitude, error = instrumental_magnitude(np.array([0.0, -5.0, np.nan, 7.0]), np.ones(4), 1.0)
        assert magnitude.mask.tolist() == error.mask.tolist() == [True, True, True, False]
        assert instrumental_magnitude(np.ones(1), np.ones(1), 0.0)[0].mask.all()

    def test_sky_error_grows_with_area(self) -> None:
        assert sum_error(np.array([3.0]), np.array([8.0]), np.array([0.5]))[0] == 5.0

    def test_depth(self) -> None:
        assert limiting_magnitude(2.0, 100.0, 0.0, 1.0) == pytest.approx(-5.0)
        assert limiting_magnitude(2.0, 100.0, 0.0, None) is None
        assert limiting_magnitude(0.0, 100.0, 0.0, 1.0) is None


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e12, 1e12, allow_nan=False), st.sampled_from(["%.4f", "%.7g", "%.5g"]))
def test_rounding_is_that_of_the_format(value: float, column_format: str) -> None:
    got = float(rounded(np.array([value]), column_format)[0])
    assert got == pytest.approx(float(column_format % value), rel=2e-5 if "g" in column_format else 1e-9, abs=1.01e-4)


def test_rounded_values_are_short() -> None:
    assert [repr(float(v)) for v in rounded(np.array([0.1234567891, 12345678.9, -1e-9]), "%.4g")] == ["0.1235", "12350000.0", "-1e-09"]


def test_every_flag_has_a_bit_of_its_own_and_a_description() -> None:
    assert set(flags.DESCRIPTIONS) == set(SourceFlag)
    assert sum(int(f) for f in SourceFlag) == 2 ** len(SourceFlag) - 1
    assert flags.describe(0) == "good"
    assert flags.describe(3) == "saturated, edge"


def test_filter_is_normalised_and_can_be_none() -> None:
    kernel = gaussian_kernel(1.7)
    assert kernel is not None
    assert kernel.sum() == pytest.approx(1.0, rel=1e-6)
    assert gaussian_kernel(0.0) is None


def test_a_frame_whose_sources_could_not_be_deblended_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sep

    field = np.random.default_rng(3).normal(100.0, 3.0, (120, 120))
    for x in (48.0, 58.0):
        add_star(field, x, 60.0, 20_000.0, 2.0)
    apart = measure(field.astype(np.float32), exposure_s=1.0)
    assert (apart.facts["sources"], apart.facts["notes"]) == (2, [])
    room = sep.get_sub_object_limit()
    monkeypatch.setattr(detect, "_SUB_OBJECTS", 1)  # no room for the peaks of one object, as of a thousandfold one
    sep.set_sub_object_limit(1)
    try:
        together = measure(field.astype(np.float32), exposure_s=1.0)
    finally:
        sep.set_sub_object_limit(room)
    assert (together.facts["sources"], together.facts["notes"]) == (1, [NOT_DEBLENDED])
