"""Paths that were seen: every file of a watched folder is a row here, in exactly one state."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from nightcrew.io.patience import SilentError, folders_of, while_they_answer
from nightcrew.ledger import scopes
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import elect, in_chunks
from nightcrew.ledger.schema import path, scope

_CHUNK = 500  # bound parameters a statement: SQLite allows 32,766
UNREAD = "arrived, not read yet"
READ = "read; no plan took it yet"
NOT_YET = "cannot be read yet: "
VANISHED_UNREAD = "vanished before it was read"
UNWATCHED = "not read: its folder is not among the watched folders any more; it is read when that folder is watched again"
_NEVER_READ = -1  # a file's time that no file has


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
    ctime_ns: int = 0  # 0: not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRow:
    """A path in the ledger."""

    id: int
    path: bytes
    folder: str
    size: int
    mtime_ns: int
    ctime_ns: int  # as of its hash; 0: not known
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

    Idempotent: a path that is known with the same size and time is left alone (a vanished one is back); where its change time
    moved, its bytes are to be compared with what was read (``comparisons``).
    """
    now = database.now()
    wanted = 0
    for start in range(0, len(seen), _CHUNK):
        chunk = {row.path: row for row in seen[start : start + _CHUNK]}
        with database.write() as connection:
            wanted += _record(connection, chunk, now)
    return wanted


def _record(connection: Connection, chunk: Mapping[bytes, Seen], now: str) -> int:
    known = {row.path: row for row in connection.execute(select(path).where(path.c.path.in_(list(chunk))))}
    fresh = [_values(row, now) for key, row in chunk.items() if key not in known]
    if fresh:
        connection.execute(insert(path), fresh)
    wanted = sum(bool(values["to_read"]) for values in fresh)
    left: set[int] = set()
    lost: set[int] = set()  # sets that had a file under a name where now lies what is not for us
    back: list[Row[Any]] = []
    timed: list[bytes] = []  # whose change time was not known, or without bytes that could be compared
    doubted: list[bytes] = []
    for key, old in known.items():
        values = _values(chunk[key], now)
        del values["path"], values["first_seen_at"]
        if values["to_read"] and old.sha256 and not values["kind"]:
            del values["kind"]  # what it is stands until it is read again: a plan made meanwhile still knows it
        moved = chunk[key].ctime_ns not in (0, old.ctime_ns)
        unhashed = bool(old.ctime_ns) and not old.sha256 and old.state == "rejected"  # nothing to compare with, and it may be mended
        if (old.size, old.mtime_ns) == (chunk[key].size, chunk[key].mtime_ns) and not (moved and unhashed):
            back += [old] if old.vanished else []
            if moved:
                (doubted if old.ctime_ns and old.sha256 else timed).append(key)
            continue
        if not values["to_read"] and old.frame_id is not None:
            values["frame_id"] = None  # what lies under this name now is not for us
            left.add(old.frame_id)
        elif not values["to_read"] and old.sha256 and old.scope_id is not None:
            lost.add(old.scope_id)
        connection.execute(update(path).where(path.c.id == old.id).values(**values))
        wanted += bool(values["to_read"])
    _note_change_times(connection, [chunk[key] for key in timed], doubted, now)
    touched = (elect(connection, left, now) if left else set()) | lost
    wanted += _take_back(connection, back, now, touched)
    scopes.mark(connection, touched, now)
    return wanted


def _note_change_times(connection: Connection, timed: Sequence[Seen], doubted: Sequence[bytes], now: str) -> None:
    if timed:
        statement = update(path).where(path.c.path == bindparam("b_path")).values(ctime_ns=bindparam("b_ctime_ns"))
        connection.execute(statement, [{"b_path": row.path, "b_ctime_ns": row.ctime_ns} for row in timed])
    if doubted:
        connection.execute(update(path).where(path.c.path.in_(doubted)).values(to_compare=True, changed_at=now))


def _take_back(connection: Connection, back: Sequence[Row[Any]], now: str, touched: set[int]) -> int:
    """Vanished paths are there again, unchanged: those that were never read are arrivals; how many."""
    unread = [row.id for row in back if row.frame_id is None and row.reason == VANISHED_UNREAD]
    if back:
        connection.execute(update(path).where(path.c.id.in_([row.id for row in back])).values(vanished=False, changed_at=now))
    if unread:
        connection.execute(update(path).where(path.c.id.in_(unread)).values(state="waiting", reason=UNREAD, to_read=True))
    touched |= elect(connection, {row.frame_id for row in back if row.frame_id is not None}, now)
    # What was done with the file stands; what could not be done without it can be done now.
    touched |= {row.scope_id for row in back if row.scope_id is not None and row.state not in ("done", "degraded")}
    return len(unread)


