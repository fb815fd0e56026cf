"""Elections: which of the files of an exposure counts.

The same content under two paths is one exposure: the shortest path counts, then the one that sorts first.  The same
exposure under other bytes (compressed, an edited header) is one exposure too: the file changed last counts.  Both rules
look at the set of files that are there, never at the order in which they came.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, bindparam, select, update

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.schema import frame, path

T = TypeVar("T")
_CHUNK = 500  # bound parameters a statement: SQLite allows 32,766
VANISHED_DOUBLE = "vanished; the same exposure lives on under another name"


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
    likeness: str = ""  # the identity without what the pixels tell; "" = the identity
    pixels: str = ""  # hash of the pixel values, where it was needed
    scope_name: str = ""  # the night; "" when it is not known
    scope_instrument: str = ""  # of a file that is no frame; a frame's header says it
    scope_kind: str = "night"
    ctime_ns: int = 0  # change time of the bytes that were hashed; 0: not known


def header_hash(header: FrameHeader) -> str:
    """Short hash of the normalised header values: a part of every fingerprint that uses the frame."""
    return hashlib.sha256(header.canonical().encode()).hexdigest()[:32]


def header_values(sha256: str, header: FrameHeader) -> dict[str, object]:
    """The columns of a frame that its header fills."""
    return {"sha256": sha256, "kind": header.kind, "header": header.canonical(), "header_hash": header_hash(header)}


def in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """The different items, in their order, as many at a time as a statement may bind."""
    every = list(dict.fromkeys(items))
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]


def elect(connection: Connection, frame_ids: Iterable[int], now: str, readings: Mapping[int, Reading] | None = None) -> set[int]:
    """Choose the path that counts for each exposure and set the others aside; the scopes in which another one counts now.

    ``readings`` are what was just read, by path id; where another file counts now, it is read again.
    """
    paths_of: dict[int, list[Row[Any]]] = defaultdict(list)
    columns = (path.c.id, path.c.frame_id, path.c.path, path.c.folder, path.c.sha256, path.c.mtime_ns, path.c.vanished, path.c.state)
    frames: list[Row[Any]] = []
    for some in in_chunks(sorted(frame_ids)):
        for row in connection.execute(select(*columns, path.c.reason, path.c.scope_id).where(path.c.frame_id.in_(some))):
            paths_of[row.frame_id].append(row)
        of_frame = (frame.c.id, frame.c.sha256, frame.c.path_id, frame.c.scope_id, frame.c.header_hash)
        frames += connection.execute(select(*of_frame).where(frame.c.id.in_(some)))
    election = _Election(readings or {}, now)
    for mine in frames:
        election.hold(mine, paths_of[mine.id])
    election.write(connection)
    return election.touched


class _Election:
    """The changes that elections ask for, written together."""

    def __init__(self, readings: Mapping[int, Reading], now: str) -> None:
        self._readings = readings
        self._now = now
        self._states: list[dict[str, object]] = []
        self._frames: list[dict[str, object]] = []
        self._headers: list[dict[str, object]] = []
        self._read_again: list[int] = []
        self.touched: set[int] = set()

    def hold(self, mine: Row[Any], rows: Sequence[Row[Any]]) -> None:
        """Choose among the paths of one exposure."""
        present = [row for row in rows if not row.vanished] or list(rows)
        if not present:
            # Its only file was overwritten by another exposure: nothing is left to read.
            if mine.path_id:
                self._move(mine, 0, mine.scope_id)
            return
        winner = _winner(present)
        for row in rows:
            if row.id != winner.id:
                self._set_aside(row, winner)
        if winner.state == "set_aside":
            self._state(winner, "waiting", "took over from a file that vanished" if winner.reason.startswith("duplicate") else "")
        scope_id = self._take_header(mine, winner)
        if (winner.id, scope_id) != (mine.path_id, mine.scope_id):
            self._move(mine, winner.id, scope_id)

    def _move(self, mine: Row[Any], path_id: int, scope_id: int) -> None:
        self._frames.append({"b_id": mine.id, "b_path_id": path_id, "b_scope_id": scope_id})
        self.touched |= {mine.scope_id, scope_id}

    def _take_header(self, mine: Row[Any], winner: Row[Any]) -> int:
        """The frame takes the header of the file that counts, if it was just read; the scope that the frame belongs to."""
        reading = self._readings.get(winner.id)
        if reading is None or reading.header is None:
            if winner.sha256 != mine.sha256:
                self._read_again.append(winner.id)
                self.touched.add(mine.scope_id)
            return int(mine.scope_id)
        values = header_values(reading.sha256, reading.header)
        if (values["sha256"], values["header_hash"]) != (mine.sha256, mine.header_hash):
            self._headers.append({"b_id": mine.id, **{f"b_{name}": value for name, value in values.items()}})
            self.touched.add(mine.scope_id)
        return int(winner.scope_id)

    def _set_aside(self, row: Row[Any], winner: Row[Any]) -> None:
        if row.vanished:
            self._state(row, "set_aside", VANISHED_DOUBLE)
            return
        name = winner.path.decode("utf-8", "backslashreplace")
        if winner.folder == row.folder:  # of another watched folder it may be the same name below it
            name = name.removeprefix(winner.folder.rstrip("/") + "/")
        same = row.sha256 == winner.sha256
        self._state(
            row,
            "set_aside",
            f"duplicate: the same bytes as {name}" if same else f"duplicate: the same exposure as {name}, which was changed later",
        )

    def _state(self, row: Row[Any], state: str, reason: str) -> None:
        if (row.state, row.reason) != (state, reason):
            self._states.append({"b_id": row.id, "b_state": state, "b_reason": reason, "b_changed_at": self._now})

    def write(self, connection: Connection) -> None:
        """Write what changed, a statement for each kind of change."""
        for table, rows in ((path, self._states), (frame, self._frames), (frame, self._headers)):
            if rows:
                names = [name.removeprefix("b_") for name in rows[0] if name != "b_id"]
                statement = update(table).where(table.c.id == bindparam("b_id"))
                connection.execute(statement.values({name: bindparam(f"b_{name}") for name in names}), rows)
        for some in in_chunks(self._read_again):
            connection.execute(update(path).where(path.c.id.in_(some)).values(to_read=True))


def _winner(rows: Sequence[Row[Any]]) -> Row[Any]:
    """The newest content, and of its paths the shortest, then the first.

    A compressed copy bears its original's time: then the shorter name decides, too.
    """
    newest_ns = max(row.mtime_ns for row in rows)
    newest = min((row for row in rows if row.mtime_ns == newest_ns), key=lambda row: (len(row.path), row.path))
    return min((row for row in rows if row.sha256 == newest.sha256), key=lambda row: (len(row.path), row.path))
