"""One sequence of names over a night: what each file would be called, decided before anything is touched.

Pure: paths and header cards in, moves out.  :mod:`nightcrew.tools.journal` carries them out and takes them back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from nightcrew.errors import Refused
from nightcrew.tools.inputs import COMPRESSED_ENDINGS
from nightcrew.tools.times import DATE_KEYS, day_of, number_of, parse_time, start_time

_KEPT_ENDINGS = (*COMPRESSED_ENDINGS, ".fz")

_TYPE_RANK = {"number": 0, "date": 1, "text": 2, "missing": 3}
SortValue = tuple[int, int | float | datetime | str]


@dataclass(frozen=True, slots=True)
class NamedCards:
    """A file and the cards of its header."""

    path: Path
    cards: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Move:
    """One renaming."""

    old: Path
    new: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """How the names are made.

    ``root`` "" stands for ``YYYYMMDD.`` of the earliest frame (``nodate.`` when no frame has a date); ``days`` says which day that is
    (``ut``, ``local``, ``night``).  ``into`` ``None`` leaves every file in its folder.
    """

    root: str = ""
    tail: str = ".fit"
    sort: tuple[str, ...] = ("DATE-OBS",)
    start: int = 1
    days: str = "ut"
    zone: tzinfo | None = None
    into: Path | None = None


def plan_names(frames: Sequence[NamedCards], naming: Naming) -> tuple[Move, ...]:
    """The moves that give ``frames`` one sequence of names, in sequence order; files that keep their name are part of it.

    Name = root + number (4 digits, more when there are more frames) + tail.  A compressed file keeps its ``.gz``, ``.bz2``, ``.Z``
    or ``.fz`` behind the tail.  Frames are sorted by every key in turn, stably; frames that lack a key come last.
    :class:`Refused` when a name is impossible, or exists already as a file that is not itself moved away.
    """
    if not frames:
        raise Refused("no frame is left to be renamed")
    for part, name in ((naming.root, "root"), (naming.tail, "tail")):
        if "/" in part or "\0" in part:
            raise Refused(f"the {name} '{part}' must not name a folder: use --into for that")
    ordered = sort_frames(frames, naming.sort)
    root = naming.root or default_root(frames, naming.days, naming.zone)
    last = naming.start + len(ordered) - 1
    digits = max(4, len(str(last)))
    moves = tuple(
        Move(frame.path, (naming.into or frame.path.parent) / f"{root}{number:0{digits}d}{_tail(naming.tail, frame.path.name)}")
        for number, frame in enumerate(ordered, naming.start)
    )
    _refuse_taken(moves)
    return moves


def sort_frames(frames: Sequence[NamedCards], keys: Sequence[str]) -> list[NamedCards]:
    """``frames`` sorted by all ``keys`` (upper or lower case), the first weighing most; equal frames keep their order."""
    if not keys:
        raise Refused("no keyword to sort by is named")
    columns = [sort_column([_value(frame, key) for frame in frames]) for key in keys]
    order = sorted(range(len(frames)), key=lambda i: tuple(column[i] for column in columns))
    return [frames[i] for i in order]


def sort_column(values: Sequence[object]) -> list[SortValue]:
    """Sortable values, typed over the whole column: dates when every string is a date, numbers before text, missing ones last.

    Strings count as numbers only where every value of the column is one (``'060.00'``), so ``'10'`` beside ``'M 31'`` stays text.
    """
    present = [value for value in values if value is not None and value != ""]
    numeric = all(number_of(value) is not None or isinstance(value, bool) for value in present)
    dates = all(isinstance(value, datetime) or parse_time(value) is not None for value in present)
    return [_sort_value(value, numeric=numeric, dates=dates) for value in values]


def default_root(frames: Sequence[NamedCards], days: str, zone: tzinfo | None) -> str:
    """``YYYYMMDD.`` of the earliest frame (not of the first in the alphabet), ``nodate.`` when no frame tells its date."""
    starts = [start for start in (start_time(frame.cards) for frame in frames) if start is not None]
    return f"{day_of(min(starts), days, zone):%Y%m%d}." if starts else "nodate."


def name_key(path: Path) -> Path:
    """A name as such: its folder resolved, the last part not (it may be a link, which is renamed itself)."""
    return path.parent.resolve() / path.name


def _value(frame: NamedCards, key: str) -> object:
    name = key.strip().upper()
    if name in ("FILENAME", "FILE"):
        return frame.path.name
    return start_time(frame.cards) if name in DATE_KEYS[:-1] else frame.cards.get(name)


def _sort_value(value: object, *, numeric: bool, dates: bool) -> SortValue:
    if value is None or value == "":
        return _TYPE_RANK["missing"], 0
    if isinstance(value, bool | int):
        return _TYPE_RANK["number"], int(value)
    if isinstance(value, float):
        return (_TYPE_RANK["number"], value) if value == value else (_TYPE_RANK["missing"], 0)  # noqa: PLR0124 (NaN has no place)
    moment = value if isinstance(value, datetime) else parse_time(value) if dates else None
    if moment is not None:
        return _TYPE_RANK["date"], moment
    number = number_of(value) if numeric else None
    return (_TYPE_RANK["number"], number) if number is not None else (_TYPE_RANK["text"], str(value))


def _tail(tail: str, name: str) -> str:
    """``tail``, followed by the ending that says how the file is compressed."""
    ending = next((kept for kept in _KEPT_ENDINGS if name.endswith(kept)), "")
    return tail if tail.endswith(ending) else tail + ending


def _refuse_taken(moves: Sequence[Move]) -> None:
    leaving = {name_key(move.old) for move in moves}
    targets: set[Path] = set()
    for move in moves:
        if name_key(move.new) in targets:
            raise Refused(f"two files would be called {move.new}: choose another root or tail")
        targets.add(name_key(move.new))
    taken = [move.new for move in moves if os.path.lexists(move.new) and name_key(move.new) not in leaving]
    if taken:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise Refused(f"{taken[0]} exists already{more}: nothing was renamed; choose another root (-o) or --start")
