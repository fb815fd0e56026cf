"""Small file systems of one's own: to fill them, and to copy them in the middle of a write.  Root only; skipped elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_STABLE_TRIES = 20


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _needs(*programs: str) -> None:
    """Skip where file systems cannot be mounted."""
    missing = [name for name in programs if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"mounting a file system needs root{''.join(f' and {name}' for name in missing)}: not injected here")


@contextmanager
def _mounted(place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", *options, str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"mounting is not allowed here ({error.stderr.strip()}): not injected here")
    try:
        yield place
    finally:
        _run("umount", "--lazy", str(place))  # also when a test that failed still holds a file open


@contextmanager
def tmpfs(place: Path, size_bytes: int) -> Iterator[Path]:
    """A file system in memory."""
    _needs("mount", "umount")
    with _mounted(place, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs") as mounted:
        yield mounted


def make_ext4(image: Path, size_bytes: int) -> Path:
    """An empty ext4 in a file."""
    _needs("mount", "umount", "mkfs.ext4", "losetup")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    return image


@contextmanager
def ext4(image: Path, place: Path) -> Iterator[Path]:
    """The file system of an image; its journal is replayed first, as after a power loss."""
    with _mounted(place, "-o", "loop", str(image)) as mounted:
        yield mounted


def copy_at_once(image: Path, copy: Path) -> bool:
    """Copy what is on the "disk" at one moment: what its file system still holds in memory is lost, as when the power goes.

    An image that changes between two readings is read again; False when it never stands still.
    """
    for _ in range(_STABLE_TRIES):
        shutil.copyfile(image, copy)
        if _hash(image) == _hash(copy):
            return True
    return False


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


class Ballast:
    """A file that takes all room but so much."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self, leave_bytes: int) -> None:
        """Leave this much free."""
        self.drop()
        free = shutil.disk_usage(self._path.parent).free
        with self._path.open("wb") as file, contextlib.suppress(OSError):  # the last blocks are the file system's own
            os.posix_fallocate(file.fileno(), 0, max(1, free - leave_bytes))

    def drop(self) -> None:
        """There is room again."""
        self._path.unlink(missing_ok=True)
