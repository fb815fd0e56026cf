"""Headers of known files read anew with a mended profile, on real frames: exactly what changed is looked at again."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from nightcrew.errors import TransientError
from nightcrew.ingest import Renormalised, renormalise
from nightcrew.io import sameness, structure
from nightcrew.io.structure import Fingerprinted, sha256_file
from nightcrew.ledger import messages
from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.snapshot import frames_of
from tests import realdata
from tests.support.small_nights import Bench

MENDED = 'extends = "sbig_stl1001"\n[keywords]\nexposure = [{ keyword = "EXPTIME", unit = "ms" }]\n'


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Some real SBIG frames, taken in and closed."""
    source, folder = realdata.folder("ccd_stl1001"), tmp_path / "raw"
    folder.mkdir()
    for name in sorted(path.name for path in source.iterdir() if path.name.startswith(("bias-", "darks-expos10s", "flat-")))[:7]:
        shutil.copyfile(source / name, folder / name)
    made = Bench(folder, tmp_path / "out")
    made.see()
    made.ingest()
    made.close()
    return made


def frames(bench: Bench) -> dict[str, FrameRow]:
    with bench.space.database.read() as connection:
        rows = [row for scope in bench.scopes() for row in frames_of(connection, scope.id)]
    return {os.fsdecode(row.path).rpartition("/")[2]: row for row in rows}


def again(bench: Bench, profile: str) -> Bench:
    """The same ledger opened anew with a profile of one's own, "" for none."""
    own = bench.settings.instruments.folder
    own.mkdir(exist_ok=True)
    (own / "sbig_stl1001.toml").unlink(missing_ok=True)
    if profile:
        (own / "sbig_stl1001.toml").write_text(profile)
    bench.space.database.close()
    return Bench(bench.folder, own.parent)


def marks(bench: Bench) -> dict[str, int]:
    return {scope.name: scope.mark for scope in bench.scopes()}


def test_a_mended_profile_changes_the_values_and_neither_hashes_nor_states_of_the_night(bench: Bench) -> None:
    before = frames(bench)
    mended = again(bench, MENDED)
    assert mended.space.renormalise() >= 1
    after = frames(mended)
    assert after.keys() == before.keys()
    for name, row in after.items():
        known = before[name].header.exposure_s
        assert known is not None
        assert row.header.exposure_s == pytest.approx(known / 1000.0), name
        assert (row.sha256, row.arrived_at) == (before[name].sha256, before[name].arrived_at)
    assert {scope.state for scope in mended.scopes()} == {"closed"}  # nothing arrived
    assert mended.space.renormalise() == 0
    back = again(mended, "")
    back.space.renormalise()
    assert {name: row.header for name, row in frames(back).items()} == {name: row.header for name, row in before.items()}


def test_the_same_profiles_mark_nothing(bench: Bench) -> None:
    before = marks(bench)
    same = again(bench, "")
    assert same.space.renormalise() == 0
    assert marks(same) == before


def test_moved_change_times_have_no_file_read_whole_whose_header_says_nothing_new(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(0.02)
    for path in bench.folder.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    read: list[Path] = []

    def counted(path: Path, status: os.stat_result) -> Fingerprinted:
        read.append(path)
        return sha256_file(path, status)

    monkeypatch.setattr(sameness, "sha256_file", counted)
    ids = [scope.id for scope in bench.scopes()]
    assert (renormalise(bench.space.database, bench.space.door, ids), read) == (Renormalised(scopes=frozenset(), unread=()), [])
    assert again(bench, MENDED).space.renormalise() >= 1
    timed = {path for path in bench.folder.iterdir() if not path.name.startswith("bias")}  # a bias of 0 s is one of 0 ms
    assert (set(read), len(read)) == (timed, len(timed))  # what is new is taken over of bytes that were compared only


def test_files_that_are_gone_or_changed_keep_what_the_ledger_says(bench: Bench) -> None:
    before = frames(bench)
    gone, changed, *_ = sorted(name for name in before if name.startswith("darks"))
    (bench.folder / gone).unlink()
    (bench.folder / changed).write_bytes(b"overwritten")
    mended = again(bench, MENDED)
    mended.space.renormalise()
    after = frames(mended)
    for name in (gone, changed):
        assert after[name].header == before[name].header
    touched = sorted(set(before) - {gone, changed, *(name for name in before if name.startswith("bias"))})
    assert touched
    assert all(after[name].header != before[name].header for name in touched)


def test_a_rejected_file_becomes_a_frame_and_a_frame_a_rejected_file(bench: Bench) -> None:
    wrong = 'extends = "sbig_stl1001"\n[layout]\nextension = 3\n'
    before = frames(bench)
    without = again(bench, wrong)
    without.space.renormalise()
    assert frames(without) == {}
    assert {row.state for row in without.files()} == {"rejected"}
    assert all(row.reason for row in without.files())
    back = again(without, "")
    back.space.renormalise()
    assert {name: row.header for name, row in frames(back).items()} == {name: row.header for name, row in before.items()}


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), TransientError("the share does not answer")])
def test_a_file_that_cannot_be_read_when_a_profile_changes_is_read_when_it_can(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is told that its values are old ones, and again that they are not any more; nothing else waits for it, or is read with it."""
    before = {name: row.header.exposure_s for name, row in frames(bench).items() if row.header.exposure_s}
    name = min(before)
    mended = again(bench, MENDED)
    looked: list[str] = []
    away = True

    def check(path: Path, **options: int) -> object:
        looked.append(path.name)
        if path.name == name and away:
            raise error
        return structure.check(path, **options)

    monkeypatch.setattr("nightcrew.ingest.check", check)
    assert mended.space.renormalise() >= 1
    assert [other for other, value in before.items() if frames(mended)[other].header.exposure_s == value] == [name]
    looked.clear()
    assert mended.space.renormalise() == 0
    away = False
    assert mended.space.renormalise() == 1
    assert looked == [name, name]
    assert frames(mended)[name].header.exposure_s == pytest.approx((before[name] or 0) / 1000)
    assert mended.space.renormalise() == 0
    assert looked == [name, name]
    with mended.space.database.read() as connection:
        told = [(level, text) for _, source, level, text in messages.happenings(connection, "") if source == "ingest"]
    assert [level for level, _ in sorted(told)] == ["info", "warning"]
    assert all(name in text and text.startswith("1 file ") for _, text in told)
