"""Writing the states of frames' files: only what changed, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from nightcrew.ledger.database import Database, storable
from nightcrew.ledger.elections import in_chunks
from nightcrew.ledger.schema import frame, path


def apply(database: Database, scope_id: int, states: Mapping[int, tuple[str, str]]) -> int:
    """Set (state, reason) of the files that count for these frames; the number of rows that changed."""
    now = database.now()
    with database.write() as connection:
        rows = connection.execute(
            select(frame.c.id, frame.c.path_id, path.c.state, path.c.reason)
            .join(path, path.c.id == frame.c.path_id)
            .where(frame.c.scope_id == scope_id, path.c.to_read.is_(False))  # what is read again says so itself
        ).all()
        changed = [
            {"b_id": row.path_id, "b_state": states[row.id][0], "b_reason": states[row.id][1]}
            for row in rows
            if row.id in states and (row.state, row.reason) != tuple(states[row.id])
        ]
        if changed:
            values = {"state": bindparam("b_state"), "reason": bindparam("b_reason"), "changed_at": now}
            connection.execute(update(path).where(path.c.id == bindparam("b_id")).values(values), changed)
    return len(changed)


def apply_to_files(database: Database, states: Mapping[int, tuple[str, str]]) -> int:
    """Set (state, reason) of files of a set, by the ids of their rows; the number of rows that changed."""
    now = database.now()
    changed = 0
    for some in in_chunks(sorted(states)):
        with database.write() as connection:
            rows = connection.execute(
                select(path.c.id, path.c.state, path.c.reason).where(path.c.id.in_(some), path.c.to_read.is_(False))
            ).all()
            new = {row.id: (states[row.id][0], storable(states[row.id][1])) for row in rows}
            values = [
                {"b_id": row.id, "b_state": new[row.id][0], "b_reason": new[row.id][1]}
                for row in rows
                if (row.state, row.reason) != new[row.id]
            ]
            if values:
                bound = {"state": bindparam("b_state"), "reason": bindparam("b_reason"), "changed_at": now}
                connection.execute(update(path).where(path.c.id == bindparam("b_id")).values(bound), values)
            changed += len(values)
    return changed
