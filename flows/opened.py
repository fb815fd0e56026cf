"""The opened Nightcrew of this process.  No Prefect here."""

from __future__ import annotations

from functools import lru_cache

from nightcrew.settings import Settings
from tasks.workspace import Workspace


@lru_cache(maxsize=1)
def workspace() -> Workspace:
    """The workspace of the configuration that the environment names; opened once a process."""
    return Workspace.open(Settings.load())
