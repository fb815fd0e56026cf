"""Gain, read noise and dark current: simulated truth, and the real frames of an SBIG STL-1001."""

from __future__ import annotations

import numpy as np
import pytest

from nightcrew.quality.camera_numbers import central_region, dark_current, dark_level, disjoint_pairs, gain, pair_variance, read_noise
from tests.realdata import folder

GAIN, NOISE_ADU = 1.7, 5.5


def frames(n: int, level_e: float, seed: int, size: int = 500) -> list[np.ndarray]:
    """Frames of a camera with strong fixed pattern, defects and cosmic rays."""
    rng, pattern_rng = np.random.default_rng(seed), np.random.default_rng(99)
    response = 1.0 + pattern_rng.normal(0, 0.02, (size, size))
    offset = 1000.0 + pattern_rng.normal(0, 10.0, (size, size))
    hot = pattern_rng.random((size, size)) < 1e-3
    result = []
    for i in range(n):
        electrons = rng.poisson(level_e * (1 + 0.02 * i) * response).astype(float)
        electrons[hot] += rng.poisson(30000.0, np.count_nonzero(hot))
        electrons[rng.random((size, size)) < 5e-5] += 4000.0
        result.append(np.rint(electrons / GAIN + offset + rng.normal(0, NOISE_ADU, (size, size))).astype(np.uint16))
    return result


class TestSimulated:
    def test_read_noise_within_three_errors(self) -> None:
        found = read_noise(frames(6, 0.0, seed=1))
        expected = np.sqrt(NOISE_ADU**2 + 1 / 12)
        assert found.n_pairs == 3
        assert found.value is not None
        assert found.error is not None
        assert found.error < 0.01 * expected
        assert abs(found.value - expected) < 3 * found.error + 0.001 * expected

    @pytest.mark.parametrize("level_e", [2000.0, 30000.0])
    def test_gain_within_three_errors_and_a_permille(self, level_e: float) -> None:
        found = gain(frames(6, level_e, seed=2), frames(4, 0.0, seed=3))
        assert found.n_pairs == 3
        assert found.value is not None
        assert found.error is not None
        assert found.error < 0.005 * GAIN
        assert abs(found.value - GAIN) < 3 * found.error + 0.001 * GAIN

    def test_one_frame_is_no_pair_and_says_so(self) -> None:
        assert read_noise(frames(1, 0.0, seed=1, size=50)).reason == "1 bias frames: two are needed"
        assert "two are needed" in gain([], frames(2, 0.0, seed=1, size=50)).reason

    def test_equal_biases_hide_the_noise(self) -> None:
        assert "quantisation" in read_noise([np.full((50, 50), 11, np.uint8)] * 4).reason

    def test_unfit_flats_are_told(self) -> None:
        biases = frames(2, 0.0, seed=4, size=100)
        bright, faint = frames(1, 50000.0, seed=5, size=100)[0], frames(1, 20000.0, seed=6, size=100)[0]
        assert "factor of 2.50" in gain([bright, faint], biases).reason
        assert gain([bright, bright], biases, saturation_adu=20000.0).reason == "flats are saturated"
        assert "not above the bias" in gain(frames(2, 0.0, seed=8, size=100), biases).reason

    def test_each_frame_is_in_one_pair(self) -> None:
        pairs = disjoint_pairs([np.full((1, 1), i) for i in range(5)])
        assert [(int(a[0, 0]), int(b[0, 0])) for a, b in pairs] == [(0, 1), (2, 3)]

    def test_dark_current_is_the_slope(self) -> None:
        found = dark_current([100.0, 110.1, 119.9, 130.0], [0.0, 10.0, 20.0, 30.0])
        assert found.value == pytest.approx(1.0, abs=0.01)
        assert found.error == pytest.approx(0.004, abs=0.003)
        assert dark_current([1.0, 2.0], [5.0, 5.0]).value is None
        with pytest.raises(ValueError, match="2 levels"):
            dark_current([1.0, 2.0], [5.0])

    def test_central_region(self) -> None:
        assert central_region(np.zeros((100, 60)), 0.5).shape == (50, 30)
        with pytest.raises(ValueError, match="fraction"):
            central_region(np.zeros((5, 5)), 0.0)