def _values(row: Seen, now: str) -> dict[str, object]:
    arrival = not row.verdict
    return {
        "path": row.path,
        "folder": row.folder,
        "size": row.size,
        "mtime_ns": row.mtime_ns,
        "ctime_ns": row.ctime_ns,
        "kind": row.kind,
        "state": "waiting" if arrival else "set_aside",
        "reason": UNREAD if arrival else row.verdict,
        "to_read": arrival,
        "to_compare": False,
        "vanished": False,
        "first_seen_at": now,
        "changed_at": now,
    }


def known_stats(connection: Connection, folder: str) -> dict[bytes, tuple[int, int, int]]:
    """(size, mtime_ns, ctime_ns) of every path of a folder that has not vanished: what a sweep compares with; ctime 0: not known."""
    columns = (path.c.path, path.c.size, path.c.mtime_ns, path.c.ctime_ns)
    rows = connection.execute(select(*columns).where(path.c.folder == folder, path.c.vanished.is_(False)))
    return {name: (size, mtime_ns, ctime_ns) for name, size, mtime_ns, ctime_ns in rows}


def paths_below(connection: Connection, root: bytes) -> list[bytes]:
    """Every path in a folder, or below it, that has not vanished."""
    start = root.rstrip(b"/") + b"/"
    inside = func.substr(path.c.path, 1, len(start)) == start
    return list(connection.execute(select(path.c.path).where(inside, path.c.vanished.is_(False)).order_by(path.c.path)).scalars())


def mark_vanished(database: Database, paths: Iterable[bytes]) -> int:
    """A complete sweep did not find these paths any more.  Makes nothing stale; the rows stay.

    An exposure that lives on under another path is handed over to that one; what still waited for the file looks again.
    """
    now = database.now()
    gone = 0
    for some in in_chunks(paths):
        with database.write() as connection:
            rows = connection.execute(select(path).where(path.c.path.in_(some), path.c.vanished.is_(False))).all()
            if not rows:
                continue
            gone += len(rows)
            values = {"vanished": True, "to_read": False, "changed_at": now}
            connection.execute(update(path).where(path.c.id.in_([row.id for row in rows])).values(**values))
            # Bytes that nobody read are read when they come back, also where those before them were.
            unread = [row.id for row in rows if row.to_read]
            connection.execute(update(path).where(path.c.id.in_(unread)).values(mtime_ns=_NEVER_READ))
            unread = [row.id for row in rows if row.to_read and row.frame_id is None]
            connection.execute(update(path).where(path.c.id.in_(unread)).values(state="set_aside", reason=VANISHED_UNREAD))
            touched = elect(connection, {row.frame_id for row in rows if row.frame_id is not None}, now)
            touched |= {row.scope_id for row in rows if row.scope_id is not None and row.state == "waiting"}
            scopes.mark(connection, touched, now)
    return gone


def end_unwatched(database: Database, folders: Collection[str]) -> int:
    """Arrivals of folders that are not watched any more are tried no more; those that nobody ever read are set aside and say so; how many.

    Those that vanished unread get the same reason.  Watched again, the folder's sweep finds them anew.
    """
    now = database.now()
    unread = path.c.to_read | (path.c.reason == VANISHED_UNREAD)
    with database.write() as connection:
        connection.execute(update(path).where(path.c.to_compare, path.c.folder.not_in(list(folders))).values(to_compare=False))
    with database.read() as connection:
        ids = connection.execute(select(path.c.id).where(unread, path.c.folder.not_in(list(folders)))).scalars().all()
    for some in in_chunks(ids):
        with database.write() as connection:
            rows = connection.execute(select(path).where(path.c.id.in_(some), unread)).all()
            values = {"reason": UNWATCHED, "to_read": False, "mtime_ns": _NEVER_READ, "changed_at": now}
            unread_rows = [row.id for row in rows if row.frame_id is None]
            connection.execute(update(path).where(path.c.id.in_(unread_rows)).values(state="set_aside", **values))
            # What was read once and waited to be read again: for us it is gone, and what was made of it stays.
            exposures = [row for row in rows if row.frame_id is not None]
            connection.execute(update(path).where(path.c.id.in_([row.id for row in exposures])).values(vanished=True, **values))
            touched = elect(connection, {row.frame_id for row in exposures}, now)
            touched |= {row.scope_id for row in rows if row.scope_id is not None and row.to_read}
            scopes.mark(connection, touched, now)
    return len(ids)


