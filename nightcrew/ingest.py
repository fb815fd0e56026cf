"""From arrivals to frames: hash, read the header, normalise it, and decide what became of the file.

Every path that goes in comes out as a reading: a frame, a rejection, or a file set aside, each with its sentence.
One bad file never stops its neighbours; a file that changes while it is read is simply read again later.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from nightcrew import failpoints
from nightcrew.errors import RejectedInput, TransientError
from nightcrew.frames.identity import exposure_identity
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import Profile, choose_profile
from nightcrew.frames.site import Site
from nightcrew.ingest_again import ANSWER_S, compare_doubted
from nightcrew.ingest_sets import SetFolder, adopt_set_files, set_reading
from nightcrew.io.headers import Hdu, is_wanted_image
from nightcrew.io.patience import SilentError, folders_of, silent_folders, while_they_answer
from nightcrew.io.sameness import is_unchanged
from nightcrew.io.source import shown
from nightcrew.io.structure import Structure, check, sha256_file
from nightcrew.ledger import arrivals, exposures, messages
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import Reading, header_hash
from nightcrew.ledger.scopes import UNDATED
from nightcrew.tell_apart import tell_apart

log = logging.getLogger(__name__)
_TOGETHER = 8  # files of a folder are read by one thread, one after the other: a thread for each would take longer than they do


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What ingest needs to know of the configuration."""

    profiles: Mapping[str, Profile]
    site: Site
    instruments: Mapping[str, str]  # watched folder -> profile name or "auto"
    max_file_bytes: int = 8_000_000_000
    threads: int = 2
    sets: Mapping[str, SetFolder] = field(default_factory=dict)  # watched folders of sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What one ingest run did; ``again`` are those of ``files`` and ``compared`` that could not be read now."""

    files: int
    frames: int
    rejected: int
    set_aside: int
    again: int
    scopes: frozenset[int]
    compared: int = 0  # known files whose change time moved


def read_arrival(row: PathRow, door: Door) -> Reading:
    """Read one arrival.

    Raises
    ------
    TransientError
        The file changed, vanished or could not be opened just now: it stays an arrival.
    """
    path = Path(os.fsdecode(row.path))
    try:
        seen = path.lstat()
    except OSError as error:
        raise TransientError(f"it cannot be looked at ({error.strerror})") from error
    if stat.S_ISLNK(seen.st_mode):  # put there after the watcher's look; the next sweep sets it aside
        raise TransientError("a symbolic link lies in its place; links are not followed")
    structure = check(path, max_bytes=door.max_file_bytes)
    read = sha256_file(path, seen)  # header and hash are of the same bytes, or it is read again
    if read.ctime_ns != seen.st_ctime_ns:
        structure = check(path, max_bytes=door.max_file_bytes)
    base = Reading(path_id=row.id, size=read.size, mtime_ns=read.mtime_ns, sha256=read.sha256, ctime_ns=read.ctime_ns)
    return _judged(base, structure, row, door)


def _of_row(row: PathRow, **values: Any) -> Reading:
    """A reading of the file that the ledger knows."""
    return Reading(path_id=row.id, size=row.size, mtime_ns=row.mtime_ns, ctime_ns=row.ctime_ns, **values)


def _judged(base: Reading, structure: Structure, row: PathRow, door: Door) -> Reading:
    """The frame that a file holds, or why it is none; a file of a set is no frame."""
    if row.folder in door.sets:
        return set_reading(base, _looked_into(structure, row, door), row, door.sets[row.folder])
    if structure.kind != "fits":
        return _foreign(base, structure)
    try:
        profile = choose_profile(structure.hdus, door.profiles, _wanted(door, row.folder))
        header = normalise(structure.hdus, os.fsdecode(row.path), profile, door.site, None)
    except RejectedInput as error:
        return replace(base, kind="rejected", state="rejected", reason=structure.reason or str(error))
    base = replace(base, kind=header.kind, scope_name=header.night or UNDATED, scope_instrument=header.instrument)
    if not structure.complete:
        return replace(base, state="rejected", reason=structure.reason)
    unusable = _unusable(Path(os.fsdecode(row.path)), structure.hdus[header.hdu], header, door)
    if unusable:
        return replace(base, state="rejected", reason=unusable)
    if structure.note:
        header = replace(header, notes=(*header.notes, structure.note))
    return replace(base, header=header, identity=exposure_identity(header, base.sha256), reason=arrivals.READ)


