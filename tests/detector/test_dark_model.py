"""Dark(T, t): shared shape, every pixel, hot and telegraph pixels, hits and saturation, against a simulated sensor."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.detector.bias_model import BiasModel, fit_bias
from nightcrew.detector.dark_model import DarkModel, fit_dark
from nightcrew.detector.dark_shape import DarkShape, fit_shape
from nightcrew.detector.held_out import dark_left_out
from nightcrew.detector.model_files import load_dark, save_dark
from nightcrew.detector.noise import noise_law
from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from tests.detector.made import Made, biases, darks

B_TRUE = math.log(2) / 6.5


@cache
def bias() -> BiasModel:
    return fit_bias(biases().frames, biases().temperatures_c)


def fitted(made: Made, **options: Any) -> DarkModel:
    return fit_dark(made.frames, made.temperatures_c, made.exposures_s, bias(), **options)


@cache
def usual() -> DarkModel:
    return fitted(darks())


def test_the_shared_shape_of_a_simulated_sensor() -> None:
    shape = usual().shape
    assert shape.b == pytest.approx(B_TRUE, rel=0.005)
    assert shape.measured_gamma == pytest.approx(0, abs=0.02)
    assert shape.gamma == 0
    assert shape.doubling_k == pytest.approx(6.5, abs=0.04)
    assert usual().left_out == ()


def test_noise_law_of_a_simulated_sensor() -> None:
    sensor = darks().maps.sensor
    assert usual().noise.read == pytest.approx(np.hypot(sensor.read_noise_adu, 16 / np.sqrt(12)), rel=0.05)
    assert usual().noise.factor == pytest.approx(1 / sensor.gain_e_per_adu, rel=0.1)


@pytest.mark.parametrize("t", [0.0, 10.0, 20.0, 30.0])
@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_median_rate_within_one_percent_and_pulls_of_width_one(t: float, seconds: float) -> None:
    model, maps = usual(), darks().maps
    truth, made = maps.dark(t, seconds), model.signal(t, seconds)
    assert float(np.median(made)) == pytest.approx(float(np.median(truth)), rel=0.01)
    ok = model.flags == 0
    pulls = ((made - truth) / model.error(t, seconds))[ok]
    assert abs(float(pulls.mean())) < 0.1
    assert float(pulls.std()) == pytest.approx(1, abs=0.12)


def test_hot_and_telegraph_pixels_are_told_apart() -> None:
    model, maps = usual(), darks().maps
    unstable = (model.flags & PixelFlag.UNSTABLE) > 0
    assert (model.hot & maps.hot).sum() >= 0.99 * maps.hot.sum()
    assert (model.hot & ~maps.hot & ~maps.telegraph).sum() <= 1
    assert (unstable & maps.telegraph).sum() >= 0.95 * maps.telegraph.sum()
    assert (unstable & ~maps.telegraph).sum() <= 1


def test_hits_do_not_move_a_pixel() -> None:
    made = darks(hits_per_mpx_s=0.0)
    frames = [frame.copy() for frame in made.frames]
    rng = np.random.default_rng(5)
    places = rng.choice(frames[0].size, 60, replace=False)
    for place in places:
        frames[rng.integers(len(frames))].flat[place] += np.uint16(6000)
    clean = fit_dark(made.frames, made.temperatures_c, made.exposures_s, bias())
    hit = fit_dark(frames, made.temperatures_c, made.exposures_s, bias())
    steady = (clean.flags.flat[places] & PixelFlag.UNSTABLE) == 0
    change = (hit.rate - clean.rate).flat[places][steady] / clean.rate_error.flat[places][steady]
    assert float(np.abs(change).max()) < 1.5


def test_saturated_values_are_left_out() -> None:
    made = darks(hot_factors=(60.0, 100.0))
    model = fitted(made)
    hot = made.maps.hot
    saturated = (model.flags & PixelFlag.SATURATED) > 0
    assert saturated[hot].mean() > 0.5
    t = model.shape.reference_c
    ratio = model.rate[hot] / made.maps.dark(t, 1.0)[hot]
    np.testing.assert_allclose(ratio, 1, atol=0.05)


def test_numbering_and_order_of_the_frames_do_not_matter() -> None:
    made = darks()
    order = np.random.default_rng(2).permutation(len(made.frames))
    other = fit_dark([made.frames[i] for i in order], [made.temperatures_c[i] for i in order], [made.exposures_s[i] for i in order], bias())
    assert other.shape.b == pytest.approx(usual().shape.b, rel=1e-3)
    np.testing.assert_allclose(other.rate, usual().rate, rtol=0.02, atol=2)


def test_a_frame_with_light_is_named_and_left_out() -> None:
    made = darks()
    frames = list(made.frames)
    frames[30] = frames[30] + np.uint16(1600)
    model = fit_dark(frames, made.temperatures_c, made.exposures_s, bias())
    assert [one.place for one in model.left_out] == [30]
    assert model.shape.b == pytest.approx(B_TRUE, rel=0.005)


def test_a_real_gamma_is_found_and_used() -> None:
    model = fitted(darks(gamma=-0.08))
    assert model.shape.gamma == pytest.approx(-0.08, abs=0.01)
    truth = darks(gamma=-0.08).maps.dark(20.0, 10.0)
    assert float(np.median(model.signal(20.0, 10.0))) == pytest.approx(float(np.median(truth)), rel=0.01)
    assert fitted(darks(gamma=-0.08), free_gamma=False).shape.gamma_error is None


def test_errors_hold_what_gamma_leaves_open() -> None:
    model = usual()
    shape = replace(model.shape, gamma=0.0, gamma_error=0.003, measured_gamma=0.01)
    dropped = replace(model, shape=shape)
    plain = replace(model, shape=replace(shape, gamma_error=None, measured_gamma=None))
    for t, seconds in ((20.0, 20.0), (25.0, 1.0)):
        added = np.sqrt(dropped.error(t, seconds).astype(float) ** 2 - plain.error(t, seconds).astype(float) ** 2)
        expected = math.hypot(0.003, 0.01) * abs(math.log(seconds / shape.reference_s)) * np.abs(model.signal(t, seconds))
        np.testing.assert_allclose(added, expected, rtol=0.01, atol=0.1)
    same = (20.0, shape.reference_s)
    np.testing.assert_array_equal(dropped.error(*same), plain.error(*same))


def test_weak_pixels_share_one_b_and_say_so() -> None:
    made = darks(dark_rate_adu_per_s=0.5, hot_factors=(400.0, 900.0))
    model = fitted(made)
    own = np.isfinite(model.db_error)
    assert not own[~made.maps.hot & ~made.maps.telegraph].any()
    assert own[made.maps.hot].mean() > 0.9
    assert np.all(model.db[~own] == 0)
    assert model.shape.b == pytest.approx(B_TRUE, rel=0.03)


def test_arrhenius_and_exponential_agree_near_the_reference() -> None:
    made = darks()
    other = fitted(made, law="arrhenius", reference_c=20.0)
    assert other.shape.u(20.0) == 0
    assert other.shape.b == pytest.approx(B_TRUE, rel=0.1)
    assert other.shape.activation_ev == pytest.approx(other.shape.b * 8.617e-5 * 293.15**2, rel=1e-4)
    np.testing.assert_allclose(np.median(other.signal(20, 10)), np.median(usual().signal(20, 10)), rtol=0.05)


def test_arrhenius_data_give_their_energy() -> None:
    t = np.repeat([-10.0, 0.0, 10.0, 20.0, 30.0], 2)
    seconds = np.tile([10.0, 20.0], 5)
    true = DarkShape(law="arrhenius", reference_c=10.0, reference_s=15.0, b=0.09)
    levels = 50 * true.factor(t, seconds)
    found = fit_shape(levels.tolist(), (0.001 * levels).tolist(), t.tolist(), seconds.tolist(), law="arrhenius", reference_c=10.0)
    assert found.b == pytest.approx(0.09, rel=1e-6)
    assert found.rate == pytest.approx(50, rel=1e-6)


def test_one_temperature_determines_no_b() -> None:
    made = darks()
    chosen = [i for i, t in enumerate(made.temperatures_c) if abs(t - 20) < 1]
    model = fit_dark([made.frames[i] for i in chosen], [20.0] * len(chosen), [made.exposures_s[i] for i in chosen], bias())
    assert model.shape.b_error is None
    assert model.shape.doubling_k is None
    assert model.outside(20.2, 5.0) == ""
    assert "outside" in model.outside(25.0, 5.0)


def test_an_exponent_that_one_exposure_does_not_tell_is_part_of_the_error() -> None:
    """Darks of 10 s alone, of a sensor whose signal goes as t^0.92: foretold for 2 s within what the error says."""
    made = darks(exposures_s=(10,), gamma=-0.08)
    model, truth = fitted(made), made.maps.dark(20.0, 2.0)
    assert model.shape.gamma_error is None
    pulls = ((model.signal(20.0, 2.0) - truth) / model.error(20.0, 2.0))[model.flags == 0]
    assert abs(float(np.median(pulls))) < 2
    share = model.error(20.0, 2.0) / model.signal(20.0, 2.0)
    assert float(np.median(share)) == pytest.approx(0.1 * math.log(5), rel=0.05)
    own = ((model.signal(20.0, 10.0) - made.maps.dark(20.0, 10.0)) / model.error(20.0, 10.0))[model.flags == 0]
    assert float(own.std()) == pytest.approx(1, abs=0.12)  # at the exposure that was measured nothing is added


def test_an_exponent_that_was_held_at_0_on_purpose_adds_nothing() -> None:
    made = darks()
    model = fitted(made, free_gamma=False)
    wide = replace(model, exposures_s=(10.0, 10.0))
    assert float(np.median(model.error(20.0, 1.0))) < 0.5 * float(np.median(wide.error(20.0, 1.0)))


def test_domain_of_validity() -> None:
    model = usual()
    assert model.outside(25.0, 20.0) == ""
    assert "0." in model.outside(-20.0, 5.0) or "C that the dark model" in model.outside(-20.0, 5.0)
    assert "longer than the 20 s" in model.outside(20.0, 300.0)


def test_cells_left_out_are_foretold() -> None:
    made = darks()
    rows = dark_left_out(made.frames, made.temperatures_c, made.exposures_s, bias(), pixels=4096)
    assert len(rows) == 16
    for row in rows:
        assert row.measured == pytest.approx(row.predicted, rel=0.02, abs=3)
        assert row.mae is not None
        assert row.noise is not None
        assert row.mae < 2 * row.noise + 0.02 * (row.measured or 0)


def test_no_dark_current_is_said() -> None:
    made = darks(dark_rate_adu_per_s=0.0, hot_fraction=0.0, telegraph_fraction=0.0, hits_per_mpx_s=0.0)
    with pytest.raises(RejectedInput, match="no dark current"):
        fitted(made)


@pytest.mark.parametrize("exposure", [0.0, float("nan")])
def test_darks_without_exposure_are_rejected(exposure: float) -> None:
    with pytest.raises(RejectedInput, match="exposure above 0"):
        fit_dark(darks().frames[:4], [1.0] * 4, [1.0, 1.0, 1.0, exposure], bias())


def test_other_sizes_are_rejected() -> None:
    with pytest.raises(RejectedInput):
        fit_dark([np.ones((3, 3), np.uint16)] * 4, [1.0] * 4, [1.0] * 4, bias())


@pytest.mark.parametrize("two_dimensional", [True, False])
def test_the_model_comes_back_from_disk(tmp_path: Path, two_dimensional: bool) -> None:
    for name in ("one", "two"):
        save_dark(tmp_path / name, usual(), two_dimensional=two_dimensional, durable=False)
    back = load_dark(tmp_path / "one")
    np.testing.assert_allclose(back.signal(13.0, 7.0), usual().signal(13.0, 7.0), rtol=1e-6)
    np.testing.assert_allclose(back.error(13.0, 7.0), usual().error(13.0, 7.0), rtol=1e-6)
    np.testing.assert_array_equal(back.flags, usual().flags)
    assert back.shape == usual().shape
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    tail = "_2d" if two_dimensional else ""
    with np.load(tmp_path / "one" / f"global_params{tail}.npz") as numbers:
        assert {"A_g", "B_g", "t_min"} <= set(numbers)


def test_noise_law_without_pairs_is_an_upper_bound() -> None:
    rng = np.random.default_rng(3)
    frames = rng.normal(100, 5, (2, 20_000)).astype(np.float32)
    law = noise_law(frames, ["a", "b"], [0.0, 10.0])
    assert law.factor == 0
    assert law.read == pytest.approx(5, rel=0.05)
