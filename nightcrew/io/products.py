"""Products on disk: images with uncertainty and mask, and tables.  The same inputs give the same bytes.

An image product is a FITS file that ``astropy.nddata.CCDData.read`` takes: the primary HDU is the science image
(``EXTNAME`` SCI, float32), then ``UNCERT`` (one sigma, float32), ``MASK`` (bits of :mod:`nightcrew.frames.flags`, uint16) and
any further planes.  CHECKSUM and DATASUM carry no date.  Nothing about the making goes in: no time, host or absolute path.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import NewFile, explain
from nightcrew.io.cardtext import Card, format_card, header_block, kept_cards
from nightcrew.io.ecsv import ecsv_bytes
from nightcrew.io.headers import HeaderValue, scan_hdus
from nightcrew.io.images import PixelReader
from nightcrew.io.planes import BITPIX, SLAB_BYTES, Plane, plane_cards, pwrite_all, reserve, sha256_of, start_writeback, summed_header
from nightcrew.io.source import open_source

if TYPE_CHECKING:
    from astropy.table import Table

Array = npt.NDArray[Any]
Science = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint16]

STANDARD_PLANES = ("SCI", "UNCERT", "MASK")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A product that stands under its final name: its path, the SHA-256 of its bytes and its size."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ImageProduct:
    """An image product in memory: science and uncertainty float32 ``[y, x]`` (or None), mask uint16 (or None).

    ``cards`` are the primary header's values, ``unit`` its BUNIT, ``raw_header`` its cards as stored, ``extras`` further
    planes by their EXTNAME.
    """

    science: Science
    uncertainty: Science | None
    mask: Mask | None
    cards: dict[str, HeaderValue]
    unit: str
    raw_header: bytes = field(repr=False)
    extras: dict[str, Array] = field(default_factory=dict)


class ProductWriter:
    """Writes an image product slab by slab, in any order and from several threads.

    ``shape`` is ``(ny, nx)``; ``planes`` maps EXTNAME to ``"f4"``, ``"u2"``, ``"i4"`` or ``"u1"``, the first is the primary HDU.
    ``cards`` go to the primary header and win over those of ``source_header`` (a raw header whose cards are kept but for structure,
    scaling and the keywords in ``drop``).  Cards known only at the end: ``room_for_cards`` and :meth:`add_cards`.  When the
    ``with`` block ends the file is complete under its final name and ``written`` says what it is (with ``hashed=False`` without its
    SHA-256, which takes a second reading); after an error, or with rows missing, nothing is left.
    """

    def __init__(
        self,
        path: Path | str,
        shape: tuple[int, int],
        *,
        unit: str,
        cards: Sequence[Card] = (),
        source_header: bytes | None = None,
        drop: Collection[str] = (),
        planes: Mapping[str, str] | None = None,
        room_for_cards: int = 0,
        durable: bool = True,
        hashed: bool = True,
    ) -> None:
        self._new, self._durable, self._hashed = NewFile(path, durable=durable), durable, hashed
        self._unit = unit
        self._cards = list(cards)
        self._source_header = source_header
        self._drop = drop
        self._room = room_for_cards
        self._lock = threading.Lock()
        self._planes = self._lay_out(planes or {"SCI": "f4", "UNCERT": "f4", "MASK": "u2"}, shape)
        self.written: WrittenFile | None = None

    def _lay_out(self, planes: Mapping[str, str], shape: tuple[int, int]) -> dict[str, Plane]:
        offset = 0
        laid: dict[str, Plane] = {}
        for name, code in planes.items():
            if code not in BITPIX:
                raise ValueError(f"plane {name}: type {code!r} is none of {', '.join(BITPIX)}")
            cards = self._header_cards(name, code, shape, first=not laid)
            if not laid:
                self._reserved = len("".join(cards)) // 80 + self._room
            size = len(header_block(cards, room_for_cards=0 if laid else self._reserved))
            laid[name] = Plane(name, code, shape, offset, size)
            offset = laid[name].end_offset
        return laid

    def add_cards(self, cards: Sequence[Card]) -> None:
        """Further cards for the primary header; ValueError when they exceed the room that was asked for."""
        self._cards += cards
        name = next(iter(self._planes))
        plane = self._planes[name]
        text = "".join(self._header_cards(name, plane.code, plane.shape, first=True))
        if len(text) > self._reserved * 80:
            raise ValueError(f"more header cards than room_for_cards={self._room} allows")

    def _header_cards(self, name: str, code: str, shape: tuple[int, int], *, first: bool) -> list[str]:
        cards: list[Card] = [("SIMPLE", True, "FITS standard 4.0")] if first else [("XTENSION", "IMAGE", "image extension")]
        cards += [("BITPIX", BITPIX[code], "bits per stored number"), ("NAXIS", 2, "")]
        cards += [("NAXIS1", shape[1], "columns (x)"), ("NAXIS2", shape[0], "rows (y)")]
        cards += [("EXTEND", True, "")] if first else [("PCOUNT", 0, ""), ("GCOUNT", 1, "")]
        if code == "u2":
            cards += [("BSCALE", 1, ""), ("BZERO", 32768, "unsigned 16-bit integers")]
        cards += [("EXTNAME", name, "")]
        cards += plane_cards(name, self._unit)
        text = [format_card(*card) for card in cards]
        if first:
            own = {card[0].strip().upper() for card in self._cards} - {"HISTORY", "COMMENT", ""}
            if self._source_header:
                text += kept_cards(self._source_header, without=own | {k.upper() for k in self._drop})
            text += [format_card(*card) for card in self._cards]
        return [*text, format_card("DATASUM", "0", "data unit checksum"), format_card("CHECKSUM", "0" * 16, "HDU checksum")]

    def __enter__(self) -> ProductWriter:
        self._new.__enter__()
        self._fd = self._new.file.fileno()
        try:
            reserve(self._fd, max(plane.end_offset for plane in self._planes.values()))
        except OSError as failure:
            self._new.__exit__(type(failure), failure, failure.__traceback__)
            raise explain(failure, self._new.final) from failure
        return self

    def write_rows(self, plane: str, y0: int, rows: Array) -> None:
        """Rows ``y0`` and following of a plane, ``[n, nx]``; each row is written once."""
        target = self._planes[plane]
        values = np.ascontiguousarray(rows, dtype=np.dtype(target.code))
        y1 = y0 + len(values)
        if values.ndim != 2 or values.shape[1] != target.shape[1] or not 0 <= y0 <= y1 <= target.shape[0]:
            raise ValueError(f"rows {y0}:{y1} of shape {values.shape} do not fit into {plane} of {target.shape}")
        row_bytes = target.shape[1] * values.itemsize
        step = max(1, SLAB_BYTES // max(row_bytes, 1))
        total = 0
        room = np.empty(min(step, len(values)) * row_bytes, np.uint8)
        for y in range(y0, y1, step):
            data, added = target.pack(values[y - y0 : y - y0 + step], y * target.shape[1], room)
            pwrite_all(self._fd, data, target.data_offset + y * row_bytes)
            total += added
        if self._durable:
            start_writeback(self._fd, target.data_offset + y0 * row_bytes, len(values) * row_bytes)
        with self._lock:
            if not target.rows_missing[y0:y1].all():
                raise ValueError(f"{plane}: some of the rows {y0}:{y1} were written already")
            target.rows_missing[y0:y1] = False
            target.sum += total

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._new.__exit__(kind, error, trace)
            return
        try:
            size = self._finish_file()
            digest = sha256_of(self._fd, size) if self._hashed else ""
        except BaseException as failure:
            self._new.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._new.__exit__(None, None, None)
        self.written = WrittenFile(self._new.final, digest, size)

    def _finish_file(self) -> int:
        end = 0
        for index, plane in enumerate(self._planes.values()):
            if plane.rows_missing.any():
                raise ValueError(f"{plane.name}: {int(plane.rows_missing.sum())} of {plane.shape[0]} rows were never written")
            cards = self._header_cards(plane.name, plane.code, plane.shape, first=index == 0)
            room = 0 if index else self._reserved
            pwrite_all(self._fd, memoryview(summed_header(cards, plane.sum, room)), plane.header_offset)
            end = plane.end_offset
        os.ftruncate(self._fd, end)  # the padding is zeros
        return end


def write_image_product(
    path: Path | str,
    *,
    science: Array,
    uncertainty: Array | None = None,
    mask: Array | None = None,
    cards: Sequence[Card] = (),
    source_header: bytes | None = None,
    unit: str = "adu",
    extras: Mapping[str, Array] | None = None,
    drop: Collection[str] = (),
    durable: bool = True,
) -> WrittenFile:
    """Write a whole image product (see :class:`ProductWriter`).

    ``science`` and ``uncertainty`` are ``[y, x]``, stored as float32; ``mask`` as uint16; ``extras`` as float32 or, where they hold
    integers, as uint16 or int32 by their own type.  Raises ValueError for arrays of different shapes.
    """
    arrays: dict[str, Array] = {"SCI": science}
    if uncertainty is not None:
        arrays["UNCERT"] = uncertainty
    if mask is not None:
        arrays["MASK"] = mask
    arrays |= extras or {}
    for name, array in arrays.items():
        if array.shape != science.shape or array.ndim != 2:
            raise ValueError(f"{name} has shape {array.shape}, the science image {science.shape}")
    planes = {name: _code_of(name, array) for name, array in arrays.items()}
    shape = (int(science.shape[0]), int(science.shape[1]))
    with ProductWriter(
        path, shape, unit=unit, cards=cards, source_header=source_header, drop=drop, planes=planes, durable=durable
    ) as writer:
        for name, array in arrays.items():
            writer.write_rows(name, 0, array)
    if writer.written is None:
        raise RuntimeError("the writer ended without a file")
    return writer.written


def _code_of(name: str, array: Array) -> str:
    if name == "MASK" or array.dtype == np.uint16:
        return "u2"
    if array.dtype.kind in "iu":
        return "u1" if array.dtype == np.uint8 else "i4"
    return "u1" if array.dtype == bool else "f4"


def read_image_product(path: Path | str) -> ImageProduct:
    """Read a product of :func:`write_image_product`; RejectedInput when the file is none."""
    with open_source(path) as source:
        hdus = scan_hdus(source)
        planes = {str(hdu.cards.get("EXTNAME") or ""): PixelReader(source, hdu).read() for hdu in hdus if len(hdu.shape) == 2}
        if "SCI" not in planes:
            raise RejectedInput(f"{source.name}: is not an image product (it has no SCI image)")
    primary = hdus[0]
    extras = {name: array for name, array in planes.items() if name not in STANDARD_PLANES}
    unit = str(primary.cards.get("BUNIT") or "")
    return ImageProduct(planes["SCI"], planes.get("UNCERT"), planes.get("MASK"), primary.cards, unit, primary.raw, extras)


def write_table_product(path: Path | str, table: Table, *, durable: bool = True) -> WrittenFile:
    """Write a table as ECSV, with the units, descriptions and ``meta`` that it holds."""
    data = ecsv_bytes(table)
    with NewFile(path, durable=durable) as new:
        new.file.write(data)
    return WrittenFile(new.final, hashlib.sha256(data).hexdigest(), len(data))
