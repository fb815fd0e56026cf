"""Making and upgrading the ledger's tables.  ``nightcrew up`` (and ``reduce``, on its own fresh ledger) alone migrate.

Before an upgrade SQLite is copied with ``VACUUM INTO``; a ledger that is newer than this code is refused.  Alembic, which takes
longer to load than most commands take to answer, is asked only where the stored revision is not the code's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url

from nightcrew.errors import Refused
from nightcrew.ledger.database import Database
from nightcrew.ledger.schema import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config


def revision_of(database: Database) -> str | None:
    """The ledger's schema revision, None for an empty database; raises as ``Database.read``."""
    with database.read() as connection:
        if not inspect(connection).has_table(_VERSION_TABLE):
            return None
        return connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608  our own word


def check(database: Database) -> None:
    """Refuse a ledger that this code cannot use as it is.

    Raises
    ------
    Refused
        Its tables are missing, older, or made by a newer Nightcrew.
    """
    have, want = revision_of(database), SCHEMA_REVISION
    if have == want:
        return
    if have is None:
        raise Refused("the ledger has no tables yet: run `nightcrew up` once")
    if have not in _known():
        raise Refused(f"the ledger was made by a newer Nightcrew (schema {have}, this one knows {want}): update Nightcrew")
    raise Refused(f"the ledger's schema {have} is older than {want}: `nightcrew up` upgrades it")


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def upgrade(database: Database) -> None:
    """Bring the ledger to the newest schema, after a copy of what is there.

    Raises
    ------
    Refused
        The ledger is newer than this code.
    """
    have = revision_of(database)
    if have == SCHEMA_REVISION:
        return
    if have is not None and have not in _known():
        check(database)
    from alembic import command

    config = _config()
    if have is not None:
        backup(database, f"before-{have}")
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def backup(database: Database, label: str) -> Path | None:
    """A whole copy of an SQLite ledger beside it, ``<name>.<label>.bak``; None for other databases."""
    name = make_url(database.url).database
    if not database.is_sqlite or not name or name == ":memory:":
        return None
    copy = Path(f"{name}.{label}.bak")
    half = copy.with_name(f"{copy.name}.part")  # the last copy stands until the new one is whole
    half.unlink(missing_ok=True)
    raw = database.engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM INTO ?", (str(half),))
        half.replace(copy)
    finally:
        raw.close()
        half.unlink(missing_ok=True)
    return copy
