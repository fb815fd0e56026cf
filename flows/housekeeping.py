"""What is done once a morning: a copy of the ledger, and old things taken away.  Raw files are never touched.  No Prefect here."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path, PurePosixPath

from nightcrew.astrometry.solve import SCRATCH_PREFIX
from nightcrew.io.atomic import PART_PREFIX, PART_SUFFIX
from nightcrew.ledger import claims, migrate, products, retention
from nightcrew.ledger.database import iso
from nightcrew.ledger.rows import ProductRow
from nightcrew.settings import SET_KINDS
from reports.keep import FOLDER
from tasks import naming
from tasks.workspace import Workspace

_LOG = logging.getLogger("nightcrew.housekeeping")
_OURS = re.compile(r"\.[0-9a-f]{12}\.[a-z]+$")  # a final name: only such files are ever taken away
_OUR_FOLDER = re.compile(r"-([0-9a-f]{12})$")  # a product of a set
_SCRATCH = re.compile(rf"{re.escape(PART_PREFIX)}[0-9a-f]{{16}}(?:-.*|{re.escape(PART_SUFFIX)})|{SCRATCH_PREFIX}.*", re.DOTALL)
_DAY_S = 86_400.0
_PICTURES_DAYS = 7  # pictures of pages are kept so long; an older page that is asked for draws them again
_PICTURES_BYTES = 500_000_000  # and no more of them together, the youngest


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What was done: the ledger's copy, and how many things went."""

    backup: str
    retired: int
    orphans: int
    logs: int


def tidy(space: Workspace, today: date) -> Tidied:
    """A morning's housekeeping, by the configuration's ``[retention]``; 0 there keeps things for ever."""
    keep = space.settings.retention
    copy = migrate.backup(space.database, today.isoformat())
    if copy is not None and keep.backups:
        _drop_old(copy.parent.glob(f"{copy.name.removesuffix(f'.{today.isoformat()}.bak')}.????-??-??.bak"), keep.backups)
    retired = _retire(space, keep.superseded_days) if keep.superseded_days else 0
    orphans = sweep_leftovers(space)
    logs = _drop_logs(space.settings.state.root / "logs", keep.logs_days) if keep.logs_days else 0
    _drop_pictures(space.settings.state.root / FOLDER)
    done = Tidied(backup=str(copy or ""), retired=retired, orphans=orphans, logs=logs)
    _LOG.info("%s", done)
    return done


def _drop_old(copies: Iterable[Path], keep: int) -> None:
    for copy in sorted(copies, reverse=True)[keep:]:
        copy.unlink()


def _retire(space: Workspace, days: int) -> int:
    """Retire superseded products: the row first, then the files, so that no row ever names a file that went."""
    before = iso(space.database.clock() - timedelta(days=days))
    with space.database.read() as connection:
        rows = retention.superseded(connection, before)
    with space.database.write() as connection:
        for row in rows:
            products.set_state(connection, row.id, "retired")
    for row in rows:
        _remove_files(space, row)
    return len(rows)


def _remove_files(space: Workspace, row: ProductRow) -> None:
    root = space.settings.products.root
    for file in row.files:
        (root / file.path).unlink(missing_ok=True)
    if row.files and naming.named(row.files)[0] == naming.folder_of_files(row.files):  # a set's product: its folder goes, too
        shutil.rmtree(root / naming.folder_of_files(row.files), ignore_errors=True)


def sweep_leftovers(space: Workspace, older_than_s: float = _DAY_S) -> int:
    """Take away what dead workers left below the products and in the scratch folder; how many things."""
    return _sweep_orphans(space, older_than_s) + _sweep_scratch(space.context.work or Path(tempfile.gettempdir()), older_than_s)


