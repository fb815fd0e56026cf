"""Tile-compressed images (FITS 4.0, section 10) by rows: only the tiles that a range needs are read and decoded."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nightcrew.io import tilecodecs
from nightcrew.io.headers import Hdu
from nightcrew.io.source import ByteSource
from nightcrew.io.spill import ROOM, SpilledTiles
from nightcrew.io.tilecodecs import DamagedTileError
from nightcrew.io.tiletable import TileTable

Array = npt.NDArray[Any]

_NATIVE = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}
_SPARSE = 1 << 16  # gaps in the heap that are read along rather than jumped over
_RUN = 1 << 20  # compressed bytes read at a time


class TileReader:
    """Rows of one tile-compressed image as stored numbers (before BSCALE and BZERO), in native byte order.

    Nothing that the table says is trusted: numbers of tiles, places in the heap and streams are checked before memory is
    taken.  Raises :class:`RejectedInput` naming what is wrong.  Safe to share between threads.

    A tile is decoded once for rows that are asked for in turn: decoded tiles are kept, in memory where they are small (see
    :mod:`nightcrew.io.spill`), so that many open images of one tile each take no more memory than a few.
    """

    def __init__(self, source: ByteSource, hdu: Hdu) -> None:
        self._source = source
        self._data_offset = hdu.data_offset
        self._table = TileTable(source, hdu)
        self.shape = hdu.shape
        self.tile, self.grid, self.codec = self._table.tile, self._table.grid, self._table.codec
        self.dtype = np.dtype(_NATIVE[self.codec.bitpix])
        self._decode = tilecodecs.decoder(self.codec)
        self._ragged = any(n % t for n, t in zip(self.shape, self.tile, strict=True))
        self._worth_keeping = math.prod(self.tile[:-1]) > 1
        self._rice_in_runs = self._takes_runs()
        self._kept: dict[int, Array] = {}
        self._lock = threading.Lock()
        self._margin = tilecodecs.margin(self.codec, self.tile)
        self._give_back: weakref.finalize[..., object] | None = None
        self._spilled: SpilledTiles | None = None

    @property
    def rows_apart(self) -> bool:
        """Whether no tile holds several rows."""
        return not self._worth_keeping

    def _takes_runs(self) -> bool:
        """Whether the kernel decodes many tiles at once: a tile is a row (as programs write them), its pixels are stored as they are."""
        codec = self.codec
        if not codec.algorithm.startswith("RICE") or codec.quantised or codec.bitpix != 8 * codec.byte_pixels:
            return False
        from nightcrew.calibration.kernels import rice

        row = self.tile[-1] == self.shape[-1] and not self._worth_keeping
        return row and not self._table.holders.any() and rice.available()

    def rows(self, first: int, last: int, out: Array | None = None) -> Array:
        """Stored numbers of the rows ``first:last``, counted through all planes, as ``[last-first, nx]``; in ``out`` where it is given."""
        if out is None:
            out = np.empty((last - first, self.shape[-1]), self.dtype)
        ny = self.shape[-2]
        row = first
        while row < last:
            plane, y0 = divmod(row, ny)
            y1 = min(ny, y0 + last - row)
            self._plane_rows(plane, y0, y1, out[row - first : row - first + y1 - y0])
            row += y1 - y0
        return out

    def _plane_rows(self, plane: int, y0: int, y1: int, out: Array) -> None:
        leading = np.unravel_index(plane, self.shape[:-2]) if len(self.shape) > 2 else ()
        index = tuple(int(i) // t for i, t in zip(leading, self.tile, strict=False))
        inside = tuple(int(i) % t for i, t in zip(leading, self.tile, strict=False))
        high, wide, across = self.tile[-2], self.tile[-1], self.grid[-1]
        ty0, ty1 = y0 // high, -(-y1 // high)
        start = self._number_of((*index, ty0, 0))
        if self._rice_in_runs and out.flags.c_contiguous and out.dtype == self.dtype:
            self._rice_rows(start, out)
            return
        spilled = self._where_kept()
        if spilled is not None:
            self._large_tiles(spilled, start, (y0, y1), inside, out)
            return
        tiles = self._tiles(start, start + (ty1 - ty0) * across)
        for ty in range(ty0, ty1):
            top, bottom = max(y0, ty * high), min(y1, (ty + 1) * high)
            for tx in range(across):
                pixels = next(tiles)[inside]
                out[top - y0 : bottom - y0, tx * wide : (tx + 1) * wide] = pixels[top - ty * high : bottom - ty * high]
        tiles.close()

    def _where_kept(self) -> SpilledTiles | None:
        """The file for decoded tiles; None where they are kept in memory, or each serves but one row."""
        if not self._worth_keeping:
            return None
        with self._lock:
            if self._spilled is None and self._give_back is None:
                pixels = math.prod(self.tile[:-1]) * self.shape[-1]
                self._give_back = ROOM.take(self, pixels * max(4, self.dtype.itemsize))  # most decoders give 4 bytes a pixel
                if self._give_back is None:
                    self._spilled = SpilledTiles(self._source.name, math.prod(self.grid), math.prod(self.tile) * self.dtype.itemsize)
            return self._spilled

    def _large_tiles(self, spilled: SpilledTiles, start: int, rows: tuple[int, int], inside: tuple[int, ...], out: Array) -> None:
        """Rows of a plane through the file, but for tiles whose every row is asked for; ``start`` is the first tile."""
        (y0, y1), (high, wide), across = rows, self.tile[-2:], self.grid[-1]
        for ty in range(y0 // high, -(-y1 // high)):
            top, bottom = max(y0, ty * high), min(y1, (ty + 1) * high)
            for tx in range(across):
                number = start + (ty - y0 // high) * across + tx
                shape = self._shape_of(number)
                part = out[top - y0 : bottom - y0, tx * wide : (tx + 1) * wide]
                if bottom - top == math.prod(shape[:-1]) and not spilled.holds(number):
                    part[:] = next(self._fresh([number])).reshape(part.shape)
                    continue
                whole = self._spill(spilled, number)
                if whole is not None:
                    part[:] = whole[inside][top - ty * high : bottom - ty * high]
                    continue
                room = part if part.flags.c_contiguous and part.dtype == self.dtype else np.empty(part.shape, self.dtype)
                first = int(np.ravel_multi_index((*inside, top - ty * high), shape[:-1])) * shape[-1]
                spilled.take(number, first * self.dtype.itemsize, room)
                if room is not part:
                    part[:] = room

    def _spill(self, spilled: SpilledTiles, number: int) -> Array | None:
        """See to it that the file has the tile; one thread decodes at a time.  The tile itself where there is no room to spare for it."""
        with self._lock:
            if spilled.holds(number):
                return None
            pixels = np.ascontiguousarray(next(self._fresh([number])), self.dtype)
            return None if spilled.put(number, pixels) else pixels

    def close(self) -> None:
        """Forget the decoded tiles."""
        with self._lock:
            self._kept = {}
            if self._give_back is not None:
                self._give_back()
                self._give_back = None
            if self._spilled is not None:
                self._spilled.close()

    def _number_of(self, index: tuple[int, ...]) -> int:
        number = 0
        for i, n in zip(index, self.grid, strict=True):
            number = number * n + i
        return number

    def _shape_of(self, number: int) -> tuple[int, ...]:
        if not self._ragged:
            return self.tile
        index = []
        for n in reversed(self.grid):
            number, i = divmod(number, n)
            index.append(i)
        return tuple(min(t, n - i * t) for i, t, n in zip(reversed(index), self.tile, self.shape, strict=True))

    def _tiles(self, first: int, last: int) -> Generator[Array, None, None]:
        """Pixels of the tiles ``first:last`` in order; the last ones are kept, since the next range may share their rows."""
        with self._lock:
            kept = self._kept
        decoded = self._fresh([number for number in range(first, last) if number not in kept])
        keep: dict[int, Array] = {}
        for number in range(first, last):
            pixels = kept[number] if number in kept else next(decoded)
            if self._worth_keeping and number >= last - self.grid[-1]:
                keep[number] = pixels
            if len(keep) == self.grid[-1]:
                with self._lock:
                    self._kept = keep
            yield pixels

    def _fresh(self, numbers: list[int]) -> Iterator[Array]:
        """Decoded tiles; their bytes are read in as few steps as their places in the heap allow."""
        begins, lengths = self._table.begins[numbers].tolist(), self._table.lengths[numbers].tolist()
        done = 0
        while done < len(numbers):
            begin, stop, data = self._read_run(begins, lengths, done)
            for i in range(done, stop):
                at = begins[i] - begin
                yield self._one(numbers[i], data[at : at + lengths[i]])
            done = stop

    def _rice_rows(self, first: int, out: Array) -> None:
        """Tiles from ``first`` on, one a row of ``out``."""
        from nightcrew.calibration.kernels import rice

        places = slice(first, first + len(out))
        begins, lengths = self._table.begins[places], self._table.lengths[places]
        in_order, done = self._table.in_order and self._source.descriptor is not None, 0
        as_begins, as_lengths = ([], []) if in_order else (begins.tolist(), lengths.tolist())
        while done < len(out):
            begin, stop, data = self._next_run(begins, lengths, done) if in_order else self._read_run(as_begins, as_lengths, done)
            damaged = rice.decode_run(data, begins[done:stop] - begin, lengths[done:stop], self.codec.block_size, out[done:stop])
            if damaged is not None:
                raise self._table.fault(f"tile {first + done + damaged} is damaged: its stream ends before its pixels do")
            done = stop

    def _next_run(self, begins: Array, lengths: Array, start: int) -> tuple[int, int, Array]:
        """As ``_read_run``, of tiles that lie one behind the other: found without looking at each, and read to where they are decoded."""
        begin = int(begins[start])
        stop = start + max(1, int(np.searchsorted(begins[start:], begin + _RUN)))
        size = int(begins[stop - 1] + lengths[stop - 1]) - begin
        data = np.empty(size + self._margin, np.uint8)
        data[size:] = tilecodecs.GUARD
        if self._source.readinto_at(self._data_offset + begin, data[:size].data) < size:
            raise self._table.fault("the data are cut short")
        return begin, stop, data

    def _read_run(self, begins: list[int], lengths: list[int], start: int) -> tuple[int, int, Array]:
        """Bytes from tile ``start`` to before ``stop``: offset of the first byte, ``stop``, the bytes with their margin."""
        begin, end, stop = begins[start], begins[start] + lengths[start], start + 1
        while stop < len(begins) and end - begin < _RUN and max(begin, end - _SPARSE) <= begins[stop] <= end + _SPARSE:
            end = max(end, begins[stop] + lengths[stop])
            stop += 1
        data = self._source.read_at(self._data_offset + begin, end - begin)
        if len(data) < end - begin:
            raise self._table.fault("the data are cut short")
        return begin, stop, tilecodecs.guarded(data, self._margin)

    def _one(self, number: int, data: Array) -> Array:
        shape = self._shape_of(number)
        try:
            holder = self._table.holders[number]
            if holder == 0:
                numbers = self._decode(data, shape)
                return self._to_floats(number, numbers) if self.codec.quantised else numbers
            plain = tilecodecs.gunzip(data, math.prod(shape)) if holder == 1 else data.tobytes()
            return tilecodecs.as_numbers(plain, shape, floats=self.codec.bitpix < 0)
        except DamagedTileError as error:
            raise self._table.fault(f"tile {number} is damaged: {error}") from error

    def _to_floats(self, number: int, numbers: Array) -> Array:
        cell = self._table.cell
        scale, zero, blank = cell("ZSCALE", number), cell("ZZERO", number), cell("ZBLANK", number)
        row = number + self._table.number("ZDITHER0", 0)
        values = tilecodecs.dequantise(self.codec, numbers, 1.0 if scale is None else scale, zero or 0.0, row)
        if blank is None:
            return values
        values = values.copy()
        values[numbers == int(blank)] = np.nan
        return values
