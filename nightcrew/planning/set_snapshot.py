"""From the ledger to the snapshot of a set: its files, its products, what failed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from nightcrew.ledger import arrivals, history, products, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.rows import ScopeRow
from nightcrew.ledger.schema import content, current, path
from nightcrew.planning.set_names import relative_name, root_of
from nightcrew.planning.sets import SetFile, SetSnapshot
from nightcrew.recipes.parameters import SetOptions

NOT_PLANNED = ("rejected", "ignored", "foreign")
"""Kinds of files whose state was decided at ingest."""


def load(connection: Connection, scope_id: int, options: SetOptions, *, remake: bool = True) -> SetSnapshot:
    """Everything that a plan of the set may look at; one consistent view."""
    scope = scopes.get(connection, scope_id)
    rows = arrivals.of_scope(connection, scope_id)
    folder = next((row.folder for row in rows if row.sha256), "")
    root = next((root_of(row.path, row.folder) for row in rows if row.sha256), b"")
    own = products.of_scope(connection, scope_id)
    by_id = {row.id: row.fingerprint for row in own}
    return SetSnapshot(
        scope=scope,
        root=root,
        files=_files(connection, rows, root),
        products={row.fingerprint: row for row in own},
        current={
            (row.recipe, row.key): by_id.get(row.product_id, "")
            for row in connection.execute(
                select(current.c.recipe, current.c.key, current.c.product_id).where(current.c.scope_id == scope_id)
            )
        },
        failures=history.failures(connection, scope_id),
        hindrances=history.hindrances(connection, scope_id),
        left_out=products.files_left_out(connection, scope_id),
        parts=products.files_of_current(connection, scope_id),
        parameters=options.of_kind(scope.kind),
        quiet_s=options.quiet_of(folder),
        unread=_unread(connection, root, scope),
        remake=remake,
    )


def _files(connection: Connection, rows: Sequence[PathRow], root: bytes) -> tuple[SetFile, ...]:
    mine = [row for row in rows if row.sha256 and row.kind not in NOT_PLANNED and row.path.startswith(root + b"/")]
    times = _times(connection, mine)
    files = [
        SetFile(
            id=row.id,
            path=row.path,
            relative=relative_name(row.path, root),
            size=row.size,
            mtime_ns=row.mtime_ns,
            sha256=row.sha256,
            arrived_at=times[row.id],
            kind=row.kind,
            absent="gone" if row.vanished else "changing" if row.to_read else "",
            ctime_ns=row.ctime_ns,
        )
        for row in mine
    ]
    return tuple(sorted(files, key=lambda file: file.relative))


def _times(connection: Connection, rows: Sequence[PathRow]) -> dict[int, str]:
    """When each file came, with the bytes that it has now: the later of its path's and its content's first sight."""
    if not rows:
        return {}
    statement = (
        select(path.c.id, path.c.first_seen_at, content.c.first_seen_at)
        .outerjoin(content, content.c.sha256 == path.c.sha256)
        .where(path.c.scope_id == rows[0].scope_id)
    )
    return {id_: max(seen, read or "") for id_, seen, read in connection.execute(statement)}


def _unread(connection: Connection, root: bytes, scope: ScopeRow) -> int:
    """Files below the set's folder that arrived and that nobody has tried to read yet."""
    if not root or scope.state == "closed":
        return 0
    below = (path.c.path >= root + b"/", path.c.path < root + b"0")  # "0" follows "/"
    untried = (path.c.to_read, path.c.reason.not_like(f"{arrivals.NOT_YET}%"))
    found = connection.execute(select(path.c.path, path.c.folder).where(*untried, *below))
    return sum(root_of(name, folder) == root for name, folder in found)  # the folder's own set: not those of the sets below it
