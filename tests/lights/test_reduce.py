"""Reduction of one light against analytic and simulated truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import RejectedInput
from nightcrew.frames.flags import PixelFlag
from nightcrew.lights.reduce import Master, ReducedLight, ReduceParameters, reduce_light
from tests.photometry.field import add_star

GAIN, READ_NOISE_E = 1.6, 7.0


def plane(value: float, shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    return np.full(shape, value, np.float32)


class TestAlgebra:
    def test_each_step_is_done_once_and_in_order(self) -> None:
        raw = plane(1000.0)
        light = reduce_light(
            raw,
            parameters=ReduceParameters(gain_e_per_adu=2.0, read_noise_e=5.0),
            bias=Master(plane(300.0)),
            dark=Master(plane(50.0)),
            flat=Master(plane(0.5)),
        )
        assert np.all(light.science == (1000 - 300 - 50) * 2.0 / 0.5)
        assert light.unit == "electron"
        assert light.facts["steps"] == ["bias", "dark (bias removed, x 1)", "flat", "gain"]

    def test_dark_with_its_bias_replaces_the_bias(self) -> None:
        parameters = ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, dark_includes_bias=True)
        light = reduce_light(plane(1000.0), parameters=parameters, bias=Master(plane(300.0)), dark=Master(plane(350.0)))
        assert np.all(light.science == 650.0)
        assert np.allclose(light.uncertainty**2, 25 + 650 + 50)  # the bias still tells the 50 thermal electrons

    def test_scaled_dark(self) -> None:
        parameters = ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, dark_scale=3.0)
        light = reduce_light(plane(1000.0), parameters=parameters, bias=Master(plane(300.0)), dark=Master(plane(50.0)))
        assert np.all(light.science == 550.0)

    @pytest.mark.parametrize("held", [False, True])
    def test_a_bias_that_was_taken_off_is_not_taken_off_again(self, held: bool) -> None:
        parameters = ReduceParameters(bias_taken_off=True, dark_includes_bias=held)
        bias, dark = (None, Master(plane(300.0))) if held else (Master(plane(300.0)), None)
        with pytest.raises(ValueError, match="must not be taken off again"):
            reduce_light(plane(1.0), parameters=parameters, bias=bias, dark=dark)

    def test_without_its_bias_a_frame_has_no_pedestal(self) -> None:
        rng = np.random.default_rng(4)
        frame = rng.poisson(400.0, (200, 200)) + rng.normal(0.0, 5.0, (200, 200))
        parameters = ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, bias_taken_off=True)
        light = reduce_light(frame.astype(np.float32), parameters=parameters)
        assert np.median(light.uncertainty**2) == pytest.approx(425.0, rel=0.01)
        assert light.facts["notes"] == ["no dark: step skipped", "no flat: step skipped"]
        assert "bias (before it came)" in light.facts["steps"]

    def test_dark_with_bias_is_never_scaled(self) -> None:
        parameters = ReduceParameters(dark_includes_bias=True, dark_scale=2.0)
        with pytest.raises(ValueError, match="holds its bias cannot be scaled"):
            reduce_light(plane(1.0), parameters=parameters, dark=Master(plane(0.0)))

    def test_bias_is_not_both_in_and_out_of_the_dark(self) -> None:
        parameters = ReduceParameters(dark_includes_bias=True, dark_shares_bias=True)
        with pytest.raises(ValueError, match="not both"):
            reduce_light(plane(1.0), parameters=parameters, dark=Master(plane(0.0)))

    def test_overscan_by_rows_and_trim(self) -> None:
        raw = np.zeros((10, 30), np.uint16)
        raw += (np.arange(10, dtype=np.uint16) * 10 + 100)[:, None]
        raw[:, :24] += 500
        parameters = ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, trim=(0, 24, 0, 10), overscan=(24, 30, 0, 10))
        light = reduce_light(raw, parameters=parameters)
        assert light.science.shape == (10, 24)
        assert np.all(light.science == 500.0)

    def test_overscan_above_the_frame_gives_one_level(self) -> None:
        raw = np.full((12, 20), 600, np.uint16)
        raw[10:] = 100
        parameters = ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, trim=(0, 20, 0, 10), overscan=(0, 20, 10, 12))
        light = reduce_light(raw, parameters=parameters)
        assert np.all(light.science == 500.0)
        assert light.facts["overscan_adu"] == 100.0

    def test_skipped_steps_are_named(self) -> None:
        notes = reduce_light(plane(10.0), parameters=ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0)).facts["notes"]
        assert notes[:3] == ["no bias: step skipped", "no dark: step skipped", "no flat: step skipped"]
        assert "the bias is still in" in notes[3]

    @pytest.mark.parametrize("name", ["bias", "dark", "flat"])
    def test_master_of_another_shape_is_rejected_by_name(self, name: str) -> None:
        masters: dict[str, Any] = {name: Master(plane(1.0, (4, 5)))}
        with pytest.raises(RejectedInput, match=f"the {name} has 5 x 4 pixels, the light 24 x 20"):
            reduce_light(plane(1.0), **masters)

    def test_region_outside_the_frame_is_rejected(self) -> None:
        with pytest.raises(RejectedInput, match="overscan region"):
            reduce_light(plane(1.0), parameters=ReduceParameters(overscan=(20, 40, 0, 20)))

    @settings(max_examples=10, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def test_threads_do_not_matter(self, ny: int, nx: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        raw = rng.poisson(400.0, (ny, nx)).astype(np.uint16)
        parameters = ReduceParameters(gain_e_per_adu=1.5, read_noise_e=4.0)
        one, two = (reduce_light(raw, parameters=parameters, threads=n) for n in (1, 2))
        assert np.array_equal(one.science, two.science)
        assert np.array_equal(one.uncertainty, two.uncertainty)


class TestFlags:
    def test_saturation_is_judged_on_the_raw_value(self) -> None:
        raw = np.full((20, 24), 30000, np.uint16)
        raw[3, 4] = 50000
        light = reduce_light(
            raw, parameters=ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0, saturation_adu=50000), bias=Master(plane(1000.0))
        )
        assert light.mask[3, 4] == PixelFlag.SATURATED
        assert np.count_nonzero(light.mask) == 1
        assert light.facts["saturated_pixels"] == 1

    def test_saturation_of_integers_is_their_largest_value_by_default(self) -> None:
        raw = np.full((20, 24), 100, np.uint8)
        raw[0, 0] = 255
        assert reduce_light(raw).mask[0, 0] == PixelFlag.SATURATED

    def test_zero_negative_and_missing_flat_is_flagged_and_has_no_value(self) -> None:
        flat = plane(1.0)
        flat[0, 0], flat[1, 1], flat[2, 2] = 0.0, -1.0, np.nan
        light = reduce_light(plane(100.0), parameters=ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0), flat=Master(flat))
        for i in range(3):
            assert light.mask[i, i] == PixelFlag.BAD_FLAT | PixelFlag.NO_DATA
            assert np.isnan(light.science[i, i])
            assert np.isnan(light.uncertainty[i, i])
        assert np.isfinite(light.uncertainty).sum() == light.mask.size - 3

    def test_missing_raw_value_is_flagged_never_zero(self) -> None:
        raw = plane(100.0)
        raw[5, 5] = np.nan
        light = reduce_light(raw, parameters=ReduceParameters(gain_e_per_adu=1.0, read_noise_e=5.0))
        assert light.mask[5, 5] == PixelFlag.NO_DATA
        assert np.isnan(light.science[5, 5])

    def test_masks_of_all_masters_are_joined_by_or(self) -> None:
        masks = [np.zeros((20, 24), np.uint16) for _ in range(4)]
        for mask, bit in zip(masks, (PixelFlag.HOT, PixelFlag.HOT, PixelFlag.UNSTABLE, PixelFlag.COLD), strict=True):
            mask[7, 8] = bit
        light = reduce_light(
            plane(100.0),
            bias=Master(plane(1.0), None, masks[0]),
            dark=Master(plane(1.0), None, masks[1]),
            flat=Master(plane(1.0), None, masks[2]),
            bad_pixels=masks[3],
        )
        assert light.mask[7, 8] == PixelFlag.HOT | PixelFlag.UNSTABLE | PixelFlag.COLD


class TestUnknowns:
    def test_without_gain_it_stays_in_adu_and_says_so(self) -> None:
        rng = np.random.default_rng(3)
        raw = rng.normal(500.0, 12.0, (200, 200)).astype(np.float32)
        light = reduce_light(raw)
        assert light.unit == "adu"
        assert np.median(light.uncertainty) == pytest.approx(12.0, rel=0.03)
        assert any("gain unknown" in note for note in light.facts["notes"])

    def test_without_read_noise_it_is_what_photons_do_not_explain(self) -> None:
        rng = np.random.default_rng(4)
        raw = (rng.poisson(400.0, (300, 300)) + rng.normal(0, 30.0, (300, 300))).astype(np.float32)
        light = reduce_light(raw, parameters=ReduceParameters(gain_e_per_adu=1.0))
        assert light.facts["read_noise"] == pytest.approx(30.0, rel=0.03)

    def test_a_bias_that_is_still_in_is_no_light(self) -> None:
        rng = np.random.default_rng(6)
        raw = (1000.0 + rng.poisson(200.0, (300, 300)) / 2.0 + rng.normal(0, 3.0, (300, 300))).astype(np.float32)
        light = reduce_light(raw, parameters=ReduceParameters(gain_e_per_adu=2.0, read_noise_e=6.0))
        assert np.median(light.science) == pytest.approx(2200.0, abs=1.0)
        assert np.median(light.uncertainty) == pytest.approx(np.sqrt(200 + 36), rel=0.05)

    def test_read_noise_is_never_below_the_quantisation(self) -> None:
        light = reduce_light(plane(0.0), parameters=ReduceParameters(gain_e_per_adu=4.0, read_noise_e=0.0, quantisation_step_adu=2.0))
        assert light.facts["read_noise"] == pytest.approx(8.0 / np.sqrt(12.0))


def simulated(size: int, sky_e: float, seed: int) -> tuple[ReducedLight, np.ndarray, np.ndarray, np.ndarray]:
    """A light with stars, its masters from simulated frames; returns the reduced light, true signal, true variance and good pixels."""
    rng = np.random.default_rng(seed)
    shape = (size, size)
    bias = rng.normal(300.0, 3.0, shape)
    dark_e = rng.gamma(4.0, 5.0, shape)
    flat = (1.0 + rng.normal(0.0, 0.01, shape)) * (1.0 - 0.2 * np.linspace(-1, 1, size)[:, None] ** 2)
    flat /= np.median(flat)
    sky = np.full(shape, sky_e)
    for _ in range(size * size // 2500):
        add_star(sky, rng.uniform(0, size), rng.uniform(0, size), 10 ** rng.uniform(2.5, 5.5), 1.7)

    def master_noise(sigma_adu: float) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(0.0, sigma_adu, shape), np.full(shape, sigma_adu, np.float32)

    read_adu = READ_NOISE_E / GAIN
    bias_noise, bias_sigma = master_noise(read_adu / np.sqrt(20))
    dark_noise, dark_sigma = master_noise(np.hypot(read_adu, np.sqrt(20.0) / GAIN) / np.sqrt(20))
    flat_noise, flat_sigma = master_noise(0.002)
    raw = np.rint((rng.poisson(flat * sky + dark_e) + rng.normal(0.0, READ_NOISE_E, shape)) / GAIN + bias).clip(0, 65535).astype(np.uint16)
    light = reduce_light(
        raw,
        parameters=ReduceParameters(gain_e_per_adu=GAIN, read_noise_e=READ_NOISE_E, saturation_adu=60000),
        bias=Master((bias + bias_noise).astype(np.float32), bias_sigma),
        dark=Master((dark_e / GAIN + dark_noise).astype(np.float32), dark_sigma),
        flat=Master((flat + flat_noise).astype(np.float32), flat_sigma),
    )
    masters_e2 = GAIN**2 * (bias_sigma**2 + dark_sigma**2)
    read_e2 = READ_NOISE_E**2 + GAIN**2 / 12.0
    variance = (read_e2 + flat * sky + dark_e + masters_e2) / flat**2 + (sky * flat_sigma / flat) ** 2
    return light, sky, variance, light.mask == 0


class TestAcceptance:
    @pytest.mark.parametrize("sky_e", [0.0, 30.0, 400.0])
    def test_pulls_and_variance_agree_with_the_truth(self, sky_e: float) -> None:
        light, sky, variance, good = simulated(700, sky_e, seed=11)
        pulls = ((light.science - sky) / np.sqrt(variance))[good]
        assert abs(pulls.mean()) < 0.02
        assert pulls.std() == pytest.approx(1.0, abs=0.05)
        assert np.mean(light.uncertainty[good] ** 2) == pytest.approx(variance[good].mean(), rel=0.02)
        assert np.median(light.uncertainty[good] ** 2 / variance[good]) == pytest.approx(1.0, rel=0.02)

    def test_weighted_mean_is_not_biased_by_the_uncertainties(self) -> None:
        light, sky, _, good = simulated(500, 30.0, seed=12)
        empty = good & (sky < 30.01)
        weight = light.uncertainty[empty].astype(float) ** -2
        mean = np.average(light.science[empty], weights=weight)
        assert abs(mean - 30.0) < 0.3  # a variance from own counts would put it 1 e too low

    @pytest.mark.parametrize("scale", [1.0, 2.5])
    def test_error_of_a_shared_bias_cancels(self, scale: float) -> None:
        rng = np.random.default_rng(5)
        shape = (400, 400)
        bias_error = rng.normal(0, 4.0, shape)
        raw = 300.0 + rng.normal(0, 10.0, shape)
        dark_of_frames = rng.normal(0, 2.0, shape)
        light = reduce_light(
            raw.astype(np.float32),
            parameters=ReduceParameters(gain_e_per_adu=1.0, read_noise_e=10.0, dark_shares_bias=True, dark_scale=scale),
            bias=Master((300 + bias_error).astype(np.float32), plane(4.0, shape)),
            dark=Master((dark_of_frames - bias_error).astype(np.float32), plane(2.0, shape)),
        )
        assert np.mean(light.uncertainty**2) == pytest.approx(light.science.var(), rel=0.02)
