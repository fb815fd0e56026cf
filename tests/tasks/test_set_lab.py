"""Laboratory sets from files to products: in pieces, attempts first, models when quiet; nothing asked, balance closed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nightcrew.lab.records import LabFrame
from nightcrew.ledger.rows import ProductRow
from nightcrew.settings import FolderSettings
from nightcrew.settings_sets import LabSettings
from nightcrew.simulate.lab import make_campaign
from tasks.set_lab import taken_utc
from tests.support.set_bench import QUIET_S, SetBench
from tests.support.small_sets import SMALL_LAB

pytestmark = pytest.mark.usefixtures("undrawn_figures")

PLAN = replace(SMALL_LAB, messy_logs=True)


@pytest.fixture
def bench(tmp_path: Path) -> SetBench:
    folder = FolderSettings(path=tmp_path / "in", kind="lab", quiet_s=QUIET_S)
    return SetBench(tmp_path, folders=(folder,), lab=LabSettings(save_plots=False))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    make_campaign(tmp_path / "sim", PLAN, 2)
    root = tmp_path / "sim" / "campaign"
    found = {f"set1/{path.relative_to(root).as_posix()}": path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    shutil.rmtree(tmp_path / "sim")
    return found


def run(bench: SetBench) -> dict[str, ProductRow]:
    bench.space.run(bench.scope(kind="lab").id)
    return products(bench)


def products(bench: SetBench) -> dict[str, ProductRow]:
    from nightcrew.ledger import products as table

    with bench.space.database.read() as connection:
        return {f"{row.recipe} {row.key}": row for row in table.current_of_scope(connection, bench.scope(kind="lab").id)}


def states(bench: SetBench) -> dict[str, tuple[str, str]]:
    import os

    from nightcrew.ledger import arrivals

    with bench.space.database.read() as connection:
        rows = arrivals.of_scope(connection, bench.scope(kind="lab").id)
    return {os.fsdecode(row.path).removeprefix(f"{bench.folder}/"): (row.state, row.reason) for row in rows}


def settle(bench: SetBench) -> dict[str, ProductRow]:
    from datetime import timedelta

    bench.now += timedelta(seconds=QUIET_S + 1)
    bench.space.close_what_is_over()
    return run(bench)


def test_a_campaign_that_comes_in_pieces_is_converted_as_it_comes_and_modelled_when_quiet(bench: SetBench, files: dict[str, bytes]) -> None:
    names = sorted(files)
    raws = [name for name in names if name.endswith(".raw")]
    last = raws[-1]
    bench.drop({name: files[name] for name in names if name != last} | {"set1/notes.pdf": b"%PDF"})
    bench.see()
    made = run(bench)
    assert len(made) == 6
    assert all(key.startswith("lab_attempt") for key in made)
    waiting = states(bench)
    assert waiting[raws[-2]] == ("waiting", "waits for 1 frames that its log names (first: 1)")
    assert waiting["set1/notes.pdf"][0] == "set_aside"
    bench.drop({last: files[last]})
    bench.see()
    assert len(run(bench)) == 7
    made = settle(bench)
    assert len(made) == 8
    model = made["lab_models all"]
    names_of_files = {row.role for row in model.files}
    assert {
        "report.html",
        "summary.json",
        "index.csv",
        "bias/bias_model/bias_a_map.fits",
        "dark/dark_model_2d/A_map_2D.fits",
    } <= names_of_files
    assert Counter(state for state, _ in states(bench).values()) == {"done": len(files), "set_aside": 1}
    summary = next(row for row in model.files if row.role == "summary.json")
    body = json.loads((bench.root / "products" / summary.path).read_text())
    quantities = {one["name"]: one for one in body["quantities"]}
    assert quantities["frames"]["value"] == len(raws)
    assert quantities["doubling_temperature"]["value"] == pytest.approx(6.5, abs=0.3)
    assert quantities["bias_slope"]["value"] == pytest.approx(6.4, abs=0.3)
    assert model.grade == "B"  # of two temperatures


def test_a_set_of_which_no_model_can_be_made_has_grade_d(bench: SetBench, files: dict[str, bytes]) -> None:
    """Darks without bias frames: nothing was made, and the set had grade A."""
    bench.drop({name: data for name, data in files.items() if "TestSection2/" in name})
    bench.see()
    model = settle(bench)["lab_models all"]
    assert (model.grade, model.metrics["models"]) == ("D", {})


def test_a_quiet_set_is_taken_with_its_gaps_named_and_a_short_raw_is_rejected(bench: SetBench, files: dict[str, bytes]) -> None:
    raws = sorted(name for name in files if name.endswith(".raw"))
    short, absent = raws[0], raws[5]
    bench.drop({name: data[:-2] if name == short else data for name, data in files.items() if name != absent})
    bench.see()
    made = settle(bench)
    assert "lab_models all" in made
    state, reason = states(bench)[short]
    assert state == "rejected"
    assert "BADSIZE" in reason
    summary = next(row for row in made["lab_models all"].files if row.role == "summary.json")
    body = json.loads((bench.root / "products" / summary.path).read_text())
    assert any("taken as it is" in text for text in body["warnings"])


def test_an_attempt_whose_configuration_cannot_be_used_stops_no_other(bench: SetBench, files: dict[str, bytes]) -> None:
    broken = next(name for name in sorted(files) if name.endswith(("configFile.txt", "config.txt")))
    bench.drop({**files, broken: b"WIDTH = none\n"})
    bench.see()
    made = settle(bench)
    assert len(made) == 7
    assert not {state for state, _ in states(bench).values()} & {"waiting"}
    state, reason = states(bench)[broken]
    assert (state, "WIDTH" in reason) == ("rejected", True), reason


def test_a_corrected_log_remakes_its_attempt_and_the_models_alone(bench: SetBench, files: dict[str, bytes]) -> None:
    bench.drop(files)
    bench.see()
    before = settle(bench)
    log = next(name for name in sorted(files) if name.endswith("temperatureLog.csv"))
    bench.drop({log: files[log].replace(b"22.5", b"22.6")})
    bench.see()
    after = settle(bench)
    changed = {key for key in before if before[key].fingerprint != after[key].fingerprint}
    assert len(changed) == 2
    assert "lab_models all" in changed


def test_raws_beside_fits_of_somebody_else_and_a_frame_of_an_odd_size(bench: SetBench, files: dict[str, bytes], tmp_path: Path) -> None:
    """The FITS stands for its raw alone; a frame that fits no other is set aside by itself."""
    raws = sorted(name for name in files if name.endswith(".raw"))
    taken = next(name for name in raws if "TestSection1" in name)
    stem = Path(taken).stem
    there = Path(taken).parent.parent / "fits"
    cards = fits.Header({"TEMP": 0.0, "EXPTIME": 1.2e-5})
    bodies = {}
    odd = "set1/TestSection1/extra/fits/BiasT0_exp0.1sAt9f90.fits"
    for place, shape in (((there / f"{stem}.fits").as_posix(), (24, 32)), (odd, (7, 9))):
        name = Path(place).name
        fits.writeto(tmp_path / name, np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape) % 90 + np.uint16(3200), cards)
        bodies[place] = (tmp_path / name).read_bytes()
    bench.drop({**files, **bodies})
    bench.see()
    made = settle(bench)
    found = states(bench)
    assert found[taken][0] == "set_aside"
    assert "FITS files beside it are used" in found[taken][1]
    state, reason = found[odd]
    assert (state, "9 x 7 pixels" in reason) == ("set_aside", True), reason
    summary = next(row for row in made["lab_models all"].files if row.role == "summary.json")
    body = json.loads((bench.root / "products" / summary.path).read_text())
    quantities = {one["name"]: one["value"] for one in body["quantities"]}
    assert (quantities["frames"], quantities["bad_frames"]) == (len(raws) + 1, 1)
    assert made["lab_models all"].metrics["models"]["bias"]["set_up"]["offset_setting"] == "12"


def test_the_time_of_a_model_is_the_middle_of_its_frames() -> None:
    def frames(*stamps: float | None) -> list[LabFrame]:
        return [LabFrame(path=Path(f"{n}.fits"), caltype="DARK", timestamp_s=stamp) for n, stamp in enumerate(stamps)]

    assert taken_utc(frames(1_780_000_000.0, None, 1_780_007_200.0, 1_780_090_000.0, 12.5)) == "2026-05-28T22"
    assert taken_utc(frames(None, 100.0)) == ""  # seconds of a clock that nobody knows the start of
