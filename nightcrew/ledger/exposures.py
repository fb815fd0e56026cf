"""Exposures: from a path that was read to a frame, with the two identities (content, exposure) that keep doubles out.

The same content under two paths is one exposure, and the same exposure under other bytes (compressed, an edited header)
is one exposure too: ``nightcrew.ledger.elections`` says which file counts.  Statements are counted by batch, not by
file: five thousand files may come at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from nightcrew.ledger import scopes
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import Reading, elect, header_values, in_chunks
from nightcrew.ledger.schema import content, frame, path


def store(database: Database, readings: Sequence[Reading], *, late: bool = True) -> set[int]:
    """Write a batch of readings in one transaction; the ids of the scopes that must look again.

    ``late`` opens closed scopes again, since something arrived for them; without it the same files were only read anew.
    """
    now = database.now()
    with database.write() as connection:
        touched = _store(connection, readings, now)
        (scopes.arrived if late else scopes.mark)(connection, touched, now)
    return touched


def _store(connection: Connection, readings: Sequence[Reading], now: str) -> set[int]:
    before = _paths(connection, [r.path_id for r in readings])
    known = [r for r in readings if r.path_id in before]
    _add_contents(connection, known, now)
    places = _scopes_of(connection, known, now)
    frames = _frames_of(connection, known, places, now)
    rows = [_path_values(r, before[r.path_id], places[_place(r)], frames.get(r.identity), now) for r in known]
    if rows:
        connection.execute(_UPDATE_PATH, rows)
    headers = {r.path_id: r for r in known if r.header is not None}
    left = {row.frame_id for row in before.values() if row.frame_id is not None}
    touched = elect(connection, {*frames.values(), *left}, now, headers)
    return touched | {scope_id for scope_id in places.values() if scope_id is not None}


_COLUMNS = ("size", "mtime_ns", "ctime_ns", "sha256", "kind", "state", "reason", "to_read", "changed_at", "frame_id", "scope_id")
_UPDATE_PATH = update(path).where(path.c.id == bindparam("b_id")).values({name: bindparam(f"b_{name}") for name in _COLUMNS})


def _path_values(reading: Reading, before: Row[Any], scope_id: int | None, frame_id: int | None, now: str) -> dict[str, object]:
    # When what was recorded is not what was read, the file changed meanwhile: it stays an arrival and is read once more.
    as_recorded = (before.size, before.mtime_ns) == (reading.size, reading.mtime_ns)
    return {
        "b_id": reading.path_id,
        "b_size": reading.size,
        "b_mtime_ns": reading.mtime_ns,
        "b_ctime_ns": reading.ctime_ns,
        "b_sha256": reading.sha256,
        "b_kind": reading.kind,
        "b_state": reading.state,
        "b_reason": reading.reason,
        "b_to_read": not as_recorded,
        "b_changed_at": now,
        "b_frame_id": frame_id if reading.header is not None else None,
        "b_scope_id": scope_id,
    }


def _paths(connection: Connection, ids: Iterable[int]) -> dict[int, Row[Any]]:
    columns = (path.c.id, path.c.frame_id, path.c.size, path.c.mtime_ns)
    return {row.id: row for some in in_chunks(ids) for row in connection.execute(select(*columns).where(path.c.id.in_(some)))}


def _add_contents(connection: Connection, readings: Sequence[Reading], now: str) -> None:
    sizes = {r.sha256: r.size for r in readings if r.sha256}
    for some in in_chunks(sizes):
        known = set(connection.execute(select(content.c.sha256).where(content.c.sha256.in_(some))).scalars())
        fresh = [{"sha256": sha256, "size": sizes[sha256], "first_seen_at": now} for sha256 in some if sha256 not in known]
        if fresh:
            connection.execute(insert(content), fresh)


Place = tuple[str, str, str]


def _place(reading: Reading) -> Place:
    instrument = reading.header.instrument if reading.header is not None else reading.scope_instrument
    return (reading.scope_kind, reading.scope_name, instrument)


def _scopes_of(connection: Connection, readings: Sequence[Reading], now: str) -> dict[Place, int | None]:
    """The scope of each night and instrument, and of each set, made when new; None where a file tells none."""
    wanted = {_place(r) for r in readings}
    return {
        (kind, name, it): scopes.ensure(connection, kind, name, it, now) if name and (it or kind != "night") else None
        for kind, name, it in sorted(wanted)
    }


def _frames_of(connection: Connection, readings: Sequence[Reading], places: Mapping[Place, int | None], now: str) -> dict[str, int]:
    """Identity -> frame id, made when new."""
    wanted = {r.identity: r for r in reversed(readings) if r.header is not None}
    found: dict[str, int] = {}
    for some in in_chunks(wanted):
        known = _ids_by_identity(connection, some)
        fresh = [_new_frame(wanted[identity], places, now) for identity in some if identity not in known]
        if fresh:
            connection.execute(insert(frame), fresh)
            known = _ids_by_identity(connection, some)
        found |= known
    return found


def _ids_by_identity(connection: Connection, identities: list[str]) -> dict[str, int]:
    rows = connection.execute(select(frame.c.identity, frame.c.id).where(frame.c.identity.in_(identities)))
    return {row.identity: row.id for row in rows}


def _new_frame(reading: Reading, places: Mapping[Place, int | None], now: str) -> dict[str, object]:
    if reading.header is None:
        raise ValueError("a reading without a header makes no frame")
    return {
        "identity": reading.identity,
        "likeness": reading.likeness or reading.identity,
        "arrived_at": now,
        "path_id": reading.path_id,
        "scope_id": places[_place(reading)],
        "pixels": reading.pixels,
        **header_values(reading.sha256, reading.header),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """A known exposure whose camera, start, exposure time and kind agree with a new file's."""

    frame_id: int
    identity: str
    pixels: str  # hash of its pixel values, "" when it was never needed
    contents: frozenset[str]  # of every file that holds it
    paths: tuple[bytes, ...]  # of those that are there, the one that counts first


