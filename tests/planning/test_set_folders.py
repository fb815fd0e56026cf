"""Watched folders of sets: which kind, which label, which word for a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.ingest_sets import SetFolder, changed_kinds, folders_of, folders_text, kind_word, set_folders
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


def test_a_folder_keeps_its_label_whatever_the_order_and_whoever_comes_or_goes() -> None:
    one, other = FolderSettings(path=Path("/a/x"), kind="lab"), FolderSettings(path=Path("/b/y"), kind="lab")
    before = set_folders((one, other))
    remembered = folders_of(folders_text({}, before))
    assert remembered == before
    assert set_folders((other, one), remembered) == before
    assert set_folders((other,), remembered) == {"/b/y": SetFolder("lab", "y")}
    third = FolderSettings(path=Path("/c/z"), kind="lab")
    assert set_folders((third,), remembered) == {"/c/z": SetFolder("lab", "z")}  # the plain name stays with /a/x
    assert folders_of("no json") == {}


def test_a_folder_of_another_kind_now_is_told() -> None:
    remembered = {"/a/x": SetFolder("sensor")}
    now = (FolderSettings(path=Path("/a/x"), kind="lab"),)
    (sentence,) = changed_kinds(now, remembered)
    assert "/a/x held sets of kind sensor and is of kind lab now" in sentence
    assert set_folders(now, remembered) == {"/a/x": SetFolder("lab")}
    assert changed_kinds(now, folders_of(folders_text(remembered, set_folders(now, remembered)))) == []
