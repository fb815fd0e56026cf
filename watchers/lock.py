"""Two services on one folder refuse each other.

Nothing is written into the raw folder: the folder itself is locked (``flock`` on its descriptor, seen by every service
of this host), and a lock file in our state folder, named by the folder's device and inode, says who holds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from nightcrew.errors import Refused


class FolderLock:
    """The right to watch one folder, held until :meth:`close` or the end of the process.

    ``Refused`` when another service has it; OSError when the folder is not there, is none, or cannot be read now.
    """

    def __init__(self, folder: Path, state_root: Path) -> None:
        self.folder = folder
        status = folder.stat()
        locks = state_root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        self._note = locks / f"{status.st_dev:x}-{status.st_ino:x}.lock"
        self._descriptors: list[int] = []
        try:
            self._take()
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        note = os.open(self._note, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._descriptors.append(note)
        if not _locked(note):
            raise Refused(f"another service (process {_reader(note)}) watches {self.folder} already")
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors.append(folder)
        if not _locked(folder):
            raise Refused(f"another service, with another state folder, watches {self.folder} already")
        os.ftruncate(note, 0)
        os.pwrite(note, f"{os.getpid()}\n{self.folder}\n".encode(errors="surrogateescape"), 0)

    def close(self) -> None:
        """Give the folder back."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL):
            return True  # a network file system without such locks: the lock file stands alone
        raise
    return True


def _reader(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").partition("\n")[0] or "unknown"
