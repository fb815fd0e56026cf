"""Dispatch rows: one per attempt to have Prefect run something.  Their id is the idempotency key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from nightcrew.ledger import messages, scopes
from nightcrew.ledger.database import Database, new_id
from nightcrew.ledger.elections import in_chunks
from nightcrew.ledger.schema import dispatch, happening

LIVING = ("new", "accepted", "running")
GONE_AT_START = "its process was gone when the service started"
_ENDED_BY_STOP = (GONE_AT_START, "aborted by a termination signal", "aborted by an interrupt signal", "Execution was terminated")
_STOPPED = "Stopped with the service"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRow:
    """An attempt to run a flow for a scope (``scope_id`` None: ingest, morning)."""

    id: int
    flow: str
    scope_id: int | None
    wish: dict[str, Any] = field(default_factory=dict)
    state: str = "new"
    run_id: str = ""
    outcome: str = ""
    created_at: str = ""
    changed_at: str = ""


def _row(mapping: RowMapping) -> DispatchRow:
    values = {name: mapping[name] for name in DispatchRow.__slots__}
    return DispatchRow(**{**values, "wish": json.loads(values["wish"])})


def living(connection: Connection, flow: str, scope_id: int | None) -> DispatchRow | None:
    """The attempt that has not ended, if there is one."""
    where = dispatch.c.scope_id.is_(None) if scope_id is None else dispatch.c.scope_id == scope_id
    statement = select(dispatch).where(dispatch.c.flow == flow, where, dispatch.c.state.in_(LIVING)).order_by(dispatch.c.id.desc()).limit(1)
    row = connection.execute(statement).mappings().one_or_none()
    return _row(row) if row else None


def request(database: Database, flow: str, scope_id: int | None, wish: dict[str, Any] | None = None) -> DispatchRow:
    """The living attempt for that flow and scope (with an equal wish), or a new row."""
    now = database.now()
    wanted = wish or {}
    with database.write() as connection:
        return _request(connection, flow, scope_id, wanted, now)


def _request(connection: Connection, flow: str, scope_id: int | None, wanted: dict[str, Any], now: str) -> DispatchRow:
    for known in all_living(connection, [flow]):
        if known.scope_id == scope_id and known.wish == wanted:
            return known
    values = {"flow": flow, "scope_id": scope_id, "wish": json.dumps(wanted, sort_keys=True), "created_at": now, "changed_at": now}
    row_id = new_id(connection.execute(insert(dispatch).values(**values)))
    return _row(connection.execute(select(dispatch).where(dispatch.c.id == row_id)).mappings().one())


def change(database: Database, row_id: int, state: str, *, run_id: str | None = None, outcome: str | None = None) -> None:
    """``accepted`` by Prefect, ``running`` (said by the flow itself), ``ended``.  An ended row stays ended."""
    values: dict[str, Any] = {"state": state, "changed_at": database.now()}
    if run_id is not None:
        values["run_id"] = run_id
    if outcome is not None:
        values["outcome"] = outcome
    with database.write() as connection:
        connection.execute(update(dispatch).where(dispatch.c.id == row_id, dispatch.c.state != "ended").values(**values))


CANCELLED = "Cancelled"
"""How Prefect calls the end of a run that a person did not want any more."""


def end(database: Database, row: DispatchRow, outcome: str, *, lives: int = 0, uncounted: str = "") -> None:
    """The attempt has ended.  In the same transaction the end is told, and what a person wished for a scope is asked for again.

    Nothing of it is lost, whenever this process dies.  A wish is asked for again until it broke off ``lives`` times;
    outcomes with the words ``uncounted`` do not count, nor does a run that a deliberate stop of the service took along: that is
    told as an information.
    """
    now = database.now()
    with database.write() as connection:
        if stopped := _stopped_with_service(connection, row, outcome):
            outcome = f"{_STOPPED} ({outcome})"
        ended = update(dispatch).where(dispatch.c.id == row.id, dispatch.c.state != "ended")
        if not connection.execute(ended.values(state="ended", outcome=outcome, changed_at=now)).rowcount:
            return
        if outcome != "Completed":
            whose = row.flow if row.scope_id is None else scopes.get(connection, row.scope_id).title
            went = f"the run of {whose} was stopped with the service, and goes on since it was started again"
            level, text = ("info", went) if stopped else ("problem", f"the run of {whose} ended {outcome}")
            if outcome.startswith(CANCELLED):  # somebody wanted that
                level = "info"
            connection.execute(insert(happening).values(at=now, source="service", level=level, text=text, scope_id=row.scope_id))
        if lives and row.scope_id is not None and row.wish and broken_off(connection, row, uncounted) < lives:
            _request(connection, row.flow, row.scope_id, row.wish, now)


def _stopped_with_service(connection: Connection, row: DispatchRow, outcome: str) -> bool:
    """Did a deliberate stop take this run along?  What was killed, or ended by itself, says so in other words, or left no stop behind."""
    return any(words in outcome for words in _ENDED_BY_STOP) and messages.stopped_next(connection, row.changed_at)


def was_stopped(row: DispatchRow) -> bool:
    """Did the run end since the service was stopped on purpose?"""
    return row.outcome.startswith(_STOPPED)


def all_living(connection: Connection, flows: Sequence[str] | None = None) -> list[DispatchRow]:
    """Every attempt that has not ended, oldest first."""
    statement = select(dispatch).where(dispatch.c.state.in_(LIVING)).order_by(dispatch.c.id)
    if flows is not None:
        statement = statement.where(dispatch.c.flow.in_(list(flows)))
    return [_row(row) for row in connection.execute(statement).mappings()]


def last_ended(connection: Connection, scope_id: int) -> DispatchRow | None:
    """The newest attempt for a scope that has ended, if there is one."""
    statement = select(dispatch).where(dispatch.c.scope_id == scope_id, dispatch.c.state == "ended").order_by(dispatch.c.id.desc()).limit(1)
    row = connection.execute(statement).mappings().one_or_none()
    return _row(row) if row else None


def broken_off(connection: Connection, row: DispatchRow, uncounted: str = "") -> int:
    """How often in a row an attempt like this one (flow, scope, wish) ended otherwise than "Completed" or with ``uncounted`` words."""
    alike = (dispatch.c.flow == row.flow, dispatch.c.scope_id == row.scope_id, dispatch.c.wish == json.dumps(row.wish, sort_keys=True))
    statement = select(dispatch.c.outcome).where(*alike, dispatch.c.state == "ended").order_by(dispatch.c.id.desc())
    counted = (outcome for outcome in connection.execute(statement).scalars() if not outcome.startswith(_STOPPED))
    outcomes = [outcome for outcome in counted if not uncounted or uncounted not in outcome]
    return next((place for place, outcome in enumerate(outcomes) if outcome == "Completed"), len(outcomes))


def newest(connection: Connection, scope_ids: Sequence[int]) -> dict[int, int]:
    """The id of the newest attempt for each of these scopes that has one."""
    found: dict[int, int] = {}
    for some in in_chunks(scope_ids):
        statement = select(dispatch.c.scope_id, func.max(dispatch.c.id)).where(dispatch.c.scope_id.in_(some)).group_by(dispatch.c.scope_id)
        found |= {row[0]: row[1] for row in connection.execute(statement)}
    return found


def recent(connection: Connection, limit: int = 50) -> list[DispatchRow]:
    """The last attempts, newest first."""
    return [_row(row) for row in connection.execute(select(dispatch).order_by(dispatch.c.id.desc()).limit(limit)).mappings()]
