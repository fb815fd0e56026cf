"""The opened Nightcrew of this process.  No Prefect here."""

from __future__ import annotations

import logging
from functools import lru_cache

from nightcrew.settings import Settings
from tasks.workspace import Workspace


@lru_cache(maxsize=1)
def workspace() -> Workspace:
    """The workspace of the configuration that the environment names; opened once a process.

    From then on our own words are logged from INFO on: Prefect takes them into the run's log, but leaves the level to us.
    """
    for name in ("nightcrew", "tasks", "reports"):
        logging.getLogger(name).setLevel(logging.INFO)
    return Workspace.open(Settings.load())
