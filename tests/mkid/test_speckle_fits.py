"""Fits recover the light that was simulated, their errors are right, and they say where they may not be believed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid import rician
from nightcrew.mkid.rician_changing import forgetting
from nightcrew.mkid.rician_fit import Likelihood, Prior, maximise
from nightcrew.mkid.rician_intervals import Intervals
from nightcrew.mkid.speckle import Collected, SpeckleFits, SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_binned import averaging, fit_counts
from nightcrew.mkid.speckle_intervals import TimedIntervals, fit_intervals, intervals_of
from nightcrew.mkid.speckle_time import autocovariance, decorrelation, of_array
from nightcrew.simulate import speckle as light

Floats = NDArray[np.float64]
N_PIXELS, N_BINS, BIN_S = 500, 6000, 0.01


def rng(key: int) -> np.random.Generator:
    return np.random.default_rng([8, key])


def pulls(fits: SpeckleFits, truth: tuple[float, float, float], parameter: int) -> Floats:
    values: Floats = (fits.parameters_cps[:, parameter] - truth[parameter]) / fits.errors_cps[:, parameter]
    return values[np.isfinite(values)]


@pytest.mark.parametrize("truth", [(300.0, 100.0, 0.0), (150.0, 250.0, 0.0), (30.0, 10.0, 0.0), (300.0, 150.0, 100.0)])
def test_independent_bins_give_the_truth_within_errors_of_the_right_size(truth: tuple[float, float, float]) -> None:
    counts = rng(1).poisson(light.independent_intensities(rng(2), np.full(N_PIXELS, truth[0]), truth[1], truth[2], N_BINS) * BIN_S)
    fits = fit_counts(counts, SpeckleRules(companion=truth[2] > 0, decorrelation_s=1e6, errors="curvature"))
    free = [0, 1, 2] if truth[2] else [0, 1]
    for parameter in free:
        assert np.median(fits.parameters_cps[:, parameter]) == pytest.approx(truth[parameter], rel=0.02)
        found = pulls(fits, truth, parameter)
        assert found.size > 0.97 * N_PIXELS
        assert found.std() == pytest.approx(1.0, abs=0.1)
    assert np.median(fits.ratio) == pytest.approx(truth[0] / truth[1], rel=0.03)


@pytest.mark.parametrize(("truth", "n"), [((300.0, 100.0, 0.0), 2500), pytest.param((300.0, 150.0, 100.0), 15_000, marks=pytest.mark.slow)])
def test_independent_intervals_give_the_truth_within_errors_of_the_right_size(truth: tuple[float, float, float], n: int) -> None:
    dead_time_s = 1e-4
    ic, is_, ip = (np.full(N_PIXELS, value) for value in truth)
    seconds = light.independent_intervals(rng(3), ic, is_, ip, n, dead_time_s)
    intervals = Intervals(seconds.ravel(), np.arange(N_PIXELS + 1) * n, dead_time_s)
    begins = (np.cumsum(seconds, axis=1) - seconds).ravel()
    timed = TimedIntervals(intervals, begins, float(begins.max()))
    fits = fit_intervals(timed, SpeckleRules(errors="curvature", companion=truth[2] > 0), np.full(N_PIXELS, np.nan), float("nan"))
    for parameter in (0, 1, 2) if truth[2] else (0, 1):
        assert np.median(fits.parameters_cps[:, parameter]) == pytest.approx(truth[parameter], rel=0.02)
        assert pulls(fits, truth, parameter).std() == pytest.approx(1.0, abs=0.1)
    uniform = fits.probability[np.isfinite(fits.probability)]
    assert 0.35 < uniform.mean() < 0.6  # two parameters fitted to all intervals


def test_errors_of_light_whose_companion_stands_at_zero_are_unsure() -> None:
    """They are those of light that has none: here Ic came out as 300 + 10 of them."""
    truth = (300.0, 150.0, 100.0)
    counts = rng(25).poisson(light.independent_intensities(rng(26), np.full(N_PIXELS, truth[0]), truth[1], truth[2], 500) * BIN_S)
    fits = fit_counts(counts, SpeckleRules(companion=True, decorrelation_s=1e6, errors="curvature"))
    absent = fits.parameters_cps[:, 2] == 0
    unsure = (fits.flags & SpeckleFlag.ERRORS_UNSURE) != 0
    assert 0.01 < absent.mean() < 0.2
    assert unsure[absent].all()
    pull = (fits.parameters_cps[:, 0] - truth[0]) / fits.errors_cps[:, 0]
    assert np.abs(pull[absent]).max() > 5
    assert pull[~unsure].std() < 1.1
    freed = (fits.free_cps[absent, 0] - truth[0]) / fits.free_errors_cps[absent, 0]
    assert np.abs(freed).max() < 4


@pytest.fixture(scope="module")
def correlated() -> Floats:
    """Intensities in steps of 2.5 ms that decorrelate in 100 ms."""
    return light.correlated_intensities(rng(4), np.full(N_PIXELS, 300.0), 100.0, 0.0, 24_000, step_s=0.0025, tau_s=0.1)


def test_correlated_light_has_errors_from_blocks(correlated: Floats) -> None:
    counts = rng(5).poisson(correlated.reshape(N_PIXELS, N_BINS, 4).mean(axis=2) * BIN_S)
    fits = fit_counts(counts, SpeckleRules())
    truth = (300.0, 100.0, 0.0)
    assert fits.bootstrapped
    assert fits.valid.mean() > 0.97
    assert fits.array_decorrelation_s == pytest.approx(0.092, rel=0.05)  # 1/e of 2 Ic Is exp(-t / tau) + Is^2 exp(-2 t / tau)
    for parameter in (0, 1):
        assert np.median(fits.parameters_cps[:, parameter]) == pytest.approx(truth[parameter], rel=0.02)
        assert pulls(fits, truth, parameter).std() == pytest.approx(1.0, abs=0.15)
    naive = fit_counts(counts[:100], SpeckleRules(errors="curvature"))
    assert pulls(naive, truth, 1).std() > 1.5  # which is why


@pytest.mark.parametrize(("n", "width"), [(90, 0.25), pytest.param(N_PIXELS, 0.15, marks=pytest.mark.slow)])
def test_correlated_intervals_have_errors_from_blocks(correlated: Floats, n: int, width: float) -> None:
    span_us = 60_000_000
    pixel, time_s = light.photon_times(rng(6), correlated[:n], 0.0025)
    time_us = (time_s * 1e6).astype(np.int64)
    counted = light.after_dead_time(pixel, time_us, 10)
    first = np.searchsorted(pixel[counted], np.arange(n + 1))
    timed = intervals_of(first, time_us[counted], span_us, 10.0)
    fits = fit_intervals(timed, SpeckleRules(), np.full(n, 0.092), 0.092)
    for parameter, value in ((0, 300.0), (1, 100.0)):
        assert np.median(fits.parameters_cps[:, parameter]) == pytest.approx(value, rel=0.02 if n == N_PIXELS else 0.03)
        assert pulls(fits, (300.0, 100.0, 0.0), parameter).std() == pytest.approx(1.0, abs=width)  # of 90 pixels: 3 sigma
    assert fits.valid.mean() > 0.9


def test_intervals_know_that_light_changes_between_photons() -> None:
    """As if it stood still, Ic would come out a fifth too small, and Is a tenth too great."""
    n, ic, is_, tau_s, step_s = 60, 100.0, 100.0, 0.1, 0.002
    intensity = light.correlated_intensities(rng(23), np.full(n, ic), is_, 0.0, 30_000, step_s=step_s, tau_s=tau_s)
    pixel, time_s = light.photon_times(rng(24), intensity, step_s)
    timed = intervals_of(np.searchsorted(pixel, np.arange(n + 1)), (time_s * 1e6).astype(np.int64), 60_000_000, 0.0)
    intensity_s = np.array([-tau_s * np.log((np.sqrt(ic**2 + is_ * (2 * ic + is_) / np.e) - ic) / is_)])
    assert forgetting(np.array([[ic, is_, 0.0]]), intensity_s) == pytest.approx(1 / tau_s)
    found, still = (
        fit_intervals(timed, SpeckleRules(errors="curvature"), np.full(n, time), float("nan")) for time in (intensity_s[0], np.nan)
    )
    for parameter in (0, 1):
        values = found.parameters_cps[:, parameter]
        assert values.mean() == pytest.approx(100.0, abs=3.5 * values.std() / np.sqrt(n))
    assert np.median(still.parameters_cps[:, 0]) < 87
    uniform = found.probability[np.isfinite(found.probability)]
    assert 0.3 < uniform.mean() < 0.65


def test_steady_light_has_a_limit_instead_of_a_value() -> None:
    fits = fit_counts(rng(7).poisson(3.0, (200, 3000)), SpeckleRules())
    steady = (fits.flags & SpeckleFlag.NO_SPECKLES) != 0
    assert 0.3 < steady.mean() < 0.7
    assert (fits.parameters_cps[steady, 1] == 0).all()
    assert np.isnan(fits.errors_cps[steady, 1]).all()
    assert np.isnan(fits.ratio[steady]).all()
    assert (fits.limits_cps[steady, 1] > 0).all()
    assert np.median(fits.limits_cps[steady, 1]) < 30  # of 300
    assert fits.parameters_cps[steady, 0] == pytest.approx(fits.mean_cps[steady], rel=1e-6)
    assert np.isnan(fits.decorrelation_s).mean() > 0.98
    assert (fits.flags & SpeckleFlag.DECORRELATION_UNKNOWN).any()


def test_what_the_counts_do_not_allow_is_not_valid() -> None:
    def flags(counts: NDArray[np.integer], **rules: float) -> int:
        return int(np.bitwise_and.reduce(fit_counts(counts, SpeckleRules(**rules)).flags))  # type: ignore[arg-type]  # rules of mixed types

    good = rng(8).poisson(light.correlated_intensities(rng(9), np.full(40, 300.0), 150.0, 0.0, 6000, step_s=0.01, tau_s=0.1) * BIN_S)
    assert fit_counts(good, SpeckleRules()).valid.mean() > 0.9
    assert flags(good, decorrelation_s=0.04) & SpeckleFlag.BIN_TOO_LONG
    assert flags(good[:, :200], decorrelation_s=0.1) & SpeckleFlag.TOO_SHORT
    assert flags(good, decorrelation_s=0.1, dead_time_s=1e-4) & SpeckleFlag.DEAD_TIME
    assert flags(rng(10).poisson(0.001, (40, 6000)), decorrelation_s=0.1) & SpeckleFlag.FEW_COUNTS
    dark = fit_counts(np.zeros((3, 500), np.int64), SpeckleRules())
    assert (dark.flags & SpeckleFlag.NO_LIGHT).all()
    assert np.isnan(dark.parameters_cps).all()
    assert not dark.valid.any()
    odd = rng(11).choice([0, 12], size=(40, 6000), p=[0.7, 0.3])  # nothing in between: no such light exists
    assert flags(odd, decorrelation_s=0.1) & SpeckleFlag.POOR_FIT


def test_masked_bins_are_as_if_they_were_not_there() -> None:
    counts = rng(12).poisson(light.independent_intensities(rng(13), np.full(20, 300.0), 100.0, 0.0, 2000) * BIN_S)
    masked = np.concatenate([counts, np.full((20, 300), -1)], axis=1)
    plain, with_gaps = (fit_counts(one, SpeckleRules(decorrelation_s=1e6, errors="curvature")) for one in (counts, masked))
    assert with_gaps.parameters_cps == pytest.approx(plain.parameters_cps, rel=1e-9)
    assert with_gaps.mean_cps == pytest.approx(plain.mean_cps)


def test_a_prior_and_bounds_hold() -> None:
    counts = rng(14).poisson(light.independent_intensities(rng(15), np.full(30, 300.0), 100.0, 0.0, 500) * BIN_S)
    prior = Prior(np.array([200.0, 100.0, 0.0]), np.array([1e-3, np.inf, np.inf]))
    fits = fit_counts(counts, SpeckleRules(decorrelation_s=1e6, errors="curvature", prior=prior))
    assert fits.parameters_cps[:, 0] == pytest.approx(200.0, abs=0.01)
    bounded = fit_counts(counts, SpeckleRules(decorrelation_s=1e6, errors="curvature", most_cps=150.0))
    assert (bounded.parameters_cps <= 150.0).all()
    assert np.isnan(bounded.errors_cps[:, 0]).all()


def test_the_fit_is_the_greatest_likelihood() -> None:
    counts = rng(16).poisson(light.independent_intensities(rng(17), [3.0, 40.0, 0.3], [6.0, 1.0, 9.0], 0.0, 800))
    bins = rician.histogram(counts)

    def of(parameters: Floats, which: NDArray[np.intp]) -> Likelihood:
        return rician.log_likelihood(bins[:, which], parameters)

    best = maximise(of, np.ones((3, 3)), np.zeros(3), np.array([np.inf, np.inf, 0.0]))
    assert best.converged.all()
    for _ in range(50):
        near = np.abs(best.parameters * (1 + 0.05 * rng(18).standard_normal((3, 3))))
        assert (of(near, np.arange(3)).value <= best.likelihood.value + 1e-9).all()


def test_pixels_do_not_know_of_each_other() -> None:
    counts = rng(19).poisson(
        light.independent_intensities(rng(20), [30.0, 3000.0, 300.0, 5.0], [10.0, 900.0, 30.0, 5.0], 0.0, 3000) * BIN_S
    )
    rules = SpeckleRules(decorrelation_s=0.1)
    together = fit_counts(counts, rules)
    for pixel in range(4):
        alone = fit_counts(counts[pixel : pixel + 1], rules)
        assert alone.parameters_cps[0] == pytest.approx(together.parameters_cps[pixel], rel=1e-6)
        assert alone.errors_cps[0] == pytest.approx(together.errors_cps[pixel], rel=1e-3, nan_ok=True)


@pytest.mark.parametrize("tau_s", [0.05, 0.2])
def test_the_decorrelation_time_of_pixels_and_of_the_array(tau_s: float) -> None:
    counts = rng(21).poisson(light.correlated_intensities(rng(22), np.full(100, 300.0), 5.0, 0.0, 6000, step_s=BIN_S, tau_s=tau_s) * BIN_S)
    found = autocovariance(counts, BIN_S)
    assert np.nanmedian(decorrelation(found).time_s) == pytest.approx(tau_s, rel=0.15)  # Ic >> Is: it is the amplitude's
    assert of_array([found]) == pytest.approx(tau_s, rel=0.1)
    split = [autocovariance(counts[:50], BIN_S), autocovariance(counts[50:], BIN_S)]
    assert of_array(split) == pytest.approx(of_array([found]))


def freed_of(freed: list[list[float]], share: float) -> tuple[Floats, Floats]:
    """Parameters without the bound of Ip, and their covariance, after averaging over a bin was undone."""
    n = len(freed)
    collected = Collected(n, 1.0)
    collected.parameters, collected.covariance = np.tile([100.0, 50.0, 0.0], (n, 1)), np.tile(np.diag([4.0, 4.0, 0.0]), (n, 1, 1))
    collected.freed = np.array(freed)
    collected.freed_covariance = np.tile([[9.0, -3.0, -2.0], [-3.0, 4.0, 1.0], [-2.0, 1.0, 5.0]], (n, 1, 1))
    collected.undo_averaging(np.full(n, share), np.inf)
    return collected.freed, collected.freed_covariance


def test_averaging_is_undone_in_light_without_the_bound_of_a_companion() -> None:
    """Otherwise averages mix Is of averaged light, where it is below 0 or takes all, with those of others."""
    share = 0.8
    before = np.array([[150.0, 1e-3, -4.0], [150.0, -1e-3, -4.0], [150.0, -10.0, -4.0], [120.0, 20.0, -4.0]])
    after, covariance = freed_of(before.tolist(), share)
    assert after[:, 2] == pytest.approx(before[:, 2])
    assert after[:, :2].sum(axis=1) == pytest.approx(before[:, :2].sum(axis=1))
    told = [values[:, 1] ** 2 + 2 * values[:, 0] * values[:, 1] for values in (before, after)]
    assert told[1] == pytest.approx(told[0] / share)
    assert after[2, 1] < before[2, 1]
    for row in (2, 3):  # errors follow to first order
        slope = np.stack([(freed_of([(before[row] + d).tolist()], share)[0][0] - after[row]) / 1e-5 for d in np.eye(3) * 1e-5], axis=1)
        raw = freed_of([before[row].tolist()], 1.0)[1][0]
        assert covariance[row] == pytest.approx(slope @ raw @ slope.T, rel=1e-4)
    assert covariance[0] == pytest.approx(covariance[1], rel=1e-4)


def test_light_of_which_nothing_is_left_to_ic_without_the_bound_of_a_companion_is_all_is() -> None:
    before = [[30.0, 120.0, -4.0], [-5.0, 150.0, -4.0], [-10.0, 5.0, -4.0]]
    after, covariance = freed_of(before, 0.8)
    assert after[:2].tolist() == [[0.0, 150.0, -4.0], [0.0, 145.0, -4.0]]
    assert np.isnan(after[2]).all()
    variances = np.diagonal(covariance[:2], axis1=1, axis2=2)
    assert (variances > 0).all()
    of_sum = variances[:, 0] + variances[:, 1] + 2 * covariance[:2, 0, 1]
    assert of_sum == pytest.approx(9.0 + 4.0 - 2 * 3.0)  # that of Ic + Is stays
    assert freed_of(before, 1.0)[0].tolist() == before


def test_averaging_over_a_bin() -> None:
    x = np.array([1e-6, 1e-3, 0.1, 1.0, 30.0])
    u = (np.arange(20_000) + 0.5) / 20_000
    exact = np.array([2 * ((1 - u) * np.exp(-one * u)).mean() for one in x])  # mean of exp(-|s - t| x) over two moments of a bin
    assert averaging(1.0, 1 / x) == pytest.approx(exact, rel=1e-6)
    assert averaging(0.01, np.array([np.nan]))[0] == 1


def test_intervals_skip_gaps_and_pixel_ends() -> None:
    times = np.array([10, 20, 50, 5, 105, 300])
    timed = intervals_of(np.array([0, 3, 3, 6]), times, 1000, 10.0, breaks_us=np.array([30]))
    assert timed.intervals.first.tolist() == [0, 1, 1, 2]
    assert timed.intervals.seconds == pytest.approx([10e-6, 195e-6])
    assert timed.begins_s == pytest.approx([10e-6, 105e-6])
    assert intervals_of(np.zeros(4, np.int64), np.empty(0, np.int64), 1000, 10.0).intervals.counts.tolist() == [0, 0, 0]


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(Refused, match="no length of a bin"):
        SpeckleRules(bin_s=0.0)
    with pytest.raises(Refused, match="resamples"):
        SpeckleRules(resamples=1)
