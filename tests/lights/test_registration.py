"""Registration on positions of known transform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.lights import registration
from nightcrew.lights.registration import RegistrationParameters, identity, register


def stars(n: int = 80, seed: int = 0, size: float = 1000.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, size, (n, 2)), 10 ** rng.uniform(3, 5, n)


def moved(positions: np.ndarray, angle_deg: float, dx: float, dy: float, scale: float = 1.0) -> np.ndarray:
    """Positions of the frame whose transform to the reference is rotation, scale and shift."""
    a = scale * np.exp(1j * np.radians(angle_deg))
    z = (positions @ np.array([1, 1j]) - (dx + 1j * dy)) / a
    return np.column_stack([z.real, z.imag])


@pytest.mark.parametrize(("angle", "dx", "dy"), [(0.0, 12.3, -7.8), (0.15, 20.0, 20.0), (180.0, 1000.0, 1000.0), (-35.0, 200.0, -150.0)])
def test_recovers_shift_and_rotation(angle: float, dx: float, dy: float) -> None:
    rng = np.random.default_rng(1)
    reference, flux = stars()
    frame = moved(reference, angle, dx, dy) + rng.normal(0, 0.05, reference.shape)
    found = register(frame, flux * rng.normal(1, 0.02, flux.size), reference, flux)
    assert found.ok
    assert found.matrix is not None
    expected = np.array(
        [[np.cos(np.radians(angle)), -np.sin(np.radians(angle)), dx], [np.sin(np.radians(angle)), np.cos(np.radians(angle)), dy]]
    )
    corners = np.array([[0, 0, 1], [1000, 0, 1], [0, 1000, 1]])
    assert np.abs(corners @ (found.matrix - expected).T).max() < 0.1
    assert found.rms_px == pytest.approx(0.07, abs=0.02)
    assert found.n_matched == len(reference)


def test_stars_that_only_one_frame_shows_do_no_harm() -> None:
    reference, flux = stars(120)
    extra, extra_flux = stars(60, seed=9)
    frame = np.vstack([moved(reference, 0.1, 30, 5)[:90], extra])
    found = register(frame, np.concatenate([flux[:90], extra_flux * 0.3]), reference, flux)
    assert found.n_matched >= 90
    assert found.rotation_deg == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("angle", [0.0, 0.55])
def test_a_field_that_drifted_far_under_clouds_is_found_by_the_shift_of_its_faint_stars(angle: float) -> None:
    """As the frames of a small telescope in one night: the brightest stars of one are not those of the other."""
    rng = np.random.default_rng(3)
    reference, flux = stars(480, size=650.0)
    seen = moved(reference, angle, -260.0, 22.0) + rng.normal(0, 0.07, reference.shape)
    inside = ((seen > 0) & (seen < 650)).all(axis=1) & (rng.random(len(seen)) < 0.8)
    others, _ = stars(150, seed=8, size=650.0)
    frame = np.vstack([seen[inside], others])
    found = register(frame, rng.permutation(len(frame)).astype(float) + 1, reference, flux)
    assert found.ok
    assert found.rotation_deg == pytest.approx(angle, abs=0.02)
    assert found.n_matched >= 0.95 * inside.sum()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_order_of_the_stars_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, flux = stars(40, seed=seed)
    frame = moved(reference, 0.2, -15.0, 8.0) + rng.normal(0, 0.1, reference.shape)
    order = rng.permutation(40)
    first, second = register(frame, flux, reference, flux), register(frame[order], flux[order], reference[::-1], flux[::-1])
    assert first.ok
    assert second.ok
    assert first.matrix is not None
    assert second.matrix is not None
    assert np.array_equal(first.matrix, second.matrix)


def test_too_few_stars_is_a_reason() -> None:
    reference, flux = stars()
    found = register(reference[:2], flux[:2], reference, flux)
    assert not found.ok
    assert found.reason == "the frame shows only 2 stars, 3 are needed"


def test_another_field_is_a_reason() -> None:
    reference, flux = stars(50, seed=2)
    other, other_flux = stars(50, seed=3)
    found = register(other, other_flux, reference, flux)
    assert not found.ok
    assert found.reason


def test_another_scale_is_a_false_match() -> None:
    reference, flux = stars()
    found = register(moved(reference, 0.0, 0.0, 0.0, scale=1.3), flux, reference, flux)
    assert "scale would change" in found.reason


def test_three_stars_are_enough_when_they_fit() -> None:
    reference = np.array([[10.0, 10.0], [200.0, 30.0], [90.0, 170.0]])
    flux = np.array([3.0, 2.0, 1.0])
    found = register(reference - [4.0, 5.0], flux, reference, flux)
    assert found.ok
    assert found.shift_px == pytest.approx((4.0, 5.0))


def test_not_finite_positions_are_left_out() -> None:
    reference, flux = stars()
    broken = reference - 3.0
    broken[5] = np.nan
    assert register(broken, flux, reference, flux).n_matched == len(reference) - 1


def test_identity() -> None:
    matrix = identity().matrix
    assert matrix is not None
    assert np.array_equal(matrix @ [3.0, 4.0, 1.0], [3.0, 4.0])


def test_a_first_guess_lets_three_stars_among_others_be_enough() -> None:
    common = np.array([[100.0, 120.0], [800.0, 300.0], [420.0, 910.0]])
    mine, theirs = stars(6, seed=4)[0], stars(6, seed=5)[0]
    reference, frame = np.vstack([common, theirs]), np.vstack([common - [12.0, -7.0], mine])
    flux = np.arange(9.0, 0.0, -1.0)
    guess = np.array([[1.0, 0.0, 11.0], [0.0, 1.0, -6.0]])
    found = register(frame, flux, reference, flux, guess=guess)
    assert found.n_matched == 3
    assert found.shift_px == pytest.approx((12.0, -7.0))


def test_a_wrong_guess_is_not_believed() -> None:
    reference, flux = stars()
    guess = np.array([[1.0, 0.0, 300.0], [0.0, 1.0, -200.0]])
    found = register(moved(reference, 0.1, 20.0, 5.0), flux, reference, flux, guess=guess)
    assert found.n_matched == len(reference)
    assert found.rotation_deg == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize(
    ("mine", "theirs", "fields", "seed", "led"),
    [(10, 500, 15, 9, False), (20, 120, 40, 7, False), (20, 120, 40, 7, True), (80, 80, 40, 0, True)],
)
def test_random_fields_are_believed_neither_by_a_shift_nor_by_a_guess(mine: int, theirs: int, fields: int, seed: int, led: bool) -> None:
    """Few stars of one field always find some of the many of another, and three pairs fall together under a wrong guess."""
    rng = np.random.default_rng(seed)
    parameters = RegistrationParameters(max_control_points=4)  # patterns are tested elsewhere, and take their time
    for _ in range(fields):
        frame, reference = rng.uniform(0, 512, (mine, 2)), rng.uniform(0, 512, (theirs, 2))
        guess = identity().matrix if led else None
        found = register(frame, rng.random(mine), reference, rng.random(theirs), parameters, guess=guess)
        assert not found.ok, found


@pytest.mark.parametrize(("n", "fixed"), [(40, 10), (40, 30)])
def test_what_is_fixed_to_the_detector_does_not_register_another_field(n: int, fixed: int) -> None:
    """Hot pixels and what the flat left fall on each other without a shift, whatever the sky did."""
    rng = np.random.default_rng(11)
    spots = rng.uniform(0, 1000, (fixed, 2))
    frame, reference = (np.vstack([rng.uniform(0, 1000, (n, 2)), spots]) for _ in range(2))
    flux = np.concatenate([rng.uniform(10, 100, n), rng.uniform(1, 10, fixed)])
    found = register(frame, flux, reference, flux, RegistrationParameters(max_control_points=4))
    assert not found.ok
    assert found.reason


def test_a_field_that_stays_under_clouds_is_found_when_most_stars_agree() -> None:
    rng = np.random.default_rng(4)
    reference, flux = stars(200)
    frame = np.vstack([reference[rng.random(200) < 0.85] + [0.3, -0.2], rng.uniform(0, 1000, (40, 2))])
    found = register(frame, rng.permutation(len(frame)).astype(float) + 1, reference, flux)
    assert found.shift_px == pytest.approx((-0.3, 0.2), abs=0.05)


def test_stars_that_crowd_together_are_no_proof() -> None:
    """Two unlike clusters in one place: many stars fall on each other, and as many do when one is moved a little."""
    rng = np.random.default_rng(2)
    frame, other = (np.concatenate([500.0 + 25.0 * rng.standard_normal((80, 2)), rng.uniform(0.0, 1000.0, (10, 2))]) for _ in range(2))
    here = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert not registration._beyond_chance(here, frame, other, 1.0, RegistrationParameters())
    assert registration._beyond_chance(here, frame, frame + 0.1, 1.0, RegistrationParameters())
