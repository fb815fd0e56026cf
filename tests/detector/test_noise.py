"""Noise by pairs: of frames of one cell in any order, without saturated values."""

from __future__ import annotations

import numpy as np
import pytest

from nightcrew.detector.dark_model import fit_dark
from nightcrew.detector.noise import noise_law, pairs_of
from tests.detector.made import darks
from tests.detector.test_dark_model import bias

READ, FACTOR = 30.0, 8.0


def frames(levels: list[float], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.normal(level, np.sqrt(READ**2 + FACTOR * level), 20_000) for level in levels], np.float32)


LEVELS = [0.0, 0.0, 500.0, 500.0, 5000.0, 5000.0]


def test_pairs_are_found_whatever_the_order_of_the_frames() -> None:
    """Interleaved cells have no neighbours in the list: by neighbours alone there was no pair, and no photon noise in the law."""
    made = frames(LEVELS)
    cells = [f"{level:g}" for level in LEVELS]
    expected = noise_law(made, cells, LEVELS)
    assert expected.read == pytest.approx(READ, rel=0.03)
    assert expected.factor == pytest.approx(FACTOR, rel=0.05)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(LEVELS))
        found = noise_law(made[order], [cells[i] for i in order], [LEVELS[i] for i in order])
        assert (found.read, found.factor) == pytest.approx((expected.read, expected.factor), rel=1e-6)


def test_every_frame_of_a_cell_has_a_neighbour() -> None:
    assert sorted(map(sorted, pairs_of(["a", "b", "a", "b", "a"], np.zeros((5, 3), np.float32)))) == [[0, 2], [1, 3], [2, 4]]


def test_saturated_pairs_do_not_collapse_the_law() -> None:
    made = np.vstack([frames(LEVELS), np.full((2, 20_000), 62_000, np.float32)])
    levels, cells = [*LEVELS, 62_000.0, 62_000.0], [f"{level:g}" for level in [*LEVELS, 62_000.0, 62_000.0]]
    found = noise_law(made, cells, levels, saturated=made >= 62_000)
    assert found.read == pytest.approx(READ, rel=0.03)
    assert found.factor == pytest.approx(FACTOR, rel=0.05)


def test_darks_with_saturated_frames_keep_their_noise_and_name_the_frames() -> None:
    made = darks()
    frames_ = [*made.frames, *(np.full_like(made.frames[0], 65520) for _ in range(4))]
    t, seconds = [*made.temperatures_c, *[30.0] * 4], [*made.exposures_s, *[60.0] * 4]
    model, usual = fit_dark(frames_, t, seconds, bias()), fit_dark(made.frames, made.temperatures_c, made.exposures_s, bias())
    assert model.noise.factor == pytest.approx(usual.noise.factor, rel=0.01)
    assert model.shape.b == pytest.approx(usual.shape.b, rel=1e-3)
    assert [one.place for one in model.left_out] == list(range(len(made.frames), len(frames_)))
    assert "saturated" in model.left_out[0].reason
    np.testing.assert_allclose(model.rate, usual.rate, rtol=0.01, atol=0.5)
