"""`nightcrew reduce`: folders in, products out, by the same plan as the service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cli.reduce import _tell
from deployments.reduction import Wishes, open_reduction, reduce_folders, remember, settings_for
from deployments.run_log import run_log
from nightcrew.errors import Refused
from nightcrew.ledger import arrivals, claims, products
from nightcrew.settings import Settings
from tests.support.small_nights import make_raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("night")
    make_raw(out)
    return out / "raw"


def test_a_folder_is_reduced_with_a_run_log_and_a_second_run_makes_nothing(raw: Path, tmp_path: Path) -> None:
    space = open_reduction(settings_for(Settings(), raw, None, tmp_path), Wishes(cosmic_rays=False))
    told: list[str] = []
    done = reduce_folders(space, lambda what, _done, _of: told.append(what))
    assert done.made > 0
    assert done.failures == ()
    assert {"reading headers", "bias master", "reduce light"} <= set(told)
    assert reduce_folders(space).made == 0
    with space.database.read() as connection:
        text = run_log(connection, done.scopes)
    assert "2 x light, V" in text
    assert "3 x flat, V" in text
    assert "3 x dark, gain" in text


@pytest.mark.usefixtures("undrawn_figures")
def test_calibrations_may_stand_in_a_folder_of_their_own(raw: Path, tmp_path: Path) -> None:
    lights, calibration = tmp_path / "lights", tmp_path / "calibration"
    for folder in (lights, calibration):
        folder.mkdir()
    for file in raw.iterdir():
        target = lights if file.name.startswith("crew") else calibration
        (target / file.name).write_bytes(file.read_bytes())
    space = open_reduction(settings_for(Settings(), lights, calibration, tmp_path / "out"), Wishes(cosmic_rays=False))
    reduce_folders(space)
    with space.database.read() as connection:
        assert {row.state for row in arrivals.of_scope(connection, 1)} == {"done"}


def test_a_night_that_another_reduction_works_on_is_not_called_finished(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two reductions into one folder: the second makes nothing, and must not say that everything was there."""
    few = tmp_path / "few"
    few.mkdir()
    for path in raw.glob("bias*"):
        (few / path.name).write_bytes(path.read_bytes())
    space = open_reduction(settings_for(Settings(), few, None, tmp_path / "out"), Wishes())
    take = claims.take
    monkeypatch.setattr(
        claims, "take", lambda database, scope, recipe, *rest: None if recipe == claims.PLAN else take(database, scope, recipe, *rest)
    )
    done = reduce_folders(space)
    assert (done.made, done.failures) == (0, ())
    (title,) = done.busy
    _tell(space, done, [], tmp_path / "out", as_json=False)
    said = capsys.readouterr().out
    assert f"not finished: another process works on {title}" in said
    assert "everything was there already" not in said


def test_folders_whose_names_are_no_text_are_refused_in_a_sentence(raw: Path, tmp_path: Path) -> None:
    """Files may bear any bytes, a folder stands in the configuration: it would be a trace of the ledger's."""
    odd = tmp_path / os.fsdecode(b"ni\xffght")
    odd.symlink_to(raw)
    with pytest.raises(Refused, match="no text"):
        settings_for(Settings(), odd, None, tmp_path / "out")
    with pytest.raises(Refused, match="no text"):
        settings_for(Settings(), raw, odd, tmp_path / "out")
    with pytest.raises(Refused, match="no text"):
        settings_for(Settings(), raw, None, odd / "out")


