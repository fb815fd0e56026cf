"""What is done once a morning: a copy of the ledger, and old things taken away.  Raw files are never touched.  No Prefect here."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from nightcrew.ledger import migrate, products, retention
from nightcrew.ledger.database import iso
from nightcrew.ledger.rows import ProductRow
from tasks.workspace import Workspace

_LOG = logging.getLogger("nightcrew.housekeeping")
_OURS = re.compile(r"\.[0-9a-f]{12}\.[a-z]+$")  # a final name: only such files are ever taken away
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What was done: the ledger's copy, and how many things went."""

    backup: str
    retired: int
    orphans: int
    logs: int


def tidy(space: Workspace, today: date) -> Tidied:
    """A morning's housekeeping, by the configuration's ``[retention]``; 0 there keeps things for ever."""
    keep = space.settings.retention
    copy = migrate.backup(space.database, today.isoformat())
    if copy is not None and keep.backups:
        _drop_old(copy.parent.glob(f"{copy.name.removesuffix(f'.{today.isoformat()}.bak')}.????-??-??.bak"), keep.backups)
    retired = _retire(space, keep.superseded_days) if keep.superseded_days else 0
    orphans = _sweep_orphans(space)
    logs = _drop_logs(space.settings.state.root / "logs", keep.logs_days) if keep.logs_days else 0
    done = Tidied(backup=str(copy or ""), retired=retired, orphans=orphans, logs=logs)
    _LOG.info("%s", done)
    return done


def _drop_old(copies: Iterable[Path], keep: int) -> None:
    for copy in sorted(copies, reverse=True)[keep:]:
        copy.unlink()


def _retire(space: Workspace, days: int) -> int:
    """Retire superseded products: the row first, then the files, so that no row ever names a file that went."""
    before = iso(space.database.clock() - timedelta(days=days))
    with space.database.read() as connection:
        rows = retention.superseded(connection, before)
    with space.database.write() as connection:
        for row in rows:
            products.set_state(connection, row.id, "retired")
    for row in rows:
        _remove_files(space, row)
    return len(rows)


def _remove_files(space: Workspace, row: ProductRow) -> None:
    for file in row.files:
        (space.settings.products.root / file.path).unlink(missing_ok=True)


def _sweep_orphans(space: Workspace, older_than_s: float = _DAY_S) -> int:
    """Take away what interrupted writers left: part files, and final names that no product owns; a day old at least.

    A final name goes only when this ledger began to make it: products of another ledger, or of one that was restored from
    an older copy, stay where they are.
    """
    root = space.settings.products.root
    with space.database.read() as connection:
        known, begun = retention.known_files(connection), retention.begun_here(connection)
    gone = 0
    for path in root.rglob("*") if root.is_dir() else ():
        ours = path.name.startswith(".nightcrew-") and path.name.endswith(".part")
        final = _OURS.search(path.name)
        lost = final is not None and final[0][1:13] in begun and str(path.relative_to(root)) not in known
        if (ours or lost) and path.is_file() and not path.is_symlink() and time.time() - path.stat().st_mtime > older_than_s:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def _drop_logs(folder: Path, days: int) -> int:
    old = [path for path in folder.glob("*.log*") if time.time() - path.stat().st_mtime > days * _DAY_S] if folder.is_dir() else []
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
