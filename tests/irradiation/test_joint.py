"""The joint fit: exact on exact data, honest about its errors, and silent about nothing that it cannot know."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused
from nightcrew.irradiation.joint import fit_joint
from nightcrew.irradiation.joint_names import NAMES
from nightcrew.irradiation.observations import TOLD, Observations
from tests.irradiation.observations import TRUTH, exact


def picked(data: Observations, keep: np.ndarray) -> Observations:
    return Observations(**{name: column[keep] for name, column in vars(data).items() if column is not None})


def test_exact_data_give_the_truth() -> None:
    # the older suite's case: it gave DC0 25.99, q 87.2 and sigma_q 349.6
    found = fit_joint(exact(), gain_e_per_adu=1.0)
    for name, truth in TRUTH.items():
        assert found.values[name] == pytest.approx(truth, rel=1e-6), name
    assert found.why == {}
    assert found.chi2 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("gain", [0.35, 1.0, 2.4])
def test_a_gain_that_nobody_states_is_fitted(gain: float) -> None:
    found = fit_joint(exact(gain=gain))
    assert 1 / found.values["k"] == pytest.approx(gain, rel=1e-6)
    for name, truth in TRUTH.items():
        assert found.values[name] == pytest.approx(truth, rel=1e-6), name


def test_predictions_are_the_model() -> None:
    data = exact(gain=2.0)
    found = fit_joint(data, gain_e_per_adu=2.0)
    level, error = found.signal(data.dose_krad, data.rate_krad_per_s, data.exposure_s)
    assert level == pytest.approx(data.signal_adu)
    assert np.all(error > 0)
    assert found.variance(20.0, 0.004, 10.0) == pytest.approx(64 + (24 + 18) * 10 / 2 + 130000 * 0.04)


@pytest.mark.parametrize(
    ("keep", "lost", "word"),
    [
        (lambda d, r, t: r == 0, {"q", "sigma_q"}, "beam"),
        (lambda d, r, t: t == 0, {"DC0", "beta", "q", "sigma_q"}, "exposure"),
        (lambda d, r, t: d == 0, {"alpha", "beta", "q", "sigma_q"}, "dose"),
    ],
)
def test_what_the_groups_lack_is_said(keep: Callable[..., Any], lost: set[str], word: str) -> None:
    data = exact()
    chosen = keep(data.dose_krad, data.rate_krad_per_s, data.exposure_s)
    found = fit_joint(picked(data, chosen), gain_e_per_adu=1.0)
    assert set(found.why) == lost
    assert all(math.isnan(found.values[name]) for name in lost)
    assert any(word in found.why[name] for name in lost)
    for name in set(TRUTH) - lost:
        assert found.values[name] == pytest.approx(TRUTH[name], rel=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1e-2])
def test_a_beam_of_one_rate_does_not_tell_hits_from_dark_current(spread: float) -> None:
    # without a dark out of the beam; rates that differ by their own errors gave numbers with small errors
    data = exact(rates=(0.004 * (1 - spread), 0.004 * (1 + spread)))
    found = fit_joint(picked(data, (data.rate_krad_per_s > 0)), gain_e_per_adu=1.0)
    assert {"DC0", "q"} <= set(found.why)
    assert "look like dark current" in found.why["q"] or "does not" in found.why["q"]
    assert found.values["alpha"] == pytest.approx(2.0, rel=1e-6)
    apart = exact(rates=(0.002, 0.006))
    assert fit_joint(picked(apart, apart.rate_krad_per_s > 0), gain_e_per_adu=1.0).values["q"] == pytest.approx(300, rel=1e-5)


def test_a_parameter_with_an_error_beyond_all_levels_is_undetermined() -> None:
    data = exact(rates=(0.004, 0.0045))
    beam = picked(data, data.rate_krad_per_s > 0)
    vague = dataclasses.replace(beam, signal_error_adu=beam.signal_error_adu * 1e3, variance_error_adu2=beam.variance_error_adu2 * 1e3)
    assert fit_joint(beam, gain_e_per_adu=1.0).why == {}
    found = fit_joint(vague, gain_e_per_adu=1.0)
    assert "larger than the range" in found.why["q"]
    assert math.isnan(found.linear[4])


def test_without_noise_the_levels_alone_are_fitted() -> None:
    data = exact()
    nan = np.full_like(data.dose_krad, np.nan)
    found = fit_joint(dataclasses.replace(data, variance_adu2=nan), gain_e_per_adu=1.0)
    assert found.values["DC0"] == pytest.approx(24, rel=1e-6)
    assert "two frames" in found.why["read"]
    assert math.isnan(found.values["sigma_q"])


def test_a_single_dose_determines_no_level_at_dose_0() -> None:
    data = exact()
    found = fit_joint(picked(data, data.dose_krad == 40.0), gain_e_per_adu=1.0)
    assert {"B0", "alpha", "DC0", "beta"} <= set(found.why)
    assert found.values["q"] == pytest.approx(300, rel=1e-6)


def test_no_group_is_refused() -> None:
    with pytest.raises(Refused, match="no group"):
        fit_joint(picked(exact(), np.zeros(18, bool)))


def noisy(rng: np.random.Generator, data: Observations) -> Observations:
    return dataclasses.replace(
        data,
        signal_adu=data.signal_adu + rng.normal(0, data.signal_error_adu),
        variance_adu2=data.variance_adu2 + rng.normal(0, data.variance_error_adu2),
    )


def test_errors_of_given_noise_are_right() -> None:
    n = 200
    pulls = np.zeros((n, 8))
    for seed in range(n):
        found = fit_joint(noisy(np.random.default_rng(seed), exact(gain=2.0)))
        truth = {**TRUTH, "k": 0.5}
        pulls[seed] = [(found.values[name] - truth[name]) / found.errors[name] for name in NAMES]
    assert np.all(np.abs(pulls.mean(axis=0)) < 4 / math.sqrt(n))
    assert np.all(np.abs(pulls.std(axis=0) - 1) < 4 / math.sqrt(2 * n))


def of_nominal_doses(rng: np.random.Generator, part: float) -> tuple[Observations, np.ndarray]:
    """Before and in the beam; doses wrong by ``part`` of their step: half of the variance a folder's, half a group's; all besides."""
    data = exact(gain=2.0)
    data = picked(data, np.arange(15))
    doses, folder = np.unique(data.dose_krad, return_inverse=True)
    error = np.concatenate([[0.0], part * np.diff(doses)])
    of_folder, of_all = rng.standard_normal(len(doses)), rng.standard_normal()
    shift = error[folder] * ((of_folder[folder] + rng.standard_normal(len(folder))) / math.sqrt(2) + of_all)
    wrong = dataclasses.replace(
        noisy(rng, data),
        dose_error_krad=error[folder],
        nominal_step=np.where(folder > 0, folder, TOLD),
    )
    t, beta = data.exposure_s, TRUTH["beta"]
    return dataclasses.replace(
        wrong,
        signal_adu=wrong.signal_adu + (TRUTH["alpha"] + beta * t) * shift,
        variance_adu2=wrong.variance_adu2 + beta * t * shift / 2,
    ), folder


def test_doses_that_are_wrong_by_folders_are_in_the_errors() -> None:
    # as errors of each group by itself pulls of alpha were 2.4 wide, of beta 1.4
    n, names, truth = 50, [name for name in NAMES if name != "sigma_q"], {**TRUTH, "k": 0.5}
    pulls = []
    for seed in range(n):
        data, _ = of_nominal_doses(np.random.default_rng(seed), 0.1)
        found = fit_joint(data)
        pulls.append([(found.values[name] - truth[name]) / found.errors[name] for name in names])
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 4 / math.sqrt(n))
    assert np.all(np.abs(np.std(pulls, axis=0) - 1) < 4 / math.sqrt(2 * n))


def test_a_shift_of_all_nominal_doses_is_in_the_errors() -> None:
    # frames taken at the end of every step: the nominal doses, spread over the step, are all too small
    data, folder = of_nominal_doses(np.random.default_rng(1), 0.0)
    steps = np.diff(np.unique(data.dose_krad), prepend=0.0)[folder]
    late = dataclasses.replace(data, dose_krad=data.dose_krad - 0.4 * steps, dose_error_krad=steps / math.sqrt(12))
    found = fit_joint(late, gain_e_per_adu=2.0)
    for name in ("alpha", "beta"):
        assert abs(found.values[name] - TRUTH[name]) < 2 * found.errors[name]
        assert 0.02 * TRUTH[name] < found.errors[name] < TRUTH[name]


def test_a_misfit_widens_the_errors() -> None:
    data = exact()
    bent = dataclasses.replace(data, signal_adu=data.signal_adu + 0.05 * data.dose_krad**2)
    found = fit_joint(bent, gain_e_per_adu=1.0)
    assert found.scale > 3
    assert found.errors["alpha"] > 3 * fit_joint(data, gain_e_per_adu=1.0).errors["alpha"]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(18)))
def test_the_order_of_the_groups_does_not_matter(order: list[int]) -> None:
    data = noisy(np.random.default_rng(3), exact())
    one, other = fit_joint(data, gain_e_per_adu=1.0), fit_joint(picked(data, np.array(order)), gain_e_per_adu=1.0)
    for name in TRUTH:
        assert other.values[name] == pytest.approx(one.values[name], rel=1e-8)
