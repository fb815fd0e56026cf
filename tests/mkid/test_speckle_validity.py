"""Limits of what stands at a bound, and the reasons for which speckle numbers may not be believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.mkid import rician, speckle_binned
from nightcrew.mkid.calibrated import Calibrations, open_calibrated
from nightcrew.mkid.mask_solution import HOT, PixelMasks
from nightcrew.mkid.rician_fit import Likelihood, maximise
from nightcrew.mkid.rician_limits import profile_limits
from nightcrew.mkid.speckle import SpeckleFlag, SpeckleRules
from nightcrew.mkid.speckle_binned import fit_counts
from nightcrew.mkid.speckle_intervals import faint_share, fit_intervals, intervals_of
from nightcrew.mkid.speckle_maps import make_maps
from nightcrew.mkid.wavelength_solution import HC_EV_NM
from nightcrew.simulate import speckle as light
from tests.mkid.made_tables import START_US, beam_map, linear_solution, table

Floats = NDArray[np.float64]
BIN_S = 0.01
FALL = 2.705543454 / 2
SLOW = SpeckleRules(decorrelation_s=1e6, errors="curvature")  # bins are as good as independent draws of the intensity


def rng(key: int) -> np.random.Generator:
    return np.random.default_rng([88, key])


@pytest.mark.parametrize(("ic", "is_", "at_bound"), [(0.0, 300.0, 0), (20.0, 300.0, 0), (300.0, 1e-9, 1)])
def test_a_limit_is_where_the_profile_of_the_likelihood_has_fallen(ic: float, is_: float, at_bound: int) -> None:
    """With the other parameter free: an Ic that grows takes from Is, and held fast Is would make the limit far too small."""
    counts = rng(1).poisson(light.independent_intensities(rng(2), np.full(24, ic), is_, 0.0, 2000) * BIN_S)
    fits = fit_counts(counts, SLOW)
    stands = fits.parameters_cps[:, at_bound] == 0
    assert 0.2 < stands.mean() < 0.8
    assert np.isfinite(fits.limits_cps[stands, at_bound]).all()
    assert np.isnan(fits.limits_cps[~stands]).all()
    if ic == 20:
        assert (fits.limits_cps[stands, 0] > ic).mean() > 0.9
    for pixel in np.flatnonzero(stands)[:4].tolist():
        limit, mean = fits.limits_cps[pixel, at_bound] * BIN_S, fits.mean_cps[pixel] * BIN_S
        trial = np.zeros((3000, 3))
        trial[:, at_bound], trial[:, 1 - at_bound] = limit, np.linspace(0.01, 1.2 * mean, 3000)
        profile = rician.log_likelihood(np.repeat(rician.histogram(counts[[pixel]]), 3000, axis=1), trial).value.max()
        assert fits.log_likelihood[pixel] - profile == pytest.approx(FALL, rel=0.01)


def test_limits_keep_within_bounds() -> None:
    """-(a + b - 1)^2 - a: a stands at 0, b follows it down to its own bound, and then a alone."""

    def evaluate(parameters: Floats, which: NDArray[np.intp]) -> Likelihood:
        a, b = parameters.T
        gradient = np.stack([-2 * (a + b - 1) - 1, -2 * (a + b - 1)], axis=1)
        return Likelihood(-((a + b - 1) ** 2) - a, gradient, np.tile([[-2.0, -2.0], [-2.0, -2.0]], (len(which), 1, 1)))

    start, lower = np.full((3, 2), 0.5), np.zeros(2)
    best = maximise(evaluate, start, lower, np.full(2, 9.0))
    assert best.at_bound.tolist() == [[True, False]] * 3
    a = (1 + np.sqrt(1 + 4 * (FALL - 1))) / 2  # (a - 1)^2 + a = FALL
    assert profile_limits(evaluate, best, lower, np.full(2, 9.0))[:, 0] == pytest.approx(a, rel=1e-3)
    assert profile_limits(evaluate, best, lower, np.array([0.7, 9.0]))[:, 0] == pytest.approx(0.7)
    wide = profile_limits(evaluate, best, lower, np.full(2, 9.0), np.full((3, 2), 4.0))
    assert wide[:, 0] == pytest.approx((1 + np.sqrt(1 + 4 * (4 * FALL - 1))) / 2, rel=1e-3)


def test_correlated_light_has_wider_limits() -> None:
    slow = rng(4).poisson(light.correlated_intensities(rng(5), np.full(30, 0.0), 300.0, 0.0, 3000, step_s=BIN_S, tau_s=0.2) * BIN_S)
    rules = SpeckleRules(resamples=8, decorrelation_s=0.1, correct_bin=False)
    blocks, curvature = (fit_counts(slow, replace(rules, errors=errors)) for errors in ("bootstrap", "curvature"))
    stands = curvature.parameters_cps[:, 0] == 0
    assert stands.sum() > 5
    assert (blocks.limits_cps[stands, 0] > 1.1 * curvature.limits_cps[stands, 0]).mean() > 0.8


def test_bins_that_cannot_be_judged_are_not_valid() -> None:
    """Speckles that live far shorter than a bin look steady: nobody knows them from light without speckles."""
    fast = light.correlated_intensities(rng(6), np.full(40, 200.0), 100.0, 0.0, 60_000, step_s=1e-4, tau_s=2e-4)
    counts = rng(7).poisson(fast.reshape(40, -1, 100).mean(axis=2) * BIN_S)
    fits = fit_counts(counts, SpeckleRules())
    unknown = (fits.flags & SpeckleFlag.DECORRELATION_UNKNOWN) != 0
    assert unknown.mean() > 0.9
    assert not fits.valid[unknown].any()
    steady = rng(8).poisson(3.0, (40, 3000))
    assert fit_counts(steady, SpeckleRules()).valid.mean() < 0.1
    assert fit_counts(steady, SpeckleRules(decorrelation_s=0.1)).valid.mean() > 0.9  # stated by who knows it
    few = intervals_of(np.array([0, 400]), np.cumsum(rng(9).exponential(3e3, 400)).astype(np.int64), 2_000_000, 10.0)
    one = fit_intervals(few, SpeckleRules(), np.array([np.nan]), float("nan"))
    assert one.flags[0] & SpeckleFlag.DECORRELATION_UNKNOWN
    assert not one.valid[0]


def test_intervals_of_light_that_is_faint_too_often_are_not_valid() -> None:
    """Ic = Is = 100 a second that decorrelates in 0.1 s: with a correlation that is not exponential Ic would come out 14 % off."""
    n = 4
    for ic, is_, valid in ((300.0, 100.0, True), (100.0, 100.0, False), (20.0, 180.0, False)):
        intensity = light.correlated_intensities(rng(14), np.full(n, ic), is_, 0.0, 24_000, step_s=0.0025, tau_s=0.1)
        pixel, time_s = light.photon_times(rng(15), intensity, 0.0025)
        timed = intervals_of(np.searchsorted(pixel, np.arange(n + 1)), (time_s * 1e6).astype(np.int64), 60_000_000, 0.0)
        fits = fit_intervals(timed, SpeckleRules(resamples=10), np.full(n, 0.1), 0.1)
        assert (((fits.flags & SpeckleFlag.BIN_TOO_LONG) == 0) == valid).all()
    intensity = light.independent_intensities(rng(16), np.full(1, 100.0), 100.0, 5.0, 400_000)
    share = faint_share(np.array([[100.0, 100.0, 5.0], [100.0, 0.0, 0.0], [100.0, 100.0, 20.0]]), np.array([0.1, 0.1, 0.1]))
    assert share == pytest.approx([(intensity < 10).mean(), 0.0, 0.0], rel=0.05)


def test_bins_with_too_many_photons_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speckle_binned, "MOST_COUNTS", 40)
    counts = rng(10).poisson(4.0, (3, 500))
    counts[1, 7] = 41
    fits = fit_counts(counts, SLOW)
    assert ((fits.flags & SpeckleFlag.TOO_MANY_COUNTS) != 0).tolist() == [False, True, False]
    assert np.isfinite(fits.parameters_cps[:, 0]).tolist() == [True, False, True]
    assert not fits.valid[1]


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2000 photons a second of 900 to 1100 nm, half of them below 1000."""
    placed, n = beam_map((1, 4)), 40_000
    pixel = rng(11).integers(0, 4, 4 * n // 2)
    nm = rng(12).uniform(900, 1100, pixel.size)
    time_us = rng(13).integers(0, 10_000_000, pixel.size)
    path = tmp_path_factory.mktemp("validity") / "t.h5"
    return table(path, placed, pixel, time_us, -HC_EV_NM / nm / 0.02, dead_time_us=8.0)


@pytest.mark.parametrize("method", ["binned", "intervals"])
def test_dead_time_is_that_of_photons_of_every_wavelength(bright: Path, method: Any) -> None:
    """1.6 % of the time is dead, half of it after photons of the window: what is lost to the others is lost all the same."""
    parts = Calibrations(wavelength=linear_solution(beam_map((1, 4))))
    with open_calibrated(bright, parts) as opened:
        cut, all_ = (
            make_maps(opened, SLOW, np.array([0, 10_000_000]), method=method, window_nm=window) for window in ((900.0, 960.0), None)
        )
    assert cut.mean_cps.max() * 8e-6 < 0.01
    assert ((cut.flags & SpeckleFlag.DEAD_TIME) != 0).all()
    assert ((all_.flags & SpeckleFlag.DEAD_TIME) != 0).all() == (method == "binned")  # intervals know of it


@pytest.mark.parametrize("method", ["binned", "intervals"])
def test_the_length_is_that_in_which_the_pixel_counted(bright: Path, method: Any) -> None:
    bits = np.zeros((2, 1, 4), dtype=np.uint8)
    bits[0, 0, 1] = HOT
    edges_us = START_US + np.array([0, 6_000_000, 10_000_000])
    masks = PixelMasks(edges_us=edges_us, resid=beam_map((1, 4)).resid, bits=bits)
    rules = SpeckleRules(decorrelation_s=0.2, errors="curvature")  # thirty of them are 6 s
    with open_calibrated(bright, Calibrations(masks=masks)) as opened:
        maps = make_maps(opened, rules, np.array([0, 10_000_000]), method=method)
    assert ((maps.flags[0, 0] & SpeckleFlag.TOO_SHORT) != 0).tolist() == [False, True, False, False]
