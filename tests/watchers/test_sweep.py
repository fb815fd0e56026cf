"""The walk: everything is met once, links are not followed, strange things are counted with their reason."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from watchers.names import NameFilter
from watchers.sweep import Trouble, walk


def walked(root: Path, names: NameFilter | None = None, **options: Any) -> dict[str, str]:
    trouble = Trouble()
    found = walk(os.fsencode(root), names or NameFilter(), trouble, **options)
    result = {os.fsdecode(entry.path)[len(str(root)) + 1 :]: entry.verdict for entry in found}
    assert trouble.reasons == []
    return result


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("bias-001.fits", ""),
        ("notes.txt", ""),
        (".hidden.fits", "hidden"),
        ("._bias-001.fits", "Macintosh"),
        (".DS_Store", "hidden"),
        ("Thumbs.db", "operating system"),
        ("bias.fits.part", "temporary"),
        ("bias.fits~", "temporary"),
        ("#bias#", "temporary"),
        ("focus_1.fits", "matches 'focus_*'"),
    ],
)
def test_names_are_judged(name: str, verdict: str) -> None:
    told = NameFilter(("focus_*",)).verdict_of_name(os.fsencode(name))
    assert (verdict in told) if verdict else told == ""


def test_nested_folders_are_entered_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for path in ("1.fits", "a/2.fits", "a/b/3.fits"):
        (tmp_path / path).write_bytes(b"x")
    assert sorted(walked(tmp_path)) == ["1.fits", "a/2.fits", "a/b/3.fits"]
    assert sorted(walked(tmp_path, recursive=False)) == ["1.fits"]
    assert sorted(walked(tmp_path, skip=frozenset({os.fsencode(tmp_path / "a" / "b")}))) == ["1.fits", "a/2.fits"]


def test_sockets_pipes_and_links_are_counted_and_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "secret.fits").write_bytes(b"x")
    root.mkdir()
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        (root / "folder").symlink_to(outside)
        (root / "loop").symlink_to(root)
        (root / "dangling").symlink_to(root / "nothing")
        found = walked(root)
    assert sorted(found) == ["dangling", "folder", "loop", "pipe", "socket"]
    assert "pipe" in found["pipe"]
    assert "socket" in found["socket"]
    assert all("symbolic link" in found[name] for name in ("folder", "loop", "dangling"))


def test_a_hidden_folder_is_one_ignored_entry(tmp_path: Path) -> None:
    (tmp_path / ".Trash").mkdir()
    (tmp_path / ".Trash" / "a.fits").write_bytes(b"x")
    assert walked(tmp_path) == {".Trash": "ignored: a hidden folder"}


def test_names_that_are_no_text_are_met(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/b\xffas.fits"
    descriptor = os.open(name, os.O_CREAT | os.O_WRONLY)
    os.close(descriptor)
    assert [entry.path for entry in walk(os.fsencode(tmp_path), NameFilter(), Trouble())] == [name]


def test_what_cannot_be_read_is_trouble(tmp_path: Path) -> None:
    trouble = Trouble()
    assert list(walk(os.fsencode(tmp_path / "nowhere"), NameFilter(), trouble)) == []
    words = "the folder is away, perhaps not mounted; it is waited for, and nothing that was taken in from it is lost"
    assert trouble.reasons == [f"{tmp_path}/nowhere: {words}"]


def test_folders_nested_beyond_the_bound_are_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchers.sweep.MAX_DEPTH", 2)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    trouble = Trouble()
    assert list(walk(os.fsencode(tmp_path), NameFilter(), trouble)) == []
    assert "nested more than" in trouble.reasons[0]
