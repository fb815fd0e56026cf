"""What the pixels of a frame tell of its bias: planted frames of a simulated camera, raw and without their bias."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.quality.held_bias import Pattern, Signs, bias_pattern, bias_signs, is_without, light_shown
from nightcrew.simulate.detector import CameraModel, Detector, build_detector

GAIN, NOISE_E, BIAS = 1.3, 7.0, 1000.0
NOISE = NOISE_E / GAIN
Image = NDArray[Any]


@cache
def camera(columns_adu: float = 1.5) -> Detector:
    return build_detector(CameraModel(nx=384, ny=256, bias_column_rms_adu=columns_adu), 5)


@cache
def master(columns_adu: float = 1.5, count: int = 5) -> tuple[Image, Image]:
    """A bias master (mean) and its error."""
    rng = np.random.default_rng(1)
    made = camera(columns_adu)
    frames = [made.read_out(rng, np.zeros(made.shape, np.float32)).astype(float) for _ in range(count)]
    return np.mean(frames, axis=0), np.full(made.shape, np.hypot(NOISE, 12**-0.5) / np.sqrt(count))


@cache
def raw(sky_adu: float, seed: int = 2, columns_adu: float = 1.5) -> Image:
    made = camera(columns_adu)
    return made.expose(np.random.default_rng(seed), np.asarray(made.response * sky_adu * GAIN, np.float32)).astype(float)


def signs(frame: Image, *, gain: float | None = GAIN, columns_adu: float = 1.5) -> Signs:
    bias, error = master(columns_adu)
    found = bias_signs(frame, gain_e_per_adu=gain, read_noise_adu=NOISE, bias=bias, bias_uncertainty=error)
    assert found is not None
    return found


@pytest.mark.parametrize("sky_adu", [0, 50, 900, 3000])
def test_a_raw_frame_that_is_said_to_be_without_its_bias_is_found(sky_adu: float) -> None:
    grade, reason = signs(raw(sky_adu)).told_of()
    assert grade == "D"
    assert "still holds its bias" in reason or "that it holds it" in reason


@pytest.mark.parametrize("sky_adu", [0, 50, 900, 3000, 20_000])
@pytest.mark.parametrize("gain", [GAIN, None, GAIN / 1.25, GAIN * 1.25])
@pytest.mark.parametrize("columns_adu", [0.0, 1.5])
def test_a_frame_without_its_bias_is_never_accused(sky_adu: float, gain: float | None, columns_adu: float) -> None:
    """Be the sky darker than the bias, as bright, or much brighter, and its gain a quarter wrong."""
    frame = raw(sky_adu, columns_adu=columns_adu) - np.round(master(columns_adu, count=4)[0])  # the program's bias is its own
    assert signs(frame, gain=gain, columns_adu=columns_adu).told_of()[0] == "A"


def test_what_no_sign_tells_is_told_to_be_unknown() -> None:
    """A bright sky, no gain and no pattern: the level may be all light."""
    frame = raw(3000, columns_adu=0.0)
    assert signs(frame, gain=None, columns_adu=0.0).told_of() == ("A", "its pixels do not tell whether that is so")


def test_without_a_bias_to_compare_with_the_noise_tells() -> None:
    found = bias_signs(raw(50), gain_e_per_adu=GAIN, read_noise_adu=NOISE)
    assert found is not None
    grade, reason = found.told_of()
    assert (grade, "or its gain is wrong" in reason) == ("D", True)


def test_a_level_alone_that_was_taken_off_leaves_the_pattern() -> None:
    grade, reason = signs(raw(50) - BIAS).told_of()
    assert (grade, "only a level was" in reason) == ("C", True)


def test_a_pedestal_that_was_added_is_told_where_the_pattern_is_gone() -> None:
    grade, reason = signs(raw(50) - np.round(master(count=4)[0]) + BIAS).told_of()
    assert (grade, "a level was added" in reason) == ("C", True)


def test_an_overscan_makes_the_level_right_whatever_is_said() -> None:
    bias, error = master()
    found = bias_signs(raw(50), gain_e_per_adu=GAIN, read_noise_adu=NOISE, bias=bias - BIAS, bias_uncertainty=error, zero_adu=BIAS)
    assert found is not None
    assert found.told_of(has_overscan=True)[0] == "C"  # its pattern stands in it


def test_noise_that_was_smoothed_tells_nothing() -> None:
    """A frame that was interpolated scatters less than its light: it is accused of nothing."""
    frame = raw(900) - BIAS
    smooth = (frame + np.roll(frame, 1, axis=1)) / 2
    assert light_shown(smooth, GAIN, NOISE) is None
    assert light_shown(frame, GAIN, NOISE) == pytest.approx(900, rel=0.1)


@pytest.mark.parametrize("divisor", [100.0, 65_535.0])
def test_numbers_that_were_divided_tell_nothing_by_their_noise(divisor: float) -> None:
    """Whole numbers of a frame that was brought to 8 bits, or fractions of the full scale: no header's gain holds for them."""
    frame = (raw(3000) - BIAS) / divisor
    frame = np.round(frame) if divisor == 100.0 else frame
    assert light_shown(frame, GAIN, NOISE / divisor) is None


