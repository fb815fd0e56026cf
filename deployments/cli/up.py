"""``nightcrew up``: the whole service in one command."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from deployments.cli.common import ConfigOption, say

if TYPE_CHECKING:
    from deployments.supervise import OnlyOne
    from nightcrew.ledger.database import Database
    from nightcrew.settings import Settings


def up(config: ConfigOption = None) -> None:
    """Run the whole service until it is stopped (Ctrl-C or SIGTERM): server, flows, watcher, dispatcher, report pages."""
    from deployments.children import log_to_stderr, stop_on_signals
    from deployments.supervise import Supervisor, is_healthy, plan_children
    from nightcrew.ledger import messages
    from nightcrew.settings import Settings

    settings = Settings.load(config)
    log_to_stderr()
    stop = stop_on_signals()
    only_one, database = prepare(settings)
    children, endpoints = plan_children(settings)
    endpoints.write(settings.state.root)
    say(f"Prefect's pages: {endpoints.ui_url}   reports: {endpoints.pages_url}   logs: {settings.state.root / 'logs'}")

    def tell(level: str, text: str) -> None:
        logging.getLogger("nightcrew.up").warning("%s", text)
        messages.happened(database, "service", level, text)

    messages.happened(database, "service", "info", "started")
    Supervisor(children, lambda name: is_healthy(endpoints, name), tell).run(stop)
    messages.happened(database, "service", "info", "stopped")
    only_one.close()
    say("Stopped.")


def prepare(settings: Settings) -> tuple[OnlyOne, Database]:
    """What must be right before anything starts: one service, folders that are there and free, a ledger of this schema.

    Raises ``Refused`` otherwise.
    """
    from deployments.supervise import OnlyOne
    from nightcrew.ledger import migrate
    from nightcrew.ledger.database import Database
    from watchers.lock import FolderLock

    only_one = OnlyOne(settings.state.root)
    with ExitStack() as locks:
        for folder in settings.folders:
            if folder.path.exists():  # one that is not mounted yet is waited for
                locks.enter_context(FolderLock(folder.path, settings.state.root))
            else:
                say(f"Note: {folder.path} does not exist yet; it will be watched as soon as it does.")
    database = Database(settings.ledger_url)
    migrate.upgrade(database)
    return only_one, database
