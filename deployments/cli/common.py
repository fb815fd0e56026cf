"""What the commands share: options, opening the ledger, finding scopes, printing."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from nightcrew.ledger.database import Database
    from nightcrew.ledger.rows import ScopeRow
    from nightcrew.planning.model import Plan
    from nightcrew.settings import Settings
    from tasks.standing import AnySnapshot
    from tasks.workspace import Workspace

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file; without it $NIGHTCREW_CONFIG or ./nightcrew.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def clean(text: object) -> str:
    """Text for a terminal: nothing in it can steer the terminal; the narrow blanks of our numbers are blanks."""
    return "".join(char if char.isprintable() or char in "\n\t" else _in_its_place(char) for char in str(text))


def _in_its_place(char: str) -> str:
    return " " if unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"


def _one_line(text: object) -> str:
    """A table's cell: a line break in a file's name must not begin a line that says something else."""
    return re.sub(r"[\n\t]", "\N{REPLACEMENT CHARACTER}", clean(text))


def say(text: object = "") -> None:
    """Print one line."""
    sys.stdout.write(clean(text) + "\n")


def say_json(value: Any) -> None:
    """Print JSON; NaN is refused, since other programs read this, and what could steer a terminal is escaped."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    sys.stdout.write("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text) + "\n")


def say_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns side by side; numbers to the right."""
    cells = [[_one_line("" if cell is None else cell) for cell in row] for row in rows]
    widths = [
        max(len(heading), *(len(row[place]) for row in cells), 0) if cells else len(heading) for place, heading in enumerate(headings)
    ]
    right = [
        bool(rows) and all(isinstance(row[place], int | float) or row[place] is None for row in rows) for place in range(len(headings))
    ]
    for line in [list(headings), *cells]:
        shown = [cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(line, widths, right, strict=True)]
        sys.stdout.write("  ".join(shown).rstrip() + "\n")


def shown(path: bytes | str) -> str:
    """A path from the ledger, for people."""
    return clean(path.decode(errors="replace") if isinstance(path, bytes) else path)


def open_ledger(settings: Settings) -> Database:
    """The ledger, which must exist; ``Refused`` otherwise."""
    from nightcrew.errors import Refused
    from nightcrew.ledger import migrate
    from nightcrew.ledger.database import Database, address

    url = address(settings.ledger_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise Refused(f"there is no ledger at {url.database} yet: run `nightcrew up`, or name the configuration with --config")
    database = Database(settings.ledger_url)
    migrate.check(database)
    return database


def open_space(config: Path | None) -> Workspace:
    """Everything opened, on a ledger that exists."""
    from deployments.reduction import reopened
    from nightcrew.settings import Settings

    settings = Settings.load(config)
    open_ledger(settings).close()
    return reopened(settings)


def look(space: Workspace, scope_id: int | None, *, outdated: bool = False) -> tuple[AnySnapshot | None, Plan | None]:
    """Snapshot and plan of a scope, without changing anything: as the service plans it, or as a person's rerun does (``outdated``)."""
    from nightcrew.ledger import scopes
    from tasks.ways import way_of

    if scope_id is None:
        return None, None
    scope = space.scope(scope_id)
    way = way_of(scope, space.parameters, space.rules_for, space.options)
    with space.database.read() as connection:
        remake = outdated or scopes.is_remade_unasked(connection, scope.id, space.settings.night.remake_nights)
        seen = way.load(connection, scope, remake=remake)
    return seen, way.plan(seen, space.database.now())


def scopes_named(connection: Connection, what: str) -> list[ScopeRow]:
    """Scopes called ``2026-03-14``, ``2026-03-14/NCSIM``, ``sensor/set1``, ``set1`` or ``last``; ``Refused`` with those that exist.

    ``last`` is the newest night, or where there is none the set that files came for last.
    """
    from nightcrew.errors import Refused
    from nightcrew.ledger import scopes

    every = scopes.find(connection)
    if what == "last" and every:
        night = next((row.name for row in every if row.kind == "night"), "")
        newest = max(every, key=lambda row: row.last_arrival_at)
        found = [row for row in every if row.kind == "night" and row.name == night] if night else [newest]
    else:
        name, _, instrument = what.partition("/")
        found = [row for row in every if row.kind == "night" and row.name == name and instrument in ("", row.instrument)]
        found = found or [row for row in every if row.kind != "night" and what in (row.title, row.name)]
    if not found:
        known = ", ".join(row.title for row in every[:8]) or "none yet"
        raise Refused(f"there is no night or set called {what!r}; the newest are: {known}")
    return found
