"""Claims: who is making what.  Every start is recorded before work; a claim is the fence against late finishers.

A claim is alive while its process exists (host, pid, start time) or, seen from another host, while its heartbeat
counter moves.  The observer measures the stillness with its own monotonic clock, so clocks need not agree.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field

import psutil
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from nightcrew.ledger.database import Database, new_id
from nightcrew.ledger.schema import claim

PLAN = "#plan"
DEATHS_UNTIL_FAILED = 3


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim that we hold; ``token`` grows with every claim in the ledger."""

    token: int
    scope_id: int
    recipe: str
    key: str
    fingerprint: str


@dataclass
class Watch:
    """Heartbeats of other hosts' claims, as this process has seen them."""

    stillness_s: float = 120.0
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def is_still(self, token: int, heartbeat: int) -> bool:
        """True when the counter has not moved for ``stillness_s`` of this process's monotonic clock."""
        now = time.monotonic()
        known = self._seen.get(token)
        if known is None or known[0] != heartbeat:
            self._seen[token] = (heartbeat, now)
            return False
        return now - known[1] > self.stillness_s


def process_is_alive(pid: int, started: float) -> bool:
    """Is the process of that pid and start time running on this host?"""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _own_start_time() -> float:
    return float(psutil.Process(os.getpid()).create_time())


def take(database: Database, scope_id: int, recipe: str, key: str, fingerprint: str, *, watch: Watch | None = None) -> Claimed | None:
    """Claim one product (or, with recipe ``#plan``, the planning of a scope).

    Returns
    -------
    Claimed or None
        None when a living process holds it.  A dead holder's claim is marked ``died`` and replaced.
    """
    try:
        with database.write() as connection:
            holder = connection.execute(
                select(claim).where(claim.c.scope_id == scope_id, claim.c.recipe == recipe, claim.c.key == key, claim.c.state == "running")
            ).one_or_none()
            if holder is not None:
                if _lives(holder.host, holder.pid, holder.pid_started, holder.id, holder.heartbeat, watch):
                    return None
                _end(connection, holder.id, "died", "its process ended without a word", database.now())
            token = new_id(
                connection.execute(
                    insert(claim).values(
                        scope_id=scope_id,
                        recipe=recipe,
                        key=key,
                        fingerprint=fingerprint,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        pid_started=_own_start_time(),
                        state="running",
                        started_at=database.now(),
                    )
                )
            )
    except IntegrityError:
        return None  # another process was faster between our look and our insert (PostgreSQL)
    return Claimed(token, scope_id, recipe, key, fingerprint)


def _lives(host: str, pid: int, started: float, token: int, heartbeat: int, watch: Watch | None) -> bool:
    if host == socket.gethostname():
        return process_is_alive(pid, started)
    return watch is None or not watch.is_still(token, heartbeat)


def beat(database: Database, claimed: Claimed) -> bool:
    """Move the heartbeat counter; False when the claim was taken from us."""
    with database.write() as connection:
        changed = connection.execute(
            update(claim).where(claim.c.id == claimed.token, claim.c.state == "running").values(heartbeat=claim.c.heartbeat + 1)
        ).rowcount
    return bool(changed)


def holds(connection: Connection, claimed: Claimed) -> bool:
    """Is the claim still ours?  Asked inside the transaction that commits the work."""
    state = connection.execute(select(claim.c.state).where(claim.c.id == claimed.token)).scalar_one_or_none()
    return state == "running"


def end(database: Database, claimed: Claimed, state: str, *, reason: str = "", trace: str = "") -> bool:
    """End our claim as ``done``, ``failed`` (for good) or ``again`` (transient); False when it was no longer ours."""
    with database.write() as connection:
        return _end(connection, claimed.token, state, reason, database.now(), trace)


def end_in(connection: Connection, claimed: Claimed, state: str, now: str) -> bool:
    """As :func:`end`, inside a transaction of the caller."""
    return _end(connection, claimed.token, state, "", now)


def _end(connection: Connection, token: int, state: str, reason: str, now: str, trace: str = "") -> bool:
    done = connection.execute(
        update(claim).where(claim.c.id == token, claim.c.state == "running").values(state=state, reason=reason, trace=trace, ended_at=now)
    )
    return bool(done.rowcount)


def bury_the_dead(database: Database, *, watch: Watch | None = None) -> int:
    """Mark claims whose process is gone as ``died``; the number of them.  Run at start and by each planner."""
    buried = 0
    with database.write() as connection:
        for row in connection.execute(select(claim).where(claim.c.state == "running")).all():
            if not _lives(row.host, row.pid, row.pid_started, row.id, row.heartbeat, watch):
                buried += _end(connection, row.id, "died", "its process ended without a word", database.now())
    return buried


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a fingerprint is not planned again."""

    reason: str
    trace: str
    deaths: int


def failures(connection: Connection, scope_id: int) -> dict[str, Failure]:
    """Fingerprints of a scope that failed for good or died too often and were not forgiven."""
    found: dict[str, Failure] = {}
    rows = connection.execute(
        select(claim.c.fingerprint, claim.c.reason, claim.c.trace).where(
            claim.c.scope_id == scope_id, claim.c.state == "failed", claim.c.forgiven.is_(False)
        )
    )
    for fingerprint, reason, trace in rows:
        found[fingerprint] = Failure(reason, trace, 0)
    deaths = connection.execute(
        select(claim.c.fingerprint, func.count())
        .where(claim.c.scope_id == scope_id, claim.c.state == "died", claim.c.forgiven.is_(False), claim.c.recipe != PLAN)
        .group_by(claim.c.fingerprint)
    )
    for fingerprint, count in deaths:
        if count >= DEATHS_UNTIL_FAILED and fingerprint not in found:
            found[fingerprint] = Failure(f"gave up: the process died {count} times while making it", "", count)
    return found


def forgive(connection: Connection, scope_id: int, fingerprints: set[str] | None = None) -> int:
    """A person asks to try again: forget the failures of a scope (or of some fingerprints); how many rows."""
    statement = update(claim).where(claim.c.scope_id == scope_id, claim.c.state.in_(("failed", "died", "again")))
    if fingerprints is not None:
        statement = statement.where(claim.c.fingerprint.in_(fingerprints))
    return int(connection.execute(statement.values(forgiven=True)).rowcount)
