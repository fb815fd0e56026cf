"""Products in the ledger: recording what was made, and which one is current."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from nightcrew.ledger import claims, scopes
from nightcrew.ledger.claims import Claimed
from nightcrew.ledger.database import Database, new_id, storable
from nightcrew.ledger.rows import NewProduct, ProductRow
from nightcrew.ledger.schema import current, measurement, product, product_input, scope

SERVE_NIGHTS = frozenset({"lab_models"})
"""Recipes of sets whose products nights of a camera may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRow:
    """One input of a product: a frame (by id and content hash), a file of a set (by name and content hash), or a product."""

    role: str  # of a set's file its name below the set's folder
    fingerprint: str
    frame_id: int | None = None
    is_file: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the planner had decided about a product that is now made."""

    recipe: str
    version: int
    key: str
    instrument: str
    night: str
    fingerprint: str
    parameters: dict[str, Any]
    facts: dict[str, Any]
    inputs: Sequence[InputRow]
    time_utc: str
    serves_other_scopes: bool = False  # masters: their siblings must look again


def commit(database: Database, claimed: Claimed, planned: Recorded, made: NewProduct, *, remake_scopes: int) -> ProductRow | None:
    """Record a product, make it current, end the claim and mark who must look again: one transaction.

    Returns
    -------
    ProductRow or None
        None when the claim was taken from us meanwhile: the newer row stands and our file is swept.
    """
    now = database.now()
    with database.write() as connection:
        if not claims.holds(connection, claimed):
            return None
        product_id = _upsert(connection, claimed, planned, made, now)
        _write_inputs(connection, product_id, planned.inputs, made)
        _write_measurements(connection, product_id, planned, made)
        _make_current(connection, claimed, planned.recipe, planned.key, product_id)
        claims.end_in(connection, claimed, "done", now)
        scopes.mark(connection, [claimed.scope_id], now)
        if planned.serves_other_scopes:
            scopes.look_again(connection, scopes.siblings(connection, claimed.scope_id, remake_scopes))
        if planned.recipe in SERVE_NIGHTS:
            scopes.look_again(connection, scopes.latest_nights(connection, remake_scopes))
        row = connection.execute(select(product).where(product.c.id == product_id)).one()
        return as_row(row)


def _upsert(connection: Connection, claimed: Claimed, planned: Recorded, made: NewProduct, now: str) -> int:
    values = {
        "recipe": planned.recipe,
        "version": planned.version,
        "scope_id": claimed.scope_id,
        "key": planned.key,
        "instrument": planned.instrument,
        "fingerprint": planned.fingerprint,
        "parameters": _json(planned.parameters),
        "facts": _json(planned.facts),
        "files": _json([{"role": f.role, "path": f.path, "sha256": f.sha256, "size": f.size} for f in made.files]),
        "metrics": _json(made.metrics),
        "grade": made.grade,
        "grade_reasons": _json(list(made.grade_reasons)),
        "certified": made.certified,
        "certification": made.certification,
        "state": "made",
        "time_utc": planned.time_utc,
        "made_at": now,
        "claim_id": claimed.token,
    }
    known = connection.execute(select(product.c.id).where(product.c.fingerprint == planned.fingerprint)).scalar_one_or_none()
    if known is None:
        return new_id(connection.execute(insert(product).values(**values)))
    connection.execute(update(product).where(product.c.id == known).values(**values))
    connection.execute(delete(product_input).where(product_input.c.product_id == known))
    connection.execute(delete(measurement).where(measurement.c.product_id == known))
    return int(known)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _write_inputs(connection: Connection, product_id: int, inputs: Sequence[InputRow], made: NewProduct) -> None:
    rows = [
        {
            "product_id": product_id,
            "position": position,
            "role": storable(row.role),
            "frame_id": row.frame_id,
            "input_fingerprint": row.fingerprint,
            "left_out": _why_left_out(row, made),
        }
        for position, row in enumerate(inputs)
    ]
    if rows:
        connection.execute(insert(product_input), rows)


def _why_left_out(row: InputRow, made: NewProduct) -> str:
    if row.frame_id is not None:
        return made.left_out.get(row.frame_id, "")
    return made.files_left_out.get(row.role, "") if row.is_file else ""


def _write_measurements(connection: Connection, product_id: int, planned: Recorded, made: NewProduct) -> None:
    rows = [
        {
            "product_id": product_id,
            "instrument": planned.instrument,
            "camera": str(planned.facts.get("camera", "")),
            "quantity": m.quantity,
            "value": m.value,
            "error": m.error,
            "unit": m.unit,
            "where_": _json(m.where),
            "note": m.note,
            "night": planned.night,
        }
        for m in made.measurements
    ]
    if rows:
        connection.execute(insert(measurement), rows)


def _make_current(connection: Connection, claimed: Claimed, recipe: str, key: str, product_id: int) -> None:
    where = (current.c.scope_id == claimed.scope_id, current.c.recipe == recipe, current.c.key == key)
    old = connection.execute(select(current.c.claim_id).where(*where)).scalar_one_or_none()
    if old is None:
        connection.execute(
            insert(current).values(scope_id=claimed.scope_id, recipe=recipe, key=key, product_id=product_id, claim_id=claimed.token)
        )
    elif old < claimed.token:  # compare-and-swap: the newer claim stands
        connection.execute(update(current).where(*where).values(product_id=product_id, claim_id=claimed.token))


def make_current(connection: Connection, scope_id: int, recipe: str, key: str, product_id: int) -> None:
    """Make a product current that exists already under the planned fingerprint (an earlier state came back)."""
    where = (current.c.scope_id == scope_id, current.c.recipe == recipe, current.c.key == key)
    claim_id = connection.execute(select(product.c.claim_id).where(product.c.id == product_id)).scalar_one()
    connection.execute(delete(current).where(*where))
    connection.execute(insert(current).values(scope_id=scope_id, recipe=recipe, key=key, product_id=product_id, claim_id=claim_id))


def dismiss(connection: Connection, scope_id: int, keys: Iterable[tuple[str, str]]) -> None:
    """These (recipe, key) are no longer planned: nothing is current for them; the product rows stay."""
    for recipe, key in keys:
        connection.execute(delete(current).where(current.c.scope_id == scope_id, current.c.recipe == recipe, current.c.key == key))


def parts_of_current(connection: Connection, scope_id: int, recipes: Sequence[str]) -> dict[str, frozenset[int]]:
    """Fingerprint of each current product of these recipes -> ids of the frames among its inputs."""
    rows = connection.execute(
        select(product.c.fingerprint, product_input.c.frame_id)
        .join(current, current.c.product_id == product.c.id)
        .join(product_input, product_input.c.product_id == product.c.id)
        .where(current.c.scope_id == scope_id, current.c.recipe.in_(list(recipes)), product_input.c.frame_id.is_not(None))
    )
    found: dict[str, set[int]] = {}
    for fingerprint, frame_id in rows:
        found.setdefault(fingerprint, set()).add(frame_id)
    return {fingerprint: frozenset(ids) for fingerprint, ids in found.items()}


def set_state(connection: Connection, product_id: int, state: str) -> None:
    """``lost`` when its file is gone, ``retired`` by retention, ``made`` again."""
    connection.execute(update(product).where(product.c.id == product_id).values(state=state))


def mark_bad(database: Database, product_id: int, reason: str, *, remake_scopes: int) -> None:
    """A person marks a product bad ("" takes it back): its dependants become stale, its siblings look again."""
    with database.write() as connection:
        connection.execute(update(product).where(product.c.id == product_id).values(marked_bad=reason))
        scope_id = int(connection.execute(select(product.c.scope_id).where(product.c.id == product_id)).scalar_one())
        scopes.mark(connection, [scope_id], database.now())
        scopes.look_again(connection, scopes.siblings(connection, scope_id, remake_scopes))


_FINGERPRINT_DIGITS = 64


def as_row(values: Iterable[Any]) -> ProductRow:
    """A row of ``select(product)`` as :class:`ProductRow`, whose fields are the table's columns in their order."""
    return ProductRow._make(values)


