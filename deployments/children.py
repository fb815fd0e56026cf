"""The child processes of ``nightcrew up``: ``python -m deployments.children watcher|pages|dispatcher|runner``."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightcrew.errors import NightcrewError, TransientError
from nightcrew.settings import Settings
from reports.text import visible

_LOG = logging.getLogger("nightcrew")
_FRAME = re.compile(r'[ |+]* File "')  # of a trace: a place, and the words of the program there


class OneLine(logging.Formatter):
    """A message is one line of letters that can be seen: the name of a file can neither forge a line of the log nor steer a terminal.

    A trace keeps its lines; the texts of its exceptions and their notes are one each.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name of the base class
        record.message = visible(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  the name of the base class
        trace = traceback.TracebackException(*ei)
        _show_notes(trace)
        lines: list[str] = []
        for part in trace.format():
            text = part.strip("\n")
            lines += text.split("\n") if _FRAME.match(text) else [text]
        return "\n".join(map(visible, lines))


def _show_notes(trace: traceback.TracebackException) -> None:
    """Each note of the exceptions of ``trace`` one line, which says what it is."""
    notes = trace.__notes__ if isinstance(trace.__notes__, list) else []
    trace.__notes__ = [f"note: {visible(str(note))}" for note in notes]
    for one in (trace.__cause__, trace.__context__, *(trace.exceptions or ())):
        if one is not None:
            _show_notes(one)


def log_to_stderr() -> None:
    """Our own words at INFO, those of libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    _LOG.setLevel(logging.INFO)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def is_complete(path: Path) -> bool:
    """Are all bytes of a file there, as far as waiting could bring more?"""
    from nightcrew.io.structure import check

    try:
        structure = check(path)
    except TransientError:
        return False
    except Exception:  # noqa: BLE001  # the one edge: a fault of ours with one file must not end the watching of all others
        _LOG.exception("%s: its structure cannot be judged; it is handed on to be rejected by name", path)
        return True
    return structure.complete or structure.damaged


def watcher(settings: Settings) -> None:
    """Watch the folders of the configuration."""
    from nightcrew.ledger.database import Database
    from watchers.service import watch

    watch(settings, Database(settings.ledger_url), is_complete, stop_on_signals())


def pages(settings: Settings) -> None:
    """Serve the report pages."""
    from reports.server import Access, PageServer

    stop = stop_on_signals()
    settings.reports.root.mkdir(parents=True, exist_ok=True)
    password = settings.reports.password.get_secret_value() if settings.reports.password else ""
    access = Access(user=settings.reports.user, password=password)
    server = PageServer(settings.reports.root, settings.reports.address, settings.reports.port, access)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()
    server.server_close()


def dispatcher(settings: Settings) -> None:
    """Ask Prefect for runs of what the ledger says is due."""
    from deployments.dispatch import dispatch_for_ever

    dispatch_for_ever(settings, stop_on_signals())


def runner(settings: Settings) -> None:
    """Serve the flows; their runs are its children and inherit how far it steps back."""
    from deployments.serve import serve_flows

    own = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(own, settings.limits.niceness))
    serve_flows(settings)


CHILDREN: dict[str, Callable[[Settings], None]] = {"watcher": watcher, "pages": pages, "dispatcher": dispatcher, "runner": runner}


def main(name: str) -> int:
    """Run one child; the exit code."""
    log_to_stderr()
    try:
        CHILDREN[name](Settings.load())
    except NightcrewError as error:
        _LOG.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
