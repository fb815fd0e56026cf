"""Limits of a picture; zscale against IRAF's definition."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.visualization import ZScaleInterval
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.tools import scaling
from nightcrew.tools.scaling import limits, zscale


def test_zscale_of_an_exact_line_is_its_slope_over_the_contrast_within_the_extremes() -> None:
    ramp = np.arange(1000.0).reshape(1, 1000)
    assert zscale(ramp, samples=1000) == (0.0, 999.0)
    low, high = zscale(ramp, contrast=2.0, samples=1000)
    assert (low, high) == pytest.approx((499.5 - 499 * 0.5, 499.5 + 500 * 0.5))


def test_zscale_keeps_the_sky_visible_beside_bright_stars() -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(1000, 20, (400, 400))
    image[rng.random(image.shape) < 0.02] += 30_000
    low, high = zscale(image)
    assert 900 < low < 1000 < high < 1200
    assert limits(image, "minmax")[1] > 30_000


def test_zscale_is_near_that_of_astropy_on_noise() -> None:
    image = np.random.default_rng(6).normal(1000, 20, (499, 601))
    ours, theirs = zscale(image), ZScaleInterval().get_limits(image)
    assert ours == pytest.approx([float(value) for value in theirs], abs=25)


def test_constant_tiny_thin_and_empty_images_have_limits() -> None:
    assert zscale(np.full((5, 5), 3.0)) == (3.0, 3.0)
    assert zscale(np.array([[1.0, 2.0]])) == (1.0, 2.0)
    assert zscale(np.full((3, 3), np.nan)) == (0.0, 1.0)
    assert zscale(np.arange(1e5).reshape(1, -1)) == zscale(np.arange(1e5).reshape(1, -1) + 0.0)
    assert zscale(np.arange(1e5).reshape(-1, 1))[1] > 9e4


def test_too_many_rejected_pixels_give_the_extremes(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(7).normal(0, 1, (40, 40))
    image[:4] = 1000.0
    assert zscale(image)[1] < 100
    monkeypatch.setattr(scaling, "_MAX_REJECT", 0.95)
    assert zscale(image, samples=1600) == (image.min(), 1000.0)


def test_sigma_minmax_and_fixed_limits() -> None:
    image = np.array([[1.0, 3.0], [np.nan, np.inf]])
    assert limits(image, "sigma", sigmas=2.0) == (0.0, 4.0)
    assert limits(image, "minmax") == (1.0, 3.0)
    assert limits(image, "limits", fixed=(9.0, 2.0)) == (2.0, 9.0)
    with pytest.raises(Refused, match="two different numbers"):
        limits(image, "limits", fixed=(2.0, 2.0))
    with pytest.raises(Refused, match="no scale 'log'"):
        limits(image, "log")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-1e4, 1e4))
def test_zscale_follows_shift_and_scale(seed: int, scale: float, shift: float) -> None:
    image = np.random.default_rng(seed).normal(0, 1, (40, 50))
    low, high = zscale(image)
    assert zscale(image * scale + shift) == pytest.approx((low * scale + shift, high * scale + shift), rel=1e-6, abs=1e-6 * scale)
