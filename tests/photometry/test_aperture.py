"""Aperture sums: analytic truth, and agreement with photutils."""

from __future__ import annotations

import numpy as np
import pytest

from nightcrew.photometry.aperture import aperture_sums, pixels_within, ring_means
from tests.photometry.field import add_star


def test_pixels_within_15_are_the_697_of_the_older_program() -> None:
    assert pixels_within(15) == 697
    assert pixels_within(1.0) == 1
    assert pixels_within(1.01) == 5


def test_flat_image_gives_the_area() -> None:
    image = np.full((60, 60), 2.0, np.float32)
    sums = aperture_sums(image, image, np.array([30.2]), np.array([29.6]), 8.0)
    assert sums.total[0] == pytest.approx(2 * np.pi * 64, rel=1e-6)
    assert sums.error[0] == pytest.approx(2 * np.sqrt(np.pi * 64), rel=1e-6)
    assert sums.area_px[0] == pytest.approx(np.pi * 64, rel=1e-6)


def test_center_overlap_is_r_below_radius() -> None:
    image = np.ones((60, 60), np.float32)
    sums = aperture_sums(image, None, np.array([30.0]), np.array([30.0]), 15.0, overlap="center")
    assert sums.total[0] == 697


def test_gaussian_star_holds_its_encircled_flux() -> None:
    image = np.zeros((80, 80))
    add_star(image, 40.3, 39.8, 1e5, 2.0)
    for radius in (4.0, 6.0, 10.0):
        total = aperture_sums(image.astype(np.float32), None, np.array([40.3]), np.array([39.8]), radius).total[0]
        # light is spread over the pixel twice: by the pixel itself, and by the overlap of pixels with the circle
        assert total == pytest.approx(1e5 * (1 - np.exp(-(radius**2) / (2 * (4 + 2 / 12)))), rel=1e-3)


@pytest.mark.parametrize("radius", [3.0, 7.5])
def test_agrees_with_photutils(radius: float) -> None:
    from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry

    rng = np.random.default_rng(7)
    image = rng.normal(100, 10, (120, 140)).astype(np.float32)
    error = rng.uniform(5, 15, image.shape).astype(np.float32)
    x, y = rng.uniform(20, 110, 30), rng.uniform(20, 100, 30)
    positions = np.column_stack([x, y])
    theirs = aperture_photometry(image.astype(float), CircularAperture(positions, radius), error=error.astype(float), method="exact")
    ours = aperture_sums(image, error, x, y, radius)
    assert ours.total == pytest.approx(np.asarray(theirs["aperture_sum"]), rel=1e-5)
    assert ours.error == pytest.approx(np.asarray(theirs["aperture_sum_err"]), rel=1e-5)
    means, number = ring_means(image, x, y, 9.0, 14.0, np.zeros(image.shape, np.bool_))
    ring = aperture_photometry(image.astype(float), CircularAnnulus(positions, 9.0, 14.0), method="center")
    area = CircularAnnulus(positions, 9.0, 14.0).do_photometry(np.ones(image.shape), method="center")[0]
    assert number == pytest.approx(area)
    assert means == pytest.approx(np.asarray(ring["aperture_sum"]) / area, rel=1e-6)


def test_aperture_beyond_the_frame_has_less_area() -> None:
    sums = aperture_sums(np.ones((50, 50), np.float32), None, np.array([-0.5, 25.0]), np.array([25.0, 25.0]), 6.0)
    assert sums.area_px == pytest.approx([np.pi * 18, np.pi * 36], rel=1e-3)


def test_masked_part_is_scaled_and_told() -> None:
    mask = np.zeros((50, 50), np.bool_)
    mask[25, 25] = True
    image = np.full((50, 50), 3.0, np.float32)
    image[25, 25] = 1e6
    sums = aperture_sums(image, None, np.array([25.0]), np.array([25.0]), 5.0, mask=mask)
    assert sums.total[0] == pytest.approx(3 * np.pi * 25, rel=1e-6)
    assert sums.lost_area_px[0] == pytest.approx(1.0)


def test_ring_leaves_out_what_is_excluded() -> None:
    image = np.full((50, 50), 5.0, np.float32)
    exclude = np.zeros((50, 50), np.bool_)
    image[:, 30:], exclude[:, 30:] = 1e5, True
    means, number = ring_means(image, np.array([25.0, 45.0]), np.array([25.0, 25.0]), 8.0, 12.0, exclude)
    assert means[0] == 5.0
    assert means[1] == 0.0
    assert number[1] == 0.0


def test_no_source_no_sum() -> None:
    none = np.empty(0)
    assert aperture_sums(np.ones((9, 9), np.float32), None, none, none, 3.0).total.size == 0