def returned(database: Database, scope_ids: Sequence[int], folders: Collection[str]) -> int:
    """Files of these scopes, in these watched folders, that are said to be gone and are there: how many are back.

    A share may have been away for a moment; the watcher may not have noticed it, and then says nothing of their return.
    """
    back: list[Seen] = []
    roots = tuple(os.fsencode(folder).rstrip(b"/") + b"/" for folder in folders)
    for some in in_chunks(scope_ids):
        with database.read() as connection:
            rows = connection.execute(select(path).where(path.c.scope_id.in_(some), path.c.vanished)).all()
        # Those are left out of which nobody watches the folder that they came from, nor one above it.
        watched = [row for row in rows if row.folder in folders or row.path.startswith(roots)]
        with suppress(SilentError):  # its server went after the last sweep: later
            back += while_they_answer(partial(_there_again, watched), folders_of(row.path for row in watched))
    record(database, back)
    return len(back)


def _there_again(rows: Sequence[Row[Any]]) -> list[Seen]:
    """Those that are files as they were known."""
    back = []
    for row in rows:
        with suppress(OSError):
            status = os.lstat(row.path)
            known = (row.size, row.mtime_ns) == (status.st_size, status.st_mtime_ns) or row.mtime_ns == _NEVER_READ
            if known and stat.S_ISREG(status.st_mode):
                times = (status.st_mtime_ns, status.st_ctime_ns)
                back.append(Seen(path=row.path, folder=row.folder, size=status.st_size, mtime_ns=times[0], ctime_ns=times[1]))
    return back


def postpone(database: Database, reasons: Mapping[int, str]) -> None:
    """Arrivals (by path id) that could not be read now: they say why, and queue behind those that were not tried yet."""
    if reasons:
        now = database.now()
        with database.write() as connection:
            for path_id, reason in reasons.items():
                here = (path.c.id == path_id, path.c.to_read)
                connection.execute(update(path).where(*here).values(reason=f"{NOT_YET}{reason}", changed_at=now))


def to_read(connection: Connection, limit: int) -> list[PathRow]:
    """Up to ``limit`` arrivals that were not ingested, oldest first, those that were tried already last."""
    tried = path.c.reason.startswith(NOT_YET)
    statement = select(path).where(path.c.to_read).order_by(tried, path.c.changed_at, path.c.id).limit(limit)
    return [row_of(row) for row in connection.execute(statement).mappings()]


def count_to_read(connection: Connection) -> int:
    """How many arrivals wait to be ingested."""
    return int(connection.execute(select(func.count()).select_from(path).where(path.c.to_read)).scalar_one())


def count_untried(connection: Connection) -> int:
    """How many arrivals nobody has tried to read yet: while there are some, nothing is known to be missing."""
    untried = (path.c.to_read, path.c.reason.not_like(f"{NOT_YET}%"))
    return int(connection.execute(select(func.count()).select_from(path).where(*untried)).scalar_one())


def find(connection: Connection, name: bytes) -> list[PathRow]:
    """Rows whose path is, or ends with, ``name``."""
    exact = connection.execute(select(path).where(path.c.path == name)).mappings().all()
    if exact:
        return [row_of(row) for row in exact]
    tail = b"/" + name.lstrip(b"/")
    ends_so = func.substr(path.c.path, func.length(path.c.path) - len(tail) + 1) == tail
    return [row_of(row) for row in connection.execute(select(path).where(ends_so).order_by(path.c.path)).mappings()]


def seen_of(connection: Connection, paths: Sequence[bytes]) -> set[bytes]:
    """Those of ``paths`` that were ever seen, in whatever scope."""
    found: set[bytes] = set()
    for start in range(0, len(paths), _CHUNK):
        found.update(connection.execute(select(path.c.path).where(path.c.path.in_(paths[start : start + _CHUNK]))).scalars())
    return found


