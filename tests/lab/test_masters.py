"""Masters and statistics: numbers of the original's acceptance cases, groups, names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.io.headers import read_hdus
from nightcrew.io.images import read_image
from nightcrew.lab.frame_stats import COLUMNS, stats_of
from nightcrew.lab.groups import Group, group_frames, nearest, texts
from nightcrew.lab.masters import make_master, make_masters, master_cards
from nightcrew.lab.options import LabOptions
from nightcrew.lab.records import LabFrame
from tasks.lab_masters import masters_and_stats
from tests.lab.conftest import Campaign


def frame(folder: Path, name: str, value: float, kind: str = "BIAS", **values: Any) -> LabFrame:
    """A frame of 2 x 2 equal pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.fits"
    fits.writeto(path, np.full((2, 2), value, np.uint16))
    usual: dict[str, Any] = {"temperature_c": 10.0, "exposure_s": 1.0, "attempt": "attempt0", "nx": 2, "ny": 2}
    return LabFrame(path=path, caltype=kind, **{**usual, **values})


def mean_of(masters: Iterable[Any], kind: str) -> dict[float, float]:
    """Temperature -> mean of the master of a kind."""
    return {m.group.temperature_c: m.level for m in masters if m.group.caltype == kind}


def test_temperatures_and_exposures_that_are_not_finite_count_for_nothing(tmp_path: Path) -> None:
    frames = [
        frame(tmp_path, "a", 1, temperature_c=10.0, exposure_s=float("nan")),
        frame(tmp_path, "b", 2, temperature_c=float("inf"), exposure_s=1.0),
    ]
    group = Group(
        caltype="BIAS",
        stage="",
        dose_krad=None,
        filter="",
        attempt="",
        temperature_c=10.0,
        cluster_c=10.0,
        exposure_s=1.0,
        frames=tuple(frames),
    )
    master = make_master(group, "x")
    cards = {card[0]: card[1] for card in master_cards(master)}
    assert (cards["MEAN"], cards["NSOURCE"], cards["TMAX"], cards["EMAX"]) == (1.5, 2, 10.0, 1.0)


def test_darks_get_the_nearest_bias(tmp_path: Path) -> None:
    frames = [frame(tmp_path / "b", f"{t}{v}", v, temperature_c=t) for t, v in ((10.0, 1), (10.0, 3), (20.0, 4), (20.0, 6))]
    frames += [
        frame(tmp_path / "d", f"{t}{v}", v, "DARK", temperature_c=t) for t, v in ((10.0, 102), (10.0, 152), (20.0, 205), (20.0, 305))
    ]
    masters, warnings = make_masters(frames, tmp_path / "out")
    assert mean_of(masters, "DARK") == {10.0: 125.0, 20.0: 250.0}
    assert warnings == []
    header = read_hdus(tmp_path / "out" / "masters" / "darks" / "master_dark_T10.0_E1.0.fits", first_only=True)[0].cards
    assert (header["BIASSUB"], header["T_NEAR"], header["NSOURCE"]) == (True, 10.0, 2)
    assert (tmp_path / "out" / "masters" / "darks" / "master_dark_attempt0_T10.0_E1.0.fits").exists()


def test_dark_of_7_over_bias_of_2_is_5(tmp_path: Path) -> None:
    frames = [frame(tmp_path, f"b{i}", 2) for i in range(2)] + [frame(tmp_path, f"d{i}", 7, "DARK") for i in range(2)]
    masters, _ = make_masters(frames, tmp_path / "out")
    assert mean_of(masters, "DARK") == {10.0: 5.0}
    assert np.all(read_image(tmp_path / "out" / "masters" / "darks" / "master_dark_T10.0_E1.0.fits") == 5)


def test_stage_and_dose_are_never_mixed(tmp_path: Path) -> None:
    frames = [
        frame(tmp_path / s, f"{d}", v, stage=s, dose_krad=d)
        for s, d, v in (("pre", 0.0, 10), ("radiating", 5.0, 20), ("radiating", 10.0, 30))
    ]
    masters, _ = make_masters(frames, tmp_path / "out")
    assert sorted(master.level for master in masters) == [10, 20, 30]
    assert {m.name for m in masters} == {
        "master_bias_pre_D0kR_T10.0",
        "master_bias_radiating_D5kR_T10.0",
        "master_bias_radiating_D10kR_T10.0",
    }


def test_attempts_weigh_alike(tmp_path: Path) -> None:
    frames = [frame(tmp_path / "a", f"a{i}", 10, attempt="x/attempt0") for i in range(3)] + [
        frame(tmp_path / "b", "b", 20, attempt="x/attempt1")
    ]
    (master,), _ = make_masters(frames, tmp_path / "out")
    assert float(read_image(master.path or Path()).mean()) == 15.0
    assert master.n_frames == 4
    assert master.level == 12.5


