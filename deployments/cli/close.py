"""``nightcrew close``."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, open_space, say, say_json, scopes_named


def close(
    night: Annotated[
        str, typer.Argument(help="Night such as 2026-03-14 or 2026-03-14/INSTRUMENT, or a set such as sensor/set1; last: the newest night.")
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Close a night or set before its time: calibrations that are missing are then missing, and the rules decide without them."""
    from nightcrew.ledger import scopes

    space = open_space(config)
    with space.database.read() as connection:
        found = scopes_named(connection, night)
    closed = [scope for scope in found if scope.state == "open"]
    with space.database.write() as connection:
        for scope in closed:
            scopes.close(connection, scope.id, space.database.now())
    if json:
        say_json({"closed": [scope.title for scope in closed], "were_closed": [s.title for s in found if s.state != "open"]})
        return
    for scope in found:
        say(f"{scope.title}: {'closed' if scope in closed else 'was closed already'}.")
