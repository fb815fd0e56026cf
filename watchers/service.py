"""All watched folders of a configuration: locks, one thread a folder, and the ledger as their sink."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from nightcrew import failpoints
from nightcrew.errors import Refused, TransientError
from nightcrew.ledger import arrivals, messages
from nightcrew.ledger.database import Database
from nightcrew.settings import FolderSettings, Settings
from watchers.lock import FolderLock
from watchers.settle import IsComplete, Settled
from watchers.sweep import why_away
from watchers.watcher import Rules, Sink, Watcher

_LOG = logging.getLogger("nightcrew.watcher")
_SILENT_S = 30.0  # a folder that did not answer for so long is told
_STOP_S = 20.0  # how long a stop waits for folders that do not answer
SILENT = "the folder does not answer, is its server gone? it is waited for, and nothing that was taken in from it is lost"


def rules_of(folder: FolderSettings, settings: Settings) -> Rules:
    """How a folder of the configuration is watched; our own folders inside it are passed over."""
    ours = (settings.products.root, settings.reports.root, settings.state.root, settings.mail.mailbox)
    return Rules(
        folder=folder.path,
        recursive=folder.recursive,
        polling=folder.polling,
        ignore=folder.ignore,
        skip=frozenset(os.fsencode(os.path.realpath(path)) for path in ours),
        settle_s=settings.watch.settle_s,
        patience_s=settings.watch.patience_s,
        sweep_s=settings.watch.sweep_s,
        poll_s=settings.watch.poll_s,
        burst_s=settings.watch.burst_s,
        burst_files=settings.limits.burst_files,
    )


def ledger_sink(database: Database, folder: Path) -> Sink:
    """A sink that writes to the ledger; ``folder`` is the watched folder as its rows name it."""
    troubled: list[str] = []

    def record(settled: Sequence[Settled]) -> None:
        rows = [
            arrivals.Seen(
                path=item.path,
                folder=str(folder),
                size=item.size,
                mtime_ns=item.mtime_ns,
                ctime_ns=item.ctime_ns,
                kind="ignored" if item.verdict else "",
                verdict=item.verdict,
            )
            for item in settled
        ]
        failpoints.reach("arrival.unrecorded")
        wanted = arrivals.record(database, rows)
        _LOG.info("%d paths of %s recorded, %d to read", len(rows), folder, wanted)

    def swept(reasons: Sequence[str]) -> None:
        # Told once, when it begins and when it ends: a share that is away all night is one line, not a thousand.
        if list(reasons) != troubled:
            for reason in reasons:
                _LOG.warning("the sweep could not look into %s", reason)
            text = "; ".join(reasons) if reasons else f"{folder} can be looked into again"
            messages.happened(database, "watcher", "problem" if reasons else "info", text)
            troubled[:] = reasons
        if not reasons:
            messages.alive(database, messages.sweep_sign(str(folder)), str(folder))

    return Sink(record=record, vanished=lambda paths: _vanished(database, paths), swept=swept)


def _vanished(database: Database, paths: Sequence[bytes]) -> None:
    gone = arrivals.mark_vanished(database, paths)
    _LOG.info("%d paths vanished", gone)


def watch(settings: Settings, database: Database, is_complete: IsComplete, stop: threading.Event) -> None:
    """Watch all folders until ``stop`` is set.

    Each has a thread of its own, from its first look on: one that is not there, cannot be read, is no folder or does not answer is
    told and waited for, and holds up no other.

    Raises
    ------
    Refused
        Another service watches one of the folders.
    RuntimeError
        The thread of a folder died; its trace is in the log.
    """
    watched = [_Folder(folder, settings, database, is_complete) for folder in settings.folders]
    failed: list[tuple[_Folder, BaseException]] = []
    threads = [threading.Thread(target=_run, args=(one, stop, failed), name=str(one.path), daemon=True) for one in watched]
    for thread in threads:
        thread.start()
    while not stop.wait(settings.watch.poll_s):
        for one in watched:
            one.tell_silence()
    for one in watched:
        one.wake()
    until = time.monotonic() + _STOP_S
    for one, thread in zip(watched, threads, strict=True):
        thread.join(max(until - time.monotonic(), 0.1))
        if thread.is_alive():
            _LOG.warning("%s does not answer; it is not waited for any more", one.path)
    for _, error in failed:
        if isinstance(error, Refused):
            raise error
    if failed:
        raise RuntimeError(f"the watcher of {', '.join(str(one.path) for one, _ in failed)} died")


class _Folder:
    """One watched folder: its watcher begins once the folder is there."""

    def __init__(self, folder: FolderSettings, settings: Settings, database: Database, is_complete: IsComplete) -> None:
        self.path = folder.path
        self._watcher: Watcher | None = None
        self._asked_s: float | None = None  # since when an answer to "are you there?" is awaited
        self._folder, self._settings, self._database, self._is_complete = folder, settings, database, is_complete
        self._sink = ledger_sink(database, folder.path)

    def run(self, stop: threading.Event) -> None:
        """Wait until the folder can be watched, then watch it, until ``stop`` is set."""
        with ExitStack() as held:
            self._wait(held, stop)
            if self._watcher is not None:
                self._watcher.run(stop)

    def wake(self) -> None:
        """Look at the stop event now."""
        if self._watcher is not None:
            self._watcher.wake()

    def tell_silence(self) -> None:
        """A network share whose server is gone answers nothing, not even an error: that is told."""
        since_s = self._asked_s
        if since_s is not None and time.monotonic() - since_s > _SILENT_S:
            try:
                self._sink.swept([f"{self.path}: {SILENT}"])
            except TransientError as error:
                _LOG.warning("%s", error)

    def _wait(self, held: ExitStack, stop: threading.Event) -> None:
        """Until the folder can be watched (a share may not be mounted yet, as after a start of the machine), or ``stop`` is set."""
        while not stop.is_set():
            try:
                self._asked_s = time.monotonic()
                try:
                    self._begin(held)
                    return
                except OSError as error:
                    why = unwatchable(self.path, error)
                finally:
                    self._asked_s = None
                self._sink.swept([why])
            except TransientError as error:
                _LOG.warning("%s", error)
            stop.wait(self._settings.watch.poll_s)

    def _begin(self, held: ExitStack) -> None:
        """Lock the folder and make its watcher; ``held`` gets the lock."""
        with ExitStack() as for_now:
            for_now.enter_context(FolderLock(self.path, self._settings.state.root))
            with self._database.read() as connection:
                known = arrivals.known_stats(connection, str(self.path))
            self._watcher = Watcher(rules_of(self._folder, self._settings), self._sink, known, self._is_complete)
            held.push(for_now.pop_all())


def unwatchable(path: Path, error: OSError) -> str:
    """Why a folder cannot be watched now, in one sentence."""
    about = "" if error.filename in (None, os.fspath(path), path) else f" ({error.filename})"  # the file of its lock
    return f"{path}: {why_away(error)}{about}"


def _run(folder: _Folder, stop: threading.Event, failed: list[tuple[_Folder, BaseException]]) -> None:
    try:
        folder.run(stop)
    except BaseException as error:
        if not isinstance(error, Refused):
            _LOG.exception("the watcher of %s died", folder.path)
        failed.append((folder, error))
        stop.set()  # the supervisor starts all of them again
        if not isinstance(error, Refused):
            raise
