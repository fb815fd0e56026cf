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
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from nightcrew.errors import TransientError
from nightcrew.ledger import messages, scopes
from nightcrew.ledger.database import Database, iso, new_id, storable
from nightcrew.ledger.elections import in_chunks
from nightcrew.ledger.schema import claim, product

PLAN = "#plan"
DEATHS_UNTIL_FAILED = 3
NO_MEMORY = "not enough memory"  # a death with these words is told by them
HEARTBEAT_S = 10.0
PUT_OFF, NOT_TRIED = "put off: ", "not tried now: "
"""How the reason begins of an optional product that its users do without until it is tried again (``again``)."""
PUT_OFF_FOR = timedelta(hours=1)
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
        select(claim.c.fingerprint, claim.c.reason, claim.c.trace)
        .where(claim.c.scope_id == scope_id, claim.c.state == "failed", claim.c.forgiven.is_(False))
        .order_by(claim.c.id)
    )
    for fingerprint, reason, trace in rows:
        found[fingerprint] = Failure(reason, trace, 0)
    for fingerprint, count in deaths(connection, scope_id).items():
        if count >= DEATHS_UNTIL_FAILED and fingerprint not in found:
            found[fingerprint] = Failure(_gave_up(connection, fingerprint, count), "", count)
    return found


def hindrances(connection: Connection, scope_id: int) -> dict[str, str]:
    """Fingerprints of a scope whose last start ended for a passing reason, with that reason."""
    again = (claim.c.scope_id == scope_id, claim.c.state == "again", claim.c.recipe != PLAN, claim.c.forgiven.is_(False))
    rows = connection.execute(select(claim.c.id, claim.c.fingerprint, claim.c.reason).where(*again).order_by(claim.c.id)).all()
    last = {row.fingerprint: row for row in rows}
    newest: set[int] = set()
    for some in in_chunks(sorted(last)):
        mine = (claim.c.scope_id == scope_id, claim.c.fingerprint.in_(some))
        newest |= set(connection.execute(select(func.max(claim.c.id)).where(*mine).group_by(claim.c.fingerprint)).scalars())
    return {row.fingerprint: row.reason for row in last.values() if row.id in newest}


def _gave_up(connection: Connection, fingerprint: str, count: int) -> str:
    last = select(claim.c.reason).where(claim.c.fingerprint == fingerprint, claim.c.state == "died").order_by(claim.c.id.desc()).limit(1)
    reason = str(connection.execute(last).scalar_one())
    if reason.startswith(NO_MEMORY):
        return f"gave up after {count} tries: {reason}"
    return f"gave up: the process died {count} times while making it"


def deaths(connection: Connection, scope_id: int) -> dict[str, int]:
    """How often a process died while it made each fingerprint of a scope; forgiven deaths left out."""
    rows = connection.execute(
        select(claim.c.fingerprint, func.count())
        .where(claim.c.scope_id == scope_id, claim.c.state == "died", claim.c.forgiven.is_(False), claim.c.recipe != PLAN)
        .group_by(claim.c.fingerprint)
    )
    return {str(row[0]): int(row[1]) for row in rows}


def deaths_of(connection: Connection, fingerprint: str) -> int:
    """How often a process died, or was out of memory, while it made this; forgiven deaths left out."""
    died = select(func.count()).where(claim.c.fingerprint == fingerprint, claim.c.state == "died", claim.c.forgiven.is_(False))
    return int(connection.execute(died).scalar_one())


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of making a product, and how it ended."""

    scope_id: int
    recipe: str
    key: str
    fingerprint: str
    state: str
    reason: str
    trace: str
    started_at: str
    ended_at: str


def attempts(connection: Connection, fingerprint: str) -> list[Attempt]:
    """Every start of the product whose fingerprint begins so, oldest first; none when several products' do."""
    columns = [getattr(claim.c, name) for name in Attempt.__slots__]
    like = claim.c.fingerprint.startswith(fingerprint, autoescape=True)
    rows = connection.execute(select(*columns).where(like, claim.c.recipe != PLAN).order_by(claim.c.id)).all() if fingerprint else []
    found = [Attempt(**row._asdict()) for row in rows]
    return found if len({one.fingerprint for one in found}) == 1 else []


