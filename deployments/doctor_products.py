"""What ``nightcrew doctor --products`` looks at: the bytes of every product, compared with what the ledger has of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.cli.common import open_ledger
from deployments.doctor import Finding
from nightcrew.errors import TransientError
from nightcrew.io.room import shown_bytes
from nightcrew.ledger.rows import FileRow
from nightcrew.settings import Settings

if TYPE_CHECKING:
    from nightcrew.ledger.database import Database

_SUBJECT = "products"
_MOST = 20  # named one by one
_MEND = "delete such files: the service makes what is missing again, from the raw files"


def products(settings: Settings) -> Iterator[Finding]:
    """Every file of every product that is not retired; what differs from its hash is a problem.  Nothing is changed."""
    database = open_ledger(settings)
    try:
        files = _files_of(database)
    finally:
        database.close()
    wrong = []
    for file in files:
        why = what_is_wrong(settings.products.root / file.path, file)
        if why:
            wrong.append(f"{file.path} {why}")
    for text in wrong[:_MOST]:
        yield Finding(_SUBJECT, "problem", text, _MEND)
    if len(wrong) > _MOST:
        yield Finding(_SUBJECT, "problem", f"and {len(wrong) - _MOST} files more", _MEND)
    sound = f"{len(files) - len(wrong)} of {len(files)} files of products hold what was written"
    yield Finding(_SUBJECT, "good", f"{sound} ({shown_bytes(sum(file.size for file in files))} in all)")


def _files_of(database: Database) -> list[FileRow]:
    from nightcrew.ledger import products as rows
    from nightcrew.ledger import scopes

    with database.read() as connection:
        made = [row for scope in scopes.find(connection) for row in rows.of_scope(connection, scope.id) if row.state == "made"]
    return [file for row in made for file in row.files]


def what_is_wrong(path: Path, file: FileRow) -> str:
    """Why a product's file is not what was written, "" when it is."""
    from nightcrew.io.structure import sha256_file

    try:
        read = sha256_file(path)
    except TransientError as error:
        return "is gone" if not path.exists() else f"cannot be compared: {error}"
    if read.size != file.size:
        return f"has {read.size} bytes, {file.size} were written"
    return "" if read.sha256 == file.sha256 else "holds other bytes than were written"
