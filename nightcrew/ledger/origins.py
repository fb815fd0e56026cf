"""What a product was made from, in words: files by their paths, products by recipe and key."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from nightcrew.ledger.schema import frame, path, product, product_input


@dataclass(frozen=True, slots=True)
class NamedInput:
    """An input of a product as people call it: the path of a file (below its set), or recipe and key of a product."""

    role: str
    name: str
    fingerprint: str  # of a product; of a file its sha256
    is_product: bool
    left_out: str


def named_inputs(connection: Connection, product_id: int) -> list[NamedInput]:
    """What a product was made from, in the order in which it was given to its recipe."""
    parent = product.alias()
    columns = (
        product_input.c.role,
        product_input.c.input_fingerprint,
        product_input.c.left_out,
        path.c.path,
        parent.c.recipe,
        parent.c.key,
    )
    statement = (
        select(*columns)
        .outerjoin(frame, frame.c.id == product_input.c.frame_id)
        .outerjoin(path, path.c.id == frame.c.path_id)
        .outerjoin(parent, parent.c.fingerprint == product_input.c.input_fingerprint)
        .where(product_input.c.product_id == product_id)
        .order_by(product_input.c.position)
    )
    found = []
    for role, print_, left_out, where, recipe, key in connection.execute(statement):
        name = f"{recipe} {key}" if recipe else role if where is None else where.decode("utf-8", "backslashreplace")
        found.append(NamedInput(role, name, print_, recipe is not None, left_out))
    return found
