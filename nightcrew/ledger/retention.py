"""What may go: products that newer ones replaced, unless something that lives was made from them."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from nightcrew.ledger.products import as_row
from nightcrew.ledger.rows import ProductRow
from nightcrew.ledger.schema import claim, current, product, product_input


def superseded(connection: Connection, before: str) -> list[ProductRow]:
    """Made products that are not current, were replaced before ``before``, and have no living descendant."""
    living = _with_ancestors(connection)
    newer = product.alias()
    replaced_lately = (
        select(newer.c.id)
        .join(current, current.c.product_id == newer.c.id)
        .where(current.c.scope_id == product.c.scope_id, current.c.recipe == product.c.recipe, current.c.key == product.c.key)
        .where(newer.c.made_at >= before)
    )
    statement = select(product).where(product.c.state == "made", product.c.made_at < before, ~replaced_lately.exists())
    rows = connection.execute(statement.order_by(product.c.id))
    return [row for row in map(as_row, rows) if row.fingerprint not in living]


def _with_ancestors(connection: Connection) -> set[str]:
    """Fingerprints of all current products and of everything that they were made from, however far back."""
    parents: dict[str, list[str]] = {}
    rows = connection.execute(
        select(product.c.fingerprint, product_input.c.input_fingerprint)
        .join(product_input, product_input.c.product_id == product.c.id)
        .where(product_input.c.frame_id.is_(None))
    )
    for child, parent in rows:
        parents.setdefault(child, []).append(parent)
    todo = list(connection.execute(select(product.c.fingerprint).join(current, current.c.product_id == product.c.id)).scalars())
    living: set[str] = set()
    while todo:
        fingerprint = todo.pop()
        if fingerprint not in living:
            living.add(fingerprint)
            todo += parents.get(fingerprint, [])
    return living


def begun_here(connection: Connection) -> set[str]:
    """First 12 digits of every fingerprint that this ledger ever began to make: only such files can be its own leftovers."""
    return {print_[:12] for print_ in connection.execute(select(claim.c.fingerprint).distinct()).scalars() if print_}


def known_files(connection: Connection) -> set[str]:
    """Paths, below the products root, of all files that a made product owns."""
    rows = connection.execute(select(product.c.files).where(product.c.state == "made")).scalars()
    return {file["path"] for text in rows for file in json.loads(text)}
