"""Paths that were seen: every file of a watched folder is a row here, in exactly one state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from nightcrew.ledger import scopes
from nightcrew.ledger.database import Database
from nightcrew.ledger.schema import frame, path, scope

_CHUNK = 500  # bound parameters a statement: SQLite allows 32,766


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A path as the watcher or the sweep saw it.

    ``verdict`` "" means: an arrival, to be read; otherwise it is not for us and ``verdict`` says why
    (hidden, temporary, foreign, socket ...).  ``kind`` is a short word for the balance.
    """

    path: bytes
    folder: str
    size: int
    mtime_ns: int
    kind: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRow:
    """A path in the ledger."""

    id: int
    path: bytes
    folder: str
    size: int
    mtime_ns: int
    sha256: str
    frame_id: int | None
    scope_id: int | None
    kind: str
    state: str
    reason: str
    to_read: bool
    vanished: bool


def record(database: Database, seen: Sequence[Seen]) -> int:
    """Write rows for new and changed paths; returns how many want to be read.

    Idempotent: a path that is known with the same size and time is left alone (a vanished one is back).
    """
    now = database.now()
    wanted = 0
    for start in range(0, len(seen), _CHUNK):
        chunk = {row.path: row for row in seen[start : start + _CHUNK]}
        with database.write() as connection:
            known = {
                row.path: row
                for row in connection.execute(
                    select(path.c.id, path.c.path, path.c.size, path.c.mtime_ns, path.c.vanished).where(path.c.path.in_(list(chunk)))
                )
            }
            fresh = [_values(row, now) for key, row in chunk.items() if key not in known]
            if fresh:
                connection.execute(insert(path), fresh)
                wanted += sum(bool(values["to_read"]) for values in fresh)
            for key, old in known.items():
                row = chunk[key]
                if (old.size, old.mtime_ns) != (row.size, row.mtime_ns):
                    values = {k: v for k, v in _values(row, now).items() if k not in ("path", "first_seen_at")}
                    connection.execute(update(path).where(path.c.id == old.id).values(**values))
                    wanted += bool(values["to_read"])
                elif old.vanished:
                    connection.execute(update(path).where(path.c.id == old.id).values(vanished=False))
    return wanted


def _values(row: Seen, now: str) -> dict[str, object]:
    arrival = not row.verdict
    return {
        "path": row.path,
        "folder": row.folder,
        "size": row.size,
        "mtime_ns": row.mtime_ns,
        "kind": row.kind,
        "state": "waiting" if arrival else "set_aside",
        "reason": "arrived, not read yet" if arrival else row.verdict,
        "to_read": arrival,
        "vanished": False,
        "first_seen_at": now,
        "changed_at": now,
    }


def known_stats(connection: Connection, folder: str) -> dict[bytes, tuple[int, int]]:
    """(size, mtime_ns) of every path of a folder that has not vanished: what a sweep compares with."""
    rows = connection.execute(select(path.c.path, path.c.size, path.c.mtime_ns).where(path.c.folder == folder, path.c.vanished.is_(False)))
    return {row.path: (row.size, row.mtime_ns) for row in rows}


def mark_vanished(database: Database, paths: Iterable[bytes]) -> int:
    """A complete sweep did not find these paths any more.  Makes nothing stale; the rows stay."""
    gone = 0
    missing = list(paths)
    for start in range(0, len(missing), _CHUNK):
        with database.write() as connection:
            chunk = missing[start : start + _CHUNK]
            gone += connection.execute(
                update(path).where(path.c.path.in_(chunk), path.c.vanished.is_(False)).values(vanished=True, changed_at=database.now())
            ).rowcount
            _hand_over(connection, chunk)
    return gone


