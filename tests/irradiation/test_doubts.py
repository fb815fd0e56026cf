"""What makes numbers less sure than their scatter says: nominal doses, warmth, healing, drift, errors that depend on each other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.irradiation.analysis import analyse, warmth_of
from nightcrew.irradiation.annealing import recovered_part
from nightcrew.irradiation.discover import find_campaigns
from nightcrew.irradiation.dose import Logs, assign_doses
from nightcrew.irradiation.grouping import make_groups
from nightcrew.irradiation.joint import fit_joint
from nightcrew.irradiation.masters import make_masters
from nightcrew.irradiation.operation import correlate
from nightcrew.irradiation.response import NOMINAL, Level, dose_slope
from nightcrew.irradiation.stacks import Stack, measure, pooled_drift
from nightcrew.irradiation.star_noise import Star, forecast, limit_loss, limiting_magnitude, pixel_variance_e2
from nightcrew.simulate.campaign_plan import DamagedSensor
from reports.campaign_summary import KEY_QUANTITIES
from reports.campaign_verdict import PagePart, grade_of
from reports.summary import Quantity
from tests.irradiation.campaigns import analysed, plan_of, simulated
from tests.irradiation.observations import exact
from tests.irradiation.test_grouping import frame, grouped
from tests.irradiation.test_masters import put

ALPHA = 8.0


def level(dose_krad: float, mean: float, **more: Any) -> Level:
    stage = "radiating" if dose_krad > 0 else "pre"
    values: dict[str, Any] = {"stage": stage, "kind": "BIAS", "dose_krad": dose_krad, "mean": mean, "std": 1.0, "mean_error": 0.05, **more}
    return Level(**values)


@pytest.mark.parametrize("steps", [(10.0, 20.0, 30.0, 40.0), (5.0, 10.0, 20.0, 40.0), (20.0, 40.0), (40.0,)])
def test_frames_taken_at_the_end_of_each_step_without_a_log(steps: tuple[float, ...]) -> None:
    # spread over their step they seem to have had less dose than they had: the slope came out too large, with an error near 0
    frames = [frame(f"pre_{n}", stage="pre") for n in range(5)]
    frames += [frame(f"b_{100 * place + n}", nominal=dose) for place, dose in enumerate(steps, 1) for n in range(5)]
    found = assign_doses(frames, Logs())
    groups, _ = make_groups(frames, found.doses)
    levels = []
    for group in groups:
        true = group.frames[0].nominal_dose_krad or 0.0
        more = {"rate_krad_per_s": group.rate_krad_per_s, "dose_error_krad": group.dose_error_krad, "nominal": group.nominal}
        levels.append(level(group.dose_krad, 1000 + ALPHA * true, stage=group.stage, **more))
    value, error, remark = dose_slope(levels)
    assert NOMINAL in remark
    assert abs(value - ALPHA) < 2 * error
    assert 0.02 * ALPHA < error < ALPHA


def test_errors_of_the_doses_are_in_the_errors_of_the_slope() -> None:
    doses, spread, tries = np.array([2.0, 5.0, 10.0, 15.0, 20.0, 30.0]), np.array([0.1, 0.1, 0.3, 0.3, 0.6, 0.6]), 200
    pulls = []
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        means = 1000 + ALPHA * (doses + spread * rng.standard_normal(6)) + 0.05 * rng.standard_normal(6)
        value, error, remark = dose_slope([level(d, m, dose_error_krad=e) for d, m, e in zip(doses, means, spread, strict=True)])
        pulls.append((value - ALPHA) / error)
        assert NOMINAL not in remark
    assert abs(np.mean(pulls)) < 4 / math.sqrt(tries)
    assert abs(np.std(pulls) - 1) < 4 / math.sqrt(2 * tries)


def test_a_temperature_that_follows_the_dose_is_told_with_what_it_may_do() -> None:
    darks = [level(d, 600.0, kind="DARK", temperature_c=20 + 0.05 * d) for d in (0.0, 10.0, 20.0, 40.0)]
    text = warmth_of(darks)
    assert "0.05 K/kRad" in text
    assert f"adds {600 * math.log(2) / 6 * 0.05:.3g} adu/kRad" in text
    assert "changes by 1 adu/K" in warmth_of([level(d, 1000.0, temperature_c=20 + 0.05 * d) for d in (0.0, 40.0)])
    assert warmth_of([level(d, 1000.0, temperature_c=20 + 0.005 * d) for d in (0.0, 10.0, 40.0)]) == ""  # over 0.2 K
    assert warmth_of([level(d, 1.0, temperature_c=20 + t) for d, t in ((0.0, 0.0), (10.0, 0.5), (20.0, -0.5), (40.0, 0.1))]) == ""


def test_two_healed_visits_do_not_stay_in_the_joint_fit(tmp_path: Path) -> None:
    # two visits tell no time constant, and a third of the damage is gone: beta came out too small
    sensor = DamagedSensor(ny=48, nx=48, healing=0.3, healing_time_s=1000.0)
    plan = plan_of(sensor=sensor, post_visits=2, visit_apart_s=6000.0, dark_exposures_s=(10.0,), doses_krad=(10.0, 40.0), frames=4)
    simulated(tmp_path, plan)
    found = analysed(tmp_path)
    fit = found.main_fit
    assert fit is not None
    assert any("frames after the beam move" in remark for remark in found.remarks)
    assert fit.values["beta"] == pytest.approx(2.0 + 2e-4 * 270, rel=0.03)


def test_a_few_frames_whose_level_drifts_have_the_error_of_it(tmp_path: Path) -> None:
    # three frames tell no drift of their own: the level had the error of its pixels' noise, 0.04 adu
    levels = [1000.0, 1001.0, 999.2]
    put(tmp_path, "Preirradiation/Bias", "BIAS", levels)
    for seconds in (1.0, 2.0):
        put(tmp_path, f"Preirradiation/Darks/{seconds:g}s", "DARK", [100 * seconds + one for one in levels], exposure=seconds, seed=1)
    (campaign,) = find_campaigns(tmp_path, tmp_path / "out")
    masters, _ = make_masters(make_groups(campaign.frames, campaign.doses)[0], tmp_path / "out" / "masters")
    expected = float(np.std(levels, ddof=1)) / math.sqrt(3)
    for one in masters:
        assert one.stack.level_error == pytest.approx(expected, rel=0.2)
        assert one.error == pytest.approx(expected * (1 if one.bias is None else math.sqrt(2)), rel=0.2)
        assert one.bias is None or any(one.bias is other for other in masters)
    assert analyse(campaign, masters, {}).doubts == ()


def stacks(root: Path, *, drift: float, groups: int, n: int) -> list[Stack]:
    """Groups of frames of 20 x 20 pixels, noise 20, a fixed pattern of 100, and levels that drift by ``drift`` from frame to frame."""
    rng, made = np.random.default_rng(7), []
    head = fits.PrimaryHDU(np.zeros((20, 20), np.float32)).header.tostring().encode()
    root.mkdir()
    for g in range(groups):
        pattern = 1000 + 100 * rng.standard_normal((20, 20))
        some = [frame(f"{g}_{k}", stage="pre") for k in range(n)]
        for k, one in enumerate(some):
            image = pattern + 20 * rng.standard_normal((20, 20)) + drift * rng.standard_normal()
            some[k] = replace(one, path=root / f"{g}_{k}.fits")
            some[k].path.write_bytes((head + image.astype(">f4").tobytes()).ljust(2 * 2880, b"\0"))
        (group,) = make_groups(some, assign_doses(some, Logs()).doses)[0]
        made.append(measure(group)[0])
    return pooled_drift(made)


def test_pure_noise_is_no_drift(tmp_path: Path) -> None:
    # the level of a trimmed histogram scatters more than the mean of all pixels: by a quarter in its square, which was taken for drift
    found = stacks(tmp_path / "steady", drift=0.0, groups=6, n=41)
    freedom = sum(one.drift_freedom for one in found)
    assert freedom == 240
    assert sum(one.drift_chi2 for one in found) == pytest.approx(freedom, abs=4 * math.sqrt(2 * freedom))
    assert [one.drift_adu for one in found] == [0.0] * 6
    drifts = stacks(tmp_path / "drifts", drift=3.0, groups=20, n=5)
    # 20 groups of 4 degrees of freedom: the variance of the levels is known to 16 %, its root to 8 %
    assert np.median([one.drift_adu for one in drifts]) == pytest.approx(3.0, rel=0.3)
    assert all(one.level_error == pytest.approx(math.hypot(1, one.drift_adu) / math.sqrt(5), rel=0.1) for one in drifts)


def test_a_part_of_no_damage_is_no_number() -> None:
    found = recovered_part((10.0, 0.1), (30.0, 0.3), (15.0, 0.2))
    assert found.part == pytest.approx(0.75)
    rng = np.random.default_rng(1)
    before, first, last = (at + e * rng.standard_normal(20_000) for at, e in ((10.0, 0.1), (30.0, 0.3), (15.0, 0.2)))
    assert found.error == pytest.approx(np.std(1 - (last - before) / (first - before)), rel=0.05)
    none = recovered_part((10.0, 0.5), (11.0, 0.5), (10.2, 0.5))
    assert math.isnan(none.part)
    assert "does not exceed 3 errors" in none.why
    assert math.isnan(recovered_part((10.0, 0.0), (10.0, 0.0), (12.0, 0.0)).part)


def test_the_loss_of_the_limit_has_the_error_of_a_difference() -> None:
    fit, star = fit_joint(exact(), gain_e_per_adu=1.0), Star()
    value, error = limit_loss(fit, star, 0.0, 40.0, gain_e_per_adu=1.0)
    first, last = forecast(fit, star, [0.0, 40.0], gain_e_per_adu=1.0)
    assert value == pytest.approx(first.limiting_magnitude - last.limiting_magnitude)
    needed = [2, 3, 5]
    draws = np.random.default_rng(1).multivariate_normal(fit.linear[needed], fit.covariance[np.ix_(needed, needed)], 2000)

    def limit(row: list[float], dose: float) -> float:
        dc0, beta, read2 = row
        return limiting_magnitude(star, pixel_variance_e2(star, dark_e_per_s=dc0 + beta * dose, read_e=math.sqrt(read2)))

    assert error == pytest.approx(np.std([limit(row, 0.0) - limit(row, 40.0) for row in draws.tolist()]), rel=0.1)
    assert limit_loss(fit, star, 10.0, 10.0, gain_e_per_adu=1.0, gain_error_e_per_adu=0.2) == (0.0, 0.0)


def part(plan: str = "full", doubts: tuple[str, ...] = ()) -> PagePart:
    analysis: Any = SimpleNamespace(doubts=doubts)
    return PagePart(name="", plan=plan, folder="", analysis=analysis, operation=(), absent=(), remarks=(), left_out={})


def test_grades() -> None:
    every = [Quantity(name=name, value=1.0) for name in KEY_QUANTITIES]
    none = [Quantity(name=name, value=None, note="why") for name in KEY_QUANTITIES]
    assert grade_of([part()], every) == ("A", [])
    assert grade_of([part(doubts=("doses are nominal",))], every) == ("B", ["doses are nominal."])
    grade, reasons = grade_of([part()], [*every[1:], *none[:1]])
    assert (grade, KEY_QUANTITIES[0] in reasons[0]) == ("B", True)
    assert grade_of([part()], every[1:])[0] == "B"
    assert grade_of([part()], none)[0] == grade_of([part()], [])[0] == "C"
    assert grade_of([part("irradiation")], none)[0] == "A"  # masters alone: no key quantity is asked for


def test_a_chain_that_begins_far_from_0_is_cut_as_well() -> None:
    # parts were as wide as a tenth of the largest dose: ten kRad at the end of a hundred were one group
    doses = [100 + 0.25 * n for n in range(40)]
    assert len(grouped([frame(f"b_{n}") for n in range(40)], doses)) == 10


def test_a_temperature_has_a_limit_of_its_own() -> None:
    counts = np.array([10, 14, 9, 12])
    assert "0.5 K" in correlate(np.array([0.01, -0.01, 0.02, 0.0]), counts, "temperature / C").why
    assert correlate(np.array([60.0, 60.9, 60.2, 60.4]), counts, "temperature / C").why == ""
    assert "2 %" in correlate(np.array([60.0, 60.9, 60.2, 60.4]), counts, "voltage / V").why
