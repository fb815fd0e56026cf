"""Changed copies and other exposures, told apart by their noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.planning.copies import COPIED
from nightcrew.quality.sketch import noise_sketch
from nightcrew.simulate.detector import CameraModel, build_detector

CAMERA = build_detector(CameraModel(nx=256, ny=256), 3)


def light(sky_e: float, seed: int) -> NDArray[np.uint16]:
    return CAMERA.expose(np.random.default_rng(seed), np.asarray(CAMERA.response * sky_e, np.float32))


def agreeing(one: NDArray[Any], other: NDArray[Any]) -> int:
    first, second = noise_sketch(one), noise_sketch(other)
    assert len(first) == len(second) == 16
    return 64 - (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("sky_e", [0, 40, 1500, 20_000])
def test_two_exposures_of_one_field_are_two(sky_e: float) -> None:
    """Even where the response of the pixels outweighs the photons' noise."""
    assert max(agreeing(light(sky_e, 1), light(sky_e, seed)) for seed in range(2, 12)) < COPIED


@pytest.mark.parametrize("sky_e", [0, 40, 1500, 20_000])
def test_a_copy_bears_the_noise_of_its_original(sky_e: float) -> None:
    original = light(sky_e, 1)
    painted = original.copy()
    painted[100:103, 100:103] = 65_535  # a cosmic ray that was mended; of a hundredth of the frame it would be too much
    copies = (original * 1.03, original * 0.4, original + 500.0, original.astype(np.float32) - 1000, painted)
    for copy in copies:
        assert agreeing(original, copy.astype(np.int32)) >= COPIED


@pytest.mark.parametrize(
    "pixels", [np.full((64, 64), 7), np.zeros((64, 64)), np.full((64, 64), np.nan), np.zeros((2, 3, 4)), np.zeros((3, 1))]
)
def test_what_shows_no_noise_has_no_sketch(pixels: NDArray[Any]) -> None:
    assert noise_sketch(pixels) == ""


def test_a_sketch_is_the_same_ever_after() -> None:
    """It stands in ledgers: another one would not be comparable."""
    assert noise_sketch(np.arange(10_000).reshape(100, 100) ** 2 % 251) == "2e7a3581ab9ddb2a"
