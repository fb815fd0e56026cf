"""Claims: who is making what.  Every start is recorded before work; a claim is the fence against late finishers.

A claim is alive while its process exists (host, pid, start time) or, seen from another host, while its heartbeat
counter moves.  The observer measures the stillness with its own monotonic clock, so clocks need not agree.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from nightcrew.errors import TransientError
from nightcrew.ledger import messages, scopes
from nightcrew.ledger.database import Database, new_id, storable
from nightcrew.ledger.schema import claim

PLAN = "#plan"
HEARTBEAT_S = 10.0
_DIED = "its process ended without a word"
_STOPPED = "the service was stopped while it was being made"


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
    _seen: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)

    def is_still(self, token: int, heartbeat: int, ledger: str = "") -> bool:
        """True when the counter has not moved for ``stillness_s`` of this process's monotonic clock."""
        now = time.monotonic()
        known = self._seen.get((ledger, token))
        if known is None or known[0] != heartbeat:
            self._seen[ledger, token] = (heartbeat, now)
            return False
        return now - known[1] > self.stillness_s


WATCH = Watch()
"""What this process has seen of other hosts' heartbeats."""

_working: set[tuple[str, int]] = set()  # (ledger, token) of the claims that this process works on


@cache
def _boot() -> str:
    """Which start of this machine: processes of an earlier one are dead, whatever their numbers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""


def host() -> str:
    """This host and its start, as claims name it."""
    return f"{socket.gethostname()}#{_boot()}"


def process_is_alive(pid: int, started: float) -> bool:
    """Is the process of that pid and start time (see :func:`start_time`) running on this host?"""
    try:
        return abs(start_time(pid) - started) < 1.0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, PermissionError):  # ours may be read; where others are hidden, it is somebody else's
        return False
    except psutil.AccessDenied:
        return True


def start_time(pid: int) -> float:
    """When a process started, in seconds; NoSuchProcess when there is none.

    Counted from the machine's own start where the kernel tells it: the time of day may jump when a clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return float(psutil.Process(pid).create_time())


def may_live(where: str, pid: int, started: float) -> bool:
    """Does the process live that called itself so on the host :func:`host`?  Yes for those of other hosts: nobody here can tell."""
    name, _, boot = where.partition("#")
    return name != socket.gethostname() or (boot == _boot() and process_is_alive(pid, started))


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
                if _lives(database, holder.host, holder.pid, holder.pid_started, holder.id, holder.heartbeat, watch):
                    return None
                _bury(connection, database, holder)
            token = new_id(
                connection.execute(
                    insert(claim).values(
                        scope_id=scope_id,
                        recipe=recipe,
                        key=key,
                        fingerprint=fingerprint,
                        host=host(),
                        pid=os.getpid(),
                        pid_started=start_time(os.getpid()),
                        state="running",
                        started_at=database.now(),
                    )
                )
            )
            _working.add((database.url, token))
    except IntegrityError:
        return None  # another process was faster between our look and our insert
    return Claimed(token, scope_id, recipe, key, fingerprint)


def somebody_plans(connection: Connection, scope_id: int) -> bool:
    """Does a process live, or one of another host which nobody here can tell of, that holds the plan of the scope?"""
    where = (claim.c.scope_id == scope_id, claim.c.recipe == PLAN, claim.c.state == "running")
    rows = connection.execute(select(claim.c.host, claim.c.pid, claim.c.pid_started).where(*where)).all()
    return any(may_live(row.host, row.pid, row.pid_started) for row in rows)


def _lives(database: Database, where: str, pid: int, started: float, token: int, heartbeat: int, watch: Watch | None) -> bool:
    name, _, boot = where.partition("#")
    if name != socket.gethostname():
        return not (watch or WATCH).is_still(token, heartbeat, database.url)
    if boot != _boot():
        return False
    if pid == os.getpid():
        return (database.url, token) in _working  # else its end could not be written
    return process_is_alive(pid, started)


def _bury(connection: Connection, database: Database, holder: Row[Any]) -> bool:
    """A dead process counts against the product; a claim of our own that was only left behind, or stopped on purpose, does not."""
    if holder.pid == os.getpid() and holder.host == host():
        return _end(connection, holder.id, "again", _DIED, database.now())
    if messages.stopped_next(connection, holder.started_at):
        return _end(connection, holder.id, "again", _STOPPED, database.now())
    return _end(connection, holder.id, "died", _DIED, database.now())


def beat(database: Database, claimed: Claimed) -> bool:
    """Move the heartbeat counter; False when the claim was taken from us."""
    with database.write() as connection:
        changed = connection.execute(
            update(claim).where(claim.c.id == claimed.token, claim.c.state == "running").values(heartbeat=claim.c.heartbeat + 1)
        ).rowcount
    return bool(changed)


@contextmanager
def beating(database: Database, claimed: Claimed, every_s: float = HEARTBEAT_S) -> Iterator[None]:
    """Move the claim's counter in the background, so that other hosts see that we live."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(every_s):
            try:
                if not beat(database, claimed):
                    return
            except TransientError:
                continue  # the next beat says the same

    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def holds(connection: Connection, claimed: Claimed) -> bool:
    """Is the claim still ours?  Asked inside the transaction that commits the work."""
    state = connection.execute(select(claim.c.state).where(claim.c.id == claimed.token)).scalar_one_or_none()
    return state == "running"


def end(database: Database, claimed: Claimed, state: str, *, reason: str = "", trace: str = "") -> bool:
    """End our claim as ``done``, ``failed`` (for good) or ``again`` (transient); False when it was no longer ours."""
    _working.discard((database.url, claimed.token))
    with database.write() as connection:
        return _end(connection, claimed.token, state, reason, database.now(), trace)


def end_in(connection: Connection, claimed: Claimed, state: str, now: str) -> bool:
    """As :func:`end`, inside a transaction of the caller."""
    return _end(connection, claimed.token, state, "", now)


def _end(connection: Connection, token: int, state: str, reason: str, now: str, trace: str = "") -> bool:
    done = connection.execute(
        update(claim)
        .where(claim.c.id == token, claim.c.state == "running")
        .values(state=state, reason=storable(reason), trace=storable(trace), ended_at=now)
    )
    if done.rowcount and state in ("failed", "died"):  # a page that was written meanwhile does not tell it
        scope_id = connection.execute(select(claim.c.scope_id).where(claim.c.id == token, claim.c.recipe != PLAN)).scalar_one_or_none()
        scopes.mark(connection, [] if scope_id is None else [scope_id], now)
    return bool(done.rowcount)


def bury_the_dead(database: Database, scope_id: int | None = None, *, watch: Watch | None = None) -> int:
    """Mark claims whose process is gone as ``died``; the number of them.  Run by each planner, so that deaths count at once."""
    where = (claim.c.state == "running", *(() if scope_id is None else (claim.c.scope_id == scope_id,)))
    with database.read() as connection:
        rows = connection.execute(select(claim).where(*where)).all()
    dead = [row for row in rows if not _lives(database, row.host, row.pid, row.pid_started, row.id, row.heartbeat, watch)]
    if not dead:
        return 0
    with database.write() as connection:
        return sum(_bury(connection, database, row) for row in dead)


def running(connection: Connection) -> set[str]:
    """Fingerprints of the products that somebody makes now."""
    rows = connection.execute(select(claim.c.fingerprint).where(claim.c.state == "running", claim.c.recipe != PLAN))
    return {str(row.fingerprint) for row in rows}