def test_a_command_whose_output_is_closed_does_its_work() -> None:
    command = f"exec '{sys.executable}' -c 'from deployments.cli import main; main()' simulate --help >&-"
    done = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_out_may_lie_inside_of_the_raw_folder_but_not_be_it(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for file in raw.glob("bias*"):
        (folder / file.name).write_bytes(file.read_bytes())
    settings = settings_for(Settings(), folder, None, folder / "out")
    space = open_reduction(settings, Wishes())
    assert remember(settings, Wishes()) == folder / "out" / ".nightcrew" / "nightcrew.toml"
    above = settings_for(Settings(), folder, None, tmp_path)
    assert remember(above, Wishes()) is None  # no configuration may watch a folder of ours
    assert not (tmp_path / ".nightcrew" / "nightcrew.toml").exists()
    first = reduce_folders(space)
    assert reduce_folders(space).files == first.files
    with pytest.raises(Refused, match="name another"):
        settings_for(Settings(), folder, None, folder)


def test_force_combines_sets_below_the_minimum(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("bias-001.fit", "bias-002.fit"):
        (folder / name).write_bytes((raw / name).read_bytes())

    def certified(out: Path, *, force: bool) -> list[bool]:
        space = open_reduction(settings_for(Settings(), folder, None, out), Wishes(force=force))
        reduce_folders(space)
        with space.database.read() as connection:
            return [row.usable for row in products.current_of_scope(connection, 1) if row.recipe == "bias_master"]

    assert certified(tmp_path / "a", force=False) in ([], [False])
    assert certified(tmp_path / "b", force=True) == [True]


def test_a_raw_that_vanished_is_marked_and_its_products_are_kept(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for file in raw.glob("bias*"):
        (folder / file.name).write_bytes(file.read_bytes())
    space = open_reduction(settings_for(Settings(), folder, None, tmp_path / "out"), Wishes())
    first = reduce_folders(space)
    assert first.vanished == 0
    lost = folder / "bias-001.fit"
    lost.unlink()
    second = reduce_folders(space)
    assert (second.vanished, second.made, second.files) == (1, 0, first.files - 1)
    with space.database.read() as connection:
        assert {os.fsdecode(row.path) for row in arrivals.of_scope(connection, 1) if row.vanished} == {str(lost)}
        assert [row.usable for row in products.current_of_scope(connection, 1) if row.recipe == "bias_master"] == [True]
    assert reduce_folders(space).vanished == 0  # told once


def test_an_emptied_folder_is_refused_not_taken_for_lost(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "bias-001.fit").write_bytes((raw / "bias-001.fit").read_bytes())
    space = open_reduction(settings_for(Settings(), folder, None, tmp_path / "out"), Wishes())
    reduce_folders(space)
    (folder / "bias-001.fit").unlink()
    with pytest.raises(Refused, match="is its disk mounted"):
        reduce_folders(space)


def test_the_command_says_what_it_did(raw: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from deployments.cli import main; main()",
        "reduce",
        str(raw),
        "--out",
        str(tmp_path / "out"),
        "--no-cosmic-rays",
        "--json",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(answer.stdout)
    assert told["files"] == len(list(raw.iterdir()))
    assert told["made"] > 0
    assert told["failures"] == []
    assert (tmp_path / "out" / "run.log").exists()
    (page,) = (tmp_path / "out" / "report").glob("night/*/index.html")
    offered = re.findall(r"nightcrew (?:why|status|rerun) [^<]*", page.read_text(encoding="utf-8"))
    assert offered
    assert all(f" --config {tmp_path / 'out' / '.nightcrew' / 'nightcrew.toml'}" in one for one in offered)


@pytest.mark.usefixtures("undrawn_figures")
def test_a_mended_profile_counts_although_no_file_is_new(raw: Path, tmp_path: Path) -> None:
    settings = settings_for(Settings().anchored(tmp_path), raw, None, tmp_path / "out")
    wishes = Wishes(cosmic_rays=False)
    reduce_folders(open_reduction(settings, wishes))
    settings.instruments.folder.mkdir()
    (settings.instruments.folder / "nightcrew_simulated.toml").write_text('[detector]\nprefer = "profile"\ngain_e_per_adu = 2.0\n')
    mended = open_reduction(settings, wishes)
    assert reduce_folders(mended).made > 0
    assert reduce_folders(mended).made == 0
