"""``nightcrew mark``."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, open_space, say, say_json


def mark(
    product: Annotated[str, typer.Argument(help="Fingerprint of the product, or its beginning (as in its file name).")],
    bad: Annotated[str, typer.Option("--bad", help="Why it must not be used any more.")] = "",
    good: Annotated[bool, typer.Option("--good", help="Take an earlier mark back.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Mark a product bad, with the reason: nothing is made from it any more, and what was made from it is made anew.

    The service does so by itself at its next look; the command lists everything that depends on the product.
    """
    from nightcrew.errors import Refused
    from nightcrew.ledger import products

    if bool(bad.strip()) == good:
        raise Refused("say either --bad REASON or --good")
    space = open_space(config)
    with space.database.read() as connection:
        row = products.by_fingerprint(connection, product)
        direct = {d.fingerprint for d in products.dependants(connection, row.fingerprint)} if row is not None else set()
        affected = products.affected(connection, row.fingerprint) if row is not None else []
    if row is None:
        raise Refused(f"no single product's fingerprint begins with {product!r}: take the 12 digits of its file name")
    products.mark_bad(space.database, row.id, bad.strip(), remake_scopes=space.settings.night.remake_nights)
    touched = [{"recipe": d.recipe, "key": d.key, "fingerprint": d.fingerprint, "direct": d.fingerprint in direct} for d in affected]
    if json:
        say_json({"product": row.fingerprint, "marked_bad": bad.strip(), "dependants": touched})
        return
    say(f"{row.recipe} {row.key}: {'marked bad: ' + bad.strip() if bad.strip() else 'may be used again'}.")
    for name in touched:
        say(f"  made from {'it' if name['direct'] else 'that'}: {name['recipe']} {name['key']}")
