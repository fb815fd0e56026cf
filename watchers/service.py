"""All watched folders of a configuration: locks, one thread a folder, and the ledger as their sink."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from nightcrew import failpoints
from nightcrew.errors import TransientError
from nightcrew.ledger import arrivals, messages
from nightcrew.ledger.database import Database
from nightcrew.settings import FolderSettings, Settings
from watchers.lock import FolderLock
from watchers.settle import IsComplete, Settled
from watchers.sweep import why_away
from watchers.watcher import Rules, Sink, Watcher

_LOG = logging.getLogger("nightcrew.watcher")


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
    """Watch all folders until ``stop`` is set; one that is not there yet is told and waited for, and holds up no other.

    Raises
    ------
    Refused
        Another service watches one of the folders.
    RuntimeError
        The thread of a folder died; its trace is in the log.
    """
    with ExitStack() as locks:
        watched = [_Folder(folder, settings, database, is_complete) for folder in settings.folders]
        for one in watched:
            if not one.absent():
                one.begin(locks)
        failed: list[str] = []
        threads = [threading.Thread(target=_run, args=(one, locks, stop, failed), name=str(one.path)) for one in watched]
        for thread in threads:
            thread.start()
        stop.wait()
        for one in watched:
            if one.watcher is not None:
                one.watcher.wake()
        for thread in threads:
            thread.join()
        if failed:
            raise RuntimeError(f"the watcher of {', '.join(failed)} died")


class _Folder:
    """One watched folder: its watcher begins once the folder is there."""

    def __init__(self, folder: FolderSettings, settings: Settings, database: Database, is_complete: IsComplete) -> None:
        self.path = folder.path
        self.watcher: Watcher | None = None
        self._folder, self._settings, self._database, self._is_complete = folder, settings, database, is_complete
        self._sink = ledger_sink(database, folder.path)

    def absent(self) -> str:
        """Why there is nothing to watch, "" when there is."""
        try:
            self.path.stat()
        except OSError as error:
            return f"{self.path}: {why_away(error)}"
        return ""

    def begin(self, locks: ExitStack) -> None:
        """Lock the folder and make its watcher."""
        locks.enter_context(FolderLock(self.path, self._settings.state.root))
        with self._database.read() as connection:
            known = arrivals.known_stats(connection, str(self.path))
        self.watcher = Watcher(rules_of(self._folder, self._settings), self._sink, known, self._is_complete)

    def wait(self, locks: ExitStack, stop: threading.Event) -> None:
        """Until the folder is there (not mounted yet, as after a start of the machine), or ``stop`` is set."""
        while self.watcher is None and not stop.is_set():
            try:
                why = self.absent()
                if why:
                    self._sink.swept([why])
                else:
                    self.begin(locks)
                    return
            except TransientError as error:
                _LOG.warning("%s", error)
            stop.wait(self._settings.watch.poll_s)


def _run(folder: _Folder, locks: ExitStack, stop: threading.Event, failed: list[str]) -> None:
    try:
        folder.wait(locks, stop)
        if folder.watcher is not None:
            folder.watcher.run(stop)
    except BaseException:
        _LOG.exception("the watcher of %s died", folder.path)
        failed.append(str(folder.path))
        stop.set()  # the supervisor starts all of them again
        raise
