"""What the service says: reports, mails in their outbox, happenings and signs of life."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, func, insert, select, update

from nightcrew.ledger.database import Database, iso, new_id
from nightcrew.ledger.schema import dispatch, happening, mail, report, scope, sign_of_life

STARTED, STOPPED = "started", "stopped"
"""What the service writes down of itself at its start, and at the end of a stop that somebody asked for; a killed one writes no end."""

_COUNTED_FOR = timedelta(days=1)  # then it is told anew: a page and a mail tell what is so today
_LOOKED_AT = 100  # of the last happenings of a scope, for one of the same sentence
_COUNTED = re.compile(r"(.*) \(so far (\d+) times, the last at (\S+)\)", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.:/-])\d+(?:[.,]\d+)*(?![\w/-]|[.:]\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A written report page of a scope."""

    id: int
    scope_id: int
    revision: int
    path: str
    verdict: str
    status: str
    mark: int
    made_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRow:
    """A morning's mail in the outbox."""

    id: int
    morning: str
    message_id: str
    subject: str
    message: bytes
    state: str
    attempts: int
    last_error: str
    next_try_at: str
    made_at: str
    delivered_at: str


def record_report(database: Database, scope_id: int, *, path: str, verdict: str, status: str, mark: int) -> ReportRow:
    """A report page was written: it gets the next revision of its scope."""
    now = database.now()
    with database.write() as connection:
        revision = int(connection.execute(select(scope.c.revision).where(scope.c.id == scope_id)).scalar_one()) + 1
        connection.execute(update(scope).where(scope.c.id == scope_id).values(revision=revision, reported_mark=mark))
        values = {
            "scope_id": scope_id,
            "revision": revision,
            "path": path,
            "verdict": verdict,
            "status": status,
            "mark": mark,
            "made_at": now,
        }
        row_id = new_id(connection.execute(insert(report).values(**values)))
    return ReportRow(id=row_id, **values)  # type: ignore[arg-type]  # a mapping of mixed values


def last_report(connection: Connection, scope_id: int) -> ReportRow | None:
    """The newest report of a scope."""
    statement = select(report).where(report.c.scope_id == scope_id).order_by(report.c.revision.desc()).limit(1)
    row = connection.execute(statement).mappings().one_or_none()
    return ReportRow(**row) if row else None


def sets_reported(connection: Connection, since: str, until: str) -> list[tuple[str, str]]:
    """(kind, name) of the sets that got a report from ``since`` on and before ``until``, by kind and name."""
    statement = (
        select(scope.c.kind, scope.c.name)
        .join(report, report.c.scope_id == scope.c.id)
        .where(scope.c.kind != "night", report.c.made_at >= since, report.c.made_at < until)
        .distinct()
        .order_by(scope.c.kind, scope.c.name)
    )
    return [(row.kind, row.name) for row in connection.execute(statement)]


def queue_mail(database: Database, *, morning: str, message_id: str, subject: str, message: bytes) -> MailRow:
    """Put a morning's mail into the outbox; the one that is there already stands (one mail a morning)."""
    now = database.now()
    with database.write() as connection:
        known = connection.execute(select(mail).where(mail.c.morning == morning)).mappings().one_or_none()
        if known is None:
            connection.execute(
                insert(mail).values(morning=morning, message_id=message_id, subject=subject, message=message, state="queued", made_at=now)
            )
            known = connection.execute(select(mail).where(mail.c.morning == morning)).mappings().one()
        return _mail(known)


def begin_sending(database: Database, mail_id: int) -> bool:
    """Say "sending" before the first byte goes out; False when another process does it.

    A row that is found "sending" later belongs to a process that died: whether the server took the mail is unknown.
    """
    with database.write() as connection:
        changed = connection.execute(
            update(mail).where(mail.c.id == mail_id, mail.c.state == "queued").values(state="sending", attempts=mail.c.attempts + 1)
        )
    return bool(changed.rowcount)


def end_sending(database: Database, mail_id: int, state: str, *, error: str = "", next_try_at: str = "") -> None:
    """``delivered``, ``queued`` again with its error, ``refused`` for good, or ``unknown`` (lost after DATA)."""
    delivered = database.now() if state == "delivered" else ""
    with database.write() as connection:
        connection.execute(
            update(mail).where(mail.c.id == mail_id).values(state=state, last_error=error, next_try_at=next_try_at, delivered_at=delivered)
        )


def mails(connection: Connection, *states: str) -> list[MailRow]:
    """Mails in those states (all without), oldest morning first."""
    statement = select(mail).order_by(mail.c.morning)
    if states:
        statement = statement.where(mail.c.state.in_(states))
    return [_mail(row) for row in connection.execute(statement).mappings()]


def mail_of(connection: Connection, morning: str) -> tuple[str, int] | None:
    """(state, attempts) of a morning's mail, None when there is none."""
    row = connection.execute(select(mail.c.state, mail.c.attempts).where(mail.c.morning == morning)).one_or_none()
    return (row.state, row.attempts) if row else None


def was_there(connection: Connection, moment: str) -> bool:
    """Did anything happen, or was a mail written, before ``moment``?  Else this ledger is younger."""
    happenings_before = select(happening.c.id).where(happening.c.at < moment).limit(1)
    mails_before = select(mail.c.id).where(mail.c.made_at < moment).limit(1)
    return any(connection.execute(statement).first() is not None for statement in (happenings_before, mails_before))


