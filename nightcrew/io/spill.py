"""Decoded tiles between two ranges of rows: small ones stay in memory, up to an amount for the whole process; others go to a file."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from nightcrew.errors import TransientError
from nightcrew.io.planes import pwrite_all

Array = npt.NDArray[Any]

MOST_OF_ONE = 1 << 20  # bytes that one open image may keep in memory
MOST_OF_ALL = 32 << 20  # and all that are open together, however many there are


class _Room:
    """Memory that is handed out."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.RLock()  # a finaliser may give back while this thread is taking

    def take(self, owner: object, size: int) -> weakref.finalize[..., object] | None:
        """What gives ``size`` bytes back when it is called or ``owner`` is gone; None where there is no room."""
        with self._lock:
            if size > min(self._left, MOST_OF_ONE):
                return None
            self._left -= size
        back = weakref.finalize(owner, self._give, size)
        back.atexit = False
        return back

    def _give(self, size: int) -> None:
        with self._lock:
            self._left += size


ROOM = _Room(MOST_OF_ALL)


class SpilledTiles:
    """Decoded tiles in an unnamed file of the folder for temporary files: it is gone with the process, however that ends.

    Each tile has its own place, so that it is decoded once whatever the order of rows and threads.  Raises
    :class:`TransientError` where the folder cannot take them.
    """

    def __init__(self, name: str, n_tiles: int, tile_bytes: int) -> None:
        self._name = name
        self._tile_bytes = tile_bytes
        self._there = np.zeros(n_tiles, bool)
        self._descriptor = -1
        self._shut: weakref.finalize[..., object] | None = None

    def holds(self, number: int) -> bool:
        """Whether the tile is there."""
        return bool(self._there[number])

    def put(self, number: int, pixels: Array) -> None:
        """Write a tile (contiguous, in native byte order)."""
        try:
            if self._shut is None:
                file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as this object is there
                self._descriptor, self._shut = file.fileno(), weakref.finalize(self, file.close)
            pwrite_all(self._descriptor, pixels.reshape(-1).view(np.uint8).data, number * self._tile_bytes)
        except OSError as error:
            raise TransientError(f"{self._name}: its tiles cannot be put into the folder for temporary files ({error.strerror})") from error
        self._there[number] = True

    def take(self, number: int, first_byte: int, out: Array) -> None:
        """Fill the contiguous ``out`` from ``first_byte`` of a tile on."""
        view, offset = out.reshape(-1).view(np.uint8).data, number * self._tile_bytes + first_byte
        while view:
            got = 0 if self._shut is None else os.preadv(self._descriptor, [view], offset)
            if not got:
                raise TransientError(f"{self._name}: its decoded tiles are no longer in the folder for temporary files")
            view, offset = view[got:], offset + got

    def close(self) -> None:
        """Give the room on the disk back."""
        self._there[:] = False
        if self._shut is not None:
            self._shut()
            self._shut, self._descriptor = None, -1
