"""Were all pixels of a frame written?  Told from the pixels alone, and only where there is no doubt.

A download that broke off in a file of full size, a copy that allocates first, or a block that a disk or a share lost leaves bytes of
zero where pixels should be; a read-out that broke off leaves pixels of value 0.  The header explains every byte of such a file, and
in unsigned integers (BZERO 32768) a byte of zero is a bright pixel: neither the length nor the level tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.headers import Hdu
from nightcrew.io.images import PixelReader
from nightcrew.io.source import DEFAULT_MAX_BYTES, open_source

Pixels = NDArray[Any]

LEAST_BYTES = 1024
"""A shorter run of pixels is not told, nor one shorter than a row."""

_PIECE_BYTES = 1 << 20
_RARE = 1e-4  # share of the other pixels that may be 0 where a run of them is no camera's own
_SAMPLED_ROWS = 64  # of a tile-compressed frame are looked at first: reading all costs decoding


@dataclass(frozen=True, slots=True)
class Run:
    """Pixels ``first`` to ``end`` of one value, counted as they are stored."""

    first: int
    end: int

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.end - self.first


def of_file(path: Path, hdu: Hdu, *, rows: tuple[int, int] | None = None, raw: bool = True, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """Why the image ``hdu`` of a FITS file cannot be used: some of its pixels were never written; "" where that is not certain.

    ``rows`` (first, end) are those that count, default all; ``raw`` says that it is known for a frame as the camera gave it, in which
    pixels of value 0 tell, too.  Of a cube nothing is said.  Raises :class:`TransientError` when the file
    cannot be read now.  Pixels that cannot be read at all are left to who needs them.
    """
    if len(hdu.shape) < 2:
        return ""
    with open_source(path, max_bytes=max_bytes) as source:
        try:
            reader = PixelReader(source, hdu)
            if reader.n_planes != 1:
                return ""
            y0, y1 = rows or (0, reader.shape[-2])
            found = _found(reader, y0, y1, raw=raw)
        except RejectedInput:
            return ""
    if not found:
        return ""
    nx, lost = reader.shape[-1], sum(run.pixels for run in found)
    share = 100.0 * lost / ((y1 - y0) * nx)
    begins = y0 + max(found, key=lambda run: run.pixels).first // nx
    return (
        f"{source.name}: {lost} of its pixels ({share:.2g} %) were never written, the most of them from row {begins} on: they hold zeros "
        "as a file does that was allocated and not filled; it must be downloaded or copied again"
    )


def never_written(pixels: Pixels, value: float, *, certain: bool) -> list[Run]:
    """Runs of ``value`` in ``pixels`` [y, x] that no camera gives: at least a row long, and ``LEAST_BYTES``.

    Where it is not ``certain`` that ``value`` cannot be a pixel of the camera's own, it must be rare among the others, and the run must
    reach the end of the frame, or be other than whole rows (dead ones, a border).
    """
    nx = pixels.shape[-1]
    found = [run for run in _runs(pixels.reshape(-1) == value) if run.pixels >= max(nx, LEAST_BYTES // pixels.dtype.itemsize)]
    if certain or not found:
        return found
    found = [run for run in found if run.end == pixels.size or run.first % nx or run.end % nx]
    lost = sum(run.pixels for run in found)
    alike, others = int(np.count_nonzero(pixels == value)) - lost, pixels.size - lost
    # A few hot pixels in a frame that is cut off at 0 part it into long runs: where pixels were written, at least a row of them was.
    return found if others >= nx * len(found) and alike <= _RARE * others else []


def _runs(alike: NDArray[np.bool_]) -> list[Run]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], alike, [False])).view(np.int8)))
    return [Run(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True, slots=True)
class _Empty:
    """What pixels that were never written look like."""

    number: float
    stored: float  # before BZERO
    certain: bool  # no row of a camera's own is all that


def _found(reader: PixelReader, y0: int, y1: int, *, raw: bool) -> list[Run]:
    for empty in _suspicious(reader, [empty for empty in _values(reader) if empty.certain or raw], y0, y1):
        found = never_written(reader.number_rows(y0, y1), empty.number, certain=empty.certain)
        if found:
            return found
    return []


def _values(reader: PixelReader) -> list[_Empty]:
    cards, kind = reader.hdu.cards, reader.dtype
    zero = cards.get("BZERO")
    offset = float(zero) if isinstance(zero, int | float) else 0.0
    if kind.kind == "u" and offset:
        return [_Empty(offset, 0.0, certain=True), _Empty(0.0, -offset, certain=False)]
    if reader.hdu.kind == "TILE" and kind.kind == "f":
        return []  # quantised: no number stands for a byte of zero
    return [_Empty(offset, 0.0, certain=bool(offset))]


def _suspicious(reader: PixelReader, values: list[_Empty], y0: int, y1: int) -> list[_Empty]:
    """Those of which there is half a row anywhere (whole rows, where tiles are to be decoded).  Next to no frame needs a second look."""
    if reader.hdu.kind == "TILE":
        sampled = np.unique(np.linspace(y0, y1 - 1, min(_SAMPLED_ROWS, y1 - y0)).astype(np.intp))
        rows = [reader.number_rows(int(y), int(y) + 1) for y in sampled] if values else []
        return [empty for empty in values if any(bool((row == empty.number).all()) for row in rows)]
    half = max(1, reader.shape[-1] // 2)
    found: set[_Empty] = set()
    for stored in _pieces(reader, y0, y1):
        # A run of a row or more holds the middle of one, and the half before it or behind it.
        middle = stored[:, half]
        for empty in values:
            at = middle == empty.stored
            if empty not in found and at.any():
                alike = stored[at] == empty.stored
                if (alike[:, :half].all(axis=1) | alike[:, half:].all(axis=1)).any():
                    found.add(empty)
    return [empty for empty in values if empty in found]


def _pieces(reader: PixelReader, y0: int, y1: int) -> Iterator[Pixels]:
    """The numbers as they are stored: every file is looked at, and exchanging bytes takes longer than reading them."""
    nx = reader.shape[-1]
    rows = np.empty((max(1, _PIECE_BYTES // max(1, nx * reader.stored_type.itemsize)), nx), reader.stored_type)
    for y in range(y0, y1, len(rows)):
        some = rows[: min(len(rows), y1 - y)]
        reader.raw_into(some, y * nx)
        yield some
