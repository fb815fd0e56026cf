from __future__ import annotations

import numpy as np
import pytest

from nightcrew.simulate.expected import expected_light, flat_relative_variance, variance_factor
from nightcrew.simulate.night import model_of
from tests.simulate.nights import flat_master, load, tiny_night


@pytest.mark.parametrize(("n", "known"), [(1, 1.0), (2, 0.5), (3, 0.448671), (4, 0.298246), (5, 0.286834), (7, 0.210447), (10, 0.138328)])
def test_variance_of_the_median_has_the_tabulated_values(n: int, known: float) -> None:
    """Known values of the order statistics of normal samples."""
    assert variance_factor(n) == pytest.approx(known, rel=2e-3)


@pytest.mark.parametrize("n", [3, 6, 20])
def test_variance_of_the_median_agrees_with_trials(n: int) -> None:
    trials = np.median(np.random.default_rng(1).standard_normal((40_000, n)), axis=1)
    assert variance_factor(n) == pytest.approx(trials.var(), rel=0.03)


def test_mean_and_many_frames() -> None:
    assert variance_factor(8, "mean") == 1 / 8
    assert variance_factor(1000) == pytest.approx(np.pi / 2000)
    with pytest.raises(ValueError, match="nothing"):
        variance_factor(0)


def test_flat_master_scatters_as_predicted() -> None:
    raw, truth = tiny_night()
    model = model_of(truth)
    true = model.flat("V")
    good = true > 0.5
    predicted = flat_relative_variance(truth, "V", np.maximum(true, np.float32(1e-3)), "median")
    pull = (flat_master(raw, truth, "V")[good] / true[good] - 1) / np.sqrt(predicted[good])
    assert np.std(pull[np.abs(pull) < 6]) == pytest.approx(1, abs=0.03)
    assert np.mean(pull[np.abs(pull) < 6]) == pytest.approx(0, abs=0.03)


def test_saturated_stars_are_marked_where_the_raw_frame_is_full() -> None:
    raw, truth = tiny_night()
    for frame in truth.select("light"):
        expected = expected_light(truth, frame)
        full = load(raw, frame) >= truth.saturation_adu - 1
        full &= ~truth.hot.arrays().mask(full.shape)
        assert not np.any(full & ~expected.saturated)
        assert expected.saturated.mean() < 0.01
