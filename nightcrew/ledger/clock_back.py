"""A clock that was set back: times of the ledger that lie in the future are taken for now.

A wrong clock that ran a day ahead leaves nights that do not become quiet before tomorrow, retries that wait as long, and news
that no mail tells because the last one seems to be newer.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select, update

from nightcrew.ledger.database import Database, iso
from nightcrew.ledger.schema import frame, mail, path, scope

_SLACK = timedelta(minutes=2)  # clocks of two machines differ
_LONGEST_RETRY = timedelta(hours=2)


def mend_future(database: Database) -> bool:
    """Look for times of the future and take them for now; True when there were some.

    A scope whose last mail lies in the future is told once more: a repetition is better than silence.
    """
    now, limit = database.now(), iso(database.clock() + _SLACK)
    written = (scope.c.last_arrival_at, scope.c.touched_at, scope.c.mailed_at)
    with database.read() as connection:
        latest = max(connection.execute(select(*(func.coalesce(func.max(column), "") for column in written))).one())
    if latest <= limit:
        return False
    with database.write() as connection:
        for column, value in (
            (scope.c.last_arrival_at, now),
            (scope.c.touched_at, now),
            (scope.c.mailed_at, ""),
            (scope.c.wake_at, now),
            (frame.c.arrived_at, now),
            (path.c.first_seen_at, now),
            (path.c.changed_at, now),
        ):
            connection.execute(update(column.table).where(column > limit).values({column.name: value}))
        late = mail.c.next_try_at > iso(database.clock() + _LONGEST_RETRY)
        connection.execute(update(mail).where(late).values(next_try_at=""))
    return True