def of_scope(connection: Connection, scope_id: int) -> list[ProductRow]:
    """Every product ever made in a scope."""
    rows = [as_row(row) for row in connection.execute(select(product).where(product.c.scope_id == scope_id)).all()]
    rows.sort(key=attrgetter("id"))  # a database that sorts carries whole rows about: it takes longer than reading them
    return rows


def current_of_scope(connection: Connection, scope_id: int) -> list[ProductRow]:
    """The current products of a scope."""
    statement = (
        select(product)
        .join(current, current.c.product_id == product.c.id)
        .where(current.c.scope_id == scope_id)
        .order_by(product.c.recipe, product.c.key)
    )
    return [as_row(row) for row in connection.execute(statement).all()]


def current_elsewhere(
    connection: Connection, scope_id: int, instrument: str, recipes: Sequence[str], span: tuple[str, str]
) -> list[ProductRow]:
    """Current products of an instrument in other scopes, of observing times in a span: the masters that a scope may borrow."""
    statement = (
        select(product)
        .join(current, current.c.product_id == product.c.id)
        .where(
            product.c.instrument == instrument,
            product.c.recipe.in_(list(recipes)),
            product.c.scope_id != scope_id,
            product.c.time_utc >= span[0],
            product.c.time_utc < span[1],
        )
        .order_by(product.c.time_utc, product.c.fingerprint)
    )
    return [as_row(row) for row in connection.execute(statement).all()]


