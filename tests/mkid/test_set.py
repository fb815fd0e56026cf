"""A watched folder of photon lists: seconds trickle in, lines are added to the log, and everything follows by itself."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nightcrew.ledger import arrivals
from nightcrew.ledger import products as rows
from nightcrew.ledger.rows import ProductRow
from nightcrew.mkid.calibrated import open_calibrated
from nightcrew.mkid.registered import read_manifest
from nightcrew.settings import FolderSettings
from nightcrew.settings_sets import MkidSettings
from nightcrew.simulate.mkid_plan import Exposure, preset
from nightcrew.simulate.mkid_run import make_run
from reports.summary import parse
from tests.support.set_bench import QUIET_S, SetBench
from tests.support.undrawn import undrawn

SHORT = MkidSettings(flat_chunk_s=1.0, flat_bin_ev=0.2, flat_from_nm=850.0, flat_to_nm=1300.0, flat_degree=1, mask_step_s=2.0)
NAME = "run1"


def exposures() -> tuple[Exposure, ...]:
    light: dict[str, Any] = {"duration_s": 2.5, "rate_cps": 300.0}
    lasers = [Exposure(name=f"laser_{nm}", kind="laser", wavelength_nm=float(nm), **light) for nm in (850, 1100, 1375)]
    flats = [Exposure(name=name, kind="flat", flashes=2, **light) for name in ("flat", "late")]
    return (*lasers, Exposure(name="dark", kind="dark", duration_s=2.0), *flats)


def run_of(out: Path, wanted: tuple[Exposure, ...], seed: int) -> dict[str, bytes]:
    """Files of a run by name; the flat named late is called a science exposure in the log."""
    plan = replace(preset("tiny"), columns=12, rows=10, exposures=wanted, gap_s=0.7, duplicate_fraction=0.01)
    make_run(out, plan, seed, keep_photons=False)
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    files["observing_log.csv"] = files["observing_log.csv"].replace(b"late,flat", b"late,science")
    return {name: data for name, data in files.items() if not name.startswith("truth")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return run_of(tmp_path_factory.mktemp("simulated") / "run", exposures(), seed=5)


def bench_of(tmp_path: Path) -> SetBench:
    folders = (FolderSettings(path=tmp_path / "in", kind="mkid", quiet_s=QUIET_S),)
    return SetBench(tmp_path, folders=folders, mkid=SHORT)


def put(bench: SetBench, files: dict[str, bytes]) -> None:
    bench.drop({f"{NAME}/{name}": data for name, data in files.items()})
    bench.see()


def products(bench: SetBench) -> dict[str, ProductRow]:
    scope = bench.scope(NAME, kind="mkid")
    with undrawn():
        bench.space.run(scope.id)
    with bench.space.database.read() as connection:
        return {f"{row.recipe} {row.key}": row for row in rows.current_of_scope(connection, scope.id)}


def settle(bench: SetBench) -> dict[str, ProductRow]:
    bench.now += timedelta(seconds=QUIET_S + 1)
    bench.space.close_what_is_over()
    return products(bench)


def states(bench: SetBench) -> dict[str, tuple[str, str]]:
    with bench.space.database.read() as connection:
        found = arrivals.of_scope(connection, bench.scope(NAME, kind="mkid").id)
    return {os.fsdecode(row.path).rpartition("/")[2]: (row.state, row.reason) for row in found}


def folder(bench: SetBench, row: ProductRow) -> Path:
    file = row.files[0]
    return bench.settings.products.root / file.path.removesuffix(f"/{file.role}")


def test_a_run_becomes_tables_solutions_and_a_page(run: dict[str, bytes], tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    lines = run["observing_log.csv"].decode().splitlines()
    seconds = sorted(name for name in run if name.endswith(".bin"))
    put(bench, {name: run[name] for name in ["beammap.txt", *seconds[:7]]} | {"observing_log.csv": "\n".join(lines[:2]).encode()})
    assert sorted(products(bench)) == ["mkid_table laser_850"]
    put(bench, {name: run[name] for name in seconds[7:]})
    put(bench, {"observing_log.csv": "\n".join(lines).encode(), "notes.md": b"seeing bad"})
    early = products(bench)
    assert "mkid_wavecal laser_850" in early  # a flat has begun, so the lasers are complete
    made = settle(bench)
    recipes = ["wavecal laser_850", "masks flat", "masks late", "flatcal flat", "calibrated late", "images late", "report all"]
    assert sorted(made) == sorted([f"mkid_{name}" for name in (*(f"table {one.name}" for one in exposures()), *recipes)])
    assert made["mkid_table laser_850"].fingerprint == early["mkid_table laser_850"].fingerprint
    assert made["mkid_calibrated late"].grade == "A"
    assert made["mkid_wavecal laser_850"].metrics["solved_fraction"] > 0.85
    known = states(bench)
    assert {state for state, _ in known.values()} <= {"done", "set_aside"}
    assert known["notes.md"] == ("set_aside", "is no part of photon lists: neither seconds, nor beam map, observing log or frequencies")

    manifest = read_manifest(folder(bench, made["mkid_calibrated late"]) / "calibrations.json")
    before = hashlib.sha256(manifest.table.read_bytes()).hexdigest()
    with open_calibrated(
        manifest.table, manifest.calibrations.solutions, linearity_step_s=manifest.calibrations.linearity_step_s
    ) as opened:
        assert len(opened.photons()) == made["mkid_calibrated late"].metrics["photons"]
    assert hashlib.sha256(manifest.table.read_bytes()).hexdigest() == before

    assert (folder(bench, made["mkid_images late"]) / "image.fits").is_file()
    report = folder(bench, made["mkid_report all"])
    summary = parse((report / "summary.json").read_text())
    for row in made.values():  # a page says what the ledger says
        told = folder(bench, row) / "summary.json"
        assert not told.is_file() or parse(told.read_text()).grade == row.grade
    names = {one.name for one in summary.quantities}
    assert {"photons", "lost_frames", "solved_fraction", "energy_resolution", "flat_weight_scatter", "bad_pixels"} <= names
    assert {one.where["wavelength_nm"] for one in summary.quantities if one.name == "energy_resolution"} == {850.0, 1100.0, 1375.0}
    page = (report / "report.html").read_text()
    assert "laser_850" in page
    assert (report / "numbers" / "array.npz").is_file()


@pytest.mark.slow
def test_a_nearer_solution_makes_only_what_it_touches_anew(tmp_path: Path) -> None:
    """The lasers were exposed once more after the science exposure, but their lines come to the log later."""
    lasers = exposures()[:3]
    again = [replace(one, name=one.name.replace("laser", "again")) for one in lasers]
    simulated = run_of(tmp_path / "simulated", (*lasers, exposures()[-1], *again), seed=6)
    lines = simulated["observing_log.csv"].decode().splitlines()
    known, late = [line for line in lines if not line.startswith("again")], [line for line in lines if line.startswith("again")]
    assert len(late) == 3
    bench = bench_of(tmp_path)
    put(bench, simulated | {"observing_log.csv": "\n".join(known).encode()})
    first = settle(bench)
    put(bench, {"observing_log.csv": "\n".join([*known, *late]).encode()})
    second = settle(bench)
    grades = {name: row.grade for name, row in second.items() if "table" in name or "wavecal" in name}
    assert grades == {f"mkid_table {one.name}": "A" for one in (*lasers, *again, exposures()[-1])} | {
        "mkid_wavecal laser_850": "A",
        "mkid_wavecal again_850": "A",
    }
    changed = {name for name in first if first[name].fingerprint != second[name].fingerprint}
    assert changed == {"mkid_calibrated late", "mkid_images late", "mkid_report all"}


@pytest.mark.slow
def test_missing_seconds_wait_then_are_reported_and_hostile_ones_do_not_stop_the_rest(run: dict[str, bytes], tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    files = dict(run)
    lines = files["observing_log.csv"].decode().splitlines()
    start = int(float(next(line for line in lines if line.startswith("laser_1100")).split(",")[2]))
    gone = next(name for name in files if name.endswith(f"/{start + 2}.bin"))
    files.pop(gone)
    text = next(name for name in files if name.endswith(f"/{start + 3}.bin"))
    files[text] = b"this is a text, no stream" * 100
    files["data/notes.bin"] = b"text"
    files["observing_log.csv"] = "\n".join([*lines, "late,flat,1,2,", "odd,laser,now,then,1"]).encode()
    put(bench, files)
    early = products(bench)
    assert "mkid_table laser_1100" not in early
    assert "mkid_table laser_850" in early
    made = settle(bench)
    poor = made["mkid_table laser_1100"]
    # The files hold what came 0.13 s late: frames end at 1.23 s of the exposure's 2.5 s, torn by a frame or so.
    assert poor.metrics["silent_s"] == pytest.approx(1.27, abs=0.005)
    assert poor.grade == "D"  # more than half is missing
    assert poor.metrics["missing_seconds"] == 2
    assert states(bench)["notes.bin"][0] == "rejected"
    report = json.loads((folder(bench, made["mkid_report all"]) / "summary.json").read_text())
    assert any("there is an exposure late already" in warning for warning in report["warnings"])
    assert any("odd has no start and stop" in warning for warning in report["warnings"])


def test_without_a_beam_map_everything_waits(run: dict[str, bytes], tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    put(bench, {name: data for name, data in run.items() if name != "beammap.txt"})
    assert settle(bench) == {}
    assert "beam map" in next(reason for name, (_, reason) in states(bench).items() if name.endswith(".bin"))


@pytest.mark.slow
def test_a_wrong_beam_map_has_its_reason_and_the_right_one_mends_it(run: dict[str, bytes], tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    seconds = sorted(name for name in run if name.endswith(".bin"))[:6]
    few = {name: run[name] for name in seconds} | {"observing_log.csv": b"\n".join(run["observing_log.csv"].splitlines()[:2])}
    put(bench, few | {"beammap.txt": b"this is no beam map\n"})
    assert "mkid_table laser_850" not in settle(bench)
    assert "beammap.txt" in " ".join(reason for state, reason in states(bench).values() if state != "done")
    put(bench, {"beammap.txt": run["beammap.txt"]})
    made = settle(bench)
    assert made["mkid_table laser_850"].grade == "A"
    assert states(bench)["beammap.txt"][0] == "done"


@pytest.mark.slow
def test_without_a_log_each_run_of_seconds_is_a_table(run: dict[str, bytes], tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    put(bench, {name: data for name, data in run.items() if name != "observing_log.csv"})
    assert products(bench) == {}
    made = settle(bench)
    tables = [name for name in made if name.startswith("mkid_table")]
    assert len(tables) == 1
    assert made[f"mkid_calibrated {tables[0].split()[1]}"].grade == "D"  # no solution
