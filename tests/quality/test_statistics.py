"""Numbers of one frame and the judgement of flats."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.quality.flats import FlatLimits, disagreement, flat_usable, oddly_lit
from nightcrew.quality.grid import block_medians
from nightcrew.quality.statistics import clipped_mean_sigma, frame_statistics, pixel_noise, sample_pixels


def test_median_and_sigma_of_a_gaussian_frame_with_stars() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(500.0, 12.0, (900, 1000))
    image.ravel()[::997] = 60000.0
    found = frame_statistics(np.rint(image).astype(np.uint16), saturation=60000.0)
    assert found.median == pytest.approx(500.0, abs=0.6)
    assert found.sigma == pytest.approx(12.0, rel=0.05)
    assert found.maximum == 60000.0
    assert found.saturated_fraction == pytest.approx(1 / 997, rel=0.01)
    assert found.finite_fraction == 1.0


def test_missing_and_masked_pixels_take_no_part() -> None:
    image = np.full((50, 50), 7.0)
    image[0] = np.nan
    image[1] = 1e9
    mask = np.zeros((50, 50), np.bool_)
    mask[1] = True
    found = frame_statistics(image, mask=mask)
    assert (found.minimum, found.maximum, found.sigma) == (7.0, 7.0, 0.0)
    assert found.finite_fraction == 48 / 50


def test_frame_without_a_finite_pixel_has_no_numbers() -> None:
    found = frame_statistics(np.full((5, 5), np.nan))
    assert found.median is None
    assert found.finite_fraction == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 5000))
def test_sample_is_bounded_and_favours_no_column(ny: int, nx: int, wanted: int) -> None:
    columns = np.broadcast_to(np.arange(nx), (ny, nx))
    sample = sample_pixels(np.ascontiguousarray(columns), wanted)
    assert sample.size >= 1
    assert sample.size <= max(4 * wanted, ny * nx if ny * nx <= wanted else 4 * wanted)
    if sample.size > 3 * nx:
        assert np.unique(sample).size == nx


def test_clip_resolves_what_the_mad_cannot() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.choice([10.0, 11.0], 10_000, p=[0.9, 0.1]), np.full(5, 500.0)])
    mean, sigma, n = clipped_mean_sigma(values)
    assert mean == pytest.approx(10.1, abs=0.02)
    assert sigma == pytest.approx(0.3, abs=0.02)
    assert n == 10_000


def test_clip_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite value"):
        clipped_mean_sigma(np.array([np.nan]))


def test_pixel_noise_ignores_gradients_and_stars() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(0, 5.0, (300, 300)) + np.linspace(0, 500, 300)[None, :] + np.linspace(0, 900, 300)[:, None]
    image[50:60, 50:60] += 1e4
    assert pixel_noise(image) == pytest.approx(5.0, rel=0.03)
    assert pixel_noise(np.ones((5, 1))) == 0.0


@pytest.mark.parametrize(
    ("median", "saturation", "saturated", "reason"),
    [
        (30000.0, 60000.0, 0.0, ""),
        (1500.0, 60000.0, 0.0, "too faint: 0.8 %"),
        (58000.0, 60000.0, 0.0, "too bright: 96.6 %"),
        (30000.0, 60000.0, 0.02, "saturated: 2.00 %"),
        (900.0, None, None, "too faint"),
        (5000.0, None, None, ""),
        (None, 60000.0, None, "no finite pixel"),
    ],
)
def test_flats_are_judged_above_the_bias(median: float | None, saturation: float | None, saturated: float | None, reason: str) -> None:
    usable, why = flat_usable(median, saturation, saturated_fraction=saturated, bias_level_adu=1000.0)
    assert usable == (reason == "")
    assert reason in why


def test_limits_of_flats_can_be_chosen() -> None:
    assert not flat_usable(30000.0, 60000.0, limits=FlatLimits(max_level_fraction=0.4))[0]


def _shapes(tilts: list[float], noise: float = 0.001) -> list[list[float | None]]:
    """Block medians of flats of one vignetted shape, each with a gradient of its own, at level 1."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:8j, -1:1:8j]
    return [list(((1 - 0.1 * (x**2 + y**2)) * (1 + tilt * x) * rng.normal(1, noise, x.shape)).ravel()) for tilt in tilts]


def test_a_flat_that_was_lit_otherwise_is_named() -> None:
    tilts = [0.0, 0.004, -0.004, 0.002, 0.2]
    found = oddly_lit(_shapes(tilts), [20_000.0] * 5)
    assert list(found) == [4]
    # A gradient g x has the rms g sqrt(mean(x^2)); the median flat's own is 0.002, and the median of the ratios has its noise.
    rms = 100 * 0.198 * np.sqrt(np.mean(np.linspace(-1, 1, 8) ** 2))
    told = re.fullmatch(r"lit otherwise than the other flats: its shape differs by ([0-9.]+) % rms, limit 2.0 %", found[4])
    assert told is not None
    assert float(told[1]) == pytest.approx(rms, abs=0.05 + 3 * 0.1)  # rounding, and three times the noise of a block [%]


