"""The sky from radial profiles: the fit, its acceptance, and what it does better than the older program."""

from __future__ import annotations

import numpy as np
import pytest

from nightcrew.photometry.background import estimate_background
from nightcrew.photometry.detect import Detections, detect
from nightcrew.photometry.flags import SourceFlag
from nightcrew.photometry.parameters import FWHM_PER_SIGMA, FitCriteria, PhotometryParameters
from nightcrew.photometry.radial_profile import Profiles, fit_profiles, radial_profiles
from nightcrew.photometry.sky import Field, accept_fits, measure_sky, whole_sky
from tests.photometry.field import add_star, grid_positions, make_field

SIGMA_PX = 1.7
FWHM_PX = SIGMA_PX * FWHM_PER_SIGMA


def observed(image: np.ndarray, uncertainty: np.ndarray | None, parameters: PhotometryParameters) -> Field:
    background = estimate_background(image, uncertainty=uncertainty)
    assert background is not None
    return Field(image, uncertainty, np.zeros(image.shape, np.bool_), background, detect(image, background, parameters))


def profile_of(values: np.ndarray, radius: np.ndarray, error: float) -> Profiles:
    values = np.atleast_2d(values)
    shape = values.shape
    return Profiles(
        np.broadcast_to(radius, shape).copy(), values, np.full(shape, error), np.full(shape, 50.0), np.zeros(shape[0], np.bool_)
    )


class TestFit:
    radius = np.arange(25) + 0.5

    @pytest.mark.parametrize("sigma", [1.2, 1.7, 3.0])
    def test_exact_profiles_are_recovered(self, sigma: float) -> None:
        profile = profile_of(500.0 * np.exp(-0.5 * (self.radius / sigma) ** 2) + 250.0, self.radius, 0.5)
        fits = fit_profiles(profile, SIGMA_PX)
        assert fits.converged[0]
        assert fits.amplitude[0] == pytest.approx(500.0, rel=1e-3)
        assert fits.sigma_px[0] == pytest.approx(sigma, rel=1e-3)
        assert fits.sky[0] == pytest.approx(250.0, abs=1e-2)
        assert fits.r_squared[0] > 0.9999

    def test_errors_of_the_sky_are_right(self) -> None:
        rng = np.random.default_rng(1)
        truth = 100.0 * np.exp(-0.5 * (self.radius / SIGMA_PX) ** 2) + 250.0
        fits = fit_profiles(profile_of(truth + rng.normal(0, 1.0, (400, 25)), self.radius, 1.0), SIGMA_PX)
        assert np.std((fits.sky - 250.0) / fits.sky_error) == pytest.approx(1.0, abs=0.1)
        assert abs(np.mean(fits.sky - 250.0)) < 0.05
        assert np.median(fits.reduced_chi_squared) == pytest.approx(1.0, abs=0.25)

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            (np.full(25, 250.0), "no star"),
            (250.0 + 30 * (np.arange(25) % 2), "noise"),
            (250.0 - 200 * np.exp(-0.5 * (np.arange(25) / 2.0) ** 2), "a hole"),
            (250.0 + 500 * np.exp(-0.5 * (np.arange(25) / 12.0) ** 2), "too wide"),
            (250.0 + 500 * np.exp(-0.5 * ((np.arange(25) - 8) / 2.0) ** 2), "a ring"),
        ],
    )
    def test_what_is_no_star_is_not_accepted(self, values: np.ndarray, why: str) -> None:
        fits = fit_profiles(profile_of(values, self.radius, 2.0), SIGMA_PX)
        assert not accept_fits(fits, SIGMA_PX, FitCriteria())[0], why

    def test_each_criterion_can_reject(self) -> None:
        rng = np.random.default_rng(2)
        values = 60.0 * np.exp(-0.5 * (self.radius / SIGMA_PX) ** 2) + 250.0 + rng.normal(0, 1.0, 25)
        fits = fit_profiles(profile_of(values, self.radius, 1.0), SIGMA_PX)
        assert accept_fits(fits, SIGMA_PX, FitCriteria())[0]
        for harsh in (
            FitCriteria(min_r_squared=0.99999),
            FitCriteria(min_width=1.5),
            FitCriteria(max_width=0.6),
            FitCriteria(max_reduced_chi_squared=0.01),
        ):
            assert not accept_fits(fits, SIGMA_PX, harsh)[0]

    def test_too_few_bins_do_not_converge(self) -> None:
        profile = profile_of(np.ones(25), self.radius, 1.0)
        profile.count[:, 4:] = 0
        assert not fit_profiles(profile, SIGMA_PX).converged[0]


