"""Is a file still the one that was hashed?  Told by size and times where they tell, by its bytes where they do not.

Size and modification time alone can be put back (``rsync -t``, ``cp -p``, ``touch -d``); the change time cannot.  But it also moves when
nothing of the content does (``chmod``, a hard link, a new name, a share whose server was exchanged), so that another change time only
asks for the bytes.  The inode is not looked at: network shares and FAT number files anew with each mount, and every way of putting
another file in a name's place moves the change time of a local file system.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from nightcrew.io.structure import sha256_file

_MOST = 20_000
_Version = tuple[bytes, str, int, int, int]  # path, hash, size and times of a file


class Known(Protocol):
    """What the ledger has of a file; ``ctime_ns`` 0: not known."""

    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def ctime_ns(self) -> int: ...
    @property
    def sha256(self) -> str: ...


def is_unchanged(path: Path, status: os.stat_result, known: Known) -> bool:
    """Are the bytes at ``path``, whose ``lstat`` is ``status``, those that were hashed?

    Raises
    ------
    TransientError
        The bytes had to be compared, and cannot be read now.
    """
    if (status.st_size, status.st_mtime_ns) != (known.size, known.mtime_ns):
        return False
    if not known.ctime_ns or not known.sha256 or status.st_ctime_ns == known.ctime_ns:
        return True
    return has_hash(path, status, known.sha256)


def has_hash(path: Path, status: os.stat_result, sha256: str) -> bool:
    """Have the bytes at ``path``, whose status is ``status``, this hash?  Read once a process and version of the file.

    Raises
    ------
    TransientError
        They cannot be read now, or change.
    """
    version = _version(path, status, sha256)
    if version not in _compared:
        if sha256_file(path, status).sha256 != sha256:
            return False
        _note(version)
    return True


def was_written(path: Path, sha256: str) -> None:
    """What this process wrote a moment ago has this hash: who makes something of it here need not read it for that."""
    with suppress(OSError):
        _note(_version(path, path.stat(), sha256))


def _version(path: Path, status: os.stat_result, sha256: str) -> _Version:
    return os.fsencode(path), sha256, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _note(version: _Version) -> None:
    if len(_compared) >= _MOST:
        _compared.clear()
    _compared.add(version)


_compared: set[_Version] = set()  # files that were compared, or written, by this process
