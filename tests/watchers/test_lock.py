"""Two services on one folder refuse each other, whether or not they share a state folder."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from nightcrew.errors import Refused
from watchers.lock import FolderLock


def test_a_second_service_is_refused_with_the_holders_process(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with FolderLock(raw, tmp_path / "state"), pytest.raises(Refused, match=f"process {os.getpid()}"):
        FolderLock(raw, tmp_path / "state")


def test_a_service_with_another_state_folder_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with FolderLock(raw, tmp_path / "one"), pytest.raises(Refused, match="another state folder"):
        FolderLock(raw, tmp_path / "two")


def test_the_same_folder_under_another_name_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "alias").symlink_to(raw)
    with FolderLock(raw, tmp_path / "state"), pytest.raises(Refused):
        FolderLock(tmp_path / "alias", tmp_path / "state")


def test_the_folder_is_free_again_after_closing_and_nothing_was_written_into_it(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    FolderLock(raw, tmp_path / "state").close()
    FolderLock(raw, tmp_path / "state").close()
    assert list(raw.iterdir()) == []


HELD = 9


def _hold(raw: Path, state: Path) -> None:
    FolderLock(raw, state)
    os._exit(HELD)  # dies without closing


def test_a_holder_that_died_holds_nothing(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(raw, tmp_path / "state"))
    process.start()
    process.join()
    assert process.exitcode == HELD
    FolderLock(raw, tmp_path / "state").close()


def test_a_folder_that_cannot_be_watched_now_is_no_refusal_and_no_lock(tmp_path: Path) -> None:
    """Refused is what stays so until a person changes something; a folder may be there a moment later."""
    with pytest.raises(FileNotFoundError, match="No such file"):
        FolderLock(tmp_path / "raw", tmp_path / "state")
    (tmp_path / "raw").write_text("a file in its place")
    with pytest.raises(NotADirectoryError):
        FolderLock(tmp_path / "raw", tmp_path / "state")
    (tmp_path / "raw").unlink()
    (tmp_path / "raw").mkdir()
    FolderLock(tmp_path / "raw", tmp_path / "state").close()
