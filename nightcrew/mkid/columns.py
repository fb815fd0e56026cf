"""Columns of a photon table in HDF5: chunked, compressed by us, readable by every HDF5.

Chunks are shuffled and deflated as HDF5's own filters do it, but by a matcher that looks for runs only, and bytes that are noise are stored
as they are.  On shuffled columns, whose upper bytes are constant and whose lower are noise, that is several times faster than level 1 and
no larger.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CHUNK_ROWS = 1 << 13
_LEVEL = 1
_MEMORY = 7  # codes for 8192 symbols at a time: each byte of the column has its own
_LOOK_ROWS = 512  # of which bytes are judged
_NOISE = 192  # different values among them, from which on nothing is gained by packing: even noise has 221
_HEADER, _STORED, _LAST_STORED = b"\x78\x01", b"\0", b"\1"  # of a zlib stream (RFC 1950) and of its blocks (RFC 1951)


class ColumnWriter:
    """Appends to one dataset.  Whole chunks are written at once; the rest waits for more, or for :meth:`close`."""

    def __init__(self, group: Any, name: str, dtype: DTypeLike, attributes: dict[str, object]) -> None:
        self._data = group.create_dataset(
            name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(CHUNK_ROWS,), shuffle=True, compression="gzip", compression_opts=_LEVEL
        )
        self._data.attrs.update(attributes)
        self._waiting: list[NDArray[Any]] = []
        self._n_waiting = 0
        self._written = 0

    def append(self, values: NDArray[Any]) -> None:
        """Add rows; ``values`` is kept until it is written."""
        self._waiting.append(values)
        self._n_waiting += values.size
        if self._n_waiting >= CHUNK_ROWS:
            self._write(self._n_waiting - self._n_waiting % CHUNK_ROWS)

    def close(self) -> None:
        """Write what waits."""
        self._write(self._n_waiting)

    def _write(self, count: int) -> None:
        rows = np.concatenate(self._waiting, dtype=self._data.dtype, casting="unsafe") if self._waiting else np.empty(0, self._data.dtype)
        self._data.resize((self._written + count,))
        noisy = noisy_bytes(rows[: min(count, _LOOK_ROWS)])
        for start in range(0, count, CHUNK_ROWS):
            self._data.id.write_direct_chunk((self._written + start,), packed(rows[start : min(start + CHUNK_ROWS, count)], noisy))
        self._written += count
        self._waiting = [rows[count:].copy()]
        self._n_waiting = rows.size - count


def noisy_bytes(rows: NDArray[Any]) -> int:
    """How many bytes of each value, from the lowest on, are noise; 0 where there are too few rows to tell."""
    if rows.size < _LOOK_ROWS:
        return 0
    planes = np.ascontiguousarray(rows).view(np.uint8).reshape(rows.size, -1).T
    noise = [bool(np.count_nonzero(np.bincount(plane)) >= _NOISE) for plane in planes]
    return [*noise, False].index(False)


def packed(rows: NDArray[Any], noisy: int) -> bytes:
    """A chunk, filled up with zeros: shuffled, its first ``noisy`` bytes of each value stored, the others deflated."""
    if rows.size < CHUNK_ROWS:
        rows = np.concatenate([rows, np.zeros(CHUNK_ROWS - rows.size, rows.dtype)])
    shuffled = np.ascontiguousarray(rows.view(np.uint8).reshape(-1, rows.itemsize).T)
    last = noisy == len(shuffled)
    parts = [_HEADER]
    for place in range(noisy):  # 8192 bytes: a stored block holds up to 65535
        kind = _LAST_STORED if last and place == noisy - 1 else _STORED
        parts += [kind, CHUNK_ROWS.to_bytes(2, "little"), (CHUNK_ROWS ^ 0xFFFF).to_bytes(2, "little"), shuffled[place].tobytes()]
    if not last:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
        parts += [packer.compress(shuffled[noisy:].data), packer.flush()]
    return b"".join([*parts, zlib.adler32(shuffled.data).to_bytes(4, "big")])
