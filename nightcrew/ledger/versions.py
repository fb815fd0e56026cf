"""Which versions of the recipes have worked on this ledger: a checkout with an older one must not build on it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from nightcrew.errors import Refused
from nightcrew.ledger import messages
from nightcrew.ledger.database import Database

_SOURCE = "recipes"


def check(database: Database, versions: Mapping[str, int]) -> None:
    """Refuse to build with recipes that are older than those which worked here before; remember newer ones.

    Raises
    ------
    Refused
        A recipe of this checkout is older than the ledger's.
    """
    with database.read() as connection:
        text = messages.signs_of_life(connection).get(_SOURCE, ("", ""))[1]
    known: dict[str, int] = json.loads(text) if text else {}
    older = sorted(name for name, version in versions.items() if version < known.get(name, 0))
    if older:
        name = older[0]
        raise Refused(
            f"the ledger holds products of {name} version {known[name]}, this Nightcrew makes version {versions[name]}: "
            "update Nightcrew, or give it a ledger of its own"
        )
    newest = {**known, **versions}
    if newest != known:
        messages.alive(database, _SOURCE, json.dumps(newest, sort_keys=True))