def alike(connection: Connection, likenesses: Iterable[str]) -> dict[str, list[Alike]]:
    """Known exposures by likeness, in the order of their identities; asked before a transaction, to compare pixels."""
    found: dict[str, list[Alike]] = defaultdict(list)
    columns = (frame.c.id, frame.c.likeness, frame.c.identity, frame.c.pixels, frame.c.path_id)
    for some in in_chunks(likenesses):
        rows = connection.execute(select(*columns).where(frame.c.likeness.in_(some)).order_by(frame.c.identity)).all()
        files: dict[int, list[Row[Any]]] = defaultdict(list)
        for few in in_chunks(row.id for row in rows):
            of_path = (path.c.id, path.c.frame_id, path.c.sha256, path.c.path, path.c.vanished)
            for row in connection.execute(select(*of_path).where(path.c.frame_id.in_(few)).order_by(path.c.path)):
                files[row.frame_id].append(row)
        for row in rows:
            there = [f for f in files[row.id] if not f.vanished]
            counts_first = [f.path for f in there if f.id == row.path_id] + [f.path for f in there if f.id != row.path_id]
            contents = frozenset(f.sha256 for f in files[row.id])
            found[row.likeness].append(
                Alike(frame_id=row.id, identity=row.identity, pixels=row.pixels, contents=contents, paths=tuple(counts_first))
            )
    return found


def header_hashes(connection: Connection, frame_ids: Iterable[int]) -> dict[int, str]:
    """Frame id -> hash of its normalised header."""
    columns = (frame.c.id, frame.c.header_hash)
    return {
        row.id: row.header_hash for some in in_chunks(frame_ids) for row in connection.execute(select(*columns).where(frame.c.id.in_(some)))
    }


def remember_pixels(database: Database, pixels: Mapping[int, str]) -> None:
    """The pixel hashes of frames (by id) that had to be told from others: they need not be read again."""
    if pixels:
        statement = update(frame).where(frame.c.id == bindparam("b_id")).values(pixels=bindparam("b_pixels"))
        with database.write() as connection:
            connection.execute(statement, [{"b_id": frame_id, "b_pixels": value} for frame_id, value in sorted(pixels.items())])
