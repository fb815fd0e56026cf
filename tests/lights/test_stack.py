"""Stacks of lights with known shifts, skies and bad pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.lights import stack as module
from nightcrew.lights.stack import ArrayRows, Method, StackInput, inverse, stack
from tests.photometry.field import add_star


def rows(science: np.ndarray, sigma: float = 2.0, mask: np.ndarray | None = None) -> ArrayRows:
    science = science.astype(np.float32)
    return ArrayRows(science, np.full_like(science, sigma), np.zeros(science.shape, np.uint16) if mask is None else mask)


def rotation(angle_deg: float, dx: float, dy: float) -> np.ndarray:
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s, dx], [s, c, dy]])


@pytest.mark.parametrize("method", ["mean", "median"])
def test_identity_stack_of_equal_frames_is_the_frame(method: Method) -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(100, 10, (60, 50)).astype(np.float32)
    result = stack([StackInput(rows=rows(image)) for _ in range(5)], method=method)
    assert np.allclose(result.science, image, rtol=1e-6)
    factor = np.sqrt(np.pi / 2) if method == "median" else 1.0
    assert np.allclose(result.uncertainty, 2.0 / np.sqrt(5) * factor)
    assert np.all(result.coverage == 5)
    assert not result.mask.any()


def test_median_leaves_out_an_outlier_and_counts_even_numbers_right() -> None:
    images = [np.full((10, 10), v) for v in (1.0, 2.0, 4.0, 1000.0)]
    result = stack([StackInput(rows=rows(i)) for i in images], method="median")
    assert np.all(result.science == 3.0)


def test_masked_pixels_are_left_out_and_counted() -> None:
    mask = np.zeros((10, 10), np.uint16)
    mask[3, 4] = PixelFlag.COSMIC_RAY
    broken = np.full((10, 10), 7.0)
    broken[3, 4] = 1e6
    result = stack([StackInput(rows=rows(broken, mask=mask)), StackInput(rows=rows(np.full((10, 10), 5.0)))], levelled=False)
    assert result.science[3, 4] == 5.0
    assert result.coverage[3, 4] == 1
    assert result.uncertainty[3, 4] == 2.0
    assert result.science[0, 0] == 6.0


def test_pixel_bad_in_every_frame_is_rejected_without_a_value() -> None:
    mask = np.zeros((10, 10), np.uint16)
    mask[3, 4] = PixelFlag.HOT
    result = stack([StackInput(rows=rows(np.ones((10, 10)), mask=mask)) for _ in range(3)])
    assert result.mask[3, 4] == PixelFlag.REJECTED | PixelFlag.NO_DATA
    assert np.isnan(result.science[3, 4])
    assert np.count_nonzero(result.mask) == 1


def test_saturation_is_passed_on() -> None:
    mask = np.zeros((20, 20), np.uint16)
    mask[10, 10] = PixelFlag.SATURATED
    result = stack([StackInput(rows=rows(np.full((20, 20), 9.0), mask=mask), matrix=rotation(0, 0.5, 0.5))])
    assert np.count_nonzero(result.mask & PixelFlag.SATURATED) == 4
    assert result.science[10, 10] == 9.0


def test_outside_of_all_frames_is_edge() -> None:
    shifted = rotation(0.0, 3.0, 0.0)
    result = stack([StackInput(rows=rows(np.ones((10, 10))), matrix=shifted)])
    assert np.all(result.mask[:, :3] == PixelFlag.EDGE | PixelFlag.NO_DATA)
    assert not result.mask[:, 3:].any()
    assert np.all(result.coverage[:, 3:] == 1)


def test_levels_are_brought_together_so_that_a_lost_frame_leaves_no_hole() -> None:
    mask = np.zeros((10, 10), np.uint16)
    mask[5, 5] = PixelFlag.COSMIC_RAY
    bright, faint = rows(np.full((10, 10), 300.0), mask=mask), rows(np.full((10, 10), 100.0))
    result = stack([StackInput(rows=bright, level=300.0), StackInput(rows=faint, level=100.0)])
    assert np.all(result.science == 200.0)


@pytest.mark.parametrize(("angle", "dx", "dy"), [(0.0, 3.4, -2.7), (0.15, 5.5, 1.25), (180.0, 199.3, 198.6), (5.0, -3.0, 9.0)])
def test_star_lands_on_its_place_with_its_flux(angle: float, dx: float, dy: float) -> None:
    matrix = rotation(angle, dx, dy)
    truth = np.array([110.3, 91.7])
    x, y = inverse(matrix) @ [*truth, 1.0]
    image = np.zeros((200, 200))
    add_star(image, x, y, 1e5, 2.0)
    result = stack([StackInput(rows=rows(image), matrix=matrix)])
    good = np.nan_to_num(result.science.astype(float))
    yy, xx = np.mgrid[:200, :200]
    assert good.sum() == pytest.approx(1e5, rel=2e-4)
    assert (good * xx).sum() / good.sum() == pytest.approx(truth[0], abs=0.01)
    assert (good * yy).sum() / good.sum() == pytest.approx(truth[1], abs=0.01)


def test_aperture_sums_of_the_uncertainty_are_right_after_resampling() -> None:
    rng = np.random.default_rng(8)
    inputs = [StackInput(rows=rows(rng.normal(0, 2.0, (240, 240))), matrix=rotation(0.1, *rng.uniform(-5, 5, 2))) for _ in range(4)]
    result = stack(inputs)
    inner, errors = result.science[20:220, 20:220].astype(float), result.uncertainty[20:220, 20:220].astype(float)
    boxes = inner.reshape(20, 10, 20, 10).sum(axis=(1, 3))
    expected = np.sqrt((errors**2).reshape(20, 10, 20, 10).sum(axis=(1, 3)).mean())
    assert boxes.std() == pytest.approx(expected, rel=0.1)
    assert inner.std() < 0.8 * errors.mean()  # neighbours share noise: pixel to pixel it is smaller


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["mean", "median"]))
def test_result_depends_neither_on_slabs_nor_on_order(seed: int, method: Method) -> None:
    rng = np.random.default_rng(seed)
    inputs = []
    for _ in range(4):
        mask = np.where(rng.random((70, 40)) < 0.05, np.uint16(int(PixelFlag.HOT)), np.uint16(0))
        matrix = rotation(rng.normal(0, 1.0), *rng.normal(0, 3.0, 2))
        inputs.append(StackInput(rows=rows(rng.normal(0, 5, (70, 40)), mask=mask), matrix=matrix, level=float(rng.normal())))
    whole, turned = stack(inputs, method=method), stack(inputs[::-1], method=method)
    before = module.SLAB_BYTES
    try:
        module.SLAB_BYTES = 1
        parts = stack(inputs, method=method)
    finally:
        module.SLAB_BYTES = before
    assert np.allclose(whole.science, parts.science, equal_nan=True, atol=1e-4)
    assert np.array_equal(whole.coverage, parts.coverage)
    assert np.array_equal(whole.mask, parts.mask)
    assert np.allclose(whole.science, turned.science, equal_nan=True, atol=1e-4)
    assert np.array_equal(whole.mask, turned.mask)


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(Refused, match="at least one frame"):
        stack([])
    with pytest.raises(Refused, match="mean or a median"):
        stack([StackInput(rows=rows(np.ones((9, 9))))], method="mode")  # type: ignore[arg-type]  # what a user may write
    with pytest.raises(RejectedInput, match="one shape"):
        stack([StackInput(rows=rows(np.ones((9, 9)))), StackInput(rows=rows(np.ones((9, 8))))])
