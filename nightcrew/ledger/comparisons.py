"""Files whose change time moved while size and modification time did not: their bytes are to be compared with the hash that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, case, false, func, select, true, update

from nightcrew.ledger import messages
from nightcrew.ledger.arrivals import UNREAD, PathRow, count_to_read, row_of
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import in_chunks
from nightcrew.ledger.schema import path

_WANTED = (path.c.to_compare, path.c.to_read.is_(False), path.c.vanished.is_(False))


def doubt(database: Database, paths: Sequence[bytes]) -> None:
    """Somebody found other bytes (or another change time) under these paths than were read."""
    now = database.now()
    with database.write() as connection:
        for some in in_chunks(paths):
            connection.execute(update(path).where(path.c.path.in_(some), path.c.sha256 != "").values(to_compare=True, changed_at=now))


def doubted(connection: Connection, limit: int) -> list[PathRow]:
    """Up to ``limit`` files whose bytes are to be compared, those first that were not tried for the longest time."""
    rows = connection.execute(select(path).where(*_WANTED).order_by(path.c.changed_at, path.c.id).limit(limit)).mappings()
    return [row_of(row) for row in rows]


def last_doubt(connection: Connection) -> str:
    """When the last of the files that wait to be compared was doubted, "" when there is none."""
    return str(connection.execute(select(func.max(path.c.changed_at)).where(*_WANTED)).scalar_one() or "")


def count_waiting(connection: Connection) -> int:
    """How many files wait to be ingested or compared."""
    wanted = select(func.count()).select_from(path).where(*_WANTED)
    return count_to_read(connection) + int(connection.execute(wanted).scalar_one())


def settle(
    database: Database, began: str, same: Mapping[int, int], other: Sequence[PathRow], later: Sequence[int], changed: Sequence[int]
) -> None:
    """Write what comparing gave; what was doubted anew since ``began`` is compared again.

    Parameters
    ----------
    same
        Path id -> change time of the bytes that were compared: nothing else changes.
    other
        Files that hold other bytes: arrivals, read again; told on the page of their night or set.
    later
        Ids of files that cannot be read now.
    changed
        Ids of files that differ in size or time: the sweep tells of them.
    """
    now = database.now()
    by_id = update(path).where(path.c.id == bindparam("b_id"), path.c.to_compare)
    with database.write() as connection:
        if same:
            still = case((path.c.changed_at > began, true()), else_=false())
            values = {"ctime_ns": bindparam("b_ctime_ns"), "to_compare": still}
            connection.execute(by_id.values(values), [{"b_id": id_, "b_ctime_ns": ctime_ns} for id_, ctime_ns in sorted(same.items())])
        for row in other:
            values_of_arrival = {"state": "waiting", "reason": UNREAD, "to_read": True, "to_compare": False, "changed_at": now}
            connection.execute(update(path).where(path.c.id == row.id, path.c.sha256 == row.sha256).values(**values_of_arrival))
        for some in in_chunks(later):
            connection.execute(update(path).where(path.c.id.in_(some)).values(changed_at=now))
        for some in in_chunks(changed):
            connection.execute(update(path).where(path.c.id.in_(some)).values(to_compare=False))
    for scope_id in sorted({row.scope_id or 0 for row in other}):
        _tell(database, scope_id or None, [row for row in other if (row.scope_id or 0) == scope_id])


def _tell(database: Database, scope_id: int | None, rows: Sequence[PathRow]) -> None:
    """A person may want to know who writes other content under old names and times."""
    first = rows[0].path.rpartition(b"/")[2].decode("utf-8", "backslashreplace")
    which = first if len(rows) == 1 else f"{len(rows)} files, the first {first},"
    verb = "holds" if len(rows) == 1 else "hold"
    text = f"{which} {verb} other content than was read, under the same size and modification time: read again"
    messages.happened(database, "watcher", "warning", text, scope_id)
