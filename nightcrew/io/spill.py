"""What was decoded, between two ranges of rows: small tiles stay in memory, up to an amount for the whole process; others go to a file.

So do whole frames that are opened anew for every range, where their rows cannot be decoded apart from each other.  What would leave too
little room for others on that disk (:mod:`nightcrew.io.spare`) is not put aside but decoded again each time.
"""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nightcrew.errors import TransientError
from nightcrew.io import spare
from nightcrew.io.planes import pwrite_all

if TYPE_CHECKING:
    from nightcrew.io.images import ImageFile

Array = npt.NDArray[Any]

MOST_OF_ONE = 1 << 20  # bytes that one open image may keep in memory
MOST_OF_ALL = 32 << 20  # and all that are open together, however many there are
STRIP = 1 << 22  # bytes of a frame that are decoded at a time


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


class UnnamedFile:
    """A file in the folder for temporary files that is gone with the process, however that ends; it is made at the first writing.

    Raises :class:`TransientError` where the folder cannot take what is written.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._descriptor = -1
        self._shut: weakref.finalize[..., object] | None = None

    def write(self, offset: int, pixels: Array) -> None:
        """Write a contiguous array, in native byte order."""
        try:
            if self._shut is None:
                file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as this object is there
                self._descriptor, self._shut = file.fileno(), weakref.finalize(self, file.close)
            pwrite_all(self._descriptor, pixels.reshape(-1).view(np.uint8).data, offset)
        except OSError as error:
            raise TransientError(
                f"{self._name}: decoded pixels cannot be put into the folder for temporary files ({error.strerror})"
            ) from error

    def cut(self, size: int) -> None:
        """Give back what lies beyond the first ``size`` bytes."""
        if self._shut is not None:
            os.ftruncate(self._descriptor, size)

    def read(self, offset: int, out: Array) -> None:
        """Fill the contiguous ``out``."""
        view = out.reshape(-1).view(np.uint8).data
        while view:
            got = 0 if self._shut is None else os.preadv(self._descriptor, [view], offset)
            if not got:
                raise TransientError(f"{self._name}: its decoded pixels are no longer in the folder for temporary files")
            view, offset = view[got:], offset + got

    def close(self) -> None:
        """Give the room on the disk back."""
        if self._shut is not None:
            self._shut()
            self._shut, self._descriptor = None, -1


class SpilledTiles:
    """Decoded tiles in an unnamed file.

    Each tile has its own place, so that it is decoded once whatever the order of rows and threads.  Raises
    :class:`TransientError` where the folder for temporary files cannot take them.
    """

    def __init__(self, name: str, n_tiles: int, tile_bytes: int) -> None:
        self._file = UnnamedFile(name)
        self._tile_bytes = tile_bytes
        self._there = np.zeros(n_tiles, bool)

    def holds(self, number: int) -> bool:
        """Whether the tile is there."""
        return bool(self._there[number])

    def put(self, number: int, pixels: Array) -> bool:
        """Write a tile (contiguous, in native byte order); False where there is no room to spare for it."""
        if spare.spare_bytes() < pixels.nbytes:
            return False
        self._file.write(number * self._tile_bytes, pixels)
        self._there[number] = True
        return True

    def take(self, number: int, first_byte: int, out: Array) -> None:
        """Fill the contiguous ``out`` from ``first_byte`` of a tile on."""
        self._file.read(number * self._tile_bytes + first_byte, out)

    def close(self) -> None:
        """Give the room on the disk back."""
        self._there[:] = False
        self._file.close()


class FramesAside:
    """Frames that are opened anew for every range of rows: what has to be decoded from its start is decoded once, into an unnamed file.

    Safe to share between threads.  Where the folder for temporary files cannot take them they are decoded again each time.
    """

    def __init__(self) -> None:
        self._file = UnnamedFile("many frames")
        self._places: dict[int, tuple[int, tuple[int, int], np.dtype[Any]]] = {}  # first byte, shape and type of each frame
        self._end = 0
        self._full = False
        self._lock = threading.Lock()

    def rows(self, number: int, path: Path, y0: int, y1: int) -> Array:
        """Values of the rows y0..y1 of frame ``number``, which is the image in ``path``; raises what :class:`ImageFile` raises."""
        from nightcrew.io.images import ImageFile

        if number not in self._places:
            with ImageFile(path) as image:
                if image.rows_apart or self._full or len(image.shape) != 2 or not self._keep(number, image):
                    return image.read_rows(y0, y1)
        first, (ny, nx), kind = self._places[number]
        if not 0 <= y0 <= y1 <= ny:
            raise ValueError(f"rows {y0}:{y1} lie outside {(ny, nx)}")
        out = np.empty((y1 - y0, nx), kind)
        self._file.read(first + y0 * nx * kind.itemsize, out)
        return out

    def _keep(self, number: int, image: ImageFile) -> bool:
        """Decode a frame into the file; False where there is no room for it."""
        size = image.shape[0] * image.shape[1] * image.value_type.itemsize
        with self._lock:
            if number in self._places:
                return True
            if self._full or spare.spare_bytes() < size:  # another thread may have found it full meanwhile
                self._full = True
                return False
            filled = False
            try:
                filled = self._fill(image)
            finally:
                if not filled:
                    self._file.cut(self._end)
            if not filled:
                self._full = True
                return False
            self._places[number] = self._end, (image.shape[0], image.shape[1]), image.value_type
            self._end += size
        return True

    def _fill(self, image: ImageFile) -> bool:
        """Write a frame behind the last one; False where the folder does not take it."""
        (ny, nx), bytes_each = image.shape, image.value_type.itemsize
        step = max(1, STRIP // (nx * bytes_each))
        for y0 in range(0, ny, step):
            strip = image.read_rows(y0, min(ny, y0 + step))
            try:
                self._file.write(self._end + y0 * nx * bytes_each, strip)
            except TransientError:
                return False
        return True

    def close(self) -> None:
        """Give the room on the disk back."""
        self._places.clear()
        self._file.close()