def of_scope(connection: Connection, scope_id: int) -> list[PathRow]:
    """All files of a scope."""
    return [row_of(row) for row in connection.execute(select(path).where(path.c.scope_id == scope_id).order_by(path.c.path)).mappings()]


def without_scope(connection: Connection) -> list[PathRow]:
    """Files that belong to no scope: foreign, ignored, rejected before their night was known, not read yet."""
    return [row_of(row) for row in connection.execute(select(path).where(path.c.scope_id.is_(None)).order_by(path.c.path)).mappings()]


def paths_by_id(connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """Path of each row id."""
    return {row.id: row.path for row in connection.execute(select(path.c.id, path.c.path).where(path.c.id.in_(list(ids))))}


def folder_of_scope(connection: Connection, scope_id: int) -> str:
    """The watched folder that a scope's first file came from, "" without files."""
    statement = select(path.c.folder).where(path.c.scope_id == scope_id).order_by(path.c.id).limit(1)
    return connection.execute(statement).scalar_one_or_none() or ""


def of_other_kinds(connection: Connection, folder: str, kind: str) -> list[tuple[bytes, str, str]]:
    """Files of a watched folder, not vanished, in scopes of other kinds than ``kind``: (path, that kind, the scope's name)."""
    columns = (path.c.path, scope.c.kind, scope.c.name)
    statement = select(*columns).join(scope, scope.c.id == path.c.scope_id).where(path.c.folder == folder, path.c.vanished.is_(False))
    rows = connection.execute(statement.where(scope.c.kind != kind).order_by(path.c.path)).all()
    return [(row.path, row.kind, row.name) for row in rows]


def read_again_scopeless(database: Database, folder: str) -> int:
    """Files of a folder that were read and belong to no scope are arrivals again (nothing was ever made of them); how many."""
    homeless = (path.c.folder == folder, path.c.scope_id.is_(None), path.c.sha256 != "", path.c.vanished.is_(False))
    values = {"state": "waiting", "reason": UNREAD, "to_read": True, "changed_at": database.now()}
    with database.write() as connection:
        return int(connection.execute(update(path).where(*homeless, path.c.to_read.is_(False)).values(**values)).rowcount)


def adopt_scopeless(database: Database) -> set[int]:
    """Files that tell no night of their own ride with the frames they came with: the scope of the folder's last frame.

    Returns the scopes that got files.  Files stay without a scope while their folder has no frame.
    """
    homeless = (path.c.scope_id.is_(None), path.c.to_read.is_(False))
    with database.read() as connection:
        folders = connection.execute(select(path.c.folder).where(*homeless).distinct()).scalars().all()
        homes = {folder: _last_scope(connection, folder) for folder in folders}
    found = {folder: scope_id for folder, scope_id in homes.items() if scope_id is not None}
    if found:
        with database.write() as connection:
            for folder, scope_id in found.items():
                connection.execute(update(path).where(path.c.folder == folder, *homeless).values(scope_id=scope_id))
            scopes.mark(connection, found.values(), database.now())
    return set(found.values())


def give_homes(database: Database, homes: Mapping[int, int]) -> None:
    """These files (path id -> scope) belong to a scope although they were not read."""
    if homes:
        with database.write() as connection:
            for path_id, scope_id in homes.items():
                connection.execute(update(path).where(path.c.id == path_id, path.c.scope_id.is_(None)).values(scope_id=scope_id))
            scopes.mark(connection, homes.values(), database.now())


def _last_scope(connection: Connection, folder: str) -> int | None:
    last = select(path.c.scope_id).where(path.c.folder == folder, path.c.frame_id.is_not(None), path.c.scope_id.is_not(None))
    return connection.execute(last.order_by(path.c.id.desc()).limit(1)).scalar_one_or_none()


def balance(connection: Connection, scope_id: int | None = None) -> dict[tuple[str, str], int]:
    """Number of files by (kind, state): over everything, or of one scope.  It adds up to what was seen."""
    statement = select(path.c.kind, path.c.state, func.count()).group_by(path.c.kind, path.c.state)
    if scope_id is not None:
        statement = statement.where(path.c.scope_id == scope_id)
    return {(kind, state): count for kind, state, count in connection.execute(statement)}


def row_of(mapping: object) -> PathRow:
    """The row of a mapping of all its columns."""
    return PathRow(**{name: mapping[name] for name in PathRow.__slots__})  # type: ignore[index]  # a RowMapping
