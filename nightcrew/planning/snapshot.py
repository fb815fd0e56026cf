"""From the ledger to a snapshot: one scope, and the masters of the instrument's other scopes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache

from sqlalchemy import Connection, select

from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.ledger import history, products, scopes
from nightcrew.ledger.jsontext import loads
from nightcrew.ledger.rows import FrameRow, ProductRow, ScopeRow
from nightcrew.ledger.schema import current, frame, path, scope
from nightcrew.planning.collector import collector_paused
from nightcrew.planning.model import Snapshot
from nightcrew.recipes.catalogue import MASTERS
from nightcrew.recipes.parameters import NightParameters


@lru_cache(maxsize=100_000)
def _header(text: str) -> FrameHeader:
    return FrameHeader.taking(loads(text))


def frames_of(connection: Connection, scope_id: int) -> list[FrameRow]:
    """The exposures of a scope, each with the path whose bytes count, in no particular order."""
    of_frame = (frame.c.id, frame.c.identity, frame.c.sha256, frame.c.header, frame.c.header_hash, frame.c.arrived_at, frame.c.pixels)
    of_path = (path.c.path, path.c.size, path.c.mtime_ns, path.c.vanished, path.c.to_read, path.c.sha256, path.c.ctime_ns)
    statement = select(*of_frame, *of_path).join(path, path.c.id == frame.c.path_id).where(frame.c.scope_id == scope_id)
    rows = connection.execute(statement).all()  # in one go: thousands of rows one by one take four times as long
    return [
        FrameRow(
            id_,
            scope_id,
            identity,
            sha256,
            name,
            size,
            mtime_ns,
            _header(header),
            header_hash,
            arrived_at,
            "gone" if vanished else "changing" if to_read or there != sha256 else "",
            ctime_ns,
            pixels,
        )
        for id_, identity, sha256, header, header_hash, arrived_at, pixels, name, size, mtime_ns, vanished, to_read, there, ctime_ns in rows
    ]


def profile_of_instrument(connection: Connection, instrument: str) -> str:
    """Name of the profile that the instrument's newest frame was read with, "" without frames."""
    statement = (
        select(frame.c.header)
        .join(scope, scope.c.id == frame.c.scope_id)
        .where(scope.c.instrument == instrument)
        .order_by(scope.c.name.desc(), frame.c.sha256)
        .limit(1)
    )
    header = connection.execute(statement).scalar_one_or_none()
    return "" if header is None else _header(header).profile


def load(connection: Connection, scope_id: int, parameters: NightParameters, rules: Rules, *, remake: bool = True) -> Snapshot:
    """Everything that a plan of the scope may look at; one consistent view.

    Masters further away than the longest age that any rule allows are not read, so the work does not grow with the archive.
    ``remake`` False keeps what is outdated (see ``Snapshot``).
    """
    with collector_paused():
        return _load(connection, scopes.get(connection, scope_id), parameters, rules, remake=remake)


def _load(connection: Connection, scope: ScopeRow, parameters: NightParameters, rules: Rules, *, remake: bool) -> Snapshot:
    scope_id = scope.id
    own = products.of_scope(connection, scope_id)
    return Snapshot(
        scope=scope,
        frames=frames_of(connection, scope_id),
        products={row.fingerprint: row for row in own},
        current=_current(connection, scope_id, own),
        elsewhere=_elsewhere(connection, scope, rules),
        failures=history.failures(connection, scope_id),
        hindrances=history.hindrances(connection, scope_id),
        put_off={} if parameters.plates is None else history.put_off(connection, scope_id),
        left_out=products.left_out_of_scope(connection, scope_id),
        parts=products.parts_of_current(connection, scope_id, MASTERS),
        parameters=parameters,
        rules=rules,
        remake=remake,
        models=products.current_of_set(connection, "lab", rules.laboratory, "lab_models") if rules.laboratory else None,
    )


def _current(connection: Connection, scope_id: int, own: Iterable[ProductRow]) -> dict[tuple[str, str], str]:
    """(recipe, key) -> fingerprint of what is current; the names are those of the products, which are read already."""
    ids = set(connection.execute(select(current.c.product_id).where(current.c.scope_id == scope_id)).scalars().all())
    return {(row.recipe, row.key): row.fingerprint for row in own if row.id in ids}


def _elsewhere(connection: Connection, scope: ScopeRow, rules: Rules) -> list[ProductRow]:
    """Masters of other nights that lie near enough.  Frames without a night borrow none: nothing can be said of the age."""
    days = max(rules.bias_age_days[2], rules.dark_age_days[2], rules.flat_age_days[2]) + 2
    try:
        night = date.fromisoformat(scope.name)
    except ValueError:
        return []
    first, last = (_shifted(night, sign * days) for sign in (-1, 1))
    return products.current_elsewhere(connection, scope.id, scope.instrument, MASTERS, (first, last))


def _shifted(night: date, days: float) -> str:
    try:
        return (night + timedelta(days=days)).isoformat()
    except OverflowError:
        return "9999" if days > 0 else ""
