"""Renaming on the disk: never overwrites, always can be taken back."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.errors import Refused, RejectedInput
from nightcrew.tools import journal as journal_module
from nightcrew.tools.journal import carry_out, newest, rename_new, run, undo
from nightcrew.tools.rename import Move

NOW = "2021-02-27T12:00:00"


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(name)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix != ".json"}


def moves(folder: Path, **pairs: str) -> list[Move]:
    return [Move(folder / old, folder / new) for old, new in pairs.items()]


def test_rename_and_undo_give_the_same_folder(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    path, outcomes = run(moves(tmp_path, a="x", b="y"), tmp_path / "FileRename", now_utc=NOW)
    assert [outcome.reason for outcome in outcomes] == ["", ""]
    assert contents(tmp_path) == {"x": "a", "y": "b"}
    assert all(not outcome.reason for outcome in undo(path, now_utc=NOW))
    assert contents(tmp_path) == {"a": "a", "b": "b"}
    with pytest.raises(Refused, match="undone already"):
        undo(path, now_utc=NOW)


def test_second_run_keeps_the_first_journal(tmp_path: Path) -> None:
    make(tmp_path, "a")
    first, _ = run(moves(tmp_path, a="b"), tmp_path / "FileRename", now_utc=NOW)
    second, _ = run(moves(tmp_path, b="c"), tmp_path / "FileRename", now_utc=NOW)
    assert (first.name, second.name) == ("FileRename.json", "FileRename.2.json")
    assert newest(tmp_path) == second
    undo(second, now_utc=NOW)
    assert newest(tmp_path) == first
    undo(first, now_utc=NOW)
    assert contents(tmp_path) == {"a": "a"}
    with pytest.raises(Refused, match="no journal"):
        newest(tmp_path)


def test_the_newest_journal_is_that_of_its_own_root(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    own, _ = run(moves(tmp_path, a="x"), tmp_path / "FileRename", now_utc=NOW)
    run(moves(tmp_path, b="y"), tmp_path / "FileRename_second_camera", now_utc=NOW)
    assert newest(tmp_path, "FileRename") == own


def test_never_overwrites_an_existing_file(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "x")
    path, outcomes = run(moves(tmp_path, a="x", b="y"), tmp_path / "FileRename", now_utc=NOW)
    assert [outcome.reason for outcome in outcomes] == ["x exists already", ""]
    assert contents(tmp_path) == {"a": "a", "x": "x", "y": "b"}
    undo(path, now_utc=NOW)
    assert contents(tmp_path) == {"a": "a", "b": "b", "x": "x"}


def test_undo_never_overwrites_either(tmp_path: Path) -> None:
    make(tmp_path, "a")
    path, _ = run(moves(tmp_path, a="x"), tmp_path / "FileRename", now_utc=NOW)
    (tmp_path / "a").write_text("somebody else's")
    assert [outcome.reason for outcome in undo(path, now_utc=NOW)] == ["a exists already"]
    assert contents(tmp_path) == {"a": "somebody else's", "x": "a"}


def test_undo_leaves_a_foreign_file_alone(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    path, _ = run(moves(tmp_path, a="x", b="y"), tmp_path / "FileRename", now_utc=NOW)
    (tmp_path / "other").write_text("foreign")
    (tmp_path / "other").replace(tmp_path / "x")
    assert sorted(outcome.reason for outcome in undo(path, now_utc=NOW)) == ["", "is another file now"]
    assert contents(tmp_path) == {"b": "b", "x": "foreign"}


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_undo_after_a_run_cut_short_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    make(tmp_path, "a", "b", "c")
    calls = 0

    def dying(old: Path, new: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > kept:
            raise KeyboardInterrupt
        rename_new(old, new)

    monkeypatch.setattr(journal_module, "rename_new", dying)
    with pytest.raises(KeyboardInterrupt):
        run(moves(tmp_path, a="b", b="c", c="d"), tmp_path / "FileRename", now_utc=NOW)
    monkeypatch.undo()
    assert all(not outcome.reason for outcome in undo(tmp_path / "FileRename.json", now_utc=NOW))
    assert contents(tmp_path) == {"a": "a", "b": "b", "c": "c"}


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)))
def test_chains_and_rings_come_out_right_and_go_back(tmp_path_factory: pytest.TempPathFactory, new: list[int]) -> None:
    folder = tmp_path_factory.mktemp("ring")
    make(folder, *"01234")
    path, _ = run([Move(folder / str(i), folder / str(j)) for i, j in enumerate(new)], folder / "J", now_utc=NOW)
    assert contents(folder) == {str(j): str(i) for i, j in sorted(enumerate(new), key=lambda pair: pair[1])}
    undo(path, now_utc=NOW)
    assert contents(folder) == {name: name for name in "01234"}


def test_without_renameat2_a_link_is_used_and_still_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a", "b", "c")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    rename_new(tmp_path / "a", tmp_path / "x")
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "b", tmp_path / "c")
    assert contents(tmp_path) == {"b": "b", "c": "c", "x": "a"}


def test_a_failing_move_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    outcomes = carry_out([Move(tmp_path / "a", tmp_path / ("x" * 300)), Move(tmp_path / "b", tmp_path / "y")])
    assert [outcome.reason for outcome in outcomes] == ["file name too long", ""]
    assert contents(tmp_path) == {"a": "a", "y": "b"}
    with pytest.raises(RejectedInput, match="gone cannot be read"):
        run(moves(tmp_path, gone="z"), tmp_path / "J", now_utc=NOW)


def test_dry_run_of_undo_moves_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a")
    path, _ = run(moves(tmp_path, a="x"), tmp_path / "J", now_utc=NOW)
    assert len(undo(path, now_utc=NOW, dry_run=True)) == 1
    assert contents(tmp_path) == {"x": "a"}


@pytest.mark.parametrize("text", ["", "hello", "[]", "{}", '{"moves": [{"old": "a"}]}', '{"moves": 3}'])
def test_what_is_no_journal_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "J.json").write_text(text)
    with pytest.raises(RejectedInput, match="is not a journal"):
        undo(tmp_path / "J.json", now_utc=NOW)


def test_missing_journal_and_unwritable_journal_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "a")
    with pytest.raises(Refused, match="there is no journal"):
        undo(tmp_path / "none.json", now_utc=NOW)
    with pytest.raises(Refused, match="nothing was renamed"):
        run(moves(tmp_path, a="x"), tmp_path / "no folder" / "J", now_utc=NOW)
    assert contents(tmp_path) == {"a": "a"}


def test_journal_tells_what_was_done(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "x")
    path, _ = run(moves(tmp_path, a="x", b="y"), tmp_path / "J", now_utc=NOW)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1] == {"failed": {"old": "a", "new": "x"}, "reason": "x exists already"}
    assert lines[2] == {"done": {"old": "b", "new": "y"}}
    assert lines[3] == {"finished": True, "failed": 1}
