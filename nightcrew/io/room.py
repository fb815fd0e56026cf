"""How much room a disk has, in words that a person can act on: how much, how much is kept free, and where."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nightcrew.io.patience import answers
from nightcrew.settings import Settings

ANSWER_S = 5.0  # how long a disk is waited for
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True, slots=True)
class Room:
    """Free space of the disk that holds (or will hold) a folder, and the reserve that is left alone."""

    place: Path
    free: int
    reserve: int

    @property
    def enough(self) -> bool:
        """May something be started?"""
        return self.free >= self.reserve

    @property
    def words(self) -> str:
        """``1.6 MB free at /data/products, the reserve is 2.0 GB``."""
        return f"{shown_bytes(self.free)} free at {self.place}, the reserve is {shown_bytes(self.reserve)}"


def room_of(root: Path, reserve: int) -> Room:
    """Room for ``root``, which need not exist yet.

    Raises
    ------
    OSError
        The disk cannot be asked.
    """
    place = root
    while not place.exists():
        place = place.parent
    return Room(place, shutil.disk_usage(place).free, reserve)


def tightest(settings: Settings) -> Room:
    """The room of that disk which the service writes to (products, pages, state with its ledgers) that has the least.

    Raises
    ------
    OSError
        A disk cannot be asked, or does not answer (a share whose server is gone).
    """
    roots = (settings.products.root, settings.state.root, settings.reports.root)
    given = answers({root: partial(room_of, root, settings.limits.disk_reserve_bytes) for root in roots}, ANSWER_S)
    rooms: list[Room] = []
    for root in roots:
        one = given.get(root)
        if one is None:
            raise TimeoutError(errno.ETIMEDOUT, "does not answer", str(root))
        if isinstance(one, Exception):
            raise one
        rooms.append(one)
    return min(rooms, key=lambda room: room.free)


def shown_bytes(count: int) -> str:
    """``2.0 GB``, ``1.6 MB``, ``12 bytes``: a number of bytes with the unit that it is read in best."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
