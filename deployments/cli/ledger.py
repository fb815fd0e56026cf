"""``nightcrew ledger``: rows of the ledger as a table, CSV or JSON."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deployments.cli.common import ConfigOption, clean, open_ledger, say, say_json, say_table, scopes_named
from nightcrew.io.cells import inert

if TYPE_CHECKING:
    from sqlalchemy import Connection

Subject = Literal["nights", "files", "products", "runs", "mails", "happenings", "measurements"]
Form = Literal["table", "csv", "json"]
_STATES: dict[str, tuple[str, ...]] = {
    "nights": ("open", "closed"),
    "files": ("waiting", "done", "degraded", "rejected", "set_aside"),
    "products": ("made", "retired", "lost"),
    "runs": ("new", "accepted", "running", "ended"),
    "mails": ("queued", "sending", "delivered", "unknown", "refused"),
}


def ledger(
    subject: Annotated[Subject, typer.Argument(help="What to list.")] = "nights",
    night: Annotated[str, typer.Option("--night", help="Only of this night (or night/instrument; last: the newest).")] = "",
    state: Annotated[str, typer.Option("--state", help="Only files or products in this state, such as rejected.")] = "",
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = "table",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many rows, the newest.")] = 1000,
    config: ConfigOption = None,
) -> None:
    """Print what the ledger knows: nights, files, products, runs, mails, happenings or measurements."""
    from nightcrew.errors import Refused
    from nightcrew.settings import Settings

    if night and subject == "mails":
        raise Refused("a mail covers a morning, not a night: leave --night out")
    if state and state not in _STATES.get(subject, ()):
        raise Refused(f"{subject} have no state {state!r}; they have: {', '.join(_STATES.get(subject, ())) or 'none at all'}")

    database = open_ledger(Settings.load(config))
    with database.read() as connection:
        wanted = [scope.id for scope in scopes_named(connection, night)] if night else None
        rows = query(connection, subject, wanted)
    rows = [row for row in rows if not state or row["state"] == state]
    rows = rows[-limit:]
    if form == "json":
        say_json(rows)
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({key: "" if value is None else inert(clean(value)) for key, value in row.items()} for row in rows)
    elif rows:
        say_table(list(rows[0]), [[_short(name, value) for name, value in row.items()] for row in rows])
    else:
        say("No rows.")


def query(connection: Connection, subject: Subject, scope_ids: list[int] | None) -> list[dict[str, Any]]:
    """Rows of a subject, oldest first, of some scopes or of all."""
    from sqlalchemy import select

    from nightcrew.ledger import schema

    table, columns = {
        "nights": (schema.scope, "kind name instrument state revision last_arrival_at closed_at mailed_at"),
        "files": (schema.path, "path kind state reason size sha256 vanished changed_at"),
        "products": (schema.product, "recipe key instrument grade state certified fingerprint made_at"),
        "runs": (schema.dispatch, "id flow wish state outcome run_id created_at"),
        "mails": (schema.mail, "morning subject state attempts last_error delivered_at"),
        "happenings": (schema.happening, "at source level text"),
        "measurements": (schema.measurement, "night instrument quantity value error unit note"),
    }[subject]
    names = columns.split()
    order = table.c.night if subject == "measurements" else (table.c.name if subject == "nights" else table.c.id)
    statement = select(*(table.c[name] for name in names)).order_by(order)
    if scope_ids is not None and subject == "measurements":
        own = select(schema.product.c.id).where(schema.product.c.scope_id.in_(scope_ids))
        statement = statement.where(table.c.product_id.in_(own))
    elif scope_ids is not None:
        statement = statement.where((table.c.id if subject == "nights" else table.c.scope_id).in_(scope_ids))
    return [{name: _plain(value) for name, value in row.items()} for row in connection.execute(statement).mappings()]


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _short(name: str, value: object, most: int = 60) -> object:
    """A value that fits into a column: of a path the end tells, of all else the beginning (a fingerprint is called by its first digits)."""
    text = str(value)
    if len(text) <= most:
        return value
    return "..." + text[-most + 3 :] if name == "path" else text[: most - 3] + "..."
