"""bias(T) = a + b T: against exact data and a simulated sensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightcrew.detector.bias_model import fit_bias
from nightcrew.detector.clusters import clusters
from nightcrew.detector.held_out import bias_left_out
from nightcrew.detector.model_files import load_bias, save_bias
from nightcrew.errors import RejectedInput
from tests.detector.made import biases


def test_exact_frames_give_exact_maps() -> None:
    a = np.arange(12.0).reshape(3, 4) + 100
    b = np.linspace(-1, 1, 12).reshape(3, 4)
    t = [-10.0, 0.0, 5.0, 20.0]
    model = fit_bias([(a + b * x).astype(np.float32) for x in t], t)
    np.testing.assert_allclose(model.level, a, rtol=1e-6)
    np.testing.assert_allclose(model.slope, b, atol=1e-5)
    np.testing.assert_allclose(model.value(40.0), a + 40 * b, rtol=1e-6)


@pytest.mark.parametrize("jitter_c", [0.0, 0.05, 0.4])
def test_a_simulated_sensor_is_found_within_its_noise(jitter_c: float) -> None:
    made = biases(jitter_c)
    model = fit_bias(made.frames, made.temperatures_c)
    t = np.asarray(made.temperatures_c)
    noise = np.hypot(made.maps.sensor.read_noise_adu, 16 / np.sqrt(12))
    allowed = noise / np.sqrt(np.sum((t - t.mean()) ** 2))
    off = model.slope - made.maps.slope
    assert abs(float(off.mean())) < 0.01
    assert float(off.std()) < 1.05 * allowed
    pulls = (model.value(12.0) - made.maps.bias(12.0)) / model.error(12.0)
    assert abs(float(pulls.mean())) < 0.05
    assert float(pulls.std()) == pytest.approx(1, abs=0.05)
    assert float(np.median(model.chi2)) == pytest.approx(1, abs=0.05)
    assert model.left_out == ()
    assert model.curvature is not None
    assert not model.curvature.significant


def test_a_frame_at_the_wrong_level_is_named_and_left_out() -> None:
    made = biases()
    frames = list(made.frames)
    frames[7] = frames[7] + np.uint16(160)
    model = fit_bias(frames, made.temperatures_c)
    assert [one.place for one in model.left_out] == [7]
    assert "off the line" in model.left_out[0].reason
    np.testing.assert_allclose(model.slope.mean(), made.maps.slope.mean(), atol=0.01)


def test_a_noisy_frame_is_named_and_left_out() -> None:
    made = biases()
    frames = list(made.frames)
    rng = np.random.default_rng(0)
    frames[3] = (frames[3] + rng.normal(0, 60, frames[3].shape)).astype(np.uint16)
    assert [one.place for one in fit_bias(frames, made.temperatures_c).left_out] == [3]


def test_a_bent_course_is_flagged() -> None:
    made = biases(0.0)
    frames = [(frame + 0.02 * t * t).astype(np.float32) for frame, t in zip(made.frames, made.temperatures_c, strict=True)]
    curvature = fit_bias(frames, made.temperatures_c).curvature
    assert curvature is not None
    assert curvature.significant
    assert curvature.value == pytest.approx(0.02, rel=0.05)


def test_a_course_of_the_pixels_that_no_line_describes_shows_in_chi2() -> None:
    """Noise from the scatter about the line itself made every median chi^2 about 1."""
    rng = np.random.default_rng(6)
    t = np.repeat([0.0, 10.0, 20.0, 30.0], 4)
    bow = rng.choice([-0.02, 0.02], (64, 64))
    for size, low, high in ((0.0, 0.9, 1.1), (1.0, 3.0, 8.0)):
        frames = [(1000 + x + size * bow * (x - 15) ** 2 + rng.normal(0, 1, bow.shape)).astype(np.float32) for x in t]
        model = fit_bias(frames, t.tolist())
        assert model.left_out == ()
        assert low < float(np.median(model.chi2)) < high
        assert model.frame_noise == pytest.approx(1, rel=0.05)
    alone = fit_bias(frames[::4], [0.0, 10.0, 20.0, 30.0])
    assert alone.frame_noise > 1.5  # no pairs: the scatter about the line


def test_weights_follow_the_frames_noise() -> None:
    rng = np.random.default_rng(1)
    t = [0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 20.0, 20.0, 20.0]
    sigma = [1.0, 1.0, 1.0, 1.0, 1.1, 1.0, 1.1, 1.0, 1.0]
    frames = [(100 + x + rng.normal(0, s, (64, 64))).astype(np.float32) for x, s in zip(t, sigma, strict=True)]
    model = fit_bias(frames, t)
    assert float(((model.slope - 1) / model.slope_error).std()) == pytest.approx(1, abs=0.05)


def test_excluded_pixels_are_undefined() -> None:
    made = biases()
    mask = np.zeros(made.maps.level.shape, bool)
    mask[2, 3] = True
    model = fit_bias(made.frames, made.temperatures_c, exclude=mask)
    assert np.isnan(model.level[2, 3])
    assert np.isfinite(model.level).sum() == mask.size - 1


@pytest.mark.parametrize("t", [[0.0, 0.1, 0.2], [0.0, 20.0], [0.0, 5.0, float("nan")]])
def test_too_little_to_fit_is_said(t: list[float]) -> None:
    with pytest.raises(RejectedInput):
        fit_bias([np.ones((4, 4), np.float32)] * len(t), t)


def test_domain_of_validity() -> None:
    model = fit_bias(biases(0.0).frames, biases(0.0).temperatures_c)
    assert model.outside(33.0) == ""
    assert "-10 to 30 C" in model.outside(40.0)


def test_the_model_comes_back_from_disk_and_its_bytes_repeat(tmp_path: Path) -> None:
    model = fit_bias(biases().frames, biases().temperatures_c)
    for name in ("one", "two"):
        save_bias(tmp_path / name, model, durable=False)
    back = load_bias(tmp_path / "one")
    np.testing.assert_array_equal(back.value(3.0), model.value(3.0))
    np.testing.assert_array_equal(back.error(3.0), model.error(3.0))
    assert back.curvature == model.curvature
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    with pytest.raises(RejectedInput, match="no folder of a model"):
        load_bias(tmp_path)


def test_left_out_temperatures_are_foretold() -> None:
    made = biases()
    rows = bias_left_out(made.frames, made.temperatures_c)
    assert [row.frames for row in rows] == [8] * 5
    assert [row.extrapolated for row in rows] == [True, False, False, False, True]
    for row in rows:
        assert row.mae is not None
        assert row.noise is not None
        assert row.measured == pytest.approx(row.predicted, abs=3)
        assert row.mae < (1.9 if row.extrapolated else 1.4) * row.noise


def test_clusters_do_not_mind_jitter_or_order() -> None:
    t = [0.02, 10.1, -0.03, 9.9, 0.0]
    assert [sorted(group.tolist()) for group in clusters(t)] == [[0, 2, 4], [1, 3]]


def test_rows_of_a_model() -> None:
    model = fit_bias(biases().frames, biases().temperatures_c)
    part = model.rows(np.array([3, 5]))
    np.testing.assert_array_equal(part.level, model.level[[3, 5]])
    assert replace(part, level=part.level).shape == (2, 128)
