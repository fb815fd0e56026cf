"""Empty ledgers in no time: the tables are made once a process, and every further SQLite ledger begins as a copy of that file.

To make them by migrations takes fifty milliseconds, and hundreds of tests have a ledger of their own.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy.engine import make_url

from nightcrew.ledger import migrate
from nightcrew.ledger.database import Database


def lay_tables(url: str) -> None:
    """Lay an SQLite ledger with all tables where there is none; other databases are left to the migrations."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite" or not address.database:
        return
    path = Path(address.database)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_template())


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        database = Database(f"sqlite:///{path}")
        migrate.upgrade(database)
        database.close()  # what its journal held is in the file
        return path.read_bytes()
