"""The command, the simulator's command, and the set kind: from a folder to page, summary, tables and data sheet."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.cli import main
from nightcrew.errors import Refused
from nightcrew.settings import Settings
from nightcrew.simulate.sensor import SensorModel
from nightcrew.simulate.sensor_set import SensorPlan, make_sensor_set, preset
from reports.summary import parse
from tests.support.local_set import LocalSet, run_set

PLAN = SensorPlan(
    sensor=SensorModel(nx=80, ny=72, bright_fat_per_e=-1e-6, hot_fraction=2e-3, trapped_e=30.0),
    temperatures_c=(-20.0, -10.0),
    biases=4,
    dark_exposures_s=(60.0, 120.0, 300.0),
    darks=2,
    flat_darks=False,
    flooded_darks=2,
)
NAMES = (
    "gain",
    "read_noise",
    "full_well",
    "prnu",
    "dsnu",
    "dark_current",
    "doubling_temperature",
    "max_practical_exposure",
    "min_practical_exposure",
    "a00",
    "linearity_error",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated set with a note, a broken file and a copy beside its frames."""
    root = tmp_path_factory.mktemp("bench")
    make_sensor_set(root / "set", PLAN, 3)
    raw = root / "set" / "raw"
    (raw / "notes.txt").write_text("lamp 2, <b>warm</b>")
    (raw / "broken.fits").write_bytes((raw / "bias-10-000.fits").read_bytes()[:4000])
    (raw / "copy.fits").write_bytes((raw / "bias-10-001.fits").read_bytes())
    return root


def nightcrew(*words: object) -> str:
    """Run the command line in this process; what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", ["nightcrew", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return printed.getvalue()


def characterised(bench: Path, out: str) -> tuple[Path, str]:
    options = ("--crop", "60x60", "--sky", "V=0.8", "--data-sheet", "112@60/11", "--max-lag", 2)
    return bench / out, nightcrew("sensor", bench / "set" / "raw", "--out", bench / out, *options)


@pytest.fixture(scope="module")
def made_by_command(bench: Path) -> tuple[Path, str]:
    """Folder and printed text of ``nightcrew sensor``."""
    return characterised(bench, "out")


def test_command_writes_everything(made_by_command: tuple[Path, str]) -> None:
    out, printed = made_by_command
    assert printed.startswith("Gain 1.")
    assert " (95 %); middle of the interval" in printed
    for name in ("report.html", "summary.json", "data_set.csv", "data_summary.csv", "data_sheet.pdf", "data_sheet.html", "hot_pixels.csv"):
        assert (out / name).stat().st_size > 100, name
    assert (out / "data_sheet.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((out / "figures").glob("*.png"))) == len(list((out / "figures").glob("*.csv"))) == 9


def test_summary_holds_every_quantity(made_by_command: tuple[Path, str]) -> None:
    quantities = parse((made_by_command[0] / "summary.json").read_text()).quantities
    assert {one.name for one in quantities} >= set(NAMES)
    gain = next(one for one in quantities if one.name == "gain")
    assert gain.value == pytest.approx(1.5, abs=5 * (gain.error or 0))
    assert gain.where["region"] == "whole"
    assert gain.where["temperature_c"] == pytest.approx(-10, abs=0.05)


def test_page_names_what_was_not_used(made_by_command: tuple[Path, str]) -> None:
    page = (made_by_command[0] / "report.html").read_text()
    assert "broken.fits" in page
    assert "holds the same bytes" in page


def test_tables_begin_with_the_index_and_the_old_columns(made_by_command: tuple[Path, str]) -> None:
    with (made_by_command[0] / "data_summary.csv").open() as file:
        head = next(csv.reader(file))
    assert head[:6] == ["", "ccd_temp", "exptime", "img_type", "avg_signal", "avg_signal-offset"]
    with (made_by_command[0] / "data_set.csv").open() as file:
        assert "data" not in next(csv.reader(file))


def test_same_frames_same_bytes(bench: Path, made_by_command: tuple[Path, str]) -> None:
    again, _ = characterised(bench, "again")
    one, other = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} for out in (made_by_command[0], again)
    )
    assert Path("report.html") in one
    assert [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)] == []


def test_growth_against_an_earlier_result(bench: Path, made_by_command: tuple[Path, str]) -> None:
    quick = ("--max-lag", 0, "--bootstrap", 0, "--previous", made_by_command[0])
    nightcrew("sensor", bench / "set" / "raw", "--out", bench / "grown", *quick)
    found = {one.name: one.value for one in parse((bench / "grown" / "summary.json").read_text()).quantities}
    assert [found[f"hot_pixels_{name}"] for name in ("new", "gone", "grown", "shrunk")] == [0, 0, 0, 0]


def test_folder_without_frames_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")
    monkeypatch.setattr(sys, "argv", ["nightcrew", "sensor", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2


def test_simulate_sensor_writes_frames_and_truth(tmp_path: Path) -> None:
    assert "Wrote" in nightcrew("simulate", "sensor", tmp_path / "s", "--seed", 4)
    truth = json.loads((tmp_path / "s" / "truth.json").read_text())
    assert truth["sensor"]["gain_e_per_adu"] == 1.5
    assert len(list((tmp_path / "s" / "raw").iterdir())) == len(truth["frames"])
    with pytest.raises(Refused, match="not empty"):
        make_sensor_set(tmp_path / "s", PLAN, 1)


def test_simulated_sets_are_fixed_by_their_seed(tmp_path: Path) -> None:
    plan = replace(preset("small"), flat_levels=(0.1,), dark_exposures_s=(), biases=2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_sensor_set(tmp_path / name, plan, seed)
    first = sorted((tmp_path / "a" / "raw").iterdir())
    assert all(path.read_bytes() == (tmp_path / "b" / "raw" / path.name).read_bytes() for path in first)
    assert any(path.read_bytes() != (tmp_path / "c" / "raw" / path.name).read_bytes() for path in first)
    with pytest.raises(Refused, match="no preset"):
        preset("huge")


@pytest.fixture(scope="module")
def made(bench: Path) -> LocalSet:
    return run_set("sensor", bench / "set" / "raw", bench / "service", Settings(), options={"max_lag": 2})


def test_set_kind_makes_the_same_page(made: LocalSet) -> None:
    assert made.failures == ()
    (row,) = made.of_recipe("sensor_characterisation")
    assert row.grade == "A"
    assert row.metrics["gain"] == pytest.approx(1.5, rel=0.05)
    folder = made.folder(row)
    assert (folder / "report.html").is_file()
    assert (folder / "data_sheet.pdf").is_file()


def test_set_kind_sets_notes_aside(made: LocalSet) -> None:
    plan = made.plan
    assert plan is not None
    assert any("a note beside the frames" in reason for reason in plan.excluded.values())
    assert plan.waiting == {}


def test_wrong_options_of_the_configuration_wait_with_their_reason(bench: Path, tmp_path: Path) -> None:
    run = run_set("sensor", bench / "set" / "raw", tmp_path / "out", Settings(), options={"crop": "huge"})
    assert run.products == ()
    assert run.plan is not None
    assert any("table [sensor] cannot be used" in reason for reason in run.plan.waiting.values())
