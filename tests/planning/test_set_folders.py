"""Watched folders of sets: which kind, which label, which word for a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.ingest_sets import SetFolder, kind_word, set_folders
from nightcrew.io.structure import Structure
from nightcrew.settings import FolderSettings


def test_only_a_second_folder_of_a_kind_has_a_label_and_none_twice() -> None:
    folders = (
        FolderSettings(path=Path("/a/lab"), kind="lab"),
        FolderSettings(path=Path("/b/lab"), kind="lab"),
        FolderSettings(path=Path("/c/lab"), kind="lab"),
        FolderSettings(path=Path("/d/lab"), kind="sensor"),
        FolderSettings(path=Path("/night")),
    )
    assert set_folders(folders) == {
        "/a/lab": SetFolder("lab", ""),
        "/b/lab": SetFolder("lab", "lab"),
        "/c/lab": SetFolder("lab", "lab-2"),
        "/d/lab": SetFolder("sensor", ""),
    }
    assert set_folders(folders)["/b/lab"].set_of(b"/b/lab/set1/a", "/b/lab") == "lab/set1"


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("a.fits", "fits", "fits"),
        ("a.CSV", "foreign", "csv"),
        ("log.txt.gz", "foreign", "txt"),
        ("README", "foreign", "file"),
        ("a.<b>", "foreign", "file"),
        ("a.ignored", "foreign", "file"),
        ("a.bin", "empty", "bin"),
    ],
)
def test_a_file_has_a_word(name: str, kind: str, word: str) -> None:
    assert kind_word(name.lower(), Structure(complete=True, reason="", kind=kind, stored_bytes=1)) == word
