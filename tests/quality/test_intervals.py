"""Intervals of counts and of mean sizes, against what can be counted by hand and against simulated truth."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm

from nightcrew.quality.intervals import Interval, count_interval, mean_size_interval


def test_counts_of_equal_probabilities_are_binomial() -> None:
    found = count_interval(np.array([1.0] * 3 + [0.3] * 40 + [0.0] * 5), 0.9)
    assert found == Interval(3 + int(binom.ppf(0.05, 40, 0.3)), 3 + int(binom.ppf(0.95, 40, 0.3)), 0.9)


def test_counts_of_unequal_probabilities_as_counted_out() -> None:
    p = (0.1, 0.5, 0.7, 0.9)
    share = np.zeros(5)
    for so in product((0, 1), repeat=4):
        share[sum(so)] += np.prod([one if yes else 1 - one for one, yes in zip(p, so, strict=True)])
    below = share.cumsum()
    assert count_interval(np.array(p), 0.8) == Interval(int((below < 0.1).sum()), int((below < 0.9).sum()), 0.8)


def test_what_is_certain_has_no_width() -> None:
    assert count_interval(np.array([1.0, 1.0, 0.0])) == Interval(2, 2)
    assert count_interval(np.empty(0)) == Interval(0, 0)


def test_many_open_ones_go_over_into_the_normal_distribution() -> None:
    exact, normal = (count_interval(np.full(n, 0.5)) for n in (1000, 1001))
    assert abs(exact.low - normal.low) <= 1
    assert abs(exact.high - normal.high) <= 1
    assert normal == Interval(469, 532)  # 500.5 -+ 1.96 sqrt(1001 / 4), outwards


@pytest.mark.parametrize("truth", [0.0, 0.3, 3.0])  # of the noise: none, hidden in it, plain to be seen
def test_mean_sizes_cover_the_truth(truth: float) -> None:
    rng = np.random.default_rng(7)
    shape, root = truth * np.linspace(-1, 1, 12), np.diag(np.full(12, 0.8))
    found = [mean_size_interval(shape + root @ rng.standard_normal(12), root, seed)[0] for seed in range(100)]
    hits = sum(one.low <= np.abs(shape).mean() <= one.high for one in found)
    assert hits / 100 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 100)
    if truth == 3.0:  # ... and are no wider than a mean of 12 has to be
        assert np.mean([one.high - one.low for one in found]) < 1.5 * 2 * 1.96 * 0.8 / np.sqrt(12)


def test_mean_size_of_no_noise_is_its_own_interval() -> None:
    found, alone = mean_size_interval(np.array([1.0, -2.0]), np.zeros((2, 2)), 0)
    assert (found.low, found.high) == pytest.approx((1.5, 1.5), abs=1e-6)
    assert alone == 0


def test_lucky_values_exclude_no_more_than_typical_ones() -> None:
    root = np.eye(10)
    lucky, alone = mean_size_interval(np.full(10, 1e-3), root, 0)
    typical, _ = mean_size_interval(np.full(10, alone), root, 0)
    assert lucky.low == 0
    assert lucky.high == pytest.approx(typical.high, rel=0.05)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_far_above_the_noise_the_interval_is_that_of_a_mean(level: float) -> None:
    found, _ = mean_size_interval(np.full(12, 10.0), np.diag(np.full(12, 0.8)), 0, level)
    error, reach = 0.8 / np.sqrt(12), norm.ppf(0.5 + level / 2)
    of_draws = error * np.sqrt((1 - level**2) / 4 / 1000) / norm.pdf(reach)  # a quantile from 1000 draws
    assert (found.low, found.high) == pytest.approx((10 - reach * error, 10 + reach * error), abs=3 * of_draws)
