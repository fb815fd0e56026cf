"""What is left of a night when it is over, so that two of them can be compared: products, files, pages, mails."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select

from nightcrew.io.atomic import PART_PREFIX
from nightcrew.ledger import arrivals, claims, messages, products, scopes
from nightcrew.ledger.rows import ProductRow
from nightcrew.ledger.schema import claim
from tasks import naming
from tasks.workspace import Workspace

_ORDER = {"state", "reason"}  # of the calibration grid: it tells truly that a flat came after the lights that waited for it
_OF_THE_RUN = {"warnings"}  # of a summary: what happened to the service, which faults are meant to change


@dataclass(frozen=True)
class Picture:
    """A night that is over, without times and counts of attempts."""

    products: dict[str, str]  # path below the products' folder -> hash of the bytes on disk, of everything that is current
    rows: dict[str, str]  # scope, recipe and key -> grade, reasons and numbers of the ledger's row
    links: dict[str, str]  # plain name -> the final name that it points at
    files: dict[str, tuple[str, str, str]]  # path below the watched folders -> kind, state, reason
    pages: dict[str, str]  # file of a page below the reports' folder -> its numbers


def picture_of(space: Workspace) -> Picture:
    """Take the picture."""
    root = space.settings.products.root
    current = current_rows(space)
    return Picture(
        products={file.path: hash_of(root / file.path) for row in current for file in row.files},
        rows={f"{row.scope_id} {row.recipe} {row.key}": f"{row.grade} {row.grade_reasons} {row.metrics}" for row in current},
        links={str(p.relative_to(root)): str(p.readlink()) for p in root.rglob("*") if p.is_symlink()},
        files=files_of(space),
        pages=pages_of(space.settings.reports.root),
    )


def hash_of(path: Path) -> str:
    """SHA-256 of a file; "missing" where there is none."""
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def current_rows(space: Workspace) -> list[ProductRow]:
    """Every current product of every scope."""
    with space.database.read() as connection:
        return [row for scope in scopes.find(connection) for row in products.current_of_scope(connection, scope.id)]


def files_of(space: Workspace) -> dict[str, tuple[str, str, str]]:
    """Every file that the ledger knows: what it is, and what became of it."""
    with space.database.read() as connection:
        every = [*arrivals.without_scope(connection)]
        every += [row for scope in scopes.find(connection) for row in arrivals.of_scope(connection, scope.id)]
    start = len(os.path.commonpath([folder.path for folder in space.settings.folders])) + 1
    return {os.fsdecode(row.path)[start:]: (row.kind, row.state, row.reason) for row in every}


def pages_of(root: Path) -> dict[str, str]:
    """The numbers of every page: its tables, and its summary without what happened to the service."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name == "summary.json":
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found[str(path.relative_to(root))] = json.dumps({k: v for k, v in values.items() if k not in _OF_THE_RUN}, sort_keys=True)
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            kept = [{k: v for k, v in row.items() if path.name != "calibrations.csv" or k not in _ORDER} for row in rows]
            found[str(path.relative_to(root))] = str(kept)
    return found


def differences(want: Picture, have: Picture) -> list[str]:
    """What is not the same, in words; [] when nothing is."""
    found = []
    for name in ("products", "rows", "links", "files", "pages"):
        one, other = getattr(want, name), getattr(have, name)
        found += [
            f"{name}: {key}: {other.get(key, 'missing')} instead of {one.get(key, 'none')}"
            for key in sorted(one.keys() | other.keys())
            if one.get(key) != other.get(key)
        ]
    return found


def broken_promises(space: Workspace, want: Picture) -> list[str]:
    """What must hold at any moment, also just after a kill; [] when it does.

    A file under a final name is whole (its bytes are those of the undisturbed night), and none that the ledger calls made is
    missing; nothing counts twice; no mail stands twice in the outbox.
    """
    root = space.settings.products.root
    found = []
    for path in (p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
        name = str(path.relative_to(root))
        if PART_PREFIX not in name and name in want.products and hash_of(path) != want.products[name]:
            found.append(f"{name} stands under its final name and is not whole")
    for row in current_rows(space):
        found += [f"{file.path} is in the ledger and not on disk" for file in row.files if hash_of(root / file.path) != file.sha256]
    with space.database.read() as connection:
        done = select(claim.c.fingerprint).where(claim.c.state == "done", claim.c.recipe != claims.PLAN)
        made = Counter(connection.execute(done).scalars())
        mails = Counter(row.morning for row in messages.mails(connection))
    found += [f"{fingerprint[:12]} was made {count} times" for fingerprint, count in made.items() if count > 1]
    found += [f"{count} mails of {morning}" for morning, count in mails.items() if count > 1]
    return found


def unowned(space: Workspace) -> list[str]:
    """Files under final names that no product of the ledger owns."""
    root = space.settings.products.root
    with space.database.read() as connection:
        rows = [row for scope in scopes.find(connection) for row in products.of_scope(connection, scope.id)]
    owned = {file.path for row in rows for file in row.files}
    folders = {
        str(naming.folder_of_files(row.files))
        for row in rows
        if row.files and naming.named(row.files)[0] == naming.folder_of_files(row.files)
    }
    names = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and not p.is_symlink() and PART_PREFIX not in str(p)]
    return sorted(name for name in names if name not in owned and "/".join(name.split("/")[:3]) not in folders)
