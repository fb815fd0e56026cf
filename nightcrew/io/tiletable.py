"""The table that holds a tile-compressed image (FITS 4.0, 10.1): tiles, columns, places in the heap, all checked."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from nightcrew.errors import RejectedInput
from nightcrew.io import tilecodecs
from nightcrew.io.headers import Hdu, parse_cards
from nightcrew.io.source import ByteSource
from nightcrew.io.tilecodecs import Codec

Array = npt.NDArray[Any]

_FORM_RE = re.compile(r"(\d{0,9})([LXBIJKAEDCMPQ])(.*)")
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_HOLDERS = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")


class TileTable:
    """One row a tile: ``holders`` (0 compressed, 1 gzip fall-back, 2 plain), ``begins`` and ``lengths`` of the bytes in the data.

    ``tile`` is the shape of a tile, ``grid`` the number of tiles along each axis, both in numpy order.  Raises
    :class:`RejectedInput` where the table contradicts the image or itself.
    """

    def __init__(self, source: ByteSource, hdu: Hdu) -> None:
        self._source = source
        self._hdu = hdu
        self._cards = parse_cards(hdu.raw)[0]
        self.tile = self._tile_shape()
        self.grid = tuple(-(-n // t) for n, t in zip(hdu.shape, self.tile, strict=True))
        self._n_tiles = math.prod(self.grid)
        self._table = self._read_table()
        self.codec = self._make_codec()
        self.holders, self.begins, self.lengths = self._find_tiles()
        self.in_order = bool(np.all(self.begins[1:] == self.begins[:-1] + self.lengths[:-1]))  # one behind the other, as programs write

    def fault(self, what: str) -> RejectedInput:
        """The error that names file, HDU and ``what``."""
        return RejectedInput(f"{self._source.name}: compressed image in HDU {self._hdu.index}: {what}")

    def number(self, key: str, default: int) -> int:
        """A keyword that is a count."""
        value = self._cards.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
            raise self.fault(f"{key} = {value!r} is not a count")
        return value

    def cell(self, name: str, number: int) -> float | None:
        """A tile's value of a column, or the keyword of that name that stands for all tiles; None without either."""
        if name in (self._table.dtype.names or ()):
            return float(self._table[name][number])
        value = self._cards.get(name)
        return float(value) if isinstance(value, int | float) else None

    def _tile_shape(self) -> tuple[int, ...]:
        shape = self._hdu.shape
        if not shape or min(shape) == 0:
            raise self.fault("it has no pixels")
        axes = [self.number(f"ZTILE{i + 1}", n if i == 0 else 1) for i, n in enumerate(reversed(shape))]
        if min(axes) < 1:
            raise self.fault("a tile has no pixels")
        return tuple(min(t, n) for t, n in zip(reversed(axes), shape, strict=True))

    def _read_table(self) -> Array:
        """The table's rows, one a tile."""
        width, rows = self.number("NAXIS1", 0), self.number("NAXIS2", 0)
        if rows != self._n_tiles:
            raise self.fault(f"{rows} table rows for {self._n_tiles} tiles")
        self._heap = self.number("THEAP", 0) or width * rows
        if not width * rows <= self._heap <= self._hdu.data_size:
            raise self.fault(f"THEAP = {self._heap} lies outside the data")
        size = self._source.size
        if size is not None and self._hdu.data_offset + self._hdu.data_size > size:
            raise self.fault(f"data cut short: {size} of {self._hdu.end_offset} bytes")
        dtype = self._row_dtype(width)
        data = self._source.read_at(self._hdu.data_offset, width * rows)
        if len(data) < width * rows:
            raise self.fault("the data are cut short")
        return np.frombuffer(data, dtype)

    def _row_dtype(self, width: int) -> np.dtype[Any]:
        """The columns that matter: (count, offset) pairs into the heap, and numbers."""
        fields: dict[str, tuple[str, int]] = {}
        self._item: dict[str, int] = {}
        place = 0
        for i in range(1, min(self.number("TFIELDS", 0), 999) + 1):
            form = _FORM_RE.fullmatch(str(self._cards.get(f"TFORM{i}") or "").strip())
            if not form:
                raise self.fault(f"TFORM{i} is not understood")
            count, code, rest = int(form[1] or 1), form[2], form[3]
            name = str(self._cards.get(f"TTYPE{i}") or f"column {i}").strip().upper()
            if code in "PQ" and count == 1 and rest[:1] in _NUMBERS:
                fields.setdefault(name, ("(2,)>i4" if code == "P" else "(2,)>i8", place))
                self._item.setdefault(name, np.dtype(_NUMBERS[rest[:1]]).itemsize)
            elif code in _NUMBERS and count == 1 and name not in _HOLDERS:
                fields.setdefault(name, (_NUMBERS[code], place))
            place += -(-count // 8) if code == "X" else count * _WIDTHS[code]
        if place != width or "COMPRESSED_DATA" not in self._item:
            raise self.fault("its columns do not fill the row, or COMPRESSED_DATA is missing")
        formats, places = [f[0] for f in fields.values()], [f[1] for f in fields.values()]
        return np.dtype({"names": list(fields), "formats": formats, "offsets": places, "itemsize": width})

    def _find_tiles(self) -> tuple[Array, Array, Array]:
        """Holder, offset and length of each tile; the fall-backs of quantised floats apply where the first column is empty."""
        holders = np.full(self._n_tiles, -1, np.int8)
        counts, offsets = np.zeros((2, self._n_tiles), np.int64)
        for index, name in enumerate(_HOLDERS):
            if name in self._item:
                here = (holders < 0) & (self._table[name][:, 0] != 0)
                holders[here] = index
                counts[here] = self._table[name][here, 0]
                offsets[here] = self._table[name][here, 1]
        room = self._hdu.data_size - self._heap
        wrong = (holders < 0) | (counts < 0) | (offsets < 0) | (counts > room)
        lengths = np.where(wrong, 0, counts) * np.array([self._item.get(name, 1) for name in _HOLDERS])[holders]
        wrong |= (lengths > room) | (offsets > room - lengths)
        if wrong.any():
            raise self.fault(f"tile {int(np.argmax(wrong))} has no data, or lies outside the heap")
        return holders, offsets + self._heap, lengths

    def _setting(self, name: str, default: int) -> int:
        for i in range(1, 1000):
            key = self._cards.get(f"ZNAME{i}")
            if key is None:
                break
            if str(key).strip().upper() == name:
                return self.number(f"ZVAL{i}", default)
        return default

    def _make_codec(self) -> Codec:
        algorithm = str(self._cards.get("ZCMPTYPE") or "").strip().upper()
        if algorithm not in tilecodecs.ALGORITHMS:
            raise self.fault(f"compression {algorithm!r} is unknown")
        bitpix = int(self._hdu.cards["BITPIX"] or 0)
        scaled = "ZSCALE" in (self._table.dtype.names or ()) or isinstance(self._cards.get("ZSCALE"), float | int)
        dither = str(self._cards.get("ZQUANTIZ") or "").strip().upper()
        if not algorithm.startswith("RICE"):
            smooth = algorithm == "HCOMPRESS_1" and bool(self._setting("SMOOTH", 0))
            return Codec(algorithm, bitpix, bitpix < 0 and scaled, dither, smooth=smooth)
        block, width = self._setting("BLOCKSIZE", 32), self._setting("BYTEPIX", 4)
        if width not in (1, 2, 4) or not 1 <= block <= 4096:
            raise self.fault(f"Rice blocks of {block} pixels of {width} bytes are not understood")
        return Codec(algorithm, bitpix, bitpix < 0 and scaled, dither, block, width)
