"""Exposures: from a path that was read to a frame, with the two identities (content, exposure) that keep doubles out.

The same content under two paths is one exposure: the shortest path counts, then the one that sorts first.  The same exposure under other
bytes (compressed, an edited header) is one exposure too: the file changed last counts.  Both rules look at the set of
files, never at the order in which they came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger import scopes
from nightcrew.ledger.database import Database, new_id
from nightcrew.ledger.schema import content, frame, path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What reading a path gave: a frame (``header``), or a state with its reason."""

    path_id: int
    size: int
    mtime_ns: int
    sha256: str = ""
    kind: str = ""
    state: str = "waiting"
    reason: str = ""
    header: FrameHeader | None = None
    identity: str = ""
    scope_name: str = ""  # the night; "" when it is not known
    scope_kind: str = "night"


def header_hash(header: FrameHeader) -> str:
    """Short hash of the normalised header values: a part of every fingerprint that uses the frame."""
    return hashlib.sha256(header.canonical().encode()).hexdigest()[:32]


def store(database: Database, readings: Sequence[Reading]) -> set[int]:
    """Write a batch of readings in one transaction; the ids of the scopes that must look again."""
    now = database.now()
    touched: set[int] = set()
    with database.write() as connection:
        for reading in readings:
            touched |= _store(connection, reading, now)
        scopes.arrived(connection, touched, now)
    return touched


def _store(connection: Connection, reading: Reading, now: str) -> set[int]:
    old = connection.execute(select(path.c.frame_id, path.c.folder).where(path.c.id == reading.path_id)).one()
    touched: set[int] = set()
    if reading.sha256 and connection.execute(select(content.c.sha256).where(content.c.sha256 == reading.sha256)).one_or_none() is None:
        connection.execute(insert(content).values(sha256=reading.sha256, size=reading.size, first_seen_at=now))
    values: dict[str, object] = {
        "size": reading.size,
        "mtime_ns": reading.mtime_ns,
        "sha256": reading.sha256,
        "kind": reading.kind,
        "state": reading.state,
        "reason": reading.reason,
        "to_read": False,
        "changed_at": now,
        "frame_id": None,
    }
    if reading.header is None:
        scope_id = scopes.ensure(connection, reading.scope_kind, reading.scope_name, reading.kind, now) if reading.scope_name else None
        connection.execute(update(path).where(path.c.id == reading.path_id).values(**values, scope_id=scope_id))
    else:
        scope_id = scopes.ensure(connection, reading.scope_kind, reading.scope_name, reading.header.instrument, now)
        frame_id = _frame(connection, reading, reading.header, scope_id, now)
        values["frame_id"] = frame_id
        connection.execute(update(path).where(path.c.id == reading.path_id).values(**values, scope_id=scope_id))
        touched |= _elect(connection, frame_id, {reading.path_id: reading.header}, now)
        touched.add(scope_id)
    if old.frame_id is not None and old.frame_id != values["frame_id"]:
        touched |= _elect(connection, old.frame_id, {}, now)
    return touched


def _frame(connection: Connection, reading: Reading, header: FrameHeader, scope_id: int, now: str) -> int:
    known = connection.execute(select(frame.c.id).where(frame.c.identity == reading.identity)).scalar_one_or_none()
    if known is not None:
        return int(known)
    return new_id(
        connection.execute(
            insert(frame).values(
                identity=reading.identity,
                scope_id=scope_id,
                sha256=reading.sha256,
                path_id=reading.path_id,
                kind=header.kind,
                header=header.canonical(),
                header_hash=header_hash(header),
                arrived_at=now,
            )
        )
    )


def _elect(connection: Connection, frame_id: int, headers: dict[int, FrameHeader], now: str) -> set[int]:
    """Choose the path that counts for an exposure and set the others aside; the scopes touched."""
    rows = connection.execute(
        select(path.c.id, path.c.path, path.c.sha256, path.c.mtime_ns, path.c.vanished, path.c.state, path.c.scope_id, path.c.folder).where(
            path.c.frame_id == frame_id
        )
    ).all()
    present = [row for row in rows if not row.vanished] or list(rows)
    mine = connection.execute(select(frame).where(frame.c.id == frame_id)).one()
    if not present:
        # Its only file was overwritten by another exposure: nothing is left to read.
        connection.execute(update(frame).where(frame.c.id == frame_id).values(path_id=0))
        return {mine.scope_id}
    newest = max(present, key=lambda row: (row.mtime_ns, row.sha256))
    winner = min((row for row in present if row.sha256 == newest.sha256), key=lambda row: (len(row.path), row.path))
    for row in present:
        if row.id != winner.id:
            same = row.sha256 == winner.sha256
            name = winner.path.decode("utf-8", "backslashreplace").removeprefix(winner.folder.rstrip("/") + "/")
            reason = f"duplicate: the same bytes as {name}" if same else f"duplicate: the same exposure as {name}, which was changed later"
            connection.execute(update(path).where(path.c.id == row.id).values(state="set_aside", reason=reason, changed_at=now))
    values: dict[str, object] = {"path_id": winner.id}
    if winner.id in headers:
        header = headers[winner.id]
        values |= {
            "sha256": winner.sha256,
            "header": header.canonical(),
            "header_hash": header_hash(header),
            "kind": header.kind,
            "scope_id": winner.scope_id,
        }
    elif winner.sha256 != mine.sha256:
        # The header of the file that now counts is not at hand: read it again.
        connection.execute(update(path).where(path.c.id == winner.id).values(to_read=True))
    connection.execute(update(frame).where(frame.c.id == frame_id).values(**values))
    if winner.state == "set_aside":
        connection.execute(update(path).where(path.c.id == winner.id).values(state="waiting", reason="", changed_at=now))
    return {mine.scope_id, winner.scope_id} - {None}


def identities(connection: Connection, wanted: Sequence[str]) -> dict[str, tuple[int, str, bytes]]:
    """Known exposures by identity: (frame id, content hash, path); asked before a transaction, to compare pixels."""
    rows = connection.execute(
        select(frame.c.identity, frame.c.id, frame.c.sha256, path.c.path)
        .join(path, path.c.id == frame.c.path_id)
        .where(frame.c.identity.in_(list(wanted)))
    )
    return {row.identity: (row.id, row.sha256, row.path) for row in rows}


def rename_identity(database: Database, frame_id: int, identity: str) -> None:
    """An exposure turned out to share its time with another one: its pixels become a part of its identity."""
    with database.write() as connection:
        connection.execute(update(frame).where(frame.c.id == frame_id).values(identity=identity))


def replace_header(connection: Connection, frame_id: int, header: FrameHeader, now: str) -> set[int]:
    """A mended profile reads the same bytes anew; the scopes that must look again (the night may change, too)."""
    old = int(connection.execute(select(frame.c.scope_id).where(frame.c.id == frame_id)).scalar_one())
    scope_id = scopes.ensure(connection, "night", header.night or "undated", header.instrument, now)
    values = {"header": header.canonical(), "header_hash": header_hash(header), "kind": header.kind, "scope_id": scope_id}
    connection.execute(update(frame).where(frame.c.id == frame_id).values(**values))
    connection.execute(update(path).where(path.c.frame_id == frame_id).values(scope_id=scope_id, kind=header.kind))
    scopes.mark(connection, {old, scope_id}, now)
    return {old, scope_id}
