"""A simulated run through the command line: every photon of the truth is in its table."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nightcrew.errors import Refused
from nightcrew.mkid.photon_table import PhotonTable
from nightcrew.simulate.mkid_array import KINDS, make_array, speckle_rates
from nightcrew.simulate.mkid_plan import Exposure, dither, preset
from nightcrew.simulate.mkid_run import make_run
from nightcrew.simulate.speckle_scene import point_source
from tests.mkid.streams import Rows

PLAN = replace(
    preset("tiny"),
    exposures=(
        Exposure(name="laser_850", kind="laser", duration_s=1.5, rate_cps=100.0, wavelength_nm=850.0),
        Exposure(name="dark", kind="dark", duration_s=1.0),
        Exposure(name="flat", kind="flat", duration_s=1.2, rate_cps=100.0, flashes=20),
    ),
    gap_s=0.7,
    loss=0.002,
    start_unix=1609459198,  # over the New Year of 2021
    duplicate_fraction=0.02,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mkid") / "run"
    make_run(out, PLAN, 5)
    return out


def nightcrew(*words: object) -> subprocess.CompletedProcess[str]:
    code = "from deployments.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def delivered(run: Path, start_us: int, stop_us: int) -> Rows:
    """Rows (pixel, time, phase, baseline) of the truth, sorted."""
    with h5py.File(run / "truth.h5") as truth:
        columns = {name: column[:] for name, column in truth["photons"].items()}
    keep = columns["delivered"] & (columns["time_us"] >= start_us) & (columns["time_us"] < stop_us) & (columns["x"] < PLAN.columns)
    rows = np.stack([columns["y"] * PLAN.columns + columns["x"], columns["time_us"], columns["phase"], columns["baseline"]], axis=1)[keep]
    ordered: Rows = rows[np.lexsort(rows.T[::-1])]
    return ordered


def test_tables_of_a_log_hold_the_truth(run: Path, tmp_path: Path) -> None:
    done = nightcrew(
        "mkid", "convert", run / "data", "--beam-map", run / "beammap.txt", "--log", run / "observing_log.csv", "--out", tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    for window in json.loads((run / "truth.json").read_text())["exposures"]:
        with PhotonTable(tmp_path / f"{window['name']}.h5") as table:
            photons = table.read()
            rows = np.stack([photons.pixel, photons.time_us + table.start_us, photons.phase, photons.baseline], axis=1)
            assert (table.start_us, table.stop_us) == (window["start_us"], window["stop_us"])
            assert np.array_equal(rows[np.lexsort(rows.T[::-1])], delivered(run, table.start_us, table.stop_us))
            assert table.attributes["exposure"] == window["name"]
            assert table.report["missing_seconds"] == []


def test_a_run_without_a_log_is_one_table_and_its_losses_are_the_planted(run: Path, tmp_path: Path) -> None:
    done = nightcrew("mkid", "convert", run / "data", "-b", run / "beammap.txt", "-o", tmp_path, "--json")
    (row,) = json.loads(done.stdout)["tables"]
    truth = json.loads((run / "truth.json").read_text())
    assert row["words"]["lost_frames"] == truth["lost_frames"]
    assert row["words"]["orphan"] == 0
    start_us = (PLAN.start_unix - 1) * 10**6
    assert row["photons"] == len(delivered(run, start_us, start_us + 10**8))
    said = json.loads(nightcrew("mkid", "info", tmp_path / row["table"], "--json").stdout)
    assert (said["photons"], said["columns"], said["rows"]) == (row["photons"], 20, 20)
    assert "duplicatePixel" in nightcrew("mkid", "info", tmp_path / row["table"]).stdout


def test_windows_and_hostile_neighbours(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in (run / "data").rglob("*.bin"):
        (data / path.name).write_bytes(path.read_bytes())
    (data / "1609459202.bin").write_text("text")
    (data / "notes.bin").write_text("text")
    window = ("--start", "1609459199.25", "--duration", "1.5")
    done = nightcrew("mkid", "convert", data, "-b", run / "beammap.txt", "-o", tmp_path / "t.h5", *window)
    assert done.returncode == 0
    assert "notes.bin: is not named after" in done.stdout
    with PhotonTable(tmp_path / "t.h5") as table:
        assert table.n_photons == len(delivered(run, 1609459199250000, 1609459200750000))
    done = nightcrew("mkid", "convert", data, "-b", run / "beammap.txt", "-o", tmp_path / "runs")
    assert "1 second is missing: 1609459202" in done.stdout


def test_parse_counts_and_writes_photons_and_cube(run: Path, tmp_path: Path) -> None:
    files = sorted((run / "data").rglob("*.bin"))
    done = nightcrew(
        *("mkid", "parse", *files, "--size", "20x20", "--json"),
        *("--photons", tmp_path / "p.csv", "--cube", tmp_path / "c.npz", "--step", "0.5"),
    )
    (found,) = json.loads(done.stdout)["runs"]
    cube = np.load(tmp_path / "c.npz")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert cube["counts"].sum() == found["words"]["photons"] == len(lines) - 1
    truth = delivered(run, 0, 1 << 62)
    step = (truth[:, 1] - cube["start_unix_us"]) // cube["step_us"]
    expected = np.zeros(cube["counts"].shape, int)
    np.add.at(expected, (step, truth[:, 0] // 20, truth[:, 0] % 20), 1)
    assert np.array_equal(cube["counts"], expected)
    assert str(found["words"]["photons"]) in nightcrew("mkid", "parse", *files, "--size", "20x20").stdout


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("--start", "now", "--duration", "1"), 2, "is no time"),
        (("--start", "5"), 2, "either --stop or --duration"),
        (("--start", "9", "--stop", "5"), 2, "ends before it begins"),
        (("--start", "9", "--stop", "15"), 1, "no file of these seconds"),
        (("--flags", "new"), 2, "current or older"),
        (("--size", "big"), 2, "is no size"),
        (("--log", "absent.csv"), 1, "cannot be read"),
    ],
)
def test_mistakes_are_told_in_a_sentence(words: tuple[str, ...], code: int, reason: str, run: Path, tmp_path: Path) -> None:
    done = nightcrew("mkid", "convert", run / "data", "-b", run / "beammap.txt", "-o", tmp_path, *words)
    assert done.returncode == code
    assert reason in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_seed_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "again", PLAN, 5)
    ours, others = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (run, tmp_path / "again"))
    assert ours == others
    with pytest.raises(Refused, match="not empty"):
        make_run(tmp_path / "again", PLAN, 5)


def test_the_array_does_what_its_truth_says(run: Path) -> None:
    array = make_array(PLAN, 5)
    window = json.loads((run / "truth.json").read_text())["exposures"][0]
    rows = delivered(run, window["start_us"], window["stop_us"])
    counts = np.bincount(rows[:, 0], minlength=400)
    own = array.place == np.arange(400)
    for kind, low, high in (("good", 60, 260), ("hot", 1500, 4000), ("dead", 0, 0), ("no tone", 0, 0)):
        chosen = own & (array.kind == KINDS.index(kind)) & ~np.isin(np.arange(400), array.place[~own])
        assert np.all((counts[chosen] >= low) & (counts[chosen] <= high)), kind
    good = int(np.flatnonzero(own & (array.kind == 0) & ~np.isin(np.arange(400), array.place[~own]))[0])
    phases = rows[rows[:, 0] == good, 2] * (180 / np.pi) * 2.0**-15
    expected = array.phase_deg(np.array([1239.841984 / 850]), np.array([good]))[0]
    assert np.median(phases) == pytest.approx(expected, rel=0.05)
    gaps = np.diff(rows[:, 1])[np.diff(rows[:, 0]) == 0]
    assert np.quantile(gaps, 0.001) >= PLAN.dead_time_us


def test_a_science_dither_has_its_star_and_its_speckles_where_the_truth_says(tmp_path: Path) -> None:
    plan = replace(PLAN, exposures=dither(20, 20, 2.0, star_cps=20_000.0), duplicate_fraction=0.0, loss=0.0)
    make_run(tmp_path / "run", plan, 3)
    array = make_array(plan, 3)
    good = (array.kind == 0).reshape(20, 20)
    for window, exposure in zip(json.loads((tmp_path / "run" / "truth.json").read_text())["exposures"], plan.exposures, strict=True):
        rows = delivered(tmp_path / "run", window["start_us"], window["stop_us"])
        image = np.bincount(rows[:, 0], minlength=400).reshape(20, 20) / 2.0
        ic, is_ = (values.reshape(20, 20) for values in speckle_rates(array, exposure))
        assert exposure.star_px is not None
        star = point_source((20, 20), exposure.star_px, exposure.star_cps, exposure.fwhm_px)
        expected = (ic + is_ + star + exposure.rate_cps) * array.response.reshape(20, 20) + plan.background_cps
        bright = good & (expected > 20)
        # photon noise, and Is flickering for 2 s / (2 tau) independent moments, restarted each second
        noise = np.sqrt(expected / 2.0 + (is_**2 + 2 * ic * is_ + 2 * star * is_) * 0.1 / 2.0)
        pulls = ((image - expected) / noise)[bright]
        assert abs(pulls.mean()) < 0.35
        assert pulls.std() == pytest.approx(1, abs=0.3)
    log = (tmp_path / "run" / "observing_log.csv").read_text().splitlines()
    assert log[1].startswith("dither_0,science,")
    assert log[1].endswith(",9.5,9.5")
