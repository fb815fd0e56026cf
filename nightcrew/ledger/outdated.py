"""Outdated products: current ones whose inputs are no longer what the rules would choose, counted without planning."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, and_, false, func, or_, select

from nightcrew.ledger import scopes
from nightcrew.ledger.rows import ScopeRow
from nightcrew.ledger.schema import current, product, product_input


def counts(connection: Connection, versions: Mapping[str, int]) -> dict[int, int]:
    """Scope id -> number of its current products that a newer master, recipe or a person's mark has overtaken.

    A product counts when its recipe is newer now than it was, or when a product that it was made from is marked bad or
    not current any more.  Nights that are remade unasked mend themselves; of older ones the report tells this number.
    """
    of_input, input_current = product.alias(), current.alias()
    overtaken = (
        select(product_input.c.product_id)
        .join(of_input, of_input.c.fingerprint == product_input.c.input_fingerprint)
        .outerjoin(input_current, input_current.c.product_id == of_input.c.id)
        .where(product_input.c.frame_id.is_(None), or_(input_current.c.product_id.is_(None), of_input.c.marked_bad != ""))
    )
    older = or_(false(), *(and_(product.c.recipe == name, product.c.version < version) for name, version in sorted(versions.items())))
    statement = (
        select(current.c.scope_id, func.count())
        .join(product, product.c.id == current.c.product_id)
        .where(or_(older, product.c.id.in_(overtaken)))
        .group_by(current.c.scope_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def kept(connection: Connection, versions: Mapping[str, int], remade: int) -> list[tuple[ScopeRow, int]]:
    """Scopes with their number of outdated products, oldest first; those that are remade unasked mend themselves and are left out.

    ``remade`` is how many of the newest scopes of an instrument that are.  The numbers are lower limits: what a changed
    parameter or a nearer master makes stale only a plan can tell.
    """
    rows = [(scopes.get(connection, scope_id), number) for scope_id, number in counts(connection, versions).items()]
    old = [(scope, number) for scope, number in rows if not scopes.is_remade_unasked(connection, scope.id, remade)]
    return sorted(old, key=lambda row: (row[0].name, row[0].instrument))
