"""From the ledger to a snapshot: one scope, and the masters of the instrument's other scopes."""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import lru_cache

from sqlalchemy import Connection, select

from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.ledger import claims, products, scopes
from nightcrew.ledger.rows import FrameRow
from nightcrew.ledger.schema import current, frame, path
from nightcrew.planning.model import Snapshot
from nightcrew.recipes.catalogue import MASTERS
from nightcrew.recipes.parameters import NightParameters


@lru_cache(maxsize=100_000)
def _header(text: str) -> FrameHeader:
    return FrameHeader.from_dict(json.loads(text))


def frames_of(connection: Connection, scope_id: int) -> list[FrameRow]:
    """The exposures of a scope, each with the path whose bytes count."""
    statement = (
        select(frame, path.c.path, path.c.size, path.c.mtime_ns)
        .join(path, path.c.id == frame.c.path_id)
        .where(frame.c.scope_id == scope_id)
    )
    return [
        FrameRow(
            id=row.id,
            scope_id=row.scope_id,
            identity=row.identity,
            sha256=row.sha256,
            path=row.path,
            size=row.size,
            mtime_ns=row.mtime_ns,
            header=_header(row.header),
            header_hash=row.header_hash,
            arrived_at=row.arrived_at,
        )
        for row in connection.execute(statement)
    ]


def load(connection: Connection, scope_id: int, parameters: NightParameters, rules: Rules) -> Snapshot:
    """Everything that a plan of the scope may look at; one consistent view.

    Masters older than the longest age that any rule allows are not read, so the work does not grow with the archive.
    """
    scope = scopes.get(connection, scope_id)
    own = products.of_scope(connection, scope_id)
    by_id = {row.id: row.fingerprint for row in own}
    oldest = max(rules.bias_age_days[2], rules.dark_age_days[2], rules.flat_age_days[2])
    return Snapshot(
        scope=scope,
        frames=frames_of(connection, scope_id),
        products={row.fingerprint: row for row in own},
        current={
            (row.recipe, row.key): by_id[row.product_id]
            for row in connection.execute(select(current).where(current.c.scope_id == scope_id))
            if row.product_id in by_id
        },
        elsewhere=products.current_elsewhere(connection, scope_id, scope.instrument, MASTERS, _not_before(scope.name, oldest)),
        failures=claims.failures(connection, scope_id),
        left_out=products.left_out_of_scope(connection, scope_id),
        parameters=parameters,
        rules=rules,
    )


def _not_before(night: str, days: float) -> str:
    try:
        return (date.fromisoformat(night) - timedelta(days=days + 1)).isoformat()
    except ValueError:
        return ""
