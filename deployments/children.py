"""The child processes of ``nightcrew up``: ``python -m deployments.children watcher|pages|dispatcher|runner``."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from nightcrew.errors import NightcrewError, TransientError
from nightcrew.settings import Settings

_LOG = logging.getLogger("nightcrew")


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
    return structure.complete or structure.damaged


def watcher(settings: Settings) -> None:
    """Watch the folders of the configuration."""
    from nightcrew.ledger.database import Database
    from watchers.service import watch

    watch(settings, Database(settings.ledger_url), is_complete, stop_on_signals())


def pages(settings: Settings) -> None:
    """Serve report pages and products."""
    from deployments.pages import page_server

    stop = stop_on_signals()
    server = page_server(settings.reports.address, settings.reports.port, reports=settings.reports.root, products=settings.products.root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()
    server.server_close()


def dispatcher(settings: Settings) -> None:
    """Ask Prefect for runs of what the ledger says is due."""
    from deployments.dispatch import dispatch_for_ever

    dispatch_for_ever(settings, stop_on_signals())


def runner(settings: Settings) -> None:
    """Serve the flows."""
    from deployments.serve import serve_flows

    serve_flows(settings)


CHILDREN: dict[str, Callable[[Settings], None]] = {"watcher": watcher, "pages": pages, "dispatcher": dispatcher, "runner": runner}


def main(name: str) -> int:
    """Run one child; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        CHILDREN[name](Settings.load())
    except NightcrewError as error:
        _LOG.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
