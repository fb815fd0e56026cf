"""What the kernel tells about a folder: hints for the watcher, never the truth.

The observer's thread only puts hints into a queue; it reads no file and writes no row.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

# watchdog says that the kernel's queue overflowed in its log and nowhere else
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
_KINDS: list[type[FileSystemEvent]] = [FileClosedEvent, FileCreatedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent]


@dataclass(frozen=True, slots=True)
class Hint:
    """Look at this path; ``folder`` True: walk it.  ``reason`` is for the log."""

    path: bytes
    folder: bool = False
    reason: str = ""


class _Handler(FileSystemEventHandler):
    def __init__(self, give: Callable[[Hint], None]) -> None:
        self._give = give

    def on_any_event(self, event: FileSystemEvent) -> None:
        folder = isinstance(event, DirCreatedEvent | DirMovedEvent)
        if event.src_path and not isinstance(event, DirMovedEvent):
            self._give(Hint(os.fsencode(event.src_path), folder, event.event_type))
        if event.dest_path:
            self._give(Hint(os.fsencode(event.dest_path), folder, event.event_type))


class _OverflowListener(logging.Handler):
    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._overflowed = overflowed

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._overflowed()


class FolderEvents:
    """inotify on one folder through watchdog: ``give`` gets a hint for each file closed, created or moved in.

    Raises OSError from :meth:`start` when the kernel grants no more watches (the sweep then does the work alone).
    """

    def __init__(self, root: bytes, give: Callable[[Hint], None], *, recursive: bool) -> None:
        self._root = root
        self._give = give
        self._recursive = recursive
        self._observer = Observer()
        self._listener = _OverflowListener(lambda: give(Hint(root, folder=True, reason="the kernel's event queue overflowed")))

    def start(self) -> None:
        """Begin to listen."""
        logging.getLogger(_OVERFLOW_LOGGER).addHandler(self._listener)
        self._observer.schedule(_Handler(self._give), os.fsdecode(self._root), recursive=self._recursive, event_filter=_KINDS)
        self._observer.start()

    def stop(self) -> None:
        """Stop listening and wait for the threads."""
        logging.getLogger(_OVERFLOW_LOGGER).removeHandler(self._listener)
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=10)
