"""Reports and the morning's mail, as the flows and the command line ask for them.  No Prefect here."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.workspace import Workspace


def write_pages(space: Workspace, names: Sequence[str], *, kind: str = "night", save: str = "") -> list[str]:
    """Write the pages of these nights and the index; their paths below the report folder."""
    del space, names, kind, save
    return []


def report_when_closed(space: Workspace, scope_id: int) -> str:
    """Write the report of a closed scope's night when it is not current; path below the report folder, "" when nothing was written."""
    del space, scope_id
    return ""
