"""What every unit of work gets besides its planned product."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.astrometry.program import Solver
from nightcrew.errors import MissingCalibration
from nightcrew.io.sameness import has_hash
from nightcrew.ledger import messages, products, scopes
from nightcrew.ledger.database import Database
from nightcrew.ledger.rows import FileRow, ProductRow
from tasks import naming


@dataclass(frozen=True, slots=True)
class UnitContext:
    """Ledger, folders and limits of a worker.

    ``products_root`` is the folder of all products; rows name their files below it.
    """

    database: Database
    products_root: Path
    memory_bytes: int = 600_000_000
    threads: int = 2
    disk_reserve_bytes: int = 0
    remake_scopes: int = 3
    durable: bool = True
    work: Path | None = None  # scratch, perhaps on another file system
    solver: Solver | None = None  # of plate solutions; None: there is none, or none is wanted
    pictures: Path | None = None  # where pictures for pages are kept; None: nowhere

    def product(self, fingerprint: str) -> ProductRow:
        """The made product of that fingerprint.

        Raises
        ------
        MissingCalibration
            It does not exist (any more): the plan was overtaken, the next one knows better.
        """
        with self.database.read() as connection:
            row = products.by_fingerprint(connection, fingerprint)
        if row is None or row.state != "made":
            raise MissingCalibration(f"the input {fingerprint[:12]} is not there any more")
        return row

    def file(self, row: ProductRow, role: str) -> Path:
        """Absolute path of a product's file, which something is made from.

        Its bytes are compared with the ledger's hash, once a process and version of the file: what a disk damaged, or a person
        changed, goes into nothing.

        Raises
        ------
        MissingCalibration
            They are not those that were written; the product counts as lost, is told, and is made again.
        TransientError
            The file cannot be read now.
        """
        file = row.file(role)
        self._check(row, [file])
        return self.products_root / file.path

    def folder(self, row: ProductRow, below: str = "") -> Path:
        """The folder of a product of a set, or the one ``below`` it; every file in it is compared, and raises, as :meth:`file`."""
        self._check(row, [file for file in row.files if not below or file.role.startswith(f"{below}/")])
        return self.products_root / naming.folder_of_files(row.files) / below

    def check(self, row: ProductRow, roles: Collection[str]) -> None:
        """Compare those of a product's files that somebody is to see; raises as :meth:`file`."""
        self._check(row, [file for file in row.files if file.role in roles])

    def _check(self, row: ProductRow, files: Sequence[FileRow]) -> None:
        if not all(_is_sound(self.products_root / file.path, file.sha256) for file in files):
            self._lose(row)
            raise MissingCalibration(f"{row.recipe} {row.key} is damaged: its bytes are not those that were written; it is made again")

    def _lose(self, row: ProductRow) -> None:
        text = f"the file of {row.recipe} {row.key} is damaged, its bytes are not those that were written: it is made again"
        with self.database.write() as connection:
            products.set_state(connection, row.id, "lost")
            scopes.look_again(connection, [row.scope_id])
        messages.happened(self.database, "service", "problem", text, row.scope_id)


def _is_sound(path: Path, sha256: str) -> bool:
    try:
        status = path.stat()
    except OSError:
        return True  # who opens it says what is wrong
    return has_hash(path, status, sha256)
