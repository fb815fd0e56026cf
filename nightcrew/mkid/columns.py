"""Columns of a photon table in HDF5: chunked, compressed by us, readable by every HDF5.

Chunks are shuffled and deflated as HDF5's own filters do it, but by a matcher that looks for runs only.  On shuffled columns, whose upper
bytes are constant and whose lower are noise, that is several times faster than level 1 and no larger.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CHUNK_ROWS = 1 << 13
_LEVEL = 1
_MEMORY = 7  # codes for 8192 symbols at a time: each byte of the column has its own


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
        for start in range(0, count, CHUNK_ROWS):
            self._data.id.write_direct_chunk((self._written + start,), self._packed(rows[start : min(start + CHUNK_ROWS, count)]))
        self._written += count
        self._waiting = [rows[count:].copy()]
        self._n_waiting = rows.size - count

    def _packed(self, rows: NDArray[Any]) -> bytes:
        if rows.size < CHUNK_ROWS:
            rows = np.concatenate([rows, np.zeros(CHUNK_ROWS - rows.size, rows.dtype)])
        shuffled = np.ascontiguousarray(rows.view(np.uint8).reshape(-1, rows.itemsize).T)
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY, zlib.Z_RLE)
        return packer.compress(shuffled.data) + packer.flush()
