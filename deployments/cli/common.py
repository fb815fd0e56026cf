"""What the commands share: options, opening the ledger, printing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nightcrew.ledger.database import Database
    from nightcrew.settings import Settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file; without it $NIGHTCREW_CONFIG or ./nightcrew.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def clean(text: object) -> str:
    """Text for a terminal: nothing in it can steer the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def say(text: object = "") -> None:
    """Print one line."""
    sys.stdout.write(clean(text) + "\n")


def say_json(value: Any) -> None:
    """Print JSON; NaN is refused, since other programs read this."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def shown(path: bytes | str) -> str:
    """A path from the ledger, for people."""
    return clean(path.decode(errors="replace") if isinstance(path, bytes) else path)


def open_ledger(settings: Settings) -> Database:
    """The ledger, which must exist."""
    from sqlalchemy.engine import make_url

    from nightcrew.errors import Refused
    from nightcrew.ledger.database import Database

    url = make_url(settings.ledger_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise Refused(f"there is no ledger at {url.database} yet: run `nightcrew up`, or name the configuration with --config")
    return Database(settings.ledger_url)
