"""Scopes: opening, marking ("look again"), closing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select, update

from nightcrew.ledger.database import new_id
from nightcrew.ledger.rows import ScopeRow
from nightcrew.ledger.schema import scope

UNDATED = "undated"  # the "night" of frames that nothing tells when they were taken


def _newest_first() -> tuple[ColumnElement[Any], ...]:
    """By name, the newest first; what has no date is not the newest."""
    return (scope.c.name == UNDATED).asc(), scope.c.name.desc()


def _row(mapping: RowMapping) -> ScopeRow:
    return ScopeRow(**{name: mapping[name] for name in ScopeRow.__slots__})


def get(connection: Connection, scope_id: int) -> ScopeRow:
    """The scope of that id."""
    return _row(connection.execute(select(scope).where(scope.c.id == scope_id)).mappings().one())


def find(
    connection: Connection, *, kind: str | None = None, name: str | None = None, instrument: str | None = None, state: str | None = None
) -> list[ScopeRow]:
    """Scopes by kind, name, instrument and state, newest name first, without a date last."""
    statement = select(scope).order_by(*_newest_first(), scope.c.instrument)
    wishes = ((scope.c.kind, kind), (scope.c.name, name), (scope.c.instrument, instrument), (scope.c.state, state))
    for column, wanted in wishes:
        if wanted is not None:
            statement = statement.where(column == wanted)
    return [_row(row) for row in connection.execute(statement).mappings()]


def ensure(connection: Connection, kind: str, name: str, instrument: str, now: str) -> int:
    """The id of a scope, made when new."""
    where = (scope.c.kind == kind, scope.c.name == name, scope.c.instrument == instrument)
    known = connection.execute(select(scope.c.id).where(*where)).scalar_one_or_none()
    if known is not None:
        return int(known)
    return new_id(connection.execute(insert(scope).values(kind=kind, name=name, instrument=instrument, touched_at=now)))


def mark(connection: Connection, scope_ids: Iterable[int], now: str) -> None:
    """ "Look again": raise the mark of the scopes, in the transaction of the change that can touch them."""
    ids = sorted(set(scope_ids))
    if ids:
        connection.execute(update(scope).where(scope.c.id.in_(ids)).values(mark=scope.c.mark + 1, touched_at=now))


def look_again(connection: Connection, scope_ids: Iterable[int]) -> None:
    """Raise the mark of scopes that something elsewhere may touch: nothing happened to them yet that a mail would tell."""
    ids = sorted(set(scope_ids))
    if ids:
        connection.execute(update(scope).where(scope.c.id.in_(ids)).values(mark=scope.c.mark + 1))


def arrived(connection: Connection, scope_ids: Iterable[int], now: str) -> None:
    """Frames came: mark the scopes and open closed ones again (their report gets a revision)."""
    ids = sorted(set(scope_ids))
    if not ids:
        return
    mark(connection, ids, now)
    connection.execute(update(scope).where(scope.c.id.in_(ids)).values(last_arrival_at=now, state="open", closed_at="", close_asked=False))


def siblings(connection: Connection, scope_id: int, newest: int) -> list[int]:
    """Scopes of the same instrument and kind that a new master of this one may serve: open ones and the newest ``newest``.

    Sets serve nobody but themselves.
    """
    mine = get(connection, scope_id)
    if mine.kind != "night":
        return []
    rows = connection.execute(
        select(scope.c.id, scope.c.state).where(scope.c.instrument == mine.instrument, scope.c.kind == mine.kind).order_by(*_newest_first())
    ).all()
    return [row.id for place, row in enumerate(rows) if row.id != scope_id and (row.state == "open" or place < newest)]


def latest_nights(connection: Connection, newest: int) -> list[int]:
    """Nights that a set's models may serve: the open ones and the newest ``newest``."""
    rows = connection.execute(select(scope.c.id, scope.c.state).where(scope.c.kind == "night").order_by(*_newest_first())).all()
    return [row.id for place, row in enumerate(rows) if row.state == "open" or place < newest]


def is_remade_unasked(connection: Connection, scope_id: int, newest: int) -> bool:
    """Is the scope open, or one of the newest ``newest`` of its instrument and kind?  Of sets: those that files came for last."""
    mine = get(connection, scope_id)
    if mine.state == "open":
        return True
    newer_night = (scope.c.name > mine.name) & (scope.c.name != UNDATED)
    after = newer_night if mine.kind == "night" else scope.c.last_arrival_at > mine.last_arrival_at
    later = (scope.c.instrument == mine.instrument, scope.c.kind == mine.kind, after)
    return int(connection.execute(select(func.count()).select_from(scope).where(*later)).scalar_one()) < newest


def planned(connection: Connection, scope_id: int, *, read_mark: int, wake_at: str) -> None:
    """A complete plan of the scope was run; it had read ``read_mark``."""
    connection.execute(update(scope).where(scope.c.id == scope_id).values(planned_mark=read_mark, wake_at=wake_at))


def close(connection: Connection, scope_id: int, now: str) -> None:
    """Close a scope: what is missing is now missing; raises the mark, since rules that waited decide now."""
    connection.execute(update(scope).where(scope.c.id == scope_id, scope.c.state == "open").values(state="closed", closed_at=now))
    mark(connection, [scope_id], now)


def ask_to_close(connection: Connection, scope_id: int) -> None:
    """A person closes the night before its time."""
    connection.execute(update(scope).where(scope.c.id == scope_id).values(close_asked=True))


def due(connection: Connection, now: str) -> list[ScopeRow]:
    """Scopes that want a plan: marked since the last one, or whose waiting group became quiet.  Newest night first, then sets."""
    wakes = (scope.c.wake_at != "") & (scope.c.wake_at <= now)
    statement = select(scope).where((scope.c.mark > scope.c.planned_mark) | wakes)
    statement = statement.order_by(scope.c.kind != "night", *_newest_first())
    return [_row(row) for row in connection.execute(statement).mappings()]


def unreported(connection: Connection) -> list[ScopeRow]:
    """Closed and planned scopes whose page is not current: the process died, or the disk was full, before it was written."""
    behind = (scope.c.state == "closed", scope.c.mark <= scope.c.planned_mark, scope.c.reported_mark < scope.c.mark)
    statement = select(scope).where(*behind).order_by(scope.c.kind != "night", *_newest_first())
    return [_row(row) for row in connection.execute(statement).mappings()]


def touched_since_mail(connection: Connection) -> list[ScopeRow]:
    """Scopes that something happened to since they stood in a morning's mail, oldest night first."""
    statement = select(scope).where(scope.c.touched_at > scope.c.mailed_at).order_by(scope.c.name, scope.c.instrument)
    return [_row(row) for row in connection.execute(statement).mappings()]


def mailed(connection: Connection, scope_ids: Iterable[int], as_of: str) -> None:
    """These scopes stand in a mail that tells what was known at ``as_of``; what happened later is told by the next."""
    connection.execute(update(scope).where(scope.c.id.in_(sorted(set(scope_ids)))).values(mailed_at=as_of))


def reported(connection: Connection, scope_id: int, mark: int) -> None:
    """The scope's page is current for what was known at ``mark`` (its contents may not have changed)."""
    connection.execute(update(scope).where(scope.c.id == scope_id).values(reported_mark=mark))
