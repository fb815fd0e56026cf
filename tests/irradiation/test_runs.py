"""Runs as a whole: datasets that keep their doses, nothing stale, no file in the place of another, reasons for what is lacking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightcrew.irradiation.discover import Wanted, find_campaigns
from reports.analysis import write_analysis
from reports.campaign_page import distinct
from reports.summary import Quantity
from tasks.campaign import CampaignRequest, run_campaign
from tasks.campaign_files import LIST_NAME, Tree, clear_old
from tests.irradiation.campaigns import plan_of, simulated
from tests.irradiation.test_masters import put


def files_of(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_datasets_do_not_change_the_doses(tmp_path: Path) -> None:
    # without logs a step begins where the one before it ended, also when that one is not asked for
    simulated(tmp_path, plan_of(logs="none", frames=2, doses_krad=(5.0, 10.0, 20.0), layout="krad", stages=("radiating",), converted=True))
    root = tmp_path / "sim" / "campaign"
    (every,) = find_campaigns(root, tmp_path / "a")
    (some,) = find_campaigns(root, tmp_path / "b", wanted=Wanted(datasets=("20kRads",)))
    assert {frame.folder for frame in some.frames} == {"20kRads"}
    assert set(some.records) == {frame.relative for frame in some.frames}
    for frame in some.frames:
        assert some.doses[frame.relative] == every.doses[frame.relative]
        assert some.doses[frame.relative].dose_krad > 10


def test_a_bad_frame_keeps_its_place_in_the_step(tmp_path: Path) -> None:
    put(tmp_path / "in", "10kRads", "BIAS", [1000.0, 1000.0, 0.0, 1000.0, 1000.0], noise=1.0)
    path = tmp_path / "in/10kRads/fits/BIAS_f2.fits"
    path.write_bytes(path.read_bytes()[:2880] + bytes(len(path.read_bytes()) - 2880))  # every pixel 0
    (found,) = find_campaigns(tmp_path / "in", tmp_path / "out")
    doses = [found.doses[frame.relative].dose_krad for frame in found.frames]
    assert doses == pytest.approx([2.0, 4.0, 8.0, 10.0])


def test_flats_alone_end_with_a_report(tmp_path: Path) -> None:
    put(tmp_path / "in", "Preirradiation/Flats", "FLAT", [20_000.0] * 2, exposure=1.0)
    result = run_campaign(CampaignRequest(root=tmp_path / "in", out=tmp_path / "out", plan="full"))
    write_analysis(result.page, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "nightcrew campaign" not in page  # without a configuration it offers no command, and none with words to be filled in


def test_no_dose_at_all_ends_with_a_report(tmp_path: Path) -> None:
    put(tmp_path / "in", "Irradiation/Bias", "BIAS", [1000.0] * 2)  # nothing tells their dose: no master, no joint fit
    result = run_campaign(CampaignRequest(root=tmp_path / "in", out=tmp_path / "out", plan="full"))
    write_analysis(result.page, tmp_path / "out")
    values = {quantity.name: quantity for quantity in result.page.summary.quantities}
    assert values["masters"].value == 0
    assert values["gain"].value is None
    assert values["gain"].note
    assert values["bias_dose_slope"].value is None
    assert result.page.summary.grade == "C"


def test_masters_of_the_laboratory_need_no_dose(tmp_path: Path) -> None:
    # before and after alone, without a log: nothing tells the dose of what comes after, but a master of it needs none
    put(tmp_path / "in", "Preirradiation/Bias", "BIAS", [1000.0] * 3)
    put(tmp_path / "in", "Postirradiation/Bias", "BIAS", [1010.0] * 3)
    run_campaign(CampaignRequest(root=tmp_path / "in", out=tmp_path / "out", plan="irradiation"))
    made = sorted(path.name for path in (tmp_path / "out/masters/bias").glob("*.fits"))
    assert any("pre" in name for name in made)
    assert any("post" in name for name in made)


def test_what_an_earlier_run_wrote_is_gone(tmp_path: Path) -> None:
    put(tmp_path / "in", "Preirradiation/Bias", "BIAS", [1000.0] * 3)
    put(tmp_path / "in", "Irradiation/5kRads/Bias", "BIAS", [1010.0] * 3)
    out = tmp_path / "out"
    grades: list[str] = []

    def run(stages: tuple[Any, ...]) -> set[str]:
        result = run_campaign(CampaignRequest(root=tmp_path / "in", out=out, plan="radiation", stages=stages))
        write_analysis(result.page, out)
        grades.append(result.page.summary.grade)
        return files_of(out)

    first = run(("pre", "radiating"))
    (out / "notes.txt").write_text("mine")
    assert any(name.startswith("radiating/") for name in first)
    listed = set(json.loads((out / LIST_NAME).read_text())["files"])
    assert first - listed == {LIST_NAME}
    second = run(("pre",))
    assert grades == ["B", "C"]  # doses by the folders alone; before the beam nothing is known of damage
    assert not any(name.startswith("radiating/") or "radiating_minus_pre" in name for name in second)
    assert (out / "notes.txt").read_text() == "mine"
    fresh = tmp_path / "fresh"
    result = run_campaign(CampaignRequest(root=tmp_path / "in", out=fresh, plan="radiation", stages=("pre",)))
    write_analysis(result.page, fresh)
    assert second - {"notes.txt"} == files_of(fresh)


def test_a_list_of_files_reaches_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "out" / "link.txt").symlink_to(tmp_path / "mine.txt")
    for listed in ({"../mine.txt": "", str(tmp_path / "mine.txt"): "", "link.txt": ""}, ["../mine.txt"], 7):
        (tmp_path / "out" / LIST_NAME).write_text(json.dumps({"files": listed}))
        clear_old(tmp_path / "out")
        assert (tmp_path / "mine.txt").read_text() == "keep"
    assert (tmp_path / "out" / "link.txt").is_symlink()


def test_two_results_of_one_name_are_two_files(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.bytes("plots/a.png", b"1", "first")
    tree.bytes("plots/a.png", b"2", "second")
    assert (tmp_path / "plots/a.png").read_bytes() == b"1"
    assert (tmp_path / "plots/a_N2.png").read_bytes() == b"2"
    assert set(tree.made) == {"plots/a.png", "plots/a_N2.png"}


def test_exposures_of_one_decimal_have_figures_of_their_own(tmp_path: Path) -> None:
    put(tmp_path / "in", "Preirradiation/Bias", "BIAS", [1000.0] * 3)
    for exposure in (0.11, 0.14, 0.5):
        put(tmp_path / "in", f"Preirradiation/Darks/{exposure}s", "DARK", [1000 + 100 * exposure] * 3, exposure=exposure)
    run_campaign(CampaignRequest(root=tmp_path / "in", out=tmp_path / "out", plan="radiation"))
    made = sorted(path.name for path in (tmp_path / "out/pre/plots").glob("dark_intensity_*.npz"))
    assert made == ["dark_intensity_0.11s.npz", "dark_intensity_0.14s.npz", "dark_intensity_0.5s.npz"]


def test_jittering_exposures_end_with_one_curve(tmp_path: Path) -> None:
    # exposures compared as exact floats broke the summary's form, or wrote one file over the other
    rng = np.random.default_rng(3)
    for d in (0, 5, 10):
        name = "Preirradiation" if d == 0 else f"Irradiation/{d}kRads"
        put(tmp_path / "in", f"{name}/Bias", "BIAS", [1000.0 + 8 * d] * 3, seed=d)
        for n in range(3):
            exposure = 10.0 + 1e-7 * float(rng.normal())
            put(tmp_path / "in", f"{name}/Darks/attempt{n}", "DARK", [1100.0 + 9 * d], exposure=exposure, seed=10 * d + n)
    result = run_campaign(CampaignRequest(root=tmp_path / "in", out=tmp_path / "out", plan="radiation"))
    write_analysis(result.page, tmp_path / "out")
    slopes = [quantity for quantity in result.page.summary.quantities if quantity.name == "dark_dose_slope"]
    assert len(slopes) == 1
    assert slopes[0].value == pytest.approx(1.2, abs=0.2)  # the frames lie at 3.3 and 8.3 kRad on average


def test_equal_conditions_are_told_apart() -> None:
    one = Quantity(name="hot_pixels", value=1, where={"dose_krad": 5.0})
    found = distinct([one, one, Quantity(name="hot_pixels", value=1, where={"dose_krad": 6.0})])
    assert [dict(quantity.where) for quantity in found] == [{"dose_krad": 5.0}, {"dose_krad": 5.0, "again": 2}, {"dose_krad": 6.0}]


def test_results_inside_the_campaign_are_no_frames(tmp_path: Path) -> None:
    put(tmp_path / "in", "Preirradiation/Bias", "BIAS", [1000.0] * 3)
    for _ in range(2):
        result = run_campaign(CampaignRequest(root=tmp_path / "in", out=tmp_path / "in" / "results", plan="radiation"))
    assert len(result.parts[0].campaign.frames) == 3
