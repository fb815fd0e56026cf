"""The parts of an image product: one plane's place in the file, its stored form, its sums and its cards."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nightcrew.frames.flags import DESCRIPTIONS
from nightcrew.io import checksum
from nightcrew.io.cardtext import Card, format_card, header_block
from nightcrew.io.headers import BLOCK

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SLAB_BYTES = 1 << 18  # swapped at a time: stays in the cache
BITPIX = {"f4": -32, "u2": 16, "i4": 32, "u1": 8}


class Plane:
    """One image HDU in the making: where it lies in the file, the sum of its data, the rows that are there."""

    def __init__(self, name: str, code: str, shape: tuple[int, int], header_offset: int, header_size: int) -> None:
        self.name, self.code, self.shape = name, code, shape
        self.header_offset, self.header_size = header_offset, header_size
        self.data_offset = header_offset + header_size
        self.data_size = shape[0] * shape[1] * np.dtype(code).itemsize
        self.end_offset = self.data_offset + -(-self.data_size // BLOCK) * BLOCK
        self.sum = 0
        self.rows_missing = np.ones(shape[0], bool)

    def pack(self, rows: Array, first_pixel: int, room: Bytes) -> tuple[memoryview, int]:
        """``rows`` as they lie in the file (big-endian, unsigned by the BZERO convention), and the exact sum of the 32-bit words there.

        ``room`` has at least as many bytes; where the kernel does the work the bytes are there.
        """
        from nightcrew.calibration.kernels.store import store

        out = room[: rows.nbytes]
        total = store(rows, first_pixel, out)
        if total is not None:
            return out.data, total
        return self.stored(rows).data.cast("B"), self.sum_of(rows, first_pixel)

    def sum_of(self, rows: Array, first_pixel: int) -> int:
        """Exact sum of the 32-bit words that ``rows`` add to the stored data."""
        if self.code in ("f4", "i4"):
            return checksum.sum_words(rows.view(np.uint32))
        if self.code == "u2":
            return checksum.sum_halves(rows ^ np.uint16(0x8000), first_pixel)
        flat = rows.reshape(-1)
        weights = 8 * (3 - (first_pixel + np.arange(4)) % 4)
        return sum(int(flat[k::4].sum(dtype=np.uint64)) << int(weights[k]) for k in range(4))

    def stored(self, rows: Array) -> Array:
        """The rows as they lie in the file: big-endian, unsigned by the BZERO convention."""
        if self.code == "u2":
            return (rows ^ np.uint16(0x8000)).astype(">u2")
        return rows.astype(f">{self.code}")


def summed_header(cards: list[str], data_sum: int, room: int) -> bytes:
    """The header with its DATASUM and CHECKSUM, the last two of ``cards``."""
    datasum = checksum.fold(data_sum)
    body = [*cards[:-2], format_card("DATASUM", str(datasum), "data unit checksum")]
    total = checksum.sum_bytes(header_block([*body, cards[-1]], room_for_cards=room)) + datasum
    return header_block([*body, format_card("CHECKSUM", checksum.encode(checksum.fold(total)), "HDU checksum")], room_for_cards=room)


def plane_cards(name: str, unit: str) -> list[Card]:
    """The cards that say what a standard plane holds."""
    if name == "MASK":
        return [(f"BIT{flag.bit_length() - 1:02d}", (flag.name or "").lower(), text) for flag, text in DESCRIPTIONS.items()]
    if name == "UNCERT":
        return [("UTYPE", "StdDevUncertainty", "one standard deviation"), ("BUNIT", unit, "")]
    return [("BUNIT", unit, "")] if name == "SCI" else []


def pwrite_all(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of ``view`` at ``offset``."""
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_CALLS: dict[str, tuple[Any, ...]] = {
    "sync_file_range": (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint),
    "fallocate": (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64),
}


@lru_cache(maxsize=2)
def _linux(name: str) -> Any:
    """Linux's call of that name, None elsewhere."""
    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is not None:
        call.argtypes = _CALLS[name]
    return call


def reserve(descriptor: int, size: int) -> None:
    """Take room for a file of ``size`` bytes before it is written: a full disk shows at once, and writing costs a third less.

    Raises the system's OSError where there is no room; a file system that cannot reserve is none the worse.
    """
    call = _linux("fallocate")
    if call is None or size <= 0 or call(descriptor, 0, 0, size) == 0:
        return
    code = ctypes.get_errno()
    if code in _NO_ROOM:
        raise OSError(code, os.strerror(code))


def start_writeback(descriptor: int, offset: int, size: int) -> None:
    """Ask the kernel to begin writing these bytes to disk, so that the fsync at the end has little left to wait for.

    A hint: it promises nothing, and a file system that does not know it is none the worse.
    """
    call = _linux("sync_file_range")
    if call is not None and size > 0:
        call(descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


def sha256_of(descriptor: int, size: int) -> str:
    """SHA-256 of the first ``size`` bytes of an open file."""
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    offset = 0
    while offset < size and (got := os.preadv(descriptor, [view], offset)):
        digest.update(view[:got])
        offset += got
    return digest.hexdigest()
