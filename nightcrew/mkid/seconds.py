"""The files of a readout: one ``<Unix second>.bin`` a second, in a folder or in its ``YYYYMMDD`` folders."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.source import shown
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.packets import BLOCK_WORDS

_NAME = re.compile(r"[1-9]\d{8,9}\.bin")
_DAY = re.compile(r"\d{8}")
_LOOK_WORDS = 1 << 13  # looked at to see whether a file is a stream at all
_WORD = 8


@dataclass(frozen=True)
class Rejected:
    """A file that was not used, and why, in one sentence."""

    name: str
    reason: str


@dataclass
class Listing:
    """Files by second, and those that are no seconds."""

    files: dict[int, Path] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    def runs(self) -> list[tuple[int, int]]:
        """Contiguous seconds as half-open intervals, in order."""
        found: list[tuple[int, int]] = []
        for second in sorted(self.files):
            if found and found[-1][1] == second:
                found[-1] = (found[-1][0], second + 1)
            else:
                found.append((second, second + 1))
        return found


def list_seconds(folder: Path) -> Listing:
    """Every second in ``folder`` and in folders in it that are named like days; ``Refused`` when there is no such folder."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise Refused(f"{folder}: cannot be listed ({error.strerror})") from error
    days = [entry for entry in entries if _DAY.fullmatch(entry.name) and entry.is_dir()]
    return sort_out([entry for day in [folder, *days] for entry in sorted(day.iterdir()) if entry.name.endswith(".bin")])


def sort_out(paths: Iterable[Path]) -> Listing:
    """Files by the second that they are named after; a second that is there twice counts once."""
    listing = Listing()
    for path in paths:
        if not _NAME.fullmatch(path.name):
            listing.rejected.append(Rejected(shown(path), f"{shown(path)}: is not named after a Unix second, as 1514764800.bin is"))
        elif int(path.stem) in listing.files:
            listing.rejected.append(Rejected(shown(path), f"{shown(path)}: is there in another folder too; the first one counts"))
        else:
            listing.files[int(path.stem)] = path
    return listing


@dataclass(frozen=True)
class SecondFile:
    """A file that was read: its identity for provenance."""

    second: int
    size: int
    sha256: str


class SecondReader:
    """One ``.bin`` file, open for reading in blocks.  Use as a context manager.

    Raises :class:`TransientError` when it cannot be read now or changes while it is read, :class:`RejectedInput` when it is no stream of
    this second.  ``begins_inside`` tells whether its first words may continue a frame of the file before, ``first_us`` when its first frame
    begins (Unix time; None where there is none, or its time disagrees with the name).
    """

    def __init__(self, path: Path, second: int, *, tolerance_s: float = clock.TOLERANCE_S) -> None:
        self.path, self.second = path, second
        self._tolerance_s = tolerance_s
        self.first_us: int | None = None
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise TransientError(f"{shown(path)}: cannot be opened ({error.strerror})") from error
        try:
            self._status = os.fstat(self._fd)
            self.begins_inside = self._look()
        except (RejectedInput, TransientError):
            os.close(self._fd)
            raise
        self._digest = hashlib.sha256()

    def __enter__(self) -> SecondReader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def bytes_over(self) -> int:
        """Bytes behind the last whole word."""
        return self._status.st_size % _WORD

    def blocks(self) -> Iterator[NDArray[np.uint64]]:
        """The words as they are stored, a block at a time."""
        offset = 0
        while offset < self._status.st_size:
            data = self._read(min(BLOCK_WORDS * _WORD, self._status.st_size - offset), offset)
            self._digest.update(data)
            offset += len(data)
            yield np.frombuffer(data, dtype=">u8", count=len(data) // _WORD)

    def identity(self) -> SecondFile:
        """Name, size and hash; :class:`TransientError` when the file changed since it was opened."""
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise TransientError(f"{shown(self.path)}: changed while it was read")
        return SecondFile(self.second, self._status.st_size, self._digest.hexdigest())

    def _read(self, count: int, offset: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            try:
                piece = os.pread(self._fd, count, offset)
            except OSError as error:
                raise TransientError(f"{shown(self.path)}: cannot be read now ({error.strerror})") from error
            if not piece:
                raise TransientError(f"{shown(self.path)}: became shorter while it was read")
            pieces.append(piece)
            count -= len(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _look(self) -> bool:
        """See that this is a stream: frames whose times agree with the file's name."""
        name, size = shown(self.path), self._status.st_size
        if not stat.S_ISREG(self._status.st_mode):
            raise RejectedInput(f"{name}: is not a regular file")
        if not size:
            raise RejectedInput(f"{name}: is empty")
        seen = 0
        for offset in range(0, size - size % _WORD, _LOOK_WORDS * _WORD):
            block = np.frombuffer(self._read(min(_LOOK_WORDS * _WORD, size - size % _WORD - offset), offset), dtype=">u8").astype(np.uint64)
            heads = np.flatnonzero(block >= w.FIRST_HEADER)
            seen += heads.size
            times_us, agrees = clock.unix_us(w.ticks(block[heads]), self.second, self._tolerance_s)
            if heads.size and seen == heads.size and agrees[0]:
                self.first_us = int(times_us[0])
            if 2 * np.count_nonzero(agrees) > heads.size:
                return offset == 0 and int(heads[0]) <= w.MOST_WORDS
        if not seen and size // _WORD <= w.MOST_WORDS and size >= _WORD:
            return True  # a few words in the middle of a frame
        raise RejectedInput(f"{name}: " + _why_no_stream(seen, size))


def _why_no_stream(headers: int, size: int) -> str:
    if size < _WORD:
        return f"has {size} bytes, less than one word"
    if not headers:
        return "has no frame header in it: it is not a readout stream"
    return f"holds no stream of this second: the times of its {headers} frame headers do not agree with its name"


def wanted_seconds(start_us: int, stop_us: int) -> Sequence[int]:
    """Seconds that photons of ``[start_us, stop_us)`` may be filed under: one before (torn frames) to one after (late words)."""
    return range(start_us // 1_000_000 - 1, -(-stop_us // 1_000_000) + 1)
