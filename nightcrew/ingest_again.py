"""Files whose change time moved although size and modification time did not: are their bytes still those that were read?

Most often they are (``chmod``, a hard link, files that were put back from a copy): then the new time is noted, and nothing else happens.
This waits behind what is new, some hundred megabytes at a time; a unit of work that needs such a file compares it itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nightcrew.errors import TransientError
from nightcrew.io.patience import folders_of, silent_folders, while_they_answer
from nightcrew.io.structure import sha256_file
from nightcrew.ledger import comparisons
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.database import Database

ANSWER_S = 10.0  # how long a watched folder is waited for before its files are left for later
_MOST_BYTES = 500_000_000  # of one batch, so that what arrives meanwhile does not wait for minutes


@dataclass
class _Compared:
    same: dict[int, int] = field(default_factory=dict)  # path id -> change time
    other: list[PathRow] = field(default_factory=list)
    later: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)


def compare_doubted(database: Database, limit: int, most_bytes: int = _MOST_BYTES) -> tuple[int, int]:
    """Compare up to ``limit`` files with their hashes; how many were compared, and how many could not be.

    At least one is; further ones while ``most_bytes`` are not exceeded.
    """
    began = database.now()
    with database.read() as connection:
        rows = comparisons.doubted(connection, limit)
        began = max(began, comparisons.last_doubt(connection))  # it may lie ahead, where the clock was set back
    chosen: list[PathRow] = []
    total = 0
    for row in rows:
        total += row.size
        if chosen and total > most_bytes:
            break
        chosen.append(row)
    if not chosen:
        return 0, 0
    found = _compare(chosen)
    comparisons.settle(database, began, found.same, found.other, found.later, found.changed)
    return len(chosen), len(found.later)


def _compare(rows: Sequence[PathRow]) -> _Compared:
    silent = silent_folders({row.folder for row in rows}, ANSWER_S)
    found = _Compared(later=[row.id for row in rows if row.folder in silent])
    for row in (row for row in rows if row.folder not in silent):
        path = Path(os.fsdecode(row.path))
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or (status.st_size, status.st_mtime_ns) != (row.size, row.mtime_ns):
                found.changed.append(row.id)
                continue
            read = while_they_answer(partial(sha256_file, path, status), folders_of([row.path]))
        except (OSError, TransientError):  # one that is gone, too: its disk may be away; the sweep says which
            found.later.append(row.id)
        else:
            if read.sha256 == row.sha256:
                found.same[row.id] = read.ctime_ns
            else:
                found.other.append(row)
    return found
