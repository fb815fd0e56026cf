"""Before the service starts: what must be right, and what is refused with what to do about it."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from deployments import errands
from deployments.errands import prepare
from nightcrew.errors import Refused
from nightcrew.ledger import arrivals, scopes
from nightcrew.settings import FolderKind, FolderSettings, Settings
from tasks.workspace import Workspace
from tests.support.set_bench import set_settings
from tests.support.small_nights import make_raw, small_plan
from watchers.lock import FolderLock
from watchers.names import NameFilter
from watchers.service import SILENT
from watchers.sweep import Trouble, walk


def settings_of(root: Path, folder: Path, kind: FolderKind) -> Settings:
    """One watched folder of that kind."""
    return set_settings(root, folders=(FolderSettings(path=folder, kind=kind),))


def take_in(settings: Settings) -> Workspace:
    """What the service does with a folder: look, and read what came."""
    space = Workspace.open(settings)
    for folder in settings.folders:
        seen = [
            arrivals.Seen(path=one.path, folder=str(folder.path), size=one.size, mtime_ns=one.mtime_ns, verdict=one.verdict)
            for one in walk(os.fsencode(folder.path), NameFilter(()), Trouble())
        ]
        with space.database.read() as connection:
            known = set(arrivals.known_stats(connection, str(folder.path)))
        arrivals.record(space.database, [row for row in seen if row.path not in known])
        arrivals.mark_vanished(space.database, known - {row.path for row in seen})
    while space.ingest().files:
        pass
    return space


def test_a_folder_whose_kind_was_changed_is_refused_until_its_files_are_elsewhere(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "state"
    (folder / "set1").mkdir(parents=True)
    state.mkdir()
    (folder / "set1" / "notes.txt").write_text("a")
    before = settings_of(tmp_path, folder, "sensor")
    prepare(before)
    take_in(before)
    prepare(before)  # nothing changed, nothing refused

    for now in ("lab", "night"):
        words = f"{folder} is of kind {now} now, and 1 files in it were taken in as those of kind sensor"
        with pytest.raises(Refused, match=re.escape(words)) as told:
            prepare(settings_of(tmp_path, folder, now))
        assert 'write kind = "sensor" again, or move these files into a folder of their own' in str(told.value)

    elsewhere = tmp_path / "bench"
    elsewhere.mkdir()
    (folder / "set1").rename(elsewhere / "set1")
    after = settings_of(tmp_path, elsewhere, "lab")
    prepare(after)
    space = take_in(after)
    with space.database.read() as connection:
        titles = {scope.title: len(arrivals.of_scope(connection, scope.id)) for scope in scopes.find(connection)}
    assert titles == {"sensor/set1": 1, "lab/set1": 1}  # taken up anew, and the old set keeps what it had
    prepare(settings_of(tmp_path, folder, "lab"))  # the old folder is free for another kind, too


def test_files_that_a_night_could_not_use_are_read_again_as_a_set(tmp_path: Path) -> None:
    """A laboratory's folder was first watched as one of nights, by mistake: its raws were foreign, and nothing was made of them."""
    folder = tmp_path / "in"
    (folder / "attempt0").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    np.zeros(64, "<u2").tofile(folder / "attempt0" / "BiasT0f0.raw")
    wrong = settings_of(tmp_path, folder, "night")
    prepare(wrong)
    with take_in(wrong).database.read() as connection:
        (row,) = arrivals.without_scope(connection)
    assert (row.state, row.scope_id) == ("set_aside", None)
    right = settings_of(tmp_path, folder, "lab")
    prepare(right)
    with take_in(right).database.read() as connection:
        (scope,) = scopes.find(connection)
        (row,) = arrivals.of_scope(connection, scope.id)
    assert (scope.title, row.state) == ("lab/attempt0", "waiting")


def test_a_night_is_no_set(tmp_path: Path) -> None:
    make_raw(tmp_path, small_plan(pixels=32))
    (tmp_path / "state").mkdir()
    night = settings_of(tmp_path, tmp_path / "raw", "night")
    prepare(night)
    take_in(night)
    with pytest.raises(Refused, match="19 files in it were taken in as those of kind night"):
        prepare(settings_of(tmp_path, tmp_path / "raw", "sensor"))


def test_a_misspelt_profile_stops_the_start_and_is_named_with_the_nearest(tmp_path: Path) -> None:
    folder = FolderSettings(path=tmp_path / "in", instrument="sbig_stl1010")
    with pytest.raises(Refused, match=r"\[\[folders\]\] .*in: there is no instrument profile 'sbig_stl1010'; did you mean 'sbig_stl1001'"):
        prepare(set_settings(tmp_path, folders=(folder,)))


def test_folders_that_are_none_or_silent_are_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start neither ends nor hangs because of one watched folder; another service on it still ends it."""
    plain, silent, good = (tmp_path / name for name in ("plain", "silent", "good"))
    (tmp_path / "state").mkdir()
    plain.write_text("no folder")
    silent.mkdir()
    good.mkdir()
    settings = set_settings(tmp_path, folders=tuple(FolderSettings(path=path, kind="night") for path in (plain, silent, good)))
    answers, looked = threading.Event(), Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == silent:
            answers.wait(30.0)
        return looked(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(errands, "_ANSWER_S", 0.3)
    try:
        prepare(settings)
        told = capsys.readouterr().out
        assert f"{plain}: Not a directory" in told
        assert f"{silent}: {SILENT}" in told
        assert str(good) not in told
        with FolderLock(good, settings.state.root), pytest.raises(Refused, match="another service"):
            prepare(settings)
    finally:
        answers.set()


def test_what_was_never_read_of_a_folder_that_is_watched_no_more_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new, tmp_path / "state"):
        folder.mkdir()
    prepare(settings_of(tmp_path, old, "night"))
    now = settings_of(tmp_path, new, "night")
    space = Workspace.open(now)
    arrivals.record(space.database, [arrivals.Seen(path=bytes(old / "a.fit"), folder=str(old), size=1, mtime_ns=1)])
    prepare(now)
    assert "1 files of folders that are not watched any more" in capsys.readouterr().out
    with space.database.read() as connection:
        assert [(row.state, row.reason) for row in arrivals.without_scope(connection)] == [("set_aside", arrivals.UNWATCHED)]