def test_jitter_and_short_exposures_have_names_of_their_own(tmp_path: Path) -> None:
    exposures = ((0.01, 1), (0.04, 2))
    frames = [frame(tmp_path, f"{t}{e}", v, "DARK", temperature_c=t, exposure_s=e) for t in (9.95, 10.0, 10.05) for e, v in exposures]
    masters, _ = make_masters(frames, tmp_path / "out")
    assert {master.name for master in masters} == {"master_dark_T10.0_E0.01", "master_dark_T10.0_E0.04"}
    assert all(master.n_frames == 3 for master in masters)


def test_frames_without_temperature_are_named(tmp_path: Path) -> None:
    _, warnings = make_masters([frame(tmp_path, "a", 1, temperature_c=None)], tmp_path / "out")
    assert "have no temperature" in warnings[0]


def test_nearest_group_within_tolerance(tmp_path: Path) -> None:
    darks = [
        frame(tmp_path, f"{t}{e}{v}", v, "DARK", temperature_c=t, exposure_s=e)
        for t, e, v in ((10.0, 1.0, 100), (10.0, 1.0, 102), (20.0, 1.0, 200), (20.0, 2.0, 400))
    ]
    groups = group_frames(darks)
    assert [make_master(group, "x").level for group in groups] == [101.0, 200.0, 400.0]
    found = nearest(groups, 20.1, lambda group: abs((group.exposure_s or 0) - 2.05) <= 0.1)
    assert found is not None
    assert make_master(found, "x").level == 400.0


def test_bias_maps_of_each_temperature(tmp_path: Path) -> None:
    frames = [frame(tmp_path, f"{t}{v}", v, temperature_c=t) for t, v in ((10.0, 10), (10.0, 12), (20.0, 20), (20.0, 22))]
    assert [make_master(group, "x").level for group in group_frames(frames)] == [11.0, 21.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.booleans())
def test_statistics_equal_numpy(seed: int, size: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 65536, (size, 7), np.uint16) if whole else rng.normal(size=(size, 7)).astype(np.float32)
    made = stats_of(values)
    wide = values.astype(np.float64)
    expected = (wide.mean(), np.median(wide), wide.std(), *np.percentile(wide, (16, 84)))
    np.testing.assert_allclose((made.mean, made.median, made.std, made.p16, made.p84), expected, rtol=1e-6, atol=1e-6)


def test_a_master_equals_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 4000, (5, 3, 3)).astype(np.uint16)
    frames = []
    for i, pixels in enumerate(stack):
        fits.writeto(tmp_path / f"{i}.fits", pixels)
        frames.append(LabFrame(path=tmp_path / f"{i}.fits", caltype="BIAS", temperature_c=1.0))
    (group,) = group_frames(frames)
    master = make_master(group, "x")
    np.testing.assert_allclose(master.mean, stack.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(master.error, stack.std(axis=0, ddof=1) / np.sqrt(5), rtol=1e-5)
    assert master.std == pytest.approx(stack.std(ddof=1))
    assert (master.lowest, master.highest) == (stack.min(), stack.max())


def test_texts_tell_values_apart() -> None:
    assert texts([10.01, 10.04], 1) == {10.01: "10.01", 10.04: "10.04", None: "none"}
    assert texts([-0.01], 1)[-0.01] == "0.0"
    assert texts([0.012, 10.0], 1, exact=True) == {0.012: "0.012", 10.0: "10.0", None: "none"}


def test_files_of_a_campaign(tmp_path: Path, tiny: Campaign) -> None:
    made = masters_and_stats(tiny.frames, tmp_path, figures=False)
    assert len(made.masters) == 3 + 9 + 4
    with (tmp_path / "frame_stats.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(tiny.frames)
    one = next(row for row in rows if row["CALTYPE"] == "DARK")
    pixels = read_image((tmp_path / one["PATH"]).resolve())
    assert float(one["MEAN"]) == pytest.approx(pixels.mean())
    assert float(one["STD"]) == pytest.approx(pixels.std())
    assert ["the nearest bias of the darks at 30.0 C" in text for text in made.warnings] == [True] * 3
    assert LabOptions().gap_k == 0.5


def test_pixels_that_are_not_finite_take_no_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    planes = rng.normal(100.0, 3.0, (4, 3, 5)).astype(np.float32)
    planes[0, 1, 2] = np.nan
    planes[:, 2, 4] = np.nan
    frames = []
    for n, plane_ in enumerate(planes):
        path = tmp_path / f"f{n}.fits"
        fits.writeto(path, plane_)
        frames.append(LabFrame(path=path, caltype="BIAS", temperature_c=10.0, exposure_s=1.0, attempt="attempt0", nx=5, ny=3))
    (group,) = group_frames(frames)
    made = make_master(group, "bias")
    finite = planes[np.isfinite(planes)].astype(np.float64)
    assert made.mean[1, 2] == pytest.approx(planes[1:, 1, 2].mean(), rel=1e-6)
    assert made.error[1, 2] == pytest.approx(planes[1:, 1, 2].std(ddof=1) / np.sqrt(3), rel=1e-5)
    assert np.isnan(made.mean[2, 4])
    np.testing.assert_allclose((made.level, made.std), (finite.mean(), finite.std(ddof=1)), rtol=1e-6)
    assert not [name for name, value, _ in master_cards(made) if isinstance(value, float) and np.isnan(value)]