@pytest.mark.parametrize("held", [0.0, 1.0])
def test_the_share_of_a_pattern_agrees_with_its_error(held: float) -> None:
    """Over many frames the deviations from the truth are of the size of the errors."""
    bias, error = master()
    pattern = bias - BIAS
    pulls = []
    for seed in range(20):
        frame = np.random.default_rng(seed).normal(200, 20, bias.shape) + held * (camera().bias_adu - BIAS)
        found = bias_pattern(frame, pattern, error)
        assert found is not None
        pulls.append((found.share - held) / found.error)
    assert 0.6 < np.std(pulls) < 1.5
    assert abs(np.mean(pulls)) < 1.0  # the one master's noise is in all of them


def test_channels_that_differ_in_level_and_response_are_no_pattern() -> None:
    """Every second column lies 3 ADU higher in the bias, and responds more under a bright sky: by chance by 3 ADU, too."""
    rng = np.random.default_rng(3)
    columns = 3.0 * (np.arange(384) % 2)
    bias = rng.normal(BIAS, 1.0, (256, 384)) + columns
    frame = rng.normal(2000, 40, (256, 384)) + columns
    found = bias_pattern(frame, bias, np.ones((256, 384)))
    assert found is None or found.told == "unknown"


@pytest.mark.parametrize("sky_adu", [1100, 2000, 3000])
def test_a_bias_that_was_taken_off_in_silence_is_found_under_a_bright_sky(sky_adu: float) -> None:
    bias, error = master()
    without = raw(sky_adu) - np.round(master(count=4)[0])
    told = is_without(without, bias, error, gain_e_per_adu=GAIN, read_noise_adu=NOISE)
    assert "was taken off before it came, which its header does not say" in told


@pytest.mark.parametrize("sky_adu", [0, 900, 3000, 20_000])
@pytest.mark.parametrize("excess", [0.0, 0.02])
def test_a_raw_frame_is_never_said_to_be_without_its_bias(sky_adu: float, excess: float) -> None:
    """Nor where its pixels respond so differently that the scatter is far above the photons'."""
    bias, error = master()
    frame = raw(sky_adu) + np.random.default_rng(4).normal(0, excess * sky_adu + 1e-9, bias.shape)
    assert is_without(frame, bias, error, gain_e_per_adu=GAIN, read_noise_adu=NOISE) == ""


def test_a_share_that_is_neither_of_both_tells_nothing() -> None:
    assert [Pattern(share=share, error=0.02).told for share in (0.0, 1.0, 0.5, 3.0, -2.0)] == ["off", "in", "unknown", "unknown", "unknown"]