def _hand_over(connection: Connection, gone: list[bytes]) -> None:
    """A vanished path whose exposure lives on under another path hands the exposure over to that one."""
    orphans = connection.execute(
        select(frame.c.id, frame.c.scope_id, frame.c.sha256).join(path, path.c.id == frame.c.path_id).where(path.c.path.in_(gone))
    ).all()
    for orphan in orphans:
        heir = connection.execute(
            select(path.c.id)
            .where(path.c.frame_id == orphan.id, path.c.sha256 == orphan.sha256, path.c.vanished.is_(False))
            .order_by(path.c.path)
            .limit(1)
        ).scalar_one_or_none()
        if heir is not None:
            connection.execute(update(frame).where(frame.c.id == orphan.id).values(path_id=heir))
            connection.execute(update(path).where(path.c.id == heir).values(state="waiting", reason="took over from a file that vanished"))
            connection.execute(
                update(path)
                .where(path.c.frame_id == orphan.id, path.c.id != heir)
                .values(state="set_aside", reason="vanished; the same exposure lives on under another name")
            )
            scopes.mark(connection, [orphan.scope_id], "")


def to_read(connection: Connection, limit: int) -> list[PathRow]:
    """Up to ``limit`` arrivals that were not ingested, oldest first."""
    statement = select(path).where(path.c.to_read).order_by(path.c.id).limit(limit)
    return [_row(row) for row in connection.execute(statement).mappings()]


def count_to_read(connection: Connection) -> int:
    """How many arrivals wait to be ingested."""
    return int(connection.execute(select(func.count()).select_from(path).where(path.c.to_read)).scalar_one())


def find(connection: Connection, name: bytes) -> list[PathRow]:
    """Rows whose path is, or ends with, ``name``."""
    exact = connection.execute(select(path).where(path.c.path == name)).mappings().all()
    if exact:
        return [_row(row) for row in exact]
    tail = b"/" + name.lstrip(b"/")
    rows = connection.execute(select(path)).mappings()
    return [_row(row) for row in rows if row["path"].endswith(tail)]


def of_scope(connection: Connection, scope_id: int) -> list[PathRow]:
    """All files of a scope."""
    return [_row(row) for row in connection.execute(select(path).where(path.c.scope_id == scope_id).order_by(path.c.path)).mappings()]


def without_scope(connection: Connection) -> list[PathRow]:
    """Files that belong to no scope: foreign, ignored, rejected before their night was known, not read yet."""
    return [_row(row) for row in connection.execute(select(path).where(path.c.scope_id.is_(None)).order_by(path.c.path)).mappings()]


def paths_by_id(connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """Path of each row id."""
    return {row.id: row.path for row in connection.execute(select(path.c.id, path.c.path).where(path.c.id.in_(list(ids))))}


def folders_of_scope(connection: Connection, scope_id: int) -> dict[bytes, str]:
    """Path -> watched folder, of a scope's files."""
    return {row.path: row.folder for row in connection.execute(select(path.c.path, path.c.folder).where(path.c.scope_id == scope_id))}


def adopt_scopeless(database: Database) -> set[int]:
    """Files that tell no night of their own ride with the frames they came with: the folder's latest scope.

    Returns the scopes that got files.  Files stay without a scope while their folder has no frame.
    """
    with database.write() as connection:
        folders = connection.execute(select(path.c.folder).where(path.c.scope_id.is_(None), path.c.to_read.is_(False)).distinct()).scalars()
        touched: set[int] = set()
        for folder in folders.all():
            latest = connection.execute(
                select(scope.c.id)
                .join(path, path.c.scope_id == scope.c.id)
                .where(path.c.folder == folder, path.c.frame_id.is_not(None))
                .order_by(scope.c.last_arrival_at.desc(), scope.c.name.desc())
                .limit(1)
            ).scalar_one_or_none()
            if latest is not None:
                connection.execute(
                    update(path)
                    .where(path.c.folder == folder, path.c.scope_id.is_(None), path.c.to_read.is_(False))
                    .values(scope_id=latest)
                )
                touched.add(latest)
        scopes.mark(connection, touched, database.now())
    return touched


def balance(connection: Connection, scope_id: int | None = None) -> dict[tuple[str, str], int]:
    """Number of files by (kind, state): over everything, or of one scope.  It adds up to what was seen."""
    statement = select(path.c.kind, path.c.state, func.count()).group_by(path.c.kind, path.c.state)
    if scope_id is not None:
        statement = statement.where(path.c.scope_id == scope_id)
    return {(kind, state): count for kind, state, count in connection.execute(statement)}


def _row(mapping: object) -> PathRow:
    return PathRow(**{name: mapping[name] for name in PathRow.__slots__})  # type: ignore[index]  # a RowMapping