def _unusable(path: Path, hdu: Hdu, header: FrameHeader, door: Door) -> str:
    """Why the pixels of a frame cannot be used, whatever its header says; "" where nothing speaks against them."""
    from nightcrew.quality import byte_order, unwritten  # they load numpy, which those who only open a workspace do without

    swapped = byte_order.of_file(path, hdu, max_bytes=door.max_file_bytes)
    if swapped or header.kind not in ("bias", "dark", "flat", "light"):
        return swapped
    return unwritten.of_file(path, hdu, rows=header.trim and header.trim[2:], max_bytes=door.max_file_bytes)


def _looked_into(structure: Structure, row: PathRow, door: Door) -> Structure:
    """What is known of a file of a set, with pixels that were never written among what is damaged."""
    from nightcrew.quality import unwritten

    hdu = next((hdu for hdu in structure.hdus if is_wanted_image(hdu, None)), None)
    if hdu is None or not structure.complete:
        return structure
    reason = unwritten.of_file(Path(os.fsdecode(row.path)), hdu, raw=False, max_bytes=door.max_file_bytes)
    return replace(structure, complete=False, damaged=True, reason=reason) if reason else structure


def _wanted(door: Door, folder: str) -> str | None:
    name = door.instruments.get(folder, "auto")
    return None if name == "auto" else name


def _foreign(base: Reading, structure: Structure) -> Reading:
    if structure.kind == "foreign" and not structure.damaged:
        return replace(base, kind="foreign", state="set_aside", reason=structure.reason or "not a file that Nightcrew reads")
    return replace(base, kind=structure.kind, state="rejected", reason=structure.reason or f"files of kind {structure.kind} are not frames")


@dataclass(frozen=True, slots=True)
class _Postponed:
    """An arrival that could not be read now."""

    path_id: int
    reason: str


def _attempt(door: Door, row: PathRow) -> Reading | _Postponed:
    try:
        return read_arrival(row, door)
    except TransientError as error:
        return _Postponed(row.id, str(error))  # if it is gone the next sweep says so: a share may only be away for a moment
    except Exception as error:  # the one edge: a fault of ours with one file must not stop its neighbours, now or next time
        log.exception("%s", os.fsdecode(row.path))
        reason = f"a fault in Nightcrew while it was read: {type(error).__name__}: {error}"
        failed = _of_row(row, kind="rejected", state="rejected", reason=reason)
        place = door.sets.get(row.folder)  # a set's only file would be in no report otherwise
        return failed if place is None else replace(failed, scope_kind=place.kind, scope_name=place.set_of(row.path, row.folder))


def _attempt_some(door: Door, rows: Sequence[PathRow]) -> list[Reading | _Postponed]:
    """Read files of one folder for as long as it answers; what it then still owes is read later."""
    results: list[Reading | _Postponed] = []
    left_behind = threading.Event()

    def read() -> None:
        for row in rows:
            if not left_behind.is_set():
                results.append(_attempt(door, row))

    try:
        while_they_answer(read, folders_of(row.path for row in rows))
    except SilentError as error:
        left_behind.set()
        done = tuple(results)  # the file that holds it up may still be added
        return [*done, *(_Postponed(row.id, str(error)) for row in rows[len(done) :])]
    return results


def ingest_batch(database: Database, door: Door, limit: int) -> Ingested:
    """Ingest up to ``limit`` arrivals; files that must be tried again stay arrivals.

    Where fewer arrived, some of the known files whose change time moved are compared with what was read of them.
    """
    with database.read() as connection:
        rows = arrivals.to_read(connection, limit)
    silent = silent_folders({row.folder for row in rows}, ANSWER_S)  # whoever looked into one would wait for as long as it is away
    results: list[Reading | _Postponed] = [_Postponed(row.id, "its folder does not answer") for row in rows if row.folder in silent]
    results += _in_threads(door, [row for row in rows if row.folder not in silent])
    readings = [result for result in results if isinstance(result, Reading)]
    postponed = {result.path_id: result.reason for result in results if isinstance(result, _Postponed)}
    failpoints.reach("ingest.unrecorded")
    scopes = exposures.store(database, tell_apart(database, readings)) if readings else set()
    failpoints.reach("ingest.stored")
    arrivals.postpone(database, postponed)
    if rows:
        scopes |= arrivals.adopt_scopeless(database) | adopt_set_files(database, door.sets)
    compared, not_now = compare_doubted(database, limit - len(rows)) if len(rows) < limit else (0, 0)
    return Ingested(
        files=len(rows),
        frames=sum(r.header is not None for r in readings),
        rejected=sum(r.state == "rejected" for r in readings),
        set_aside=sum(r.state == "set_aside" for r in readings),
        again=len(postponed) + not_now,
        scopes=frozenset(scopes),
        compared=compared,
    )


