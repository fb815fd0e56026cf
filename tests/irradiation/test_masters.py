"""Masters: which bias a dark loses, names that never meet, memory, hot pixels only where hits can be told, precision by the dark's step."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.irradiation import open_frames
from nightcrew.irradiation.analysis import analyse
from nightcrew.irradiation.costs import costs, photometric_precision, star_forecast
from nightcrew.irradiation.discover import find_campaigns
from nightcrew.irradiation.grouping import Group, make_groups
from nightcrew.irradiation.hits import mean_without_hits, unrejected
from nightcrew.irradiation.joint import fit_joint
from nightcrew.irradiation.masters import make_masters, unique_names
from nightcrew.irradiation.results import Analysis
from nightcrew.irradiation.stacks import measure
from nightcrew.irradiation.star_noise import Star, forecast
from nightcrew.simulate.campaign_plan import DamagedSensor
from tests.irradiation.campaigns import plan_of, simulated
from tests.irradiation.observations import exact
from tests.irradiation.test_grouping import dose, frame

SHAPE = (24, 32)
ALPHA, DARK = 8.0, 50.0


def put(root: Path, folder: str, kind: str, levels: list[float], *, exposure: float = 0.0, seed: int = 0, noise: float = 2.0) -> None:
    """Frames of the given levels with noise."""
    (root / folder / "fits").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for n, level in enumerate(levels):
        image = (level + noise * rng.standard_normal(SHAPE)).astype(np.float32)
        header = fits.Header({"CALTYPE": kind, "EXPTIME": exposure, "TEMP": 10.0, "FRAMENUM": n})
        fits.PrimaryHDU(image, header).writeto(root / folder / "fits" / f"{kind}_f{n}.fits")


def analysed(root: Path, **options: Any) -> Analysis:
    found = find_campaigns(root, root / "out")[0]
    groups, left_out = make_groups(found.frames, found.doses)
    masters, remarks = make_masters(groups, root / "out" / "masters")
    return analyse(found, masters, {**found.left_out, **left_out}, remarks=remarks, **options)


def campaign(root: Path, bias_doses: tuple[float, ...], dark_doses: tuple[float, ...]) -> Analysis:
    """Darks of 1 s, ``DARK`` above a bias of 1000 + ``ALPHA`` x dose; a frame's dose is its folder's (one frame a folder and kind)."""
    for d in bias_doses:
        name = "Preirradiation" if d == 0 else f"Irradiation/{d:g}kRads"
        put(root, f"{name}/Bias", "BIAS", [1000 + ALPHA * d] * 3, seed=int(10 * d))
    for d in dark_doses:
        name = "Preirradiation" if d == 0 else f"Irradiation/{d:g}kRads"
        put(root, f"{name}/Darks", "DARK", [1000 + ALPHA * d + DARK] * 3, exposure=1.0, seed=int(10 * d) + 1)
    for d in {*bias_doses, *dark_doses} - {0.0}:
        rows = [f"{n},{d + 1e-4 * n}" for n in range(3)]
        (root / f"Irradiation/{d:g}kRads/radiationLogDef.csv").write_text("FrameNum,Dose\n" + "\n".join(rows) + "\n")
        for kind in ("Bias", "Darks"):
            if (place := root / f"Irradiation/{d:g}kRads/{kind}").is_dir():
                (place / "radiationLogDef.csv").write_text("FrameNum,Dose\n" + "\n".join(rows) + "\n")
    return analysed(root)


def test_a_bias_of_one_dose_is_carried_to_no_other(tmp_path: Path) -> None:
    # the growth of the bias is not known: 8 adu/kRad of it stood in the darks of 2 and 5 kRad as dark current
    found = campaign(tmp_path, (0.0,), (0.0, 2.0, 5.0, 20.0))
    darks = {round(one.group.dose_krad, 2): one for one in found.masters if one.group.kind == "DARK"}
    assert darks[0.0].mean == pytest.approx(DARK, abs=1)
    assert [darks[d].corrected for d in (2.0, 5.0, 20.0)] == [False] * 3
    assert "do not tell their growth" in darks[5.0].why
    assert "no bias within" in darks[20.0].why
    assert found.slopes == () or all(not slope.value > 0.1 for slope in found.slopes)


def test_a_bias_is_carried_by_its_known_growth(tmp_path: Path) -> None:
    found = campaign(tmp_path, (0.0, 5.0, 20.0), (0.0, 5.0, 10.0, 20.0))
    dark = next(one for one in found.masters if one.group.kind == "DARK" and round(one.group.dose_krad) == 10)
    assert dark.bias is not None
    assert abs(dark.bias_shift_adu) == pytest.approx(ALPHA * 5, rel=0.02)
    assert dark.mean == pytest.approx(DARK, abs=4 * dark.error)
    assert dark.error > next(o for o in found.masters if o.group.kind == "DARK" and round(o.group.dose_krad) == 5).error


def test_a_bias_whose_growth_is_poorly_known_is_not_carried(tmp_path: Path) -> None:
    for d, level in ((0.0, 1000.0), (5.0, 1100.0), (20.0, 1010.0)):  # a bias that is no line over dose
        put(tmp_path, "Preirradiation/Bias" if d == 0 else f"Irradiation/{d:g}kRads/Bias", "BIAS", [level] * 3, seed=int(d))
    put(tmp_path, "Irradiation/10kRads/Darks", "DARK", [1100.0] * 3, exposure=1.0)
    found = analysed(tmp_path)
    (dark,) = [one for one in found.masters if one.group.kind == "DARK"]
    assert not dark.corrected
    assert "its level there is known to" in dark.why


def group_of(n: int, *, exposure: float = 1.0, kind: str = "DARK") -> Group:
    frames = [frame(f"{kind}_{i}", kind, exposure=exposure, nominal=5.0) for i in range(n)]
    (group,) = make_groups(frames, {f.relative: dose(5.0) for f in frames})[0]
    return group


def test_groups_of_one_dose_and_temperature_have_files_of_their_own() -> None:
    one = group_of(2)
    names = unique_names([one, dataclasses.replace(one, step=10.0), dataclasses.replace(one, temperature_c=20.04)])
    assert len(set(names)) == 3


def test_precision_of_darks_that_share_a_bias_is_not_overwritten(tmp_path: Path) -> None:
    # the darks of 18 kRad borrow the bias of 20 kRad; by the bias' dose one of them was lost
    found = campaign(tmp_path, (0.0, 10.0, 20.0), (0.0, 18.0, 20.0))
    made = costs(found)
    shared = [one for one in made if one.bias.group.dose_krad > 15]
    assert len(shared) == 2
    points = [round(point.dose_krad, 2) for point in photometric_precision(made)]
    assert points == [0.0, 18.0, 20.0]


@pytest.mark.parametrize("frames", [1, 2])
def test_hot_pixels_of_few_frames_are_not_counted(tmp_path: Path, frames: int) -> None:
    simulated(tmp_path, plan_of(frames=frames, doses_krad=(5.0, 20.0)))
    hot = analysed_sim(tmp_path).hot
    assert hot.counts == ()
    assert "3 are needed" in hot.why


def analysed_sim(root: Path) -> Analysis:
    found = find_campaigns(root / "sim" / "campaign", root / "out")[0]
    groups, _ = make_groups(found.frames, found.doses)
    masters, _ = make_masters(groups, root / "out" / "masters", step_adu=16.0)
    return analyse(found, masters, {}, step_adu=16.0)


def test_hits_that_fill_a_stack_leave_no_number_of_hot_pixels(tmp_path: Path) -> None:
    # three frames in a strong beam: pixels hit twice cannot be told from hot ones
    simulated(tmp_path, plan_of(frames=3, doses_krad=(5.0, 20.0), rates_krad_per_s=(0.01, 0.02)))
    counts = analysed_sim(tmp_path).hot.counts
    beam = [one for one in counts if one.stage == "radiating"]
    assert beam
    assert all(one.count is None and "hits in each of their last 3 frames" in one.why for one in beam)
    before = [one for one in counts if one.stage == "pre"]
    assert before
    assert all(one.count is not None for one in before)


def test_the_probability_of_hits_that_are_not_taken_out() -> None:
    rng = np.random.default_rng(1)
    for n, rate in ((3, 0.1), (5, 0.2)):
        values = 5 * rng.standard_normal((n, 200_000)).astype(np.float32)
        values += 1000 * rng.poisson(rate, values.shape).astype(np.float32)
        found = mean_without_hits(values)
        left = float(np.mean(found.mean > 200))
        assert unrejected(n, float(found.hits.mean())) == pytest.approx(left, rel=0.3)
    assert unrejected(6, 0.0) == 0
    assert unrejected(2, 0.1) == 1


def stack_of(root: Path, n: int) -> Group:
    put(root, str(n), "DARK", [1000.0] * n, seed=n, noise=5.0)
    frames = tuple(dataclasses.replace(f, path=root / str(n) / "fits" / f"DARK_f{i}.fits") for i, f in enumerate(group_of(n).frames))
    return dataclasses.replace(group_of(n), frames=frames)


def test_more_frames_need_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_frames, "MOST_OPEN", 16)
    peaks = []
    for n in (8, 48):
        group = stack_of(tmp_path, n)
        measure(group, memory_bytes=200_000)  # imports and caches
        tracemalloc.start()
        measure(group, memory_bytes=200_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_frames_beyond_the_files_that_may_be_open_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = stack_of(tmp_path, 7)
    whole = measure(group)
    monkeypatch.setattr(open_frames, "MOST_OPEN", 3)
    assert np.array_equal(measure(group)[1].mean, whole[1].mean)


def test_flats_alone_have_no_joint_model_and_no_gain(tmp_path: Path) -> None:
    found = analyse(analysed_flats(tmp_path).campaign, [], {})
    assert found.main_fit is None
    assert found.gain[0] is None
    assert np.isnan(found.gain_error_e_per_adu)


def analysed_flats(root: Path) -> Analysis:
    put(root, "Preirradiation/Flats", "FLAT", [20_000.0] * 2, exposure=1.0)
    return analysed(root)


def test_a_gain_that_is_not_significant_is_no_gain(tmp_path: Path) -> None:
    # short darks whose noise is that of the reading: 1 / gain came out as 3 +- 8 and was used
    sensor = DamagedSensor(ny=24, nx=24, dc0_adu_per_s=1.0, beta_adu_per_s_krad=0.05, hot_before=0.0, hot_per_krad=0.0)
    simulated(tmp_path, plan_of(sensor=sensor, frames=3, doses_krad=(5.0, 20.0), dark_exposures_s=(0.1, 1.0)))
    found = analysed_sim(tmp_path)
    gain, why = found.gain
    assert gain is None
    assert "does not tell it" in why or "only to" in why
    assert star_forecast(found, Star())[0] == []
    assert analyse(found.campaign, found.masters, {}, step_adu=16.0, gain_e_per_adu=0.125).gain == (0.125, "given")


def test_a_fitted_gain_widens_the_band_of_the_forecast() -> None:
    fit = fit_joint(exact(), gain_e_per_adu=1.0)
    (sure,), (unsure,) = (forecast(fit, Star(), [10.0], gain_e_per_adu=1.0, gain_error_e_per_adu=e) for e in (0.0, 0.2))
    assert unsure.magnitude_error == sure.magnitude_error
    assert unsure.magnitude_error_error > 2 * sure.magnitude_error_error
