"""Intervals of what is not Gaussian - full well, linearity error, counts of hot pixels - cover the truth as often as they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.emva1288 import Linear1288
from nightcrew.sensor.flats import FlatResult
from nightcrew.sensor.hot_counts import hot_interval
from nightcrew.simulate.sensor import SensorModel, build_sensor
from nightcrew.simulate.sensor_set import SensorPlan
from tests.sensor.sets import QUICK, SMALL, frames_of, measured, small_plan, whole

MANY = range(1000, 1200)
FEW = range(1000, 1008)
LEVEL, TWO_SIGMA = 0.95, 0.9545
PLAIN = replace(QUICK, bootstrap=0)
CURVED = small_plan(replace(SMALL, nonlinearity_per_e=1e-6))


def check_coverage(hits: int, of: int, wanted: float, *, at_least: bool = False) -> None:
    """Intervals that are too narrow miss the truth too often, too wide ones too seldom: 4 sigma of the binomial distribution.

    The upper side is looked at exactly, since 4 sigma lie above 1 there; ``at_least``: not at all.
    """
    from scipy.stats import binom

    assert hits / of > wanted - 4 * math.sqrt(wanted * (1 - wanted) / of), f"{hits} of {of} cover the truth: too few for {wanted:.3f}"
    assert at_least or binom.sf(hits - 1, of, wanted) > 3e-5, f"{hits} of {of} cover the truth: too many for {wanted:.3f}"


@pytest.mark.parametrize("hits", [120, 173, 200])
def test_coverage_is_judged_from_both_sides(hits: int) -> None:
    with pytest.raises(AssertionError, match="too few" if hits < 190 else "too many"):
        check_coverage(hits, 200, 0.945)


def shifted(seed: int, low: float, high: float) -> float:
    """Where the levels lie to the full well, another place in each set: an interval must not owe its truth to the plan."""
    return float(np.random.default_rng(seed).uniform(low, high))


def beyond(seed: int) -> SensorPlan:
    """A sweep with a level or two beyond the full well."""
    return small_plan(flat_levels=tuple(shifted(seed, 0.96, 1.0) * level for level in SensorPlan().flat_levels))


def ends(seed: int) -> SensorPlan:
    """A sweep that ends while only a part of the pixels is full."""
    return small_plan(flat_levels=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, shifted(seed, 0.985, 1.02)))


def full_well_hits(plan: Callable[[int], SensorPlan], seeds: Sequence[int]) -> tuple[int, int]:
    """Hits, and sets in which the full well was reached."""
    found = [(seed, whole(measured(plan(seed), seed, PLAIN)).flats[0].full_well_e) for seed in seeds]
    known = [full_well[1] for _, full_well in found if full_well is not None]
    return sum(one.low <= SMALL.full_well_e <= one.high for one in known), len(known)


def emva_levels(flat: FlatResult) -> NDArray[np.bool_]:
    """Levels from 5 % to 95 % of the one that EMVA 1288 takes for saturation."""
    assert flat.linearity is not None
    assert isinstance(flat.emva, Linear1288)
    signal = flat.linearity.signal_adu
    top = signal[flat.emva.saturation_index]
    return np.asarray((signal >= 0.05 * top) & (signal <= 0.95 * top))


def linear_truth(plan: SensorPlan, flat: FlatResult, used: NDArray[np.bool_]) -> float:
    """Mean size of the deviations in % that the ``used`` exposures have without noise."""
    model, straight = plan.sensor, flat.linearity
    assert straight is not None
    light = np.array(plan.flat_levels) * model.full_well_e
    charge = light + model.dark_rate_e_per_s * light / plan.lamp_e_per_s
    signal = (charge - model.nonlinearity_per_e * (charge**2 * (1 + model.prnu**2) + charge)) / model.gain_e_per_adu
    t, at = straight.exposure_s[used], light / plan.lamp_e_per_s
    s: NDArray[np.float64] = signal[np.abs(at[None, :] - t[:, None]).argmin(axis=1)]
    design = np.column_stack([np.ones_like(t), t])
    line = design @ np.linalg.lstsq(design / s[:, None], np.ones_like(s), rcond=None)[0]
    return float(100 * np.abs((s - line) / line).mean())


def linear_hits(plan: SensorPlan, seeds: Sequence[int]) -> tuple[int, int, int]:
    """Hits of the linearity error's interval, of EMVA 1288's, and of two errors of the curvature."""
    hits = emva = curvature = 0
    for seed in seeds:
        flat = whole(measured(plan, seed, PLAIN)).flats[0]
        straight, truth = flat.linearity, plan.sensor.nonlinearity_per_e * plan.sensor.gain_e_per_adu
        assert straight is not None
        assert straight.error_interval is not None
        assert straight.alpha_per_adu is not None
        assert straight.alpha_error_per_adu is not None
        assert straight.curved == (truth > 0)
        hits += straight.error_interval.low <= linear_truth(plan, flat, straight.used) <= straight.error_interval.high
        assert isinstance(flat.emva, Linear1288)
        assert flat.emva.linearity_interval is not None
        emva += flat.emva.linearity_interval.low <= linear_truth(plan, flat, emva_levels(flat)) <= flat.emva.linearity_interval.high
        curvature += abs(straight.alpha_per_adu - truth) < 2 * straight.alpha_error_per_adu
    return hits, emva, curvature


HOT = SensorModel(nx=96, ny=96, hot_fraction=0.1, hot_rates_e_per_s=(0.3, 5.0), dark_spread=0.1)
HOT_PLAN = small_plan(HOT, dark_exposures_s=(100.0, 300.0), flat_levels=(0.1, 0.3, 0.5, 0.6), biases=4, darks=2)
"""Hot pixels on both sides of the threshold, some of them within their noise of it."""


STEEP = SensorModel(nx=128, ny=128, dark_spread=1.0)
STEEP_PLAN = small_plan(STEEP, dark_exposures_s=(10.0, 20.0), flat_levels=(0.1, 0.3, 0.5, 0.6), biases=4, darks=2)
"""No hot pixels of their own: the threshold lies in the tail of the warm ones, and noise lifts more above it than it takes below."""


def hot_hits(plan: SensorPlan, seeds: Sequence[int], levels: Sequence[float]) -> list[int]:
    hits = [0] * len(levels)
    for seed in seeds:
        sensor = build_sensor(plan.sensor, seed)
        region = whole(characterise(frames_of(plan, seed, sensor), PLAIN))
        hot = region.darks[0].hot
        assert hot is not None
        assert region.gain is not None
        rates = sensor.dark_e_per_s / plan.sensor.gain_e_per_adu
        others = np.ones(rates.shape, np.bool_)
        others[hot.y, hot.x] = False
        truth = int((rates - rates[others].mean() > hot.threshold_adu_per_s - hot.typical_adu_per_s).sum())
        for place, level in enumerate(levels):
            found = hot_interval(region.darks[0], region.gain.value, level)
            assert not isinstance(found, str)
            hits[place] += found.low <= truth <= found.high
    return hits


def bootstrap_hits(seeds: Sequence[int]) -> tuple[int, float]:
    """Hits of two standard deviations, and how many there should be: residuals of a dozen levels know their own size no better than t."""
    from scipy.stats import t

    hits, wanted = 0, 0.0
    for seed in seeds:
        fit = whole(measured(small_plan(), seed, replace(QUICK, bootstrap=200))).flats[0].curve.fit
        assert fit is not None
        assert fit.bootstrap_gain is not None
        hits += abs(fit.gain - SMALL.gain_e_per_adu) < 2 * fit.bootstrap_gain
        wanted += float(1 - 2 * t.sf(2, fit.freedom)) / len(seeds)
    return hits, wanted


@pytest.mark.parametrize("plan", [beyond, ends])
def test_coverage_of_the_full_well(plan: Callable[[int], SensorPlan]) -> None:
    hits, of = full_well_hits(plan, FEW)
    check_coverage(hits, of, LEVEL, at_least=True)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [beyond, ends])
def test_coverage_of_the_full_well_over_many_seeds(plan: Callable[[int], SensorPlan]) -> None:
    hits, of = full_well_hits(plan, MANY)
    assert of > 150
    check_coverage(hits, of, LEVEL)


@pytest.mark.parametrize("plan", [small_plan(), CURVED], ids=["straight", "curved"])
def test_coverage_of_the_linearity_error_and_the_curvature(plan: SensorPlan) -> None:
    hits, emva, curvature = linear_hits(plan, FEW)
    check_coverage(hits, len(FEW), LEVEL, at_least=True)
    check_coverage(emva, len(FEW), LEVEL, at_least=True)
    check_coverage(curvature, len(FEW), TWO_SIGMA, at_least=True)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [small_plan(), CURVED], ids=["straight", "curved"])
def test_coverage_of_the_linearity_error_and_the_curvature_over_many_seeds(plan: SensorPlan) -> None:
    hits, emva, curvature = linear_hits(plan, MANY)
    check_coverage(hits, len(MANY), LEVEL)
    check_coverage(emva, len(MANY), LEVEL)
    check_coverage(curvature, len(MANY), TWO_SIGMA)


@pytest.mark.parametrize("plan", [HOT_PLAN, STEEP_PLAN], ids=["apart", "steep"])
def test_coverage_of_the_count_of_hot_pixels(plan: SensorPlan) -> None:
    check_coverage(hot_hits(plan, FEW, [LEVEL])[0], len(FEW), LEVEL, at_least=True)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [HOT_PLAN, STEEP_PLAN], ids=["apart", "steep"])
def test_coverage_of_the_count_of_hot_pixels_over_many_seeds(plan: SensorPlan) -> None:
    levels = (LEVEL, 0.68)
    for hits, level in zip(hot_hits(plan, MANY, levels), levels, strict=True):
        check_coverage(hits, len(MANY), level)


@pytest.mark.slow
def test_coverage_of_the_bootstrap_over_many_seeds() -> None:
    hits, wanted = bootstrap_hits(MANY)
    check_coverage(hits, len(MANY), wanted)
