"""From arrivals to frames: hash, read the header, normalise it, and decide what became of the file.

Every path that goes in comes out as a reading: a frame, a rejection, or a file set aside, each with its sentence.
One bad file never stops its neighbours; a file that changes while it is read is simply read again later.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.frames.identity import exposure_identity
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import Profile, choose_profile
from nightcrew.frames.site import Site
from nightcrew.io.headers import HeaderValue, read_hdus
from nightcrew.io.images import ImageFile
from nightcrew.io.structure import Structure, check, sha256_file
from nightcrew.ledger import arrivals, exposures
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.database import Database
from nightcrew.ledger.exposures import Reading
from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.snapshot import frames_of

UNDATED = "undated"
LOSSY = "lossy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What ingest needs to know of the configuration."""

    profiles: Mapping[str, Profile]
    site: Site
    instruments: Mapping[str, str]  # watched folder -> profile name or "auto"
    max_file_bytes: int = 8_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What one ingest run did."""

    files: int
    frames: int
    rejected: int
    set_aside: int
    again: int
    scopes: frozenset[int]


def read_arrival(row: PathRow, door: Door) -> Reading:
    """Read one arrival.

    Raises
    ------
    TransientError
        The file changed, vanished or could not be opened just now: it stays an arrival.
    """
    path = Path(os.fsdecode(row.path))
    structure = check(path, max_bytes=door.max_file_bytes)
    stat = sha256_file(path)
    base = Reading(path_id=row.id, size=stat.size, mtime_ns=stat.mtime_ns, sha256=stat.sha256)
    if structure.kind not in ("fits",):
        return _foreign(base, structure)
    try:
        profile = choose_profile(structure.hdus, door.profiles, _wanted(door, row.folder))
        header = normalise(structure.hdus, str(path), profile, door.site, None)
    except RejectedInput as error:
        return replace(base, kind="rejected", state="rejected", reason=structure.reason or str(error))
    night = header.night or UNDATED
    if not structure.complete:
        return replace(base, kind=header.kind, state="rejected", reason=structure.reason, scope_name="", identity="")
    if structure.note:
        header = replace(header, notes=(*header.notes, structure.note))
    return replace(base, kind=header.kind, header=header, identity=exposure_identity(header, stat.sha256), scope_name=night)


def _wanted(door: Door, folder: str) -> str | None:
    name = door.instruments.get(folder, "auto")
    return None if name == "auto" else name


def _foreign(base: Reading, structure: Structure) -> Reading:
    if structure.kind == "foreign" and not structure.damaged:
        return replace(base, kind="foreign", state="set_aside", reason=structure.reason or "not a file that Nightcrew reads")
    return replace(base, kind=structure.kind, state="rejected", reason=structure.reason or f"files of kind {structure.kind} are not frames")


def ingest_batch(database: Database, door: Door, limit: int) -> Ingested:
    """Ingest up to ``limit`` arrivals; files that must be tried again stay arrivals."""
    with database.read() as connection:
        rows = arrivals.to_read(connection, limit)
    readings: list[Reading] = []
    again = 0
    for row in rows:
        try:
            readings.append(read_arrival(row, door))
        except FileNotFoundError:
            readings.append(
                Reading(path_id=row.id, size=row.size, mtime_ns=row.mtime_ns, state="set_aside", reason="vanished before it was read")
            )
        except TransientError:
            again += 1
    scopes = exposures.store(database, _tell_apart(database, readings))
    scopes |= arrivals.adopt_scopeless(database)
    return Ingested(
        files=len(rows),
        frames=sum(r.header is not None for r in readings),
        rejected=sum(r.state == "rejected" for r in readings),
        set_aside=sum(r.state == "set_aside" for r in readings),
        again=again,
        scopes=frozenset(scopes),
    )


def _tell_apart(database: Database, readings: Sequence[Reading]) -> list[Reading]:
    """Give frames that only seem to be one exposure identities of their own.

    Camera, start, exposure time and kind agree for the frames of a fast series whose start is written to the second,
    and for those of a camera whose clock stands still.  Then the pixels decide: equal pixels are one exposure under
    other bytes, other pixels another exposure -- unless one file is compressed with loss.
    """
    with database.read() as connection:
        known = exposures.identities(connection, [r.identity for r in readings if r.identity])
        paths = arrivals.paths_by_id(connection, [r.path_id for r in readings])
    together: dict[str, list[int]] = defaultdict(list)
    for place, reading in enumerate(readings):
        if reading.identity:
            together[reading.identity].append(place)
    result = list(readings)
    for identity, places in together.items():
        hashes = {readings[p].sha256 for p in places} | ({known[identity][1]} if identity in known else set())
        if len(hashes) == 1:
            continue
        pixels = {p: _pixel_hash(paths[readings[p].path_id]) for p in places}
        before = _pixel_hash(known[identity][2]) if identity in known else ""
        if len({*pixels.values(), before} - {"", LOSSY}) <= 1:
            continue
        for p in places:
            result[p] = replace(readings[p], identity=f"{identity}#{pixels[p]}")
        if before:
            exposures.rename_identity(database, known[identity][0], f"{identity}#{before}")
    return result


def _pixel_hash(path: bytes) -> str:
    """Hash of the pixel values, whatever bytes hold them; of the file where the pixels cannot be read."""
    name = Path(os.fsdecode(path))
    try:
        with ImageFile(name) as image:
            if _is_lossy(image.hdu.cards):
                return LOSSY
            pixels = image.read()
    except (RejectedInput, TransientError, OSError):
        return hashlib.sha256(path).hexdigest()[:16]
    return hashlib.sha256(pixels.dtype.str.encode() + str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


def _is_lossy(cards: Mapping[str, HeaderValue]) -> bool:
    """Tile compression that does not give the same pixels back: quantised floats, or H-compress with a scale."""
    if "ZQUANTIZ" in cards and cards["ZQUANTIZ"] not in (None, "NONE", "NO_QUANTIZE"):
        return True
    return str(cards.get("ZCMPTYPE", "")).startswith("HCOMPRESS") and cards.get("ZVAL1") not in (None, 0, 0.0)


def renormalise(database: Database, door: Door, scope_ids: Sequence[int]) -> set[int]:
    """Read the headers of known frames anew with the profiles of now; the scopes in which a value changed.

    The pixels are not touched; a frame whose file is gone or changed keeps its values.
    """
    touched: set[int] = set()
    for scope_id in scope_ids:
        with database.read() as connection:
            frames = frames_of(connection, scope_id)
            folders = arrivals.folders_of_scope(connection, scope_id)
        for frame in frames:
            header = _read_again(frame, folders.get(frame.path, ""), door)
            if header is not None and exposures.header_hash(header) != frame.header_hash:
                with database.write() as connection:
                    touched |= exposures.replace_header(connection, frame.id, header, database.now())
    return touched


def _read_again(frame: FrameRow, folder: str, door: Door) -> FrameHeader | None:
    path = Path(os.fsdecode(frame.path))
    try:
        hdus = read_hdus(path)
        profile = choose_profile(hdus, door.profiles, _wanted(door, folder))
        header = normalise(hdus, str(path), profile, door.site, None)
    except (RejectedInput, TransientError, OSError):
        return None
    structure_notes = tuple(note for note in frame.header.notes if note not in header.notes and "padding" in note)
    return replace(header, notes=(*header.notes, *structure_notes))