def _in_threads(door: Door, rows: Sequence[PathRow]) -> list[Reading | _Postponed]:
    """Read files side by side: hashing and reading leave the interpreter to others."""
    pieces: list[Sequence[PathRow]] = []
    for _, of_folder in groupby(rows, lambda row: row.path.rpartition(b"/")[0]):
        members = list(of_folder)
        together = min(_TOGETHER, -(-len(members) // door.threads))
        pieces += [members[place : place + together] for place in range(0, len(members), together)]
    attempt = partial(_attempt_some, door)
    if door.threads < 2 or len(pieces) < 2:
        return list(chain.from_iterable(map(attempt, pieces)))
    with ThreadPoolExecutor(door.threads, thread_name_prefix="ingest") as pool:
        return list(chain.from_iterable(pool.map(attempt, pieces)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Renormalised:
    """Known files whose headers were read anew: the scopes in which something changed, and the files that could not be read now."""

    scopes: frozenset[int]
    unread: tuple[int, ...]  # path ids


def renormalise(database: Database, door: Door, scope_ids: Iterable[int], path_ids: Collection[int] | None = None) -> Renormalised:
    """Read the headers of known files anew with the profiles of now; of these scopes and of none, or only of ``path_ids`` among them.

    A frame may change its values, its night or the exposure that it is; a file that was rejected may become a frame, and
    the other way round.  The bytes are not hashed again: a file that is gone or changed keeps what the ledger says of it.
    One that cannot be read now keeps it, too, until it can; that is told.
    """
    with database.read() as connection:
        rows = [row for scope_id in scope_ids for row in arrivals.of_scope(connection, scope_id)]
        rows += arrivals.without_scope(connection)
        rows = [row for row in rows if row.folder not in door.sets]  # files of sets have no headers that a profile could mend
        rows = [row for row in rows if path_ids is None or row.id in path_ids]
        before = exposures.header_hashes(connection, [row.frame_id for row in rows if row.frame_id is not None])
    silent = silent_folders({row.folder for row in rows}, ANSWER_S)
    readings: list[Reading] = []
    unread: list[PathRow] = []
    for row in rows:
        try:
            reading = while_they_answer(partial(_read_again, row, door, before, silent), _raw_of(row, silent))
        except (TransientError, OSError):
            unread.append(row)
        else:
            readings += [reading] if reading is not None else []
    if path_ids is None:
        _tell(database, "warning", unread, "could not be read when a profile had changed, and keep the values of the earlier one")
    else:
        read = [row for row in rows if row not in unread]
        _tell(database, "info", read, "that could not be read when a profile had changed were read, and have its values")
    touched = exposures.store(database, tell_apart(database, readings), late=False) if readings else set()
    return Renormalised(scopes=frozenset(touched), unread=tuple(row.id for row in unread))


def _tell(database: Database, level: str, rows: Sequence[PathRow], what: str) -> None:
    by_scope: dict[int | None, list[PathRow]] = defaultdict(list)
    for row in rows:
        by_scope[row.scope_id].append(row)
    for scope_id, members in by_scope.items():
        files = "1 file" if len(members) == 1 else f"{len(members)} files"
        named = shown(members[0].path.decode(errors="surrogateescape"))
        messages.happened(database, "ingest", level, f"{files} {what}, such as {named}", scope_id)


def _raw_of(row: PathRow, silent: Collection[str]) -> dict[bytes, bytes]:
    """What is asked while a known file is read again: nothing where it is not opened at all."""
    return {} if row.vanished or row.folder in silent else folders_of([row.path])


def _read_again(row: PathRow, door: Door, before: Mapping[int, str], silent: Collection[str]) -> Reading | None:
    """What a file's header says now; None when that is nothing new, or when the file is not the one that the ledger knows.

    Raises ``TransientError`` or ``OSError`` when it cannot be read now.
    """
    was_frame = row.frame_id is not None
    if row.vanished or row.to_read or not row.sha256 or not (was_frame or row.state == "rejected"):
        return None
    if row.folder in silent:
        raise TransientError("its folder does not answer")
    path = Path(os.fsdecode(row.path))
    try:
        seen = path.lstat()
        if (seen.st_size, seen.st_mtime_ns) != (row.size, row.mtime_ns):
            return None
        structure = check(path, max_bytes=door.max_file_bytes)
        reading = _judged(_of_row(row, sha256=row.sha256), structure, row, door)
        if reading.header is None:
            new = was_frame or (reading.state, reading.reason) != (row.state, row.reason)
        else:
            new = row.frame_id is None or header_hash(reading.header) != before.get(row.frame_id)
        # Last, since it may take the whole file: a backup by hard links moves the change times of all that there is.
        return reading if new and is_unchanged(path, seen, row) else None
    except (FileNotFoundError, NotADirectoryError):
        return None  # moved or deleted: the watcher's to tell
