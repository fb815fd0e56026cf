"""A night behind a real watcher: its clock is ours, its folder is looked into as the service does it, without a server."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deployments.children import is_complete
from tests.support.small_nights import Bench
from watchers.service import ledger_sink
from watchers.watcher import Rules, Watcher

RULES = {"polling": True, "settle_s": 2.0, "patience_s": 10.0, "sweep_s": 3.0, "poll_s": 3.0, "burst_s": 1.0}


class Watched(Bench):
    """A bench whose arrivals come from the watcher."""

    def __init__(self, folder: Path, root: Path, **sections: Any) -> None:
        super().__init__(folder, root, **sections)
        self.seconds = 0.0
        sink = ledger_sink(self.space.database, folder)
        self.watcher = Watcher(Rules(folder=folder, **RULES), sink, {}, is_complete, clock=lambda: self.seconds)  # type: ignore[arg-type]  # rules of mixed types

    def watch(self, seconds: float, every_second: Callable[[], object] = lambda: None) -> None:
        """Let so much time pass for the watcher."""
        for _ in range(round(seconds)):
            every_second()
            self.watcher.step()
            self.seconds += 1.0

    def ingest_once(self, limit: int = 500) -> None:
        """One run of ingest: what cannot be read now stays an arrival."""
        self.space.ingest(limit)


def raw_state(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """What is below a folder, as far as anybody could change it: kind, mode, time of change and bytes."""
    return {path: _state(path) for path in _walk(os.fsencode(folder))}


def _walk(folder: bytes) -> Iterator[bytes]:
    for entry in os.scandir(folder):
        yield entry.path
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)


def _state(path: bytes) -> tuple[object, ...]:
    status = os.lstat(path)
    what: object = ""
    if stat.S_ISLNK(status.st_mode):
        what = Path(os.fsdecode(path)).readlink()
    elif stat.S_ISREG(status.st_mode):
        what = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
    return status.st_mode, status.st_mtime_ns, what
