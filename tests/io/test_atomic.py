"""Files appear whole or not at all, and never over others, whatever fails in between."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from nightcrew.errors import Refused, TransientError
from nightcrew.io.atomic import (
    FinalExistsError,
    NewFile,
    injected_faults,
    part_files,
    passing,
    replace,
    write_new,
    write_text,
)

STAGES = ["open", "write", "fsync", "publish", "fsync_folder"]


def writer(text: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(text)

    return write


def test_new_file_in_a_new_folder(tmp_path: Path) -> None:
    final = write_new(tmp_path / "a" / "b" / "c.txt", writer(b"hello"))
    assert final.read_bytes() == b"hello"
    assert part_files(final.parent) == []


def test_equal_content_is_success_and_other_content_is_left(tmp_path: Path) -> None:
    final = write_text(tmp_path / "a", "one")
    before = final.stat()
    write_text(final, "one")
    with pytest.raises(FinalExistsError, match="exists already with other content"):
        write_text(final, "two")
    with pytest.raises(FinalExistsError):
        write_text(final, "ones")
    assert final.read_text() == "one"
    assert final.stat().st_ino == before.st_ino
    assert part_files(tmp_path) == []


def test_folder_under_the_final_name_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FinalExistsError):
        write_text(tmp_path / "a", "one")


def test_replace_changes_in_one_step(tmp_path: Path) -> None:
    final = replace(tmp_path / "a", writer(b"one"))
    held = final.open("rb")
    replace(final, writer(b"two"))
    assert final.read_bytes() == b"two"
    assert held.read() == b"one"  # who had the old one open keeps it whole
    held.close()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk_passes_and_leaves_nothing(tmp_path: Path, stage: str, code: int) -> None:
    def hook(now: str, final: Path) -> None:
        if now == stage:
            raise OSError(code, os.strerror(code), str(final))

    with injected_faults(hook), pytest.raises(TransientError, match=r"a: cannot be written now"):
        write_text(tmp_path / "a", "one")
    assert part_files(tmp_path) == []
    assert (tmp_path / "a").exists() == (stage == "fsync_folder")
    write_text(tmp_path / "a", "one")  # the next try goes through


def test_full_disk_inside_the_writer(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"begun")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TransientError, match="No space left"):
        write_new(tmp_path / "a", write)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_writer_are_its_own(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        write_new(tmp_path / "a", write)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match="cannot be written in"):
        write_text(tmp_path / "file" / "a", "one")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"), "No space left on device"),
        (RuntimeError("Disable slist failed (time = Sat\n, file descriptor = 20, errno = 28)"), "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (OSError(errno.EACCES, "Permission denied"), ""),
        (RuntimeError("file read failed: errno = 13"), ""),
        (ValueError("errno = 28"), ""),
    ],
)
def test_a_full_disk_is_known_through_other_libraries_errors(error: Exception, cause: str) -> None:
    assert passing(error) == cause


def test_a_full_disk_inside_of_a_librarys_error_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def write(_file: BinaryIO) -> None:
        raise RuntimeError("unable to flush (file write failed: errno = 28)")

    with pytest.raises(TransientError, match=r"a: cannot be written now \(No space left"):
        write_new(tmp_path / "a", write)
    assert list(tmp_path.iterdir()) == []


def test_kill_at_any_moment_leaves_a_whole_file_or_a_part(tmp_path: Path) -> None:
    """A process that ends without clean-up (as by SIGKILL) between two stages."""
    for stage in STAGES:
        final = tmp_path / stage
        pid = os.fork()
        if pid == 0:

            def hook(now: str, _: Path, stage: str = stage) -> None:
                if now == stage:
                    os._exit(0)

            with injected_faults(hook):
                write_text(final, "whole")
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert not final.exists() or final.read_text() == "whole"
    assert all(part.name.startswith(".nightcrew-") for part in part_files(tmp_path))
    assert len(part_files(tmp_path)) == 3  # before "write", "fsync" and "publish"


def test_two_at_once_give_one_file(tmp_path: Path) -> None:
    results: list[str] = []
    gate = threading.Barrier(2)

    def work(text: str) -> None:
        with NewFile(tmp_path / "a", durable=False) as new:
            new.file.write(text.encode())
            gate.wait(10)
        results.append(text)

    def attempt(text: str) -> None:
        try:
            work(text)
        except FinalExistsError:
            results.append("lost")

    threads = [threading.Thread(target=attempt, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "lost" in results
    assert (tmp_path / "a").read_text() in results


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    assert write_text(tmp_path / "a", "one").read_text() == "one"
    with pytest.raises(FinalExistsError):
        write_text(tmp_path / "a", "two")
    write_text(tmp_path / "a", "one")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_durable_asks_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    write_text(tmp_path / "a", "one")
    assert len(calls) == 2
    write_text(tmp_path / "b", "one", durable=False)
    assert len(calls) == 2
    write_text(tmp_path / "new" / "folders" / "c", "one")
    assert len(calls) == 6  # the names of both folders, too: else a power loss takes the file with them
    write_text(tmp_path / "newer" / "d", "one", durable=False)
    assert len(calls) == 6


def test_the_beginning_of_a_file_is_not_its_equal(tmp_path: Path) -> None:
    """Both end where a piece that is compared ends."""
    final = write_new(tmp_path / "a", writer(bytes(2 << 20)))
    with pytest.raises(FinalExistsError):
        write_new(final, writer(bytes(1 << 20)))
    assert final.stat().st_size == 2 << 20


def test_a_pipe_under_the_final_name_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(FinalExistsError):
        write_text(tmp_path / "a", "")


def test_a_hidden_file_of_the_same_name_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _size: "same")
    with NewFile(tmp_path / "a") as new:
        new.file.write(b"one")
        with pytest.raises(Refused, match="File exists"):
            write_text(tmp_path / "b", "two")
    assert (tmp_path / "a").read_text() == "one"


def test_all_bytes_are_written_before_the_disk_is_asked_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    write_text(tmp_path / "a", "one")
    assert sizes[0] == 3


@pytest.mark.parametrize(("code", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_knows_no_fsync_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fails: bool) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TransientError) if fails else contextlib.nullcontext():
        write_text(tmp_path / "a", "one")
    assert (tmp_path / "a").read_text() == "one"


def test_a_full_disk_behind_another_error_passes() -> None:
    full, other = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("the table could not be closed")
    other.__cause__ = full
    assert passing(other) == "No space left on device"
    other.__cause__, other.__context__ = None, full
    assert passing(other) == "No space left on device"
