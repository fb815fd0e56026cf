"""What became of earlier starts: failures, deaths, what passed or was put off.  Plans and pages ask it; a person may forgive it.

Every start is a claim (:mod:`nightcrew.ledger.claims`) and stays in the ledger with its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, or_, select, update

from nightcrew.ledger.claims import PLAN
from nightcrew.ledger.database import iso
from nightcrew.ledger.elections import in_chunks
from nightcrew.ledger.schema import claim, product

DEATHS_UNTIL_FAILED = 3
NO_MEMORY = "not enough memory"  # a death with these words is told by them
PUT_OFF, NOT_TRIED = "put off: ", "not tried now: "
"""How the reason begins of an optional product that its users do without until it is tried again (``again``)."""
PUT_OFF_FOR = timedelta(hours=1)


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


def most_tries(connection: Connection, scope_id: int, fingerprints: set[str]) -> int:
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


def ends(connection: Connection, scope_id: int, recipe: str, since: str, after: int = 0, most: int = 500) -> list[tuple[str, str, str]]:
    """How the recipe's starts in a scope ended since a time, latest first; forgiven ones, and those not tried, left out.

    ``after``: starts up to this one do not count either (see ``last_start``).

    What was put off has the state ``again`` and its reason without those words.
    Each is (state, reason, the made product's metrics as JSON text, "" where nothing was made).
    """
    rows = connection.execute(
        select(claim.c.state, claim.c.reason, product.c.metrics)
        .join(product, product.c.claim_id == claim.c.id, isouter=True)
        .where(claim.c.scope_id == scope_id, claim.c.recipe == recipe, claim.c.forgiven.is_(False))
        .where(or_(claim.c.state.in_(("done", "failed")), and_(claim.c.state == "again", claim.c.reason.startswith(PUT_OFF))))
        .where(claim.c.ended_at >= since, claim.c.id > after)
        .order_by(claim.c.id.desc())
        .limit(most)
    )
    return [(str(row.state), str(row.reason).removeprefix(PUT_OFF), str(row.metrics or "")) for row in rows]


def last_start(connection: Connection) -> int:
    """The number of the newest start of all, 0 before the first."""
    return int(connection.execute(select(func.max(claim.c.id))).scalar_one() or 0)


def forgive(connection: Connection, scope_id: int, fingerprints: set[str] | None = None) -> int:
    """A person asks to try again: forget the failures of a scope (or of some fingerprints); how many rows."""
    statement = update(claim).where(claim.c.scope_id == scope_id, claim.c.state.in_(("failed", "died", "again")))
    if fingerprints is not None:
        statement = statement.where(claim.c.fingerprint.in_(fingerprints))
    return int(connection.execute(statement.values(forgiven=True)).rowcount)
