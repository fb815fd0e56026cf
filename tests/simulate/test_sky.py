from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.simulate.randomness import generator
from nightcrew.simulate.sky import Psf, add_stars, make_field

PSFS = [Psf("gaussian", 3.0), Psf("moffat", 3.0, 4.5), Psf("moffat", 2.2, 3.5), Psf("gaussian", 5.5)]
SUBPIXEL = st.floats(-0.5, 0.5)


def exact_aperture(image: np.ndarray, x: float, y: float, radius: float) -> float:
    """Sum within a circle with the exact share of each pixel."""
    import sep

    total, _, _ = sep.sum_circle(np.ascontiguousarray(image, dtype=np.float64), [x], [y], radius, subpix=0)
    return float(total[0])


@pytest.mark.parametrize("psf", PSFS)
def test_stamp_agrees_with_heavy_oversampling(psf: Psf) -> None:
    fine = 40
    side = 2 * psf.reach_px + 1
    centres = (np.arange(side * fine) + 0.5) / fine - 0.5 - psf.reach_px
    r2 = (centres[:, None] - 0.21) ** 2 + (centres[None, :] + 0.37) ** 2
    if psf.shape == "gaussian":
        fine_image = np.exp(-r2 / (2 * psf.sigma_px**2)) / (2 * np.pi * psf.sigma_px**2)
    else:
        fine_image = (psf.beta - 1) / (np.pi * psf.alpha_px**2) * (1 + r2 / psf.alpha_px**2) ** -psf.beta
    slow = fine_image.reshape(side, fine, side, fine).mean(axis=(1, 3))
    assert np.abs(psf.stamp(-0.37, 0.21) - slow).max() < 1e-5


@pytest.mark.parametrize("psf", PSFS)
def test_half_of_the_peak_lies_at_half_the_width(psf: Psf) -> None:
    if psf.shape == "gaussian":
        assert np.exp(-((psf.fwhm_px / 2) ** 2) / (2 * psf.sigma_px**2)) == pytest.approx(0.5)
    else:
        assert (1 + (psf.fwhm_px / 2) ** 2 / psf.alpha_px**2) ** -psf.beta == pytest.approx(0.5)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([psf for psf in PSFS if psf.fwhm_px >= 3]), SUBPIXEL, SUBPIXEL, st.floats(1.5, 3.0))
def test_aperture_holds_what_enclosed_says_wherever_the_star_stands(psf: Psf, dx: float, dy: float, k: float) -> None:
    image = np.zeros((121, 121), dtype=np.float32)
    add_stars(image, np.array([60 + dx]), np.array([60 + dy]), np.array([1e5]), psf)
    radius = k * psf.fwhm_px
    assert exact_aperture(image, 60 + dx, 60 + dy, radius) / 1e5 == pytest.approx(psf.enclosed(radius), abs=6e-4)


@pytest.mark.parametrize("psf", PSFS)
def test_whole_flux_arrives(psf: Psf) -> None:
    image = np.zeros((141, 141), dtype=np.float32)
    add_stars(image, np.array([70.3]), np.array([69.6]), np.array([1e6]), psf)
    assert image.sum(dtype=float) == pytest.approx(1e6, rel=1e-4 if psf.beta > 4 else 6e-4)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(PSFS[:2]), SUBPIXEL, SUBPIXEL)
def test_centroid_is_the_planted_position(psf: Psf, dx: float, dy: float) -> None:
    image = np.zeros((81, 91), dtype=np.float32)
    add_stars(image, np.array([45 + dx]), np.array([40 + dy]), np.array([1e4]), psf)
    y, x = np.mgrid[:81, :91]
    assert (image * x).sum() / image.sum() == pytest.approx(45 + dx, abs=0.003)
    assert (image * y).sum() / image.sum() == pytest.approx(40 + dy, abs=0.003)


def test_stars_beyond_the_edge_are_cut_not_wrapped() -> None:
    image = np.zeros((50, 60), dtype=np.float32)
    outside = np.array([-300.0, 400.0, 30.0])
    add_stars(image, outside, np.array([25.0, 25.0, -90.0]), np.array([1e5, 1e5, 1e5]), PSFS[0])
    assert image.sum() == 0
    add_stars(image, np.array([-0.5]), np.array([25.0]), np.array([1000.0]), PSFS[0])
    assert image.sum() == pytest.approx(500, rel=0.01)
    assert image[:, 30:].sum() == 0


def test_field_is_repeatable_sorted_and_keeps_its_distances() -> None:
    one, same = (make_field(generator(3), 60, 300.0, separation_arcsec=30.0, mag_range=(10.0, 17.0)) for _ in range(2))
    assert np.array_equal(one.xi_arcsec, same.xi_arcsec)
    assert len(one) == 60
    assert np.all(np.diff(one.v_mag) >= 0)
    assert one.v_mag[0] >= 10
    assert one.v_mag[-1] <= 17
    distance = np.hypot(one.xi_arcsec[:, None] - one.xi_arcsec, one.eta_arcsec[:, None] - one.eta_arcsec)
    assert distance[~np.eye(60, dtype=bool)].min() >= 29.99


def test_full_field_ends_with_fewer_stars() -> None:
    assert len(make_field(generator(3), 500, 50.0, separation_arcsec=30.0, mag_range=(10.0, 17.0))) < 30


def test_magnitude_in_a_band_follows_the_colour() -> None:
    field = make_field(generator(4), 20, 300.0, separation_arcsec=10.0, mag_range=(10.0, 17.0))
    assert np.allclose(field.magnitude(1.0) - field.magnitude(0.0), field.b_minus_v)