class TestProfiles:
    def test_abscissa_is_the_mean_radius_about_the_subpixel_centre(self) -> None:
        y, x = np.indices((60, 60))
        distance = np.hypot(x - 30.3, y - 29.8).astype(np.float32)
        none = np.zeros((60, 60), np.int32)
        profile = radial_profiles(
            distance, None, np.array([30.3]), np.array([29.8]), 10, exclude=none != 0, segmentation=none, label=np.array([1], np.int32)
        )
        assert profile.value[0] == pytest.approx(profile.radius_px[0], rel=1e-5)
        assert np.all(profile.count[0] > 0)
        assert profile.count.sum() == np.count_nonzero(distance < 10)

    def test_other_sources_and_bad_pixels_are_left_out(self) -> None:
        image = np.full((60, 60), 5.0, np.float32)
        segmentation = np.zeros((60, 60), np.int32)
        image[30, 36:40], segmentation[30, 36:40] = 1e6, 2
        bad = np.zeros((60, 60), np.bool_)
        image[20:22, 30], bad[20:22, 30] = -1e6, True
        profile = radial_profiles(
            image, None, np.array([30.0]), np.array([30.0]), 12, exclude=bad, segmentation=segmentation, label=np.array([1], np.int32)
        )
        assert np.all(profile.value[0] == 5.0)


class TestModes:
    def test_fit_puts_the_sky_right_however_bright_the_star(self) -> None:
        """The older fit (mirrored bins about a rounded centre) put G low by 0.2 to 3.5 of 250, the more the brighter the star."""
        rng = np.random.default_rng(3)
        x, y = grid_positions(600, 60, rng)
        electrons = np.geomspace(3e3, 1e6, x.size)
        field = make_field(x, y, electrons, size=600, sky_e=250.0, seed=4)
        parameters = PhotometryParameters(sky="subframe")
        seen = observed(field.image, field.uncertainty, parameters)
        sky = measure_sky(seen, seen.detections.x, seen.detections.y, 8.0, FWHM_PX, parameters)
        assert len(seen.detections) == x.size
        assert not np.any(sky.flags & int(SourceFlag.SKY_FIT_REJECTED))
        bright = np.argsort(-seen.detections.flux)[:20]
        assert abs(np.mean(sky.level[bright]) - 250.0) < 0.15
        assert np.std((sky.level - 250.0) / sky.error) == pytest.approx(1.0, abs=0.35)

    def test_rejected_fit_falls_back_to_the_annulus_with_a_flag(self) -> None:
        rng = np.random.default_rng(5)
        expected = np.full((200, 200), 100.0)
        expected[90:112, 90:112] += 80.0  # a square is no star
        image = rng.poisson(expected).astype(np.float32)
        parameters = PhotometryParameters(sky="subframe")
        seen = observed(image, np.sqrt(expected).astype(np.float32), parameters)
        ring_only = measure_sky(seen, seen.detections.x, seen.detections.y, 15.0, FWHM_PX, PhotometryParameters(sky="annulus"))
        sky = measure_sky(seen, seen.detections.x, seen.detections.y, 15.0, FWHM_PX, parameters)
        assert sky.flags[0] & SourceFlag.SKY_FIT_REJECTED
        assert sky.level[0] == ring_only.level[0]

    def test_annulus_without_a_free_pixel_takes_the_map_with_a_flag(self) -> None:
        image = np.random.default_rng(6).normal(100, 5, (200, 200)).astype(np.float32)
        background = estimate_background(image)
        assert background is not None
        none = np.empty(0)
        everything = Detections(none, none, none, none, none > 0, none.astype(np.int32), np.ones((200, 200), np.int32))
        seen = Field(image, None, np.zeros(image.shape, np.bool_), background, everything)
        sky = measure_sky(seen, np.array([100.0]), np.array([100.0]), 8.0, FWHM_PX, PhotometryParameters())
        assert sky.flags[0] == SourceFlag.SKY_FALLBACK
        assert sky.level[0] == pytest.approx(100.0, abs=1.0)
        assert whole_sky(seen)[0] == background.typical

    def test_annulus_error_is_that_of_its_mean(self) -> None:
        rng = np.random.default_rng(7)
        image = rng.normal(100, 5, (800, 800)).astype(np.float32)
        parameters = PhotometryParameters()
        seen = observed(image, np.full_like(image, 5.0), parameters)
        x, y = (p.ravel().astype(float) for p in np.meshgrid(np.arange(40, 760, 40), np.arange(40, 760, 40)))
        sky = measure_sky(seen, x, y, 7.0, FWHM_PX, parameters)
        assert np.std((sky.level - 100.0) / sky.error) == pytest.approx(1.0, abs=0.1)

    def test_whole_is_one_value(self) -> None:
        rng = np.random.default_rng(8)
        image = rng.normal(321.0, 5, (300, 300))
        add_star(image, 150, 150, 1e6, 2.0)
        parameters = PhotometryParameters(sky="whole")
        seen = observed(image.astype(np.float32), None, parameters)
        sky = measure_sky(seen, np.array([1.0, 2.0]), np.array([1.0, 2.0]), 8.0, FWHM_PX, parameters)
        assert sky.whole == pytest.approx(321.0, abs=0.3)
        assert np.all(sky.level == sky.whole)