def _mail(mapping: RowMapping) -> MailRow:
    return MailRow(**{name: mapping[name] for name in MailRow.__slots__})


def happened(database: Database, source: str, level: str, text: str, scope_id: int | None = None) -> None:
    """Write down something that a person may want to know (disk low, a child restarted, an overflow)."""
    with database.write() as connection:
        connection.execute(insert(happening).values(at=database.now(), source=source, level=level, text=text, scope_id=scope_id))


def happened_again(database: Database, source: str, level: str, text: str, scope_id: int) -> None:
    """As :func:`happened`, for what is tried again and again: within a day, sentences that are equal but for numbers are one, counted."""
    now = database.now()
    since = iso(database.clock() - _COUNTED_FOR)
    same = (happening.c.scope_id == scope_id) & (happening.c.source == source) & (happening.c.level == level) & (happening.c.at >= since)
    with database.write() as connection:
        rows = connection.execute(select(happening).where(same).order_by(happening.c.id.desc()).limit(_LOOKED_AT)).all()
        for row in rows:
            said, times, _ = counted(row.text)
            if numberless(said) == numberless(text):
                values = {"text": f"{text} (so far {times + 1} times, the last at {now})"}
                connection.execute(update(happening).where(happening.c.id == row.id).values(**values))
                return
        connection.execute(insert(happening).values(at=now, source=source, level=level, text=text, scope_id=scope_id))


def counted(text: str) -> tuple[str, int, str]:
    """The sentence of a happening, how often it was so, and when for the last time ("" when that is its own time)."""
    found = _COUNTED.fullmatch(text)
    return (found[1], int(found[2]), found[3]) if found else (text, 1, "")


def numberless(text: str) -> str:
    """A sentence without its numbers; those in dates, times and names stay, they say what it is about."""
    return _NUMBER.sub("#", text)


def stopped_next(connection: Connection, since: str) -> bool:
    """Was the first thing that the service told of itself from ``since`` on an orderly stop?  Else it was started anew, or goes on."""
    said = happening.c.text.in_((STARTED, STOPPED)) & (happening.c.source == "service") & (happening.c.at >= since)
    return connection.execute(select(happening.c.text).where(said).order_by(happening.c.id).limit(1)).scalar_one_or_none() == STOPPED


def happenings(connection: Connection, since: str, until: str = "9999") -> list[tuple[str, str, str, str]]:
    """(time, source, level, text) of what happened in a span of time."""
    statement = select(happening).where(happening.c.at >= since, happening.c.at < until).order_by(happening.c.id)
    return [(row.at, row.source, row.level, row.text) for row in connection.execute(statement)]


OVERCOME = "notice"
"""The level of a trouble that passed by itself."""


def happenings_of(
    connection: Connection, scope_ids: Sequence[int], span: tuple[str, str] = ("", ""), until: str = "9999"
) -> list[tuple[str, str, str, str]]:
    """As :func:`happenings`: what happened to these scopes before ``until``, and in ``span`` what happened to anything.

    What a later run of the same scope overcame, since it ended well or finished the plan, is a ``notice``: it is told, and nobody has
    to do anything.
    """
    of_scopes = happening.c.scope_id.in_(list(scope_ids)) & (happening.c.at < until)
    in_span = (happening.c.at >= span[0]) & (happening.c.at < span[1])
    ended_well = select(dispatch.c.scope_id, func.max(dispatch.c.changed_at)).where(
        dispatch.c.scope_id.in_(list(scope_ids)), dispatch.c.outcome == "Completed", dispatch.c.changed_at < until
    )
    well: dict[int, str] = dict(connection.execute(ended_well.group_by(dispatch.c.scope_id)).tuples().all())
    finished = select(scope.c.id).where(scope.c.id.in_(list(scope_ids)), scope.c.mark <= scope.c.planned_mark)
    well |= dict.fromkeys(connection.execute(finished).scalars(), until)
    rows = connection.execute(select(happening).where(of_scopes | in_span).order_by(happening.c.id))
    return [(row.at, row.source, OVERCOME if _is_overcome(row, well) else row.level, row.text) for row in rows]


def _is_overcome(row: Row[Any], ended_well: Mapping[int, str]) -> bool:
    return bool(row.level != "info" and row.at < ended_well.get(row.scope_id, ""))


def alive(database: Database, source: str, text: str = "") -> None:
    """A part of the service says that it lives."""
    now = database.now()
    with database.write() as connection:
        done = connection.execute(update(sign_of_life).where(sign_of_life.c.source == source).values(at=now, text=text))
        if not done.rowcount:
            connection.execute(insert(sign_of_life).values(source=source, at=now, text=text))


def sweep_sign(folder: str) -> str:
    """The sign of life of a folder's sweep: as short for a long path as for any, and another one for every folder."""
    return f"sweep {hashlib.sha256(folder.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}"


def signs_of_life(connection: Connection) -> dict[str, tuple[str, str]]:
    """Source -> (time, text)."""
    return {row.source: (row.at, row.text) for row in connection.execute(select(sign_of_life))}
