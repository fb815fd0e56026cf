"""What the pages ask the ledger beyond its own questions: the last nights' numbers, and when folders were last alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from nightcrew.ledger.jsontext import loads
from nightcrew.ledger.schema import current, frame, measurement, path, product, scope


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured number of a night."""

    product_id: int
    night: str
    quantity: str
    value: float
    error: float | None
    unit: str
    where: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Catalogued:
    """Numbers of one light's catalogue."""

    night: str
    filter: str
    exposure_s: float | None
    metrics: dict[str, Any]
    reasons: tuple[str, ...]  # of its grade


def last_nights(connection: Connection, instrument: str, night: str, count: int) -> list[str]:
    """Names of the last ``count`` nights of an instrument up to ``night``, oldest first."""
    statement = (
        select(scope.c.name)
        .where(scope.c.kind == "night", scope.c.instrument == instrument, scope.c.name <= night)
        .order_by(scope.c.name.desc())
        .limit(count)
    )
    return sorted(connection.execute(statement).scalars())


def measured(connection: Connection, instrument: str, nights: Sequence[str]) -> list[Measured]:
    """Every determined measurement of current products in those nights."""
    statement = (
        select(measurement)
        .join(current, current.c.product_id == measurement.c.product_id)
        .where(measurement.c.instrument == instrument, measurement.c.night.in_(list(nights)), measurement.c.value.is_not(None))
        .order_by(measurement.c.night, measurement.c.id)
    )
    return [
        Measured(row.product_id, row.night, row.quantity, row.value, row.error, row.unit, loads(row.where_))
        for row in connection.execute(statement)
    ]


def catalogued(connection: Connection, instrument: str, nights: Sequence[str]) -> list[Catalogued]:
    """The numbers of every light's current catalogue in those nights."""
    statement = (
        select(scope.c.name, product.c.facts, product.c.metrics, product.c.grade_reasons)
        .join(current, current.c.product_id == product.c.id)
        .join(scope, scope.c.id == current.c.scope_id)
        .where(product.c.recipe == "photometry", product.c.instrument == instrument, scope.c.name.in_(list(nights)))
        .order_by(scope.c.name, product.c.key)
    )
    found = []
    known: dict[str, tuple[str, ...]] = {}  # hundreds of lights have their grade for the same reasons
    for name, facts_text, metrics_text, reasons in connection.execute(statement).all():
        facts = loads(facts_text)
        filter_ = str(facts.get("filter") or "")
        if reasons not in known:
            known[reasons] = tuple(loads(reasons))
        found.append(Catalogued(name, filter_, facts.get("exposure_s"), loads(metrics_text), known[reasons]))
    return found


def last_seen(connection: Connection) -> dict[str, str]:
    """Watched folder -> when its newest file was first seen."""
    statement = select(path.c.folder, func.max(path.c.first_seen_at).label("at")).group_by(path.c.folder)
    return {row.folder: row.at for row in connection.execute(statement)}


def last_night_with_frames(connection: Connection, before: str) -> str:
    """The newest night before ``before`` that has a frame, "" when there is none."""
    statement = (
        select(func.max(scope.c.name)).join(frame, frame.c.scope_id == scope.c.id).where(scope.c.kind == "night", scope.c.name < before)
    )
    return connection.execute(statement).scalar_one_or_none() or ""
