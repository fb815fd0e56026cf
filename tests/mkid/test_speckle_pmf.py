"""The probabilities of modified-Rician counts and intervals are what the definitions say, everywhere in the parameter space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special, stats

from nightcrew.mkid import rician, rician_changing, rician_intervals
from nightcrew.mkid.rician_fit import Likelihood

Floats = NDArray[np.float64]
RATES = st.sampled_from([0.0, 1e-12, 1e-3, 0.1, 1.0, 7.0, 60.0])
POSITIVE = st.floats(0.01, 50.0)


@given(ic=RATES, is_=RATES, ip=RATES)
@settings(max_examples=40, deadline=None)
def test_the_probabilities_sum_to_one_with_the_right_mean_and_variance(ic: float, is_: float, ip: float) -> None:
    parameters = np.array([[ic, is_, ip]])
    mean, variance = (float(value[0]) for value in rician.mean_and_variance(parameters))
    n_max = int(mean + 12 * np.sqrt(variance) + 40 * is_ + 60)
    p = np.exp(rician.log_pmf(n_max, parameters)[:, 0])
    n = np.arange(n_max + 1)
    assert p.sum() == pytest.approx(1.0, abs=1e-9)
    assert (n * p).sum() == pytest.approx(mean, rel=1e-7, abs=1e-9)
    assert ((n - mean) ** 2 * p).sum() == pytest.approx(variance, rel=1e-6, abs=1e-9)


def grid(*values: float) -> Floats:
    """Every combination of Ic, Is and Ip."""
    return np.array([(ic, is_, ip) for ic in values for is_ in values for ip in values])


def test_the_probabilities_sum_to_one_over_the_parameter_space() -> None:
    parameters = grid(0.0, 1e-9, 1e-3, 0.1, 1.0, 10.0, 100.0)
    total = np.zeros(len(parameters))
    for first in (slice(None, None, 2), slice(1, None, 2)):
        total[first] = np.exp(rician.log_pmf(3000, parameters[first])).sum(axis=0)
    assert np.abs(total - 1).max() < 1e-6


@given(ic=POSITIVE, is_=POSITIVE)
@settings(max_examples=30, deadline=None)
def test_without_a_companion_they_are_the_laguerre_polynomials(ic: float, is_: float) -> None:
    n = np.arange(40)
    laguerre = np.array([special.eval_laguerre(k, -ic / (is_**2 + is_)) for k in n])
    expected = -np.log1p(is_) - ic / (1 + is_) + n * np.log(is_ / (1 + is_)) + np.log(laguerre)
    assert rician.log_pmf(39, np.array([[ic, is_, 0.0]]))[:, 0] == pytest.approx(expected, rel=1e-10, abs=1e-10)


@given(ic=POSITIVE, is_=POSITIVE, ip=POSITIVE)
@settings(max_examples=30, deadline=None)
def test_a_companion_is_a_convolution_with_poisson(ic: float, is_: float, ip: float) -> None:
    alone, both = (np.exp(rician.log_pmf(80, np.array([[ic, is_, value]]))[:, 0]) for value in (0.0, ip))
    assert both == pytest.approx(np.convolve(alone, stats.poisson.pmf(np.arange(81), ip))[:81], rel=1e-9, abs=1e-300)


def test_the_limits_are_poisson_and_bose_einstein() -> None:
    n = np.arange(30)
    steady, thermal, companion = rician.log_pmf(29, np.array([[4.0, 0, 0], [0, 2.5, 0], [0, 0, 4.0]])).T
    assert steady == pytest.approx(stats.poisson.logpmf(n, 4.0), abs=1e-12)
    assert companion == pytest.approx(stats.poisson.logpmf(n, 4.0), abs=1e-12)
    assert thermal == pytest.approx(stats.geom.logpmf(n + 1, 1 / 3.5), abs=1e-12)


def test_nothing_overflows_at_a_hundred_thousand_counts() -> None:
    parameters = np.array([(5e4, 5e4, 0.0), (9.9e4, 1e3, 10.0), (0.0, 1e5, 0.0), (1e5, 0.0, 0.0), (1e-9, 1e-9, 1e5)])
    top = 100_000
    bins = np.zeros((top + 1, 5))
    bins[top] = 1
    found = rician.log_likelihood(bins, parameters)
    assert np.isfinite(found.value).all()
    assert (found.value < 0).all()
    assert found.value[3] == pytest.approx(stats.poisson.logpmf(top, 1e5), rel=1e-6)
    assert np.isfinite(found.gradient).all()
    assert np.isfinite(found.hessian).all()


def differences(of: object, parameters: Floats, step: float = 1e-5) -> tuple[Floats, Floats]:
    """Gradient and Hessian by central differences of value and gradient."""
    assert callable(of)
    gradient, hessian = np.empty((len(parameters), 3)), np.empty((len(parameters), 3, 3))
    for k in range(3):
        h = step * parameters[:, k]
        high, low = parameters.copy(), parameters.copy()
        high[:, k] += h
        low[:, k] -= h
        above, below = of(high), of(low)
        gradient[:, k] = (above.value - below.value) / (2 * h)
        hessian[:, k] = (above.gradient - below.gradient) / (2 * h)[:, None]
    return gradient, hessian


def agrees(found: Likelihood, of: object, parameters: Floats) -> None:
    gradient, hessian = differences(of, parameters)
    noise = 1e-9 * np.abs(found.value)[:, None] / (1e-5 * parameters)  # of rounding in the differences
    assert (np.abs(found.gradient - gradient) <= 1e-5 * np.abs(gradient) + 1e-3 * noise + 1e-6).all()
    size = np.sqrt(np.abs(np.einsum("pi,pj->pij", *[np.diagonal(hessian, axis1=1, axis2=2)] * 2)))
    assert (np.abs(found.hessian - hessian) <= 1e-5 * size + 1e-5).all()
    assert np.array_equal(found.hessian, found.hessian.transpose(0, 2, 1))


PARAMETERS = st.lists(st.tuples(POSITIVE, POSITIVE, POSITIVE), min_size=1, max_size=4)


@given(rows=PARAMETERS, seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_derivatives_of_the_binned_likelihood_are_those_of_its_values(rows: list[tuple[float, float, float]], seed: int) -> None:
    parameters = np.array(rows)
    bins = np.random.default_rng(seed).integers(0, 4, (60, len(rows))).astype(float)
    agrees(rician.log_likelihood(bins, parameters), lambda at: rician.log_likelihood(bins, at), parameters)
    log_p = rician.log_pmf(59, parameters)
    assert rician.log_likelihood(bins, parameters).value == pytest.approx((bins * log_p).sum(axis=0))


@given(
    rows=PARAMETERS,
    seed=st.integers(0, 2**31),
    dead_time_s=st.sampled_from([0.0, 1e-5, 0.02]),
    forget_per_s=st.sampled_from([None, 1e-3, 0.3, 20.0, 3e3]),
)
@settings(max_examples=30, deadline=None)
def test_derivatives_of_the_interval_likelihood_are_those_of_its_values(
    rows: list[tuple[float, float, float]], seed: int, dead_time_s: float, forget_per_s: float | None
) -> None:
    parameters = np.array(rows)
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 30, len(rows))
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    forget = None if forget_per_s is None else np.full(len(rows), forget_per_s)
    intervals = rician_intervals.Intervals(dead_time_s + rng.exponential(0.05, first[-1]), first, dead_time_s, forget)
    found = rician_intervals.log_likelihood(intervals, parameters)
    agrees(found, lambda at: rician_intervals.log_likelihood(intervals, at), parameters)
    for pixel in range(len(rows)):
        mine = intervals.seconds[first[pixel] : first[pixel + 1]]
        alone = slice(pixel, pixel + 1)
        density = rician_intervals.log_density(mine, parameters[alone], dead_time_s, None if forget is None else forget[alone])
        assert found.value[pixel] == pytest.approx(density.sum(), abs=1e-9)


@pytest.mark.parametrize(
    ("dead_time_s", "forget_per_s"), [(0.0, None), (1e-5, None), (1e-3, None), (0.0, 10.0), (1e-5, 0.1), (1e-3, 500.0)]
)
def test_the_density_of_intervals_integrates_to_one_over_the_parameter_space(dead_time_s: float, forget_per_s: float | None) -> None:
    parameters = grid(0.0, 1e-3, 1.0, 30.0, 1000.0, 5000.0)[1:]
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(-36, 40, 401)
    half = (edges[1] - edges[0]) / 2
    x = ((edges[1:] + edges[:-1]) / 2)[:, None] + half * nodes
    whole = np.zeros(len(parameters))
    for some in np.array_split(np.arange(len(parameters)), 8):
        forget = None if forget_per_s is None else np.full(some.size, forget_per_s)
        log_density = rician_intervals.log_density(dead_time_s + np.exp(x.ravel()), parameters[some], dead_time_s, forget)
        whole[some] = (np.exp(log_density + x.ravel()).reshape(-1, *x.shape) * weights).sum(axis=(1, 2)) * half
    assert np.abs(whole - 1).max() < 1e-6


@pytest.mark.parametrize("dead_time_s", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize(
    "parameters", [(300, 100, 0), (0.1, 50, 3), (500, 1e-9, 0), (1e-9, 200, 0), (5000, 2000, 100), (0, 0, 30), (0, 0.01, 0)]
)
def test_the_density_of_intervals_integrates_to_one(parameters: tuple[float, float, float], dead_time_s: float) -> None:
    at = np.array([parameters], dtype=float)

    def per_log_time(x: Floats) -> Floats:
        density: Floats = np.exp(rician_intervals.log_density(dead_time_s + np.exp(x), at, dead_time_s)[0] + x)
        return density

    edges = np.linspace(-36, 16, 401)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1] - edges[0]) / 2
    nodes, weights = np.polynomial.legendre.leggauss(12)
    whole = (per_log_time((middle[:, None] + half * nodes).ravel()).reshape(-1, 12) * weights).sum() * half
    assert whole == pytest.approx(1.0, abs=1e-6)
    later_s = dead_time_s + 0.01
    tail, _ = integrate.quad(lambda x: float(per_log_time(np.array([x]))[0]), np.log(0.01), 12, limit=400)
    survival = np.exp(rician_intervals.log_survival(np.array([later_s]), at, dead_time_s))[0, 0]
    assert survival == pytest.approx(tail, abs=1e-6)


@pytest.mark.parametrize("seconds", [0.003, 0.03, 0.2])
def test_changing_light_is_the_determinant_of_its_covariance(seconds: float) -> None:
    """exp(-d - Ic f) is the mean of exp(-integral of the intensity): by a matrix, with steps short against everything."""
    is_, forget_per_s, n = 100.0, 12.0, 1200
    at = (np.arange(n) + 0.5) * seconds / n
    matrix = np.eye(n) + is_ * np.exp(-forget_per_s * np.abs(at[:, None] - at)) * seconds / n

    def parts(time: float) -> rician_changing.Parts:
        return rician_changing.parts(np.array([time]), np.array([is_]), np.array([forget_per_s]), np.array([0]))

    found, step = parts(seconds), 1e-5 * seconds
    later, earlier = parts(seconds + step), parts(seconds - step)
    assert found.d.value[0] == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-5)
    assert found.f.value[0] == pytest.approx(np.linalg.solve(matrix, np.ones(n)).sum() * seconds / n, rel=1e-5)
    for name, by_time in (("d", "d1"), ("d1", "d2"), ("f", "f1"), ("f1", "f2")):
        slope = (getattr(later, name).value - getattr(earlier, name).value) / (2 * step)
        assert getattr(found, by_time).value == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_light_that_changes_slowly_stands_still() -> None:
    parameters = np.array([(300, 100, 0), (100, 100, 20), (0, 200, 5), (300, 0, 0), (1, 1000, 0)], dtype=float)
    seconds, slow = np.geomspace(1e-4, 0.03, 30), np.full(5, rician_changing.SLOWEST_PER_S)
    for of in (rician_intervals.log_density, lambda t, *more: rician_intervals.log_survival(t[None], *more)):
        assert of(seconds, parameters, 1e-4, slow) == pytest.approx(of(seconds, parameters, 1e-4), abs=1e-3)
