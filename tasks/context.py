"""What every unit of work gets besides its planned product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightcrew.astrometry.program import Solver
from nightcrew.errors import MissingCalibration
from nightcrew.ledger import products
from nightcrew.ledger.database import Database
from nightcrew.ledger.rows import ProductRow


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
        """Absolute path of a product's file."""
        return self.products_root / row.file(role).path
