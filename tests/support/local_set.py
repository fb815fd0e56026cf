"""For tests: one folder as one set, analysed at once by the service's ingest, plan and units, on a ledger of its own, without a server."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.reduction import OWN_FOLDER, gone_below, ingest_all
from nightcrew.ledger import arrivals, products, scopes
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.planning.model import Plan
from nightcrew.planning.set_names import scope_name
from nightcrew.settings import FolderKind, FolderSettings, LedgerSettings, ProductsSettings, Settings, StateSettings
from tasks.executor import ScopeRun, Wish
from tasks.naming import folder_of_files
from tasks.pool import pooled
from tasks.workspace import Workspace
from watchers.names import NameFilter
from watchers.sweep import Trouble, walk


@dataclass(frozen=True, kw_only=True)
class LocalSet:
    """What a local run over one set did and what stands now."""

    scope: ScopeRow
    run: ScopeRun
    products: tuple[ProductRow, ...]  # current ones
    root: Path

    @property
    def plan(self) -> Plan | None:
        """The last plan: what waits, what failed and why."""
        return self.run.plan

    def folder(self, row: ProductRow) -> Path:
        """Where a product lies."""
        return self.root / folder_of_files(row.files)

    def of_recipe(self, recipe: str) -> list[ProductRow]:
        """The current products of one recipe, by key."""
        return [row for row in self.products if row.recipe == recipe]

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be made, one sentence each."""
        plan = self.run.plan
        return tuple(f"{p.name}: {p.reason}" for p in plan.with_status("failed")) if plan is not None else ()


def run_set(
    kind: FolderKind,
    folder: Path,
    out: Path,
    settings: Settings,
    *,
    options: dict[str, Any] | None = None,
) -> LocalSet:
    """Take in what lies in ``folder`` (one set, with its sub-folders) and make everything that the kind's plan asks for.

    Products go below ``out``, the ledger to ``out/.nightcrew``.  Run again, it makes what is missing or stale.  ``options`` stand in the
    place of the configuration's of this kind.
    """
    folder, out = folder.absolute(), out.absolute()
    space = _opened(kind, folder, out, settings, options or {})
    _record(space, folder, out)
    ingest_all(space, _silent)
    with space.database.read() as connection:
        found = scopes.find(connection, kind=kind, name=_name(folder))  # --out may hold other sets, too
    space.close_all([scope.id for scope in found if scope.state == "open"])
    with pooled(space.context, space.settings.limits.processes) as make:
        run = space.run(found[0].id, wish=Wish(retry=True), make=make)
    with space.database.read() as connection:
        rows = [row for row in products.current_of_scope(connection, found[0].id) if row.state == "made"]
        scope = scopes.get(connection, found[0].id)
    return LocalSet(scope=scope, run=run, products=tuple(rows), root=out)


def _silent(_what: str, _done: int, _of: int) -> None:
    """No progress."""


def _name(folder: Path) -> str:
    return scope_name(os.fsencode(folder.name))


def _opened(kind: FolderKind, folder: Path, out: Path, settings: Settings, options: dict[str, Any]) -> Workspace:
    own = settings.model_copy(
        update={
            "folders": (FolderSettings(path=folder.parent, kind=kind),),  # so that the folder is one set, whatever is in it
            "products": ProductsSettings(root=out),
            "reports": settings.reports.model_copy(update={"root": out / "report"}),
            "state": StateSettings(root=out / OWN_FOLDER),
            "ledger": LedgerSettings(),
        }
    )
    space = Workspace.open(own, make_tables=True)
    values = {**space.options.values, kind: {**space.options.values.get(kind, {}), **options}}
    return dataclasses.replace(space, options=dataclasses.replace(space.options, values=values))


def _record(space: Workspace, folder: Path, out: Path) -> None:
    trouble = Trouble()
    root = os.fsencode(folder)
    ours = frozenset({os.fsencode(os.path.realpath(out)), os.fsencode(out)})
    rows = [
        arrivals.Seen(
            path=entry.path,
            folder=str(folder.parent),
            size=entry.size,
            mtime_ns=entry.mtime_ns,
            ctime_ns=entry.ctime_ns,
            kind="ignored" if entry.verdict else "",
            verdict=entry.verdict,
        )
        for entry in walk(root, NameFilter(()), trouble, skip=ours)
    ]
    if trouble.reasons:
        raise OSError("; ".join(trouble.reasons))
    gone = gone_below(space, root, {row.path for row in rows})
    arrivals.record(space.database, rows)
    arrivals.mark_vanished(space.database, gone)
