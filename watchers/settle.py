"""When a file has arrived: size and time stand still, and the bytes that its own header announces are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

IsComplete = Callable[[Path], bool]
"""Are all the bytes there?  Files of formats that do not tell are complete.  May raise OSError."""


@dataclass(slots=True)
class _Waiting:
    size: int
    mtime_ns: int
    still_since_s: float
    look_at_s: float
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """A path whose bytes are all there, or that kept us waiting beyond our patience."""

    path: bytes
    size: int
    mtime_ns: int
    verdict: str = ""  # why it is ignored
    ctime_ns: int = 0  # 0: not looked at


class SettleRule:
    """Holds paths until they settle.

    Parameters
    ----------
    settle_s
        Size and modification time must stand still for so long.
    patience_s
        A file that stands still but is incomplete is handed on after so long, so that it is rejected by name
        instead of waiting for ever.
    is_complete
        Structural test, asked once the file stands still.
    """

    def __init__(self, settle_s: float, patience_s: float, is_complete: IsComplete) -> None:
        self._settle_s = settle_s
        self._patience_s = max(patience_s, settle_s)
        self._is_complete = is_complete
        self._waiting: dict[bytes, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, path: bytes) -> bool:
        return path in self._waiting

    def note(self, path: bytes, size: int, mtime_ns: int, now_s: float, verdict: str = "") -> None:
        """Hear of a path; hearing again of one that waits changes nothing unless it grew meanwhile."""
        known = self._waiting.get(path)
        if known is None or (known.size, known.mtime_ns) != (size, mtime_ns):
            self._waiting[path] = _Waiting(size, mtime_ns, now_s, now_s + self._settle_s, verdict)

    def next_look_s(self) -> float | None:
        """When the next path is due, on the clock of ``now_s``; None when nothing waits."""
        return min((entry.look_at_s for entry in self._waiting.values()), default=None)

    def due(self, now_s: float, limit: int) -> Iterator[Settled]:
        """Up to ``limit`` paths that settled by now, in order of path; paths that went away are forgotten."""
        ripe = sorted(path for path, entry in self._waiting.items() if entry.look_at_s <= now_s)
        given = 0
        for path in ripe:
            if given >= limit:
                return
            settled = self._look(path, self._waiting[path], now_s)
            if settled is not None:
                given += 1
                yield settled

    def _look(self, path: bytes, entry: _Waiting, now_s: float) -> Settled | None:
        try:
            status = os.lstat(path)
        except OSError:
            del self._waiting[path]
            return None
        if not entry.verdict and (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
            self.note(path, status.st_size, status.st_mtime_ns, now_s)
            return None
        still_s = now_s - entry.still_since_s
        if not entry.verdict and not self._complete(path) and still_s < self._patience_s:
            # The longer it stands still, the rarer we look: a stopped transfer costs nothing.
            entry.look_at_s = min(now_s + max(self._settle_s, still_s, 0.1), entry.still_since_s + self._patience_s)
            return None
        del self._waiting[path]
        return Settled(path, entry.size, entry.mtime_ns, entry.verdict, 0 if entry.verdict else status.st_ctime_ns)

    def _complete(self, path: bytes) -> bool:
        try:
            return self._is_complete(Path(os.fsdecode(path)))
        except OSError:
            return False
