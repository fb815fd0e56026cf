from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nightcrew.simulate.cosmics import CHARGE_PER_PIXEL_E, cosmic_rays
from nightcrew.simulate.detector import CameraModel, PixelList, build_detector
from nightcrew.simulate.randomness import FloatImage, generator

MODEL = CameraModel(nx=320, ny=300, hot_fraction=0.0, cold_fraction=0.0, cold_columns=0, prnu=0.0)


def level(value: float, model: CameraModel = MODEL) -> FloatImage:
    return np.full((model.ny, model.nx), value, dtype=np.float32)


@pytest.mark.parametrize("charge_e", [200.0, 3000.0, 40_000.0])
def test_variance_of_pairs_gives_the_gain(charge_e: float) -> None:
    detector = build_detector(MODEL, 1)
    one, two = (detector.expose(generator(1, n), level(charge_e)).astype(float) for n in "ab")
    signal = (one + two).mean() / 2 - MODEL.bias_level_adu
    variance = (one - two).var() / 2 - (MODEL.read_noise_e / MODEL.gain_e_per_adu) ** 2 - 1 / 12
    assert signal / variance == pytest.approx(MODEL.gain_e_per_adu, rel=0.03)
    assert signal * MODEL.gain_e_per_adu == pytest.approx(charge_e, rel=0.005)


def test_pair_of_bias_frames_gives_the_read_noise_and_their_mean_the_bias_structure() -> None:
    detector = build_detector(MODEL, 1)
    frames = [detector.read_out(generator(2, n), level(0)).astype(float) for n in range(16)]
    noise_adu = (frames[0] - frames[1]).std() / np.sqrt(2)
    assert noise_adu**2 == pytest.approx((7.0 / 1.3) ** 2 + 1 / 12, rel=0.02)
    columns = np.mean(frames, axis=0).mean(axis=0)
    assert np.corrcoef(columns, detector.bias_adu.mean(axis=0))[0, 1] > 0.98
    assert np.mean(frames) == pytest.approx(float(detector.bias_adu.mean()), abs=0.02)


def test_dark_current_doubles_as_the_model_says() -> None:
    detector = build_detector(MODEL, 1)
    warm, cold = detector.dark_rate(MODEL.reference_c + MODEL.doubling_c), detector.dark_rate(MODEL.reference_c)
    assert np.allclose(warm, 2 * cold)
    assert np.median(cold) == pytest.approx(MODEL.dark_rate_e_per_s, rel=0.2)


def test_full_well_and_converter_bound_the_numbers() -> None:
    shallow = build_detector(replace(MODEL, full_well_e=30_000), 1)
    assert np.median(shallow.expose(generator(3), level(1e6))) == pytest.approx(shallow.model.saturation_adu, abs=1)
    deep = build_detector(replace(MODEL, full_well_e=1e6), 1)
    assert deep.model.saturation_adu == 65535
    assert deep.expose(generator(3), level(5e5)).min() == 65535


def test_nonlinearity_bends_the_signal() -> None:
    bent = build_detector(replace(MODEL, nonlinearity_per_e=1e-6), 1)
    signal = bent.expose(generator(4), level(40_000)).mean() - bent.bias_adu.mean()
    assert signal == pytest.approx(40_000 * (1 - 0.04) / MODEL.gain_e_per_adu, rel=1e-3)


def test_overscan_follows_the_drift_of_the_bias_and_sees_no_light() -> None:
    detector = build_detector(replace(MODEL, overscan_columns=24, bias_drift_adu=20.0), 1)
    levels = []
    for number in range(6):
        frame = detector.expose(generator(5, number), level(5000)).astype(float)
        assert frame.shape == (MODEL.ny, MODEL.nx + 24)
        overscan = frame[:, MODEL.nx :].mean()
        levels.append(overscan)
        assert frame[:, : MODEL.nx].mean() - overscan == pytest.approx(5000 / 1.3, abs=2)
    assert np.std(levels) > 5


def test_planted_pixels_are_what_the_lists_say() -> None:
    detector = build_detector(CameraModel(nx=200, ny=200, hot_fraction=0.004, cold_fraction=0.002, cold_columns=2), 3)
    assert len(detector.hot.value) == 160
    assert np.allclose(detector.dark_e_per_s[detector.hot.y, detector.hot.x], detector.hot.value)
    assert detector.hot.value.min() >= 8
    assert np.allclose(detector.response[detector.cold.y, detector.cold.x], detector.cold.value)
    assert detector.cold.value.max() <= 0.4
    good = ~detector.cold.mask(detector.shape)
    assert detector.response[good].std() == pytest.approx(detector.model.prnu, rel=0.03)


def test_flat_has_unit_median_and_differs_between_filters() -> None:
    detector = build_detector(CameraModel(nx=200, ny=200), 3)
    first, again, other = (detector.flat(name, 0.15, 5) for name in ("V", "V", "R"))
    assert np.median(first) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.median(first[:20, :20]) < np.median(first[90:110, 90:110]) - 0.05


def test_the_same_seed_gives_the_same_camera_and_another_seed_another() -> None:
    one, same, other = (build_detector(MODEL, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.dark_e_per_s, same.dark_e_per_s)
    assert not np.array_equal(one.dark_e_per_s, other.dark_e_per_s)


def test_cosmic_rays_are_short_strong_tracks_in_the_promised_number() -> None:
    rays = [cosmic_rays(generator(6, n), (500, 500), 2.0, 60.0) for n in range(40)]
    sizes = np.array([len(one.value) for one in rays])
    assert 30 * 2 < sizes.mean() < 30 * 8
    charges = np.concatenate([one.value for one in rays])
    assert charges.min() >= 0.7 * 0.25 * CHARGE_PER_PIXEL_E[0]
    assert 900 < np.median(charges) < 2000
    for one in rays:
        assert one.mask((500, 500)).sum() == len(one.value)


def test_cosmic_rays_add_their_charge_to_the_frame() -> None:
    detector = build_detector(MODEL, 1)
    rays = PixelList(np.array([10, 20]), np.array([30, 40]), np.array([2000.0, 4000.0]))
    without, hit = detector.expose(generator(7), level(100)), detector.expose(generator(7), level(100), rays)
    difference = (hit.astype(int) - without.astype(int)) * MODEL.gain_e_per_adu
    assert difference[10, 30] == pytest.approx(2000, abs=2)
    assert difference[20, 40] == pytest.approx(4000, abs=2)
    assert np.count_nonzero(difference) == 2


def test_no_cosmic_rays_without_exposure() -> None:
    assert cosmic_rays(generator(8), (100, 100), 5.0, 0.0).value.size == 0
