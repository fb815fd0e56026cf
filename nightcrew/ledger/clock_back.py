"""A clock that was set back: times of the ledger that lie in the future are taken for now.

A wrong clock that ran a day ahead leaves nights that do not become quiet before tomorrow, retries that wait as long, news
that no mail tells because the last one seems to be newer, and a tomorrow that seems to have its mail.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, func, select, update

from nightcrew.ledger.database import Database, iso
from nightcrew.ledger.schema import frame, mail, path, scope

_SLACK = timedelta(minutes=30)  # clocks of two machines differ; one that is wrong by its zone, by an hour at least
_LONGEST_PAUSE = timedelta(hours=1)  # what a plan waits for that was hindered; for quiet it may wait longer
_LONGEST_RETRY = timedelta(hours=2)  # of a mail
_DATE = len("2026-05-18")


def mend_future(database: Database, longest_quiet_s: float = 0.0) -> bool:
    """Look for times of the future and take them for now; True when there were some.

    A scope whose last mail lies in the future is told once more: a repetition is better than silence.  A mail that was made in
    the future leaves its morning to the mail that is made when the morning comes.

    Parameters
    ----------
    longest_quiet_s
        How long at most the settings wait for quiet: a plan may be meant to be made so much later.
    """
    moment, now = database.clock(), database.now()
    ahead = iso(moment + _SLACK)
    wakes = iso(moment + max(_LONGEST_PAUSE, timedelta(seconds=longest_quiet_s)) + _SLACK)
    told_by = (
        (scope.c.last_arrival_at, ahead, now),
        (scope.c.touched_at, ahead, now),
        (scope.c.mailed_at, ahead, ""),
        (scope.c.wake_at, wakes, now),
        (mail.c.made_at, ahead, now),
        (mail.c.next_try_at, iso(moment + _LONGEST_RETRY), ""),
    )
    with database.read() as connection:
        if all(connection.execute(select(column).where(column > limit).limit(1)).first() is None for column, limit, _ in told_by):
            return False
    with database.write() as connection:
        _leave_their_mornings(connection, ahead)
        beside = ((frame.c.arrived_at, ahead, now), (path.c.first_seen_at, ahead, now), (path.c.changed_at, ahead, now))
        for column, limit, value in (*told_by, *beside):
            connection.execute(update(column.table).where(column > limit).values({column.name: value}))
    return True


def _leave_their_mornings(connection: Connection, ahead: str) -> None:
    """Mails that were made in the future are called ``2026-05-18 clock`` (the column holds 16 characters)."""
    made_ahead = select(mail.c.id, mail.c.morning).where(mail.c.made_at > ahead, func.length(mail.c.morning) == _DATE)
    for row in connection.execute(made_ahead).all():
        taken = set(connection.execute(select(mail.c.morning).where(mail.c.morning.startswith(f"{row.morning} "))).scalars())
        names = (f"{row.morning} clock", *(f"{row.morning} clk {number}" for number in range(2, 10)))
        free = next((name for name in names if name not in taken), None)
        if free is not None:
            connection.execute(update(mail).where(mail.c.id == row.id).values(morning=free))
