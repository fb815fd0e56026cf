"""Particle hits in single frames do not move a model."""

from __future__ import annotations

import numpy as np
import pytest

from nightcrew.detector.bias_model import fit_bias, level_bias
from nightcrew.detector.dark_model import fit_dark
from nightcrew.detector.hits import hits_of_lines, mean_without_hits
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from tests.detector.made import biases, darks
from tests.detector.test_dark_model import bias, usual


def struck(frames: list[np.ndarray], share: float, adu: float, seed: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """The frames with a share of all pixels hit in one frame each, and which pixels."""
    rng = np.random.default_rng(seed)
    ny, nx = frames[0].shape
    places = rng.choice(ny * nx, round(share * ny * nx), replace=False)
    which = rng.integers(0, len(frames), places.size)
    stack = np.array(frames, np.float64).reshape(len(frames), -1)
    stack[which, places] = np.minimum(stack[which, places] + adu, 65520)
    mask = np.zeros(ny * nx, bool)
    mask[places] = True
    return list(stack.reshape(len(frames), ny, nx).astype(np.uint16)), mask.reshape(ny, nx)


@pytest.mark.parametrize("adu", [400, 3000])
def test_a_hit_does_not_move_the_bias_of_its_pixel(adu: int) -> None:
    made = biases()
    frames, hit = struck(made.frames, 0.05, adu)
    clean, model = fit_bias(made.frames, made.temperatures_c), fit_bias(frames, made.temperatures_c)
    assert model.hits == pytest.approx(hit.sum(), rel=0.02)
    off = (model.value(10.0) - clean.value(10.0)) / clean.error(10.0)
    # One value of forty fewer moves a fit by 1 / sqrt(40) of its error.
    assert float(np.abs(off[hit]).max()) < 2.5
    np.testing.assert_allclose(model.level[~hit], clean.level[~hit], atol=0.2 * float(np.median(clean.level_error)))
    assert np.all(model.count[~hit] == len(frames))
    assert np.median(model.count[hit]) == len(frames) - 1


def test_pixels_without_hits_lose_nothing_and_noisy_ones_are_no_hits() -> None:
    rng = np.random.default_rng(0)
    t = np.linspace(0, 20, 30)
    sigma = np.ones(30)
    values = rng.normal(0, 1, (30, 20_000)).astype(np.float32)
    values[:, 100:200] *= 8
    assert hits_of_lines(values, t, sigma)[:, 200:].sum() == 0
    assert hits_of_lines(values, t, sigma)[:, 100:200].mean() < 0.005
    values[3, :50], values[7, :50], values[20, :50] = 40, 40, 40
    found = hits_of_lines(values, t, sigma)
    assert np.all(found[[3, 7, 20], :50])
    assert found[:, :50].sum() == 150


def test_the_mean_of_a_cell_without_its_hit() -> None:
    rows = np.array([[10, 10], [11, 11], [9, 9], [10, 900], [10, np.nan]], np.float32)
    mean, _, count = mean_without_hits(rows, 1.0)
    assert mean.tolist() == [10.0, 10.0]
    assert count.tolist() == [5, 3]


@pytest.mark.parametrize("adu", [2000, 5000])
def test_a_hit_does_not_move_the_dark_rate_of_its_pixel(adu: int) -> None:
    made = darks(telegraph_fraction=0.0, hits_per_mpx_s=0.0)
    frames, hit = struck(made.frames, 0.05, adu)
    clean = fit_dark(made.frames, made.temperatures_c, made.exposures_s, bias())
    model = fit_dark(frames, made.temperatures_c, made.exposures_s, bias())
    off = ((model.rate - clean.rate) / clean.rate_error)[hit]
    assert float(np.quantile(np.abs(off), 0.98)) < 1.5
    assert abs(float(off.mean())) < 0.1
    unstable = (model.flags & PixelFlag.UNSTABLE) > 0
    assert unstable[hit].mean() < 0.01


def test_a_level_of_one_temperature_holds_there_only_and_of_several_there_is_none() -> None:
    made = biases(0.0)
    same = [frame for frame, t in zip(made.frames, made.temperatures_c, strict=True) if t == 10.0]
    frames, hit = struck(same, 0.02, 2000)
    model, truth = level_bias(frames, [10.0] * len(frames)), made.maps.bias(10.0)
    pulls = (model.level - truth) / model.level_error
    assert float(pulls.std()) == pytest.approx(1, abs=0.05)
    assert float(np.abs(pulls[hit]).max()) < 6
    assert model.hits == pytest.approx(hit.sum(), rel=0.05)
    assert not model.sloped
    assert model.outside(10.4) == ""
    np.testing.assert_allclose(model.error(10.0), model.level_error, rtol=1e-6)
    np.testing.assert_allclose(model.error(10.4), np.hypot(model.level_error, 0.4 * model.frame_noise), rtol=1e-4)
    assert "outside the 10 to 10 C" in model.outside(11.0)
    with pytest.raises(RejectedInput, match="no common level"):
        level_bias([made.frames[0], made.frames[-1]], [-10.0, 30.0])


def test_one_frame_alone_has_an_error_that_is_not_too_small() -> None:
    made = biases(0.0)
    model = level_bias(made.frames[:1], [-10.0])
    off = model.level - made.maps.bias(-10.0)
    assert float(np.median(model.level_error)) > float(off.std())
    assert usual().hot.any()