def current_of_set(connection: Connection, kind: str, name: str, recipe: str) -> ProductRow | None:
    """The current product of a recipe in a set; None when it is not made."""
    statement = (
        select(product)
        .join(current, current.c.product_id == product.c.id)
        .join(scope, scope.c.id == product.c.scope_id)
        .where(scope.c.kind == kind, scope.c.name == name, product.c.recipe == recipe, product.c.state == "made")
        .order_by(product.c.key)
    )
    rows = connection.execute(statement).all()
    return as_row(rows[0]) if rows else None


def by_fingerprint(connection: Connection, fingerprint: str) -> ProductRow | None:
    """The product of that fingerprint, or of the only one that begins with it."""
    whole = len(fingerprint) == _FINGERPRINT_DIGITS  # LIKE walks the whole table
    wanted = product.c.fingerprint == fingerprint if whole else product.c.fingerprint.startswith(fingerprint, autoescape=True)
    rows = connection.execute(select(product).where(wanted).limit(2)).all()
    return as_row(rows[0]) if len(rows) == 1 else None


def get(connection: Connection, product_id: int) -> ProductRow:
    """The product of that id."""
    return as_row(connection.execute(select(product).where(product.c.id == product_id)).one())


def inputs_of(connection: Connection, product_id: int) -> list[tuple[InputRow, str]]:
    """The inputs of a product, each with why it was left out ("" when it was used)."""
    rows = connection.execute(select(product_input).where(product_input.c.product_id == product_id).order_by(product_input.c.position))
    return [(InputRow(role=r.role, fingerprint=r.input_fingerprint, frame_id=r.frame_id), r.left_out) for r in rows]


def left_out_of_scope(connection: Connection, scope_id: int) -> dict[int, dict[int, str]]:
    """Per product id of a scope: frame id -> reason, for the frames that its recipe left out."""
    rows = connection.execute(
        select(product_input.c.product_id, product_input.c.frame_id, product_input.c.left_out)
        .join(product, product.c.id == product_input.c.product_id)
        .where(product.c.scope_id == scope_id, product_input.c.left_out != "", product_input.c.frame_id.is_not(None))
    )
    found: dict[int, dict[int, str]] = {}
    for product_id, frame_id, reason in rows:
        found.setdefault(product_id, {})[frame_id] = reason
    return found


def files_left_out(connection: Connection, scope_id: int) -> dict[int, dict[str, str]]:
    """Per product id of a set: (storable) name -> reason, for the files that its recipe left out."""
    rows = connection.execute(
        select(product_input.c.product_id, product_input.c.role, product_input.c.left_out)
        .join(product, product.c.id == product_input.c.product_id)
        .where(product.c.scope_id == scope_id, product_input.c.left_out != "", product_input.c.frame_id.is_(None))
    )
    found: dict[int, dict[str, str]] = {}
    for product_id, name, reason in rows:
        found.setdefault(product_id, {})[name] = reason
    return found


def files_of_current(connection: Connection, scope_id: int) -> dict[str, frozenset[str]]:
    """Fingerprint of each current product of a set -> (storable) names of its inputs."""
    rows = connection.execute(
        select(product.c.fingerprint, product_input.c.role)
        .join(current, current.c.product_id == product.c.id)
        .join(product_input, product_input.c.product_id == product.c.id)
        .where(current.c.scope_id == scope_id, product_input.c.frame_id.is_(None))
    )
    found: dict[str, set[str]] = {}
    for fingerprint, name in rows:
        found.setdefault(fingerprint, set()).add(name)
    return {fingerprint: frozenset(names) for fingerprint, names in found.items()}


def dependants(connection: Connection, fingerprint: str) -> list[ProductRow]:
    """Products that have this one among their inputs, directly."""
    statement = (
        select(product)
        .join(product_input, product_input.c.product_id == product.c.id)
        .where(product_input.c.input_fingerprint == fingerprint)
        .order_by(product.c.id)
    )
    return [as_row(row) for row in connection.execute(statement).all()]


def affected(connection: Connection, fingerprint: str) -> list[ProductRow]:
    """Everything that was made from a product, from what was made from it, and so on; the direct ones first, each once."""
    found: dict[str, ProductRow] = {}
    asked = [fingerprint]
    while asked:
        below = [row for one in asked for row in dependants(connection, one) if row.fingerprint not in found]
        found |= {row.fingerprint: row for row in below}
        asked = list(dict.fromkeys(row.fingerprint for row in below))
    return list(found.values())


def trend(connection: Connection, instrument: str, quantity: str, limit: int = 60) -> list[dict[str, Any]]:
    """The last measurements of a quantity, of current products only, oldest first."""
    statement = (
        select(measurement)
        .join(current, current.c.product_id == measurement.c.product_id)
        .where(measurement.c.instrument == instrument, measurement.c.quantity == quantity)
        .order_by(measurement.c.night.desc(), measurement.c.id)
        .limit(limit)
    )
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    for row in rows:
        row["where"] = json.loads(row.pop("where_"))
    return rows[::-1]
