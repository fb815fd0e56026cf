"""Which process works on which run of Prefect's: written by the run itself, read by the dispatcher.

A server that was away when a process died, or lost what the runner told it, shows the run as running for ever.  Whether a
process lives is seen here, on the host itself; nothing is assumed of one on another host.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import Connection, delete, select

from nightcrew.ledger import claims, dispatches, messages
from nightcrew.ledger.database import Database, iso
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.schema import sign_of_life

_START = "run "
_KEPT = timedelta(days=30)  # signs of runs that no dispatch row asked for
_AT_ONCE = 500
UNTAKEN_S = 900.0
"""Seconds after which a run that no process works on is told and asked for anew, while none of the others is worked on either."""


class Worker(Enum):
    """What is known of a run's process."""

    NONE = "it never signed in"
    LIVES = "it lives, or nobody here can tell"
    GONE = "its process is gone"


def begin(database: Database, run_id: str) -> None:
    """This process works on the run."""
    messages.alive(database, f"{_START}{run_id}", f"{claims.host()} {os.getpid()} {claims.start_time(os.getpid())}")


def worker(connection: Connection, run_id: str) -> Worker:
    """What is known of the run's process."""
    text = connection.execute(select(sign_of_life.c.text).where(sign_of_life.c.source == f"{_START}{run_id}")).scalar_one_or_none()
    if text is None:
        return Worker.NONE
    return Worker.LIVES if _may_live(text) else Worker.GONE


def _may_live(text: str) -> bool:
    host, pid, started = text.rsplit(" ", 2)
    return claims.may_live(host, int(pid), float(started))


def untaken(connection: Connection, now: datetime) -> list[DispatchRow]:
    """Attempts that have waited for a runner for ``UNTAKEN_S`` at ``now``; none while any run is worked on: they wait for their turn."""
    rows = dispatches.all_living(connection)
    known = {row.id: worker(connection, row.run_id) if row.run_id else Worker.NONE for row in rows}
    if Worker.LIVES in known.values():
        return []
    before = iso(now - timedelta(seconds=UNTAKEN_S))
    return [row for row in rows if known[row.id] is Worker.NONE and row.changed_at < before]


def end(database: Database, run_id: str) -> None:
    """The run has ended: its sign is taken away, and those that are old and whose process is gone.

    Old by a clock that may have been put forward: a run that lives keeps its sign.
    """
    old = sign_of_life.c.source.startswith(_START) & (sign_of_life.c.at < iso(database.clock() - _KEPT))
    with database.write() as connection:
        rows = connection.execute(select(sign_of_life.c.source, sign_of_life.c.text).where(old)).all()
        gone = [row.source for row in rows if not _may_live(row.text)][:_AT_ONCE]
        connection.execute(delete(sign_of_life).where(sign_of_life.c.source.in_([f"{_START}{run_id}", *gone])))
