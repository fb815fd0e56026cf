from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.simulate.randomness import generator, poisson

N = 400_000


@pytest.mark.parametrize("mean", [0.3, 5.0, 11.9, 12.1, 20.0, 300.0, 60_000.0])
def test_poisson_has_the_mean_variance_and_skewness_of_its_law(mean: float) -> None:
    counts = poisson(generator(1, "moments"), np.full(N, mean, dtype=np.float32)).astype(float)
    deviation = counts - mean
    assert deviation.mean() == pytest.approx(0, abs=4 * np.sqrt(mean / N))
    assert counts.var() / mean == pytest.approx(1, abs=4 * np.sqrt((2 + 1 / mean) / N))
    skewness = np.mean(deviation**3) / mean**1.5
    assert skewness == pytest.approx(mean**-0.5, abs=4 * np.sqrt((6 + 40 / mean + 20 / mean**2) / N))


def test_poisson_probabilities_just_above_the_change_of_method() -> None:
    from scipy.stats import poisson as law

    counts = poisson(generator(2, "shape"), np.full(N, 12.5, dtype=np.float32))
    values = np.arange(2, 28)
    found = np.array([(counts == value).mean() for value in values])
    expected = law.pmf(values, 12.5)
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected / N) + 2e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1e5, width=32), min_size=1, max_size=50), st.integers(0, 2**32))
def test_poisson_gives_whole_numbers_not_below_zero_and_repeats_itself(means: list[float], seed: int) -> None:
    image = np.array(means, dtype=np.float32)
    counts = poisson(generator(seed), image)
    assert np.array_equal(counts, np.floor(counts))
    assert np.all(counts >= 0)
    assert np.array_equal(counts, poisson(generator(seed), image))
    assert np.all(counts[image == 0] == 0)


def test_streams_differ_by_seed_and_by_every_part_of_the_key() -> None:
    keys: list[tuple[int, tuple[str | int, ...]]] = [(1, ("a",)), (2, ("a",)), (1, ("b",)), (1, ("a", 0)), (1, ("a", "0")), (1, ())]
    firsts = {generator(seed, *key).integers(2**62) for seed, key in keys}
    assert len(firsts) == 6
