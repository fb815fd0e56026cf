"""A watched folder of toy sets with its ledger, products, pages and a clock of its own; see ``toy_kind``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nightcrew.ledger import arrivals, comparisons, products, scopes
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.settings import (
    FolderKind,
    FolderSettings,
    MailSettings,
    ProductsSettings,
    ReportsSettings,
    Settings,
    StateSettings,
)
from tasks.executor import Make, ScopeRun, Wish
from tasks.workspace import Workspace
from tests.support.ledgers import lay_tables
from watchers.names import NameFilter
from watchers.sweep import Trouble, walk

QUIET_S = 600.0


def set_settings(root: Path, *, kind: FolderKind = "sensor", **sections: Any) -> Settings:
    """A configuration with one watched folder ``root/in`` of sets."""
    given: dict[str, Any] = {
        "folders": (FolderSettings(path=root / "in", kind=kind, quiet_s=QUIET_S),),
        "products": ProductsSettings(root=root / "products"),
        "reports": ReportsSettings(root=root / "reports"),
        "mail": MailSettings(transport="mailbox", mailbox=root / "mailbox"),
        "state": StateSettings(root=root / "state"),
    }
    return Settings(**{**given, **sections})


class SetBench:
    """Drop files, take them in, run, close: as the service does, by hand."""

    def __init__(self, root: Path, **sections: Any) -> None:
        self.root = root
        self.folder = root / "in"
        self.folder.mkdir(exist_ok=True)
        (root / "state").mkdir(exist_ok=True)
        self.now = datetime(2026, 5, 17, 6, 0, tzinfo=UTC)
        self.settings = set_settings(root, **sections)
        lay_tables(self.settings.ledger_url)
        self.space = Workspace.open(self.settings, clock=lambda: self.now, make_tables=True)

    def drop(self, files: Mapping[str, str | bytes]) -> None:
        """Write files below the watched folder; a second passes for each."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            self.now += timedelta(seconds=1)

    def see(self) -> None:
        """One sweep and ingest of everything new."""
        self.sweep()
        self.ingest()

    def sweep(self) -> None:
        """One sweep: the ledger knows what there is, and has read nothing new."""
        entries = list(walk(os.fsencode(self.folder), NameFilter(()), Trouble()))
        rows = [
            arrivals.Seen(
                path=entry.path,
                folder=str(self.folder),
                size=entry.size,
                mtime_ns=entry.mtime_ns,
                ctime_ns=entry.ctime_ns,
                kind="ignored" if entry.verdict else "",
                verdict=entry.verdict,
            )
            for entry in entries
        ]
        with self.space.database.read() as connection:
            known = set(arrivals.known_stats(connection, str(self.folder)))
        arrivals.record(self.space.database, rows)
        arrivals.mark_vanished(self.space.database, known - {row.path for row in rows})

    def ingest(self) -> None:
        """Read everything that arrived."""
        with self.space.database.read() as connection:
            left = comparisons.count_waiting(connection)
        if left:
            self.space.ingest(left)

    def scope(self, name: str = "set1", kind: str = "sensor") -> ScopeRow:
        """The scope of a set."""
        with self.space.database.read() as connection:
            return scopes.find(connection, kind=kind, name=name)[0]

    def run(self, name: str = "set1", wish: Wish | None = None, make: Make | None = None) -> ScopeRun:
        """Plan and make."""
        return self.space.run(self.scope(name).id, wish=wish, make=make)

    def settle(self, name: str = "set1") -> ScopeRun:
        """The set becomes quiet, closes, and is run."""
        self.now += timedelta(seconds=QUIET_S + 1)
        self.space.close_what_is_over()
        return self.run(name)

    def whole(self, files: Mapping[str, str | bytes], name: str = "set1") -> ScopeRun:
        """Drop, take in, settle."""
        self.drop(files)
        self.see()
        return self.settle(name)

    def states(self, name: str = "set1") -> dict[str, tuple[str, str]]:
        """File name below the watched folder -> (state, reason)."""
        with self.space.database.read() as connection:
            rows = arrivals.of_scope(connection, self.scope(name).id)
        return {os.fsdecode(row.path).removeprefix(f"{self.folder}/"): (row.state, row.reason) for row in rows}

    def products(self, name: str = "set1") -> dict[str, ProductRow]:
        """``recipe key`` -> current product."""
        with self.space.database.read() as connection:
            return {f"{row.recipe} {row.key}": row for row in products.current_of_scope(connection, self.scope(name).id)}

    def sum(self, name: str = "set1") -> float | None:
        """What the toy's analysis found."""
        row = self.products(name).get("toy_sum all")
        return None if row is None else float(row.metrics["sum"])

    def content(self) -> dict[str, bytes]:
        """Every file below the products folder, links left out."""
        root = self.settings.products.root
        return {str(path.relative_to(root)): path.read_bytes() for path in _files(root.rglob("*")) if not _in_link(path, root)}


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    return (path for path in sorted(paths) if path.is_file() and not path.is_symlink())


def _in_link(path: Path, root: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root))
