"""Beam maps: which resonator is which pixel, and what is known to be wrong with it.

Text, one resonator a line: ``resID flag x y``.  Coordinates may be written as floats.  The number in ``flag`` is an enumeration, of
which there are two (:mod:`nightcrew.mkid.flags`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.source import shown
from nightcrew.mkid import flags as f
from nightcrew.mkid.words import MAX_COLUMNS, MAX_ROWS

KNOWN_SHAPES = {10_000: (125, 80), 20_440: (146, 140)}
"""(rows, columns) by number of resonators: DARKNESS and XKID, MEC."""
_MOST_BYTES = 64 << 20
_MOST_RESID = 2**32 - 1


@dataclass(frozen=True)
class BeamMap:
    """An array as its beam map has it.  Arrays are [y, x]."""

    resid: NDArray[np.uint32]  # 0 where no resonator is
    flag: NDArray[np.uint32]  # bits of nightcrew.mkid.flags
    name: str  # of the file
    sha256: str
    unplaced: int  # resonators without a place in the array
    shared: int  # resonators whose place another one has
    doubled: tuple[int, ...] = ()  # resonators that have more than one place

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.resid.shape[0], self.resid.shape[1]

    @property
    def n_pixels(self) -> int:
        return self.resid.size

    def sentences(self) -> list[str]:
        """What a person should know."""
        if not self.doubled:
            return []
        first = ", ".join(map(str, self.doubled[:5])) + (", ..." if len(self.doubled) > 5 else "")
        return [f"{self.name}: {len(self.doubled)} resonators have more than one place ({first}); these pixels are flagged beammap.double"]

    def pixel_of(self, resid: int) -> int:
        """Pixel number, y * columns + x, of a resonator; ``Refused`` when it has no place."""
        found = np.flatnonzero(self.resid.ravel() == resid)
        if not resid or not found.size:
            raise Refused(f"there is no resonator {resid} in the beam map {self.name}")
        return int(found[0])


def read_beam_map(path: Path, *, enumeration: str = "current", shape: tuple[int, int] | None = None) -> BeamMap:
    """Read a beam map; ``shape`` is (rows, columns) where the file does not tell.

    Raises :class:`RejectedInput` with the line that is wrong, :class:`TransientError` when the file cannot be read.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else None
    except OSError as error:
        raise TransientError(f"{shown(path)}: the beam map cannot be read ({error.strerror})") from error
    if data is None:
        raise RejectedInput(f"{shown(path)}: is too long for a beam map")
    return parse_beam_map(data, shown(path), enumeration=enumeration, shape=shape)


def parse_beam_map(data: bytes, name: str, *, enumeration: str = "current", shape: tuple[int, int] | None = None) -> BeamMap:
    """As :func:`read_beam_map`, from the bytes of a file."""
    if enumeration not in f.ENUMERATIONS:
        raise Refused(f"beam maps are {' or '.join(f.ENUMERATIONS)}, not {enumeration!r}")
    try:
        columns = _columns(data.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise RejectedInput(f"{name}: is not text, so no beam map") from error
    resid, number, x, y = columns
    _check_numbers(resid, number, f.ENUMERATIONS[enumeration], name)
    shape = shape or _shape_of(resid.size, x, y, name)
    if not (0 < shape[0] <= MAX_ROWS and 0 < shape[1] <= MAX_COLUMNS):
        raise RejectedInput(f"{name}: an array of {shape[1]} x {shape[0]} pixels cannot be read out")
    bits = np.array([f.bit(f"beammap.{word}") if word else 0 for word in f.ENUMERATIONS[enumeration]], dtype=np.uint32)[
        number.astype(np.intp)
    ]
    return _placed(resid.astype(np.uint32), bits, x, y, shape, name, hashlib.sha256(data).hexdigest())


def _columns(text: str, name: str) -> tuple[NDArray[np.float64], ...]:
    lines = [line.split("#", 1)[0].split() for line in text.splitlines()]
    rows = [words for words in lines if words]
    if not rows:
        raise RejectedInput(f"{name}: holds no resonator")
    try:
        table = np.array(rows, dtype=np.float64)
    except ValueError:
        table = np.empty((0, 0))
    if table.shape != (len(rows), 4):
        place = next(place for place, words in enumerate(lines, 1) if words and not _is_row(words))
        raise RejectedInput(f"{name}: line {place} is not `resID flag x y`")
    return tuple(table.T)


def _is_row(words: list[str]) -> bool:
    try:
        return len([float(word) for word in words]) == 4
    except ValueError:
        return False


def _check_numbers(resid: NDArray[np.float64], number: NDArray[np.float64], words: Sequence[str], name: str) -> None:
    wrong = ~((resid >= 0) & (resid <= _MOST_RESID) & (resid == np.floor(resid)))
    if wrong.any():
        raise RejectedInput(f"{name}: {resid[wrong][0]:g} is no resID")
    wrong = ~np.isin(number, np.arange(len(words)))
    if wrong.any():
        known = ", ".join(f"{place} {word or 'good'}" for place, word in enumerate(words))
        raise RejectedInput(f"{name}: {number[wrong][0]:g} is no flag of this kind of beam map ({known})")


def _shape_of(count: int, x: NDArray[np.float64], y: NDArray[np.float64], name: str) -> tuple[int, int]:
    """A beam map has one line a pixel, so its largest coordinates tell the array; or their number does."""
    inside = np.isfinite(x) & np.isfinite(y) & (x >= -0.5) & (y >= -0.5) & (x < MAX_COLUMNS) & (y < MAX_ROWS)
    if inside.any():
        shape = int(np.floor(y[inside].max() + 0.5)) + 1, int(np.floor(x[inside].max() + 0.5)) + 1
        if shape[0] * shape[1] == count:
            return shape
    if count in KNOWN_SHAPES:
        return KNOWN_SHAPES[count]
    raise RejectedInput(f"{name}: has {count} lines, which is no whole array of columns x rows; name its size")


def _placed(
    resid: NDArray[np.uint32],
    bits: NDArray[np.uint32],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shape: tuple[int, int],
    name: str,
    sha256: str,
) -> BeamMap:
    column, row = np.floor(x + 0.5), np.floor(y + 0.5)
    inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])  # False for NaN
    pixel = row[inside].astype(np.intp) * shape[1] + column[inside].astype(np.intp)
    order = np.argsort(bits[inside] != 0, kind="stable")  # a good resonator has its place before a bad one
    taken, first, counts = np.unique(pixel[order], return_index=True, return_counts=True)
    chosen = order[first]
    resids = np.zeros(shape[0] * shape[1], dtype=np.uint32)
    flag = np.full(resids.size, f.bit("beammap.noResonator"), dtype=np.uint32)
    resids[taken] = resid[inside][chosen]
    flag[taken] = bits[inside][chosen]
    flag[taken[counts > 1]] |= np.uint32(f.bit("beammap.duplicatePixel"))
    values, number = np.unique(resids[resids > 0], return_counts=True)
    doubled = values[number > 1]
    flag[np.isin(resids, doubled)] |= np.uint32(f.bit("beammap.double"))
    unplaced, shared = int(np.count_nonzero(~inside)), int((counts - 1).sum())
    return BeamMap(resids.reshape(shape), flag.reshape(shape), name, sha256, unplaced, shared, tuple(doubled.tolist()))


def text_of(resid: NDArray[np.uint32], number: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64]) -> str:
    """A beam map as text."""
    rows = zip(resid.tolist(), number.tolist(), x.tolist(), y.tolist(), strict=True)
    return "".join(f"{a} {b} {c} {d}\n" for a, b, c, d in rows)
