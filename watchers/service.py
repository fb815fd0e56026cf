"""All watched folders of a configuration: locks, one thread a folder, and the ledger as their sink."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from nightcrew import failpoints
from nightcrew.ledger import arrivals, messages
from nightcrew.ledger.database import Database
from nightcrew.settings import FolderSettings, Settings
from watchers.lock import FolderLock
from watchers.settle import IsComplete, Settled
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
    """Watch all folders until ``stop`` is set.

    Raises
    ------
    Refused
        A folder does not exist, or another service watches it.
    RuntimeError
        The thread of a folder died; its trace is in the log.
    """
    with ExitStack() as locks:
        watchers = []
        for folder in settings.folders:
            locks.enter_context(FolderLock(folder.path, settings.state.root))
            with database.read() as connection:
                known = arrivals.known_stats(connection, str(folder.path))
            watchers.append(Watcher(rules_of(folder, settings), ledger_sink(database, folder.path), known, is_complete))
        failed: list[str] = []
        threads = [threading.Thread(target=_run, args=(watcher, stop, failed), name=str(watcher.rules.folder)) for watcher in watchers]
        for thread in threads:
            thread.start()
        stop.wait()
        for watcher in watchers:
            watcher.wake()
        for thread in threads:
            thread.join()
        if failed:
            raise RuntimeError(f"the watcher of {', '.join(failed)} died")


def _run(watcher: Watcher, stop: threading.Event, failed: list[str]) -> None:
    try:
        watcher.run(stop)
    except BaseException:
        _LOG.exception("the watcher of %s died", watcher.rules.folder)
        failed.append(str(watcher.rules.folder))
        stop.set()  # the supervisor starts all of them again
        raise