@pytest.mark.parametrize(
    ("tilts", "levels"),
    [
        ([0.0, 0.01, -0.01, 0.02], 20_000.0),  # a twilight that turns
        ([0.0, 0.2], 20_000.0),  # two cannot tell which is odd
        ([0.0, 0.1, -0.1, 0.2, -0.2], 20_000.0),  # all differ: none is odd
        ([0.0, 0.0, 0.0, 0.05], 13.0),  # medians of whole ADU jump by more
    ],
)
def test_flats_that_differ_as_flats_do_are_kept(tilts: list[float], levels: float) -> None:
    assert oddly_lit(_shapes(tilts), [levels] * len(tilts)) == {}


LAMP_AND_FADING_SKY = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32]


@pytest.mark.parametrize(
    "tilts",
    [
        LAMP_AND_FADING_SKY,
        [0.0] * 5 + [0.15] * 5,
        [0.0] * 4 + [0.15] * 5,
        [0.0, 0.15],
        [0.05] * 7 + [-0.05] * 3,  # the sky's gradient, turned with the telescope to be rid of it
        [0.05] * 8 + [-0.05] * 2,
        [0.05] * 5 + [-0.05] * 2,
    ],
)
def test_flats_that_no_majority_can_judge_all_stay_and_are_told(tilts: list[float]) -> None:
    levels = [20_000.0] * len(tilts)
    assert oddly_lit(_shapes(tilts), levels) == {}
    told = re.fullmatch(
        r"the flats do not agree in shape: two of them differ by ([0-9.]+) % rms, limit 3.0 %", disagreement(_shapes(tilts), levels)
    )
    assert told is not None
    x = np.linspace(-1, 1, 8)
    ratio = np.log((1 + max(tilts) * x) / (1 + min(tilts) * x))
    # The noise of two blocks of 0.1 % each, in quadrature taken off; the median over 64 blocks is known to as much.
    assert float(told[1]) == pytest.approx(100 * np.sqrt(np.mean((ratio - np.median(ratio)) ** 2)), abs=0.05 + 3 * 0.15)


def test_one_lamp_in_a_twilight_that_changes_by_itself_is_still_named() -> None:
    tilts = [0.0, 0.02, -0.02, 0.03, -0.03, 0.02, -0.02, 0.12]
    assert list(oddly_lit(_shapes(tilts), [20_000.0] * 8)) == [7]


@pytest.mark.parametrize(
    ("tilts", "noise", "level"),
    [
        ([0.0, 0.01, -0.01, 0.02], 0.001, 20_000.0),  # a twilight that turns
        ([0.0, 0.0], 0.02, 2_000.0),  # noise of faint flats
        ([0.0, 0.08], 0.001, 13.0),  # medians of whole ADU jump by more
        ([], 0.001, 1.0),
        ([0.0], 0.001, 20_000.0),
    ],
)
def test_flats_that_agree_are_not_accused(tilts: list[float], noise: float, level: float) -> None:
    assert disagreement(_shapes(tilts, noise), [level] * len(tilts)) == ""


def test_blocks_without_a_value_are_left_out_of_the_shape() -> None:
    shapes = _shapes([0.0, 0.0, 0.0, 0.2])
    for shape in shapes:
        shape[7] = None
    assert list(oddly_lit(shapes, [20_000.0] * 4)) == [3]
    assert oddly_lit([[None] * 64] * 3, [20_000.0] * 3) == {}
    assert disagreement([[None] * 64] * 3, [20_000.0] * 3) == ""
    assert disagreement(shapes, [20_000.0] * 4)


def test_noise_of_faint_flats_is_no_disagreement_and_hides_none() -> None:
    """Blocks of 3 % noise: two flats differ by 4.2 % rms, more than the limit, and of that nothing is light."""
    rng = np.random.default_rng(5)
    x = np.mgrid[:8, :8][1] / 7.0 - 0.5
    for _ in range(20):
        shapes = 1.0 + 0.03 * rng.standard_normal((3, 8, 8))
        assert disagreement(shapes.reshape(3, -1).tolist(), [20_000.0] * 3) == ""
        shapes[2] *= 1.0 + 0.25 * x
        assert "do not agree in shape" in disagreement(shapes.reshape(3, -1).tolist(), [20_000.0] * 3)


def test_the_limits_of_a_flat_themselves() -> None:
    assert flat_usable(85.0, 100.0) == (True, "")
    assert flat_usable(1000.0, None, bias_level_adu=1000.0) == (False, "too faint: 0.0 ADU above the bias, limit 0.0")


@pytest.mark.parametrize(("two", "named"), [((0.15, -0.15), [6, 7]), ((0.15, 0.17), [])])
def test_two_odd_flats_are_named_unless_they_agree(two: tuple[float, float], named: list[int]) -> None:
    assert list(oddly_lit(_shapes([0.0, 0.002, -0.002, 0.0, 0.001, -0.001, *two]), [20_000.0] * 8)) == named


def test_block_medians_go_row_by_row() -> None:
    """Blocks of 4 rows and 6 columns of a frame that is wider than high: 100 for each row of blocks, 1 for each column."""
    image = np.add.outer(100.0 * (np.arange(32) // 4), np.arange(48.0) // 6)
    image[:4, :6] = np.nan
    truth = [100.0 * y + x for y in range(8) for x in range(8)]
    assert block_medians(image) == [None, *truth[1:]]