def load(pattern: str) -> tuple[list[np.ndarray], list[float]]:
    from astropy.io import fits

    images, exposures = [], []
    for path in sorted(folder("ccd_stl1001").glob(pattern)):
        with fits.open(path, memmap=False) as hdus:
            images.append(np.asarray(hdus[0].data))
            exposures.append(float(hdus[0].header["EXPTIME"]))
    return images, exposures


class TestStl1001:
    """What is known of these frames stands in the README beside them: 2.0 e-/ADU, 6.56 ADU, 0.341 and 0.168 ADU/s."""

    def test_gain(self) -> None:
        found = gain(load("flat-*Neg5*")[0], load("biases-Neg5*")[0])
        assert found.value == pytest.approx(2.0, rel=0.03)

    @pytest.mark.parametrize("pattern", ["biases-Neg5*", "bias-Neg10*"])
    def test_read_noise(self, pattern: str) -> None:
        assert read_noise(load(pattern)[0]).value == pytest.approx(6.56, rel=0.05)

    @pytest.mark.parametrize(("pattern", "expected"), [("darks-*Neg5*", 0.341), ("darks-*Neg10*", 0.168)])
    @pytest.mark.parametrize("fraction", [0.5, 600 / 1024])
    def test_dark_current(self, pattern: str, expected: float, fraction: float) -> None:
        images, exposures = load(pattern)
        found = dark_current([dark_level(image, fraction=fraction) for image in images], exposures)
        assert found.value == pytest.approx(expected, rel=0.03)


SIGNS = np.where(np.indices((100, 100)).sum(axis=0) % 2 == 0, 1.0, -1.0)
N_CENTRAL = 50 * 50


def pair(level: float, half_difference: float) -> tuple[np.ndarray, np.ndarray]:
    """Two frames whose difference is plus or minus twice ``half_difference``: variance of one 2 ``half_difference``^2."""
    return level + half_difference * SIGNS, level - half_difference * SIGNS


class TestAnalytic:
    def test_variance_of_a_pair_and_its_error(self) -> None:
        assert pair_variance(*pair(100.0, 1.0)) == pytest.approx((2.0, 2.0 * np.sqrt(2 / (100 * 100 - 1))))
        one, other = pair(100.0, 1.0)
        assert pair_variance(one, 2 * other, 0.5)[0] == pytest.approx(4.0 / 1.25)

    def test_hot_pixels_take_no_part(self) -> None:
        one, other = pair(100.0, 0.5)
        one[40, :], other[40, :] = 1100.0 + 1.5 * SIGNS[40], 1100.0 - 1.5 * SIGNS[40]  # three times the scatter: no clip takes it
        assert pair_variance(one, other)[0] == pytest.approx(0.5)

    def test_read_noise_and_its_error(self) -> None:
        one = 2.0 * np.sqrt(2 / (N_CENTRAL - 1)) / (2 * np.sqrt(2))
        for pairs in (1, 2, 4):
            found = read_noise(pair(100.0, 1.0) * pairs)
            assert (found.value, found.error, found.n_pairs) == pytest.approx((np.sqrt(2), one / np.sqrt(pairs), pairs))

    def test_gain_and_its_error(self) -> None:
        """1000 ADU over a photon variance of 8 - 2 ADU^2."""
        found = gain(pair(1100.0, 2.0), pair(100.0, 1.0))
        of_variance, of_noise = (variance * np.sqrt(2 / (N_CENTRAL - 1)) for variance in (8.0, 2.0))  # 2 r s_r is the error of r^2
        assert found.value == pytest.approx(1000 / 6)
        assert found.error == pytest.approx(1000 / 6 * np.hypot(of_variance, of_noise) / 6)

    def test_flats_without_photon_noise_give_no_gain(self) -> None:
        assert gain(pair(1100.0, 1.02), pair(100.0, 1.0)).reason == "no photon noise above the read noise"

    def test_one_saturated_flat_spoils_its_pair(self) -> None:
        first, second = pair(1000.0, 2.0)
        assert gain([first, second + 100.0], pair(100.0, 1.0), saturation_adu=1050.0).reason == "flats are saturated"

    def test_dark_current_has_the_error_of_a_straight_line(self) -> None:
        seconds, levels = [0.0, 10.0, 20.0, 40.0, 60.0], [100.0, 110.4, 119.7, 140.2, 159.8]
        (slope, _), covariance = np.polyfit(seconds, levels, 1, cov=True)
        found = dark_current(levels, seconds)
        assert (found.value, found.error) == pytest.approx((slope, np.sqrt(covariance[0, 0])))
