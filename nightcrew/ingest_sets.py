"""Ingest of sets: every file of a watched folder of a set kind is hashed and recorded under its set, never read as a night's frame.

Only what the bytes themselves say is judged here: a FITS file that is cut short is rejected, as in a night.  What a file
means is told by the plan of its kind.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nightcrew.errors import Refused
from nightcrew.io.structure import FITS_SUFFIXES, Structure
from nightcrew.ledger import arrivals, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import Reading
from nightcrew.planning.set_names import scope_name, set_of
from nightcrew.settings import FolderSettings

_CHANGED_KIND = (
    "the watched folder {path} is of kind {now} now, and {files} files in it were taken in as those of kind {was} (the first into {name}): "
    'write kind = "{was}" again, or move these files into a folder of their own and watch that one as kind {now}; '
    "what was made of them stays"
)
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".z")


@dataclass(frozen=True, slots=True)
class SetFolder:
    """A watched folder of sets; ``label`` tells it from the first folder of its kind, whose sets bear plain names."""

    kind: str
    label: str = ""

    def set_of(self, path: bytes, folder: str) -> str:
        """The name of the set that a file belongs to."""
        return set_of(path, folder, self.label)


def set_folders(folders: tuple[FolderSettings, ...], known: Mapping[str, SetFolder] | None = None) -> dict[str, SetFolder]:
    """The watched folders of sets, by path.

    A folder of ``known`` (what the ledger remembers, also of folders that are watched no more) keeps its label, so that another
    order in the configuration, or a new folder, never puts its files into another folder's sets.
    """
    known = known or {}
    found: dict[str, SetFolder] = {}
    labels: dict[str, set[str]] = {}
    for path, place in known.items():
        labels.setdefault(place.kind, set()).add(place.label)
        if any(str(folder.path) == path and folder.kind == place.kind for folder in folders):
            found[path] = place
    for folder in folders:
        if folder.kind == "night" or str(folder.path) in found:
            continue
        used = labels.setdefault(folder.kind, set())
        name = scope_name(os.fsencode(folder.path.name)) or "folder"
        label = "" if not used else next(one for n in range(len(used) + 1) if (one := f"{name}-{n + 1}" if n else name) not in used)
        used.add(label)
        found[str(folder.path)] = SetFolder(folder.kind, label)
    return found


def folders_of(text: str) -> dict[str, SetFolder]:
    """Inverse of :func:`folders_text`; nothing of a text that is none."""
    try:
        return {path: SetFolder(kind, label) for path, (kind, label) in json.loads(text).items()} if text else {}
    except (ValueError, TypeError, AttributeError):
        return {}


def folders_text(known: Mapping[str, SetFolder], now: Mapping[str, SetFolder]) -> str:
    """What the ledger is to remember: the folders of now, and those that are watched no more."""
    return json.dumps({path: [place.kind, place.label] for path, place in sorted({**known, **now}.items())})


def changed_kinds(folders: tuple[FolderSettings, ...], known: Mapping[str, SetFolder]) -> list[str]:
    """A sentence for each folder that held sets of another kind before."""
    return [
        f"the watched folder {folder.path} held sets of kind {known[str(folder.path)].kind} and is of kind {folder.kind} now: what was "
        f"taken in before stays with its old sets and is missing from the new ones; copy the files into a new folder to have them analysed"
        for folder in folders
        if str(folder.path) in known and known[str(folder.path)].kind != folder.kind
    ]


def settle_kinds(database: Database, folders: Iterable[FolderSettings], away: Container[Path] = ()) -> None:
    """Make sure at the start that every file of a watched folder is, or will be, taken for what the folder's ``kind`` says.

    Files that were read as those of a night, and of which nothing was made, are read again.  Raises ``Refused`` for a folder whose
    files were taken in under another kind and still lie there: a file is read once, so they would be missing from the new kind.
    Folders in ``away`` are not looked into.
    """
    for folder in folders:
        with database.read() as connection:
            known = arrivals.of_other_kinds(connection, str(folder.path), folder.kind)
        there = [(kind, name) for path, kind, name in known if folder.path not in away and os.path.lexists(path)]
        if there:
            kind, name = there[0]
            said = {"path": folder.path, "now": folder.kind, "files": len(there), "was": kind, "name": name}
            raise Refused(_CHANGED_KIND.format(**said))
        if folder.kind != "night":
            arrivals.read_again_scopeless(database, str(folder.path))


def set_reading(base: Reading, structure: Structure, row: PathRow, folder: SetFolder) -> Reading:
    """What became of one file of a set: it waits for its plan, or its own bytes say that it is not whole."""
    base = replace(base, scope_kind=folder.kind, scope_name=folder.set_of(row.path, row.folder))
    name = os.fsdecode(row.path).lower()
    announced = structure.kind not in ("foreign", "empty") or name.endswith(FITS_SUFFIXES)
    if structure.damaged or (announced and not structure.complete):
        return replace(base, kind="rejected", state="rejected", reason=structure.reason or "its bytes are not all there")
    return replace(base, kind=kind_word(name, structure), state="waiting", reason=arrivals.READ)


def kind_word(name: str, structure: Structure) -> str:
    """A word for what a file is: ``fits``, ``hdf5``, else the ending of its name, ``file`` without one."""
    if structure.kind not in ("foreign", "empty"):
        return structure.kind
    for packed in _PACKED:
        name = name.removesuffix(packed)
    found = re.search(r"\.([a-z][a-z0-9]{0,11})$", name)
    word = found.group(1) if found else "file"
    return word if word not in ("rejected", "ignored", "foreign") else "file"


def adopt_set_files(database: Database, folders: Mapping[str, SetFolder]) -> set[int]:
    """Ignored files of sets (hidden, temporary, links) are counted with their set, once it has a file of its own.

    Returns the scopes that got files.
    """
    if not folders:
        return set()
    with database.read() as connection:
        homeless = [row for row in arrivals.without_scope(connection) if row.folder in folders and not row.to_read]
        known = {(scope.kind, scope.name): scope.id for scope in scopes.find(connection)} if homeless else {}
    homes: dict[int, int] = {}
    for row in homeless:
        place = folders[row.folder]
        scope_id = known.get((place.kind, place.set_of(row.path, row.folder)))
        if scope_id is not None:
            homes[row.id] = scope_id
    arrivals.give_homes(database, homes)
    return set(homes.values())