def _sweep_orphans(space: Workspace, older_than_s: float) -> int:
    """What interrupted writers left: part files, and final names that no product owns.

    A final name goes only when this ledger began to make it: products of another ledger, or of one that was restored from
    an older copy, stay where they are.
    """
    root = space.settings.products.root
    with space.database.read() as connection:
        known, begun, at_work = retention.known_files(connection), retention.begun_here(connection), claims.running(connection)
    gone = 0
    for path, seen in _files(root):
        ours = path.name.startswith(".nightcrew-") and path.name.endswith(".part")
        final = _OURS.search(path.name)
        lost = final is not None and final[0][1:13] in begun and str(path.relative_to(root)) not in known
        if (ours or lost) and time.time() - seen.st_mtime > older_than_s:
            path.unlink(missing_ok=True)
            gone += 1
    return gone + _sweep_folders(root, known, begun, at_work, older_than_s)


def _sweep_folders(root: Path, known: set[str], begun: set[str], at_work: set[str], older_than_s: float) -> int:
    """The same for products of sets, which are folders: half-written ones, and whole ones that no product owns."""
    owned = {PurePosixPath(*PurePosixPath(file).parts[:3]) for file in known}
    gone = 0
    for path in [path for kind in SET_KINDS for path in (root / kind).glob("*/*")]:
        seen = _seen(path)
        if seen is None or not stat.S_ISDIR(seen.st_mode) or time.time() - seen.st_mtime <= older_than_s:
            continue
        final = _OUR_FOLDER.search(path.name)
        half = path.name.startswith(PART_PREFIX) and path.name.endswith(PART_SUFFIX)
        if half:
            gone += _remove_part(path, at_work)
        elif final is not None and final[1] in begun and PurePosixPath(path.relative_to(root)) not in owned:
            shutil.rmtree(path, ignore_errors=True)
            gone += 1
    return gone


def _remove_part(part: Path, at_work: set[str]) -> bool:
    """Remove a half-written file, or a half-written folder whose product nobody makes any more; was it removed?"""
    if not part.is_dir() or part.is_symlink():
        part.unlink(missing_ok=True)
        return True
    if part.name.removeprefix(PART_PREFIX)[:12] in {print_[:12] for print_ in at_work}:
        return False  # a unit may compute for hours before it writes
    shutil.rmtree(part, ignore_errors=True)
    return not part.exists()


def _sweep_scratch(folder: Path, older_than_s: float) -> int:
    """Half photon tables, and folders that a plate solver worked in, of ours, that nobody took away: a worker died; how many."""
    gone = 0
    for path in folder.glob("*nightcrew-*"):
        seen = _seen(path)
        if seen is None or not _SCRATCH.fullmatch(path.name) or seen.st_uid != os.getuid() or time.time() - seen.st_mtime <= older_than_s:
            continue
        if stat.S_ISDIR(seen.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif stat.S_ISREG(seen.st_mode):
            path.unlink(missing_ok=True)
        gone += not path.exists()
    return gone


def _drop_logs(folder: Path, days: int) -> int:
    found = [(path, _seen(path)) for path in folder.glob("*.log*")] if folder.is_dir() else []
    old = [path for path, seen in found if seen is not None and time.time() - seen.st_mtime > days * _DAY_S]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _drop_pictures(folder: Path, most_bytes: int = _PICTURES_BYTES) -> None:
    """Old ones, and of the others the oldest beyond ``most_bytes`` together."""
    total = 0
    for path, seen in sorted(_files(folder), key=lambda one: one[1].st_mtime, reverse=True):
        total += seen.st_size
        if time.time() - seen.st_mtime > _PICTURES_DAYS * _DAY_S or total > most_bytes:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The plain files below; what other processes rename or take away meanwhile is left out."""
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            seen = _seen(path)
            if seen is not None and stat.S_ISREG(seen.st_mode):
                yield path, seen


def _seen(path: Path) -> os.stat_result | None:
    """Asked once, since it may be gone the next moment; None when it is."""
    try:
        return path.lstat()
    except OSError:
        return None