def running(connection: Connection) -> set[str]:
    """Fingerprints of the products that somebody makes now."""
    rows = connection.execute(select(claim.c.fingerprint).where(claim.c.state == "running", claim.c.recipe != PLAN))
    return {str(row.fingerprint) for row in rows}


def tries(connection: Connection, scope_id: int, fingerprints: set[str]) -> int:
    """How often the most often tried of these fingerprints failed for a passing reason: what the pause grows with."""
    rows = connection.execute(
        select(claim.c.fingerprint, func.count())
        .where(claim.c.scope_id == scope_id, claim.c.state == "again", claim.c.forgiven.is_(False))
        .group_by(claim.c.fingerprint)
    )
    return max((count for fingerprint, count in rows if fingerprint in fingerprints), default=0)


@dataclass(frozen=True, slots=True)
class Later:
    """When an optional product is tried again, and why not now."""

    until: str
    reason: str


def put_off(connection: Connection, scope_id: int) -> dict[str, Later]:
    """Fingerprints of a scope that were put off (forgiven ones left out); those that were tried wait for those that were not."""
    rows = connection.execute(
        select(claim.c.fingerprint, claim.c.reason, claim.c.ended_at)
        .where(claim.c.scope_id == scope_id, claim.c.state == "again", claim.c.forgiven.is_(False))
        .where(or_(claim.c.reason.startswith(PUT_OFF), claim.c.reason.startswith(NOT_TRIED)))
        .order_by(claim.c.id)
    )
    found = {str(print_): Later(_later(ended_at), str(reason)) for print_, reason, ended_at in rows}
    others = max((one.until for one in found.values() if one.reason.startswith(NOT_TRIED)), default="")
    return {print_: Later(max(one.until, others), one.reason) for print_, one in found.items()}


def _later(ended_at: str) -> str:
    return iso(datetime.fromisoformat(f"{ended_at}+00:00") + PUT_OFF_FOR)


def put_offs(connection: Connection, fingerprint: str) -> int:
    """How often this was tried and put off; forgiven ones left out."""
    where = (claim.c.fingerprint == fingerprint, claim.c.state == "again", claim.c.forgiven.is_(False))
    return int(connection.execute(select(func.count()).where(*where, claim.c.reason.startswith(PUT_OFF))).scalar_one())


def tried_in_vain(connection: Connection, scope_id: int, recipe: str) -> dict[str, int]:
    """How often each fingerprint of the recipe was tried without a product, forgiven or not."""
    vain = or_(claim.c.state.in_(("failed", "died")), and_(claim.c.state == "again", claim.c.reason.startswith(PUT_OFF)))
    where = (claim.c.scope_id == scope_id, claim.c.recipe == recipe, vain)
    rows = connection.execute(select(claim.c.fingerprint, func.count()).where(*where).group_by(claim.c.fingerprint))
    return {str(row[0]): int(row[1]) for row in rows}


def ends(connection: Connection, scope_id: int, recipe: str, since: str, most: int = 500) -> list[tuple[str, str, str]]:
    """How the recipe's starts in a scope ended since a time, latest first; forgiven ones, and those not tried, left out.

    What was put off has the state ``again`` and its reason without those words.
    Each is (state, reason, the made product's metrics as JSON text, "" where nothing was made).
    """
    rows = connection.execute(
        select(claim.c.state, claim.c.reason, product.c.metrics)
        .join(product, product.c.claim_id == claim.c.id, isouter=True)
        .where(claim.c.scope_id == scope_id, claim.c.recipe == recipe, claim.c.forgiven.is_(False))
        .where(or_(claim.c.state.in_(("done", "failed")), and_(claim.c.state == "again", claim.c.reason.startswith(PUT_OFF))))
        .where(claim.c.ended_at >= since)
        .order_by(claim.c.id.desc())
        .limit(most)
    )
    return [(str(row.state), str(row.reason).removeprefix(PUT_OFF), str(row.metrics or "")) for row in rows]


def forgive(connection: Connection, scope_id: int, fingerprints: set[str] | None = None) -> int:
    """A person asks to try again: forget the failures of a scope (or of some fingerprints); how many rows."""
    statement = update(claim).where(claim.c.scope_id == scope_id, claim.c.state.in_(("failed", "died", "again")))
    if fingerprints is not None:
        statement = statement.where(claim.c.fingerprint.in_(fingerprints))
    return int(connection.execute(statement.values(forgiven=True)).rowcount)
