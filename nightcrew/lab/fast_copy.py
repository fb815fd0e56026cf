"""A raw frame of 16 bits straight into a FITS file, half a megabyte at a time: every byte is touched while it is in the cache."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import TransientError
from nightcrew.io import checksum
from nightcrew.io.atomic import NewFile
from nightcrew.io.cardtext import Card, format_card
from nightcrew.io.headers import BLOCK
from nightcrew.io.planes import pwrite_all, summed_header
from nightcrew.io.source import shown
from nightcrew.lab.config import LabConfig
from nightcrew.lab.fits_frame import frame_cards
from nightcrew.lab.raw import RawLayout, size_problem

CHUNK = 1 << 19  # bytes; a sum of so many halves fits into 32 bits
_SIGNS = np.uint64(0x8000_8000_8000_8000)
_EVEN = np.uint64(0x0000_FFFF_0000_FFFF)
_SHIFT = np.uint64(16)
_BYTE = np.uint16(8)
_OWN = threading.local()


def can_copy(size: int, config: LabConfig, layout: RawLayout) -> bool:
    """Whether a raw of ``size`` bytes can go this way: 16 bits, just the right size, values kept."""
    return config.bytes_per_pixel == 2 and not layout.shift_bits and not size_problem(size, config, layout)


def copy_frame(
    raw: Path, target: Path, config: LabConfig, layout: RawLayout, cards: Sequence[Card], *, durable: bool, overwrite: bool
) -> None:
    """Write what ``write_frame`` writes of the frame that ``read_raw`` reads; TransientError when the raw changes meanwhile."""
    text = [*frame_cards((config.height, config.width), 2, cards)]
    text += [format_card("DATASUM", "0", "data unit checksum"), format_card("CHECKSUM", "0" * 16, "HDU checksum")]
    start = len(summed_header(text, 0, 0))
    size = config.height * config.width * 2
    source = os.open(raw, os.O_RDONLY | os.O_CLOEXEC)
    try:
        before = os.fstat(source)
        with NewFile(target, durable=durable, overwrite=overwrite) as new:
            descriptor = new.file.fileno()
            total = _copy(source, descriptor, layout, start, size, raw)
            pwrite_all(descriptor, memoryview(summed_header(text, total, 0)), 0)
            os.ftruncate(descriptor, start + -(-size // BLOCK) * BLOCK)
            after = os.fstat(source)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise TransientError(f"{shown(raw)}: changed while it was read")
    finally:
        os.close(source)


def _copy(source: int, target: int, layout: RawLayout, start: int, size: int, raw: Path) -> int:
    """Copy the pixels, big-endian and with their sign bit flipped; returns the exact sum of their 32-bit words."""
    room, halves = _rooms()
    total = 0
    for offset in range(0, size, CHUNK):
        part = room[: min(CHUNK, size - offset)]
        _fill(source, part, layout.header_bytes + offset, raw)
        words: NDArray[np.uint16] = part.view(np.uint16)
        if layout.byte_order == "big":
            _swap(words, halves)
        total += _flip_and_sum(part, words, halves)
        _swap(words, halves)
        pwrite_all(target, part.data, start + offset)
    return total


def _rooms() -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Buffers of this thread, kept: new ones would have to be fetched page by page for every frame."""
    if not hasattr(_OWN, "rooms"):
        _OWN.rooms = np.empty(CHUNK, np.uint8), np.empty(CHUNK // 8, np.uint64)
    rooms: tuple[NDArray[np.uint8], NDArray[np.uint64]] = _OWN.rooms
    return rooms


def _flip_and_sum(part: NDArray[np.uint8], words: NDArray[np.uint16], halves: NDArray[np.uint64]) -> int:
    if part.size % 8:
        words ^= np.uint16(0x8000)
        return checksum.sum_halves(words, 0)
    whole = part.view(np.uint64)
    scratch = halves[: whole.size]
    whole ^= _SIGNS
    # Two 16-bit values side by side in one word add up without touching each other.
    np.bitwise_and(whole, _EVEN, out=scratch)
    high = _lanes(int(scratch.sum()))
    np.right_shift(whole, _SHIFT, out=scratch)
    scratch &= _EVEN
    return (high << 16) + _lanes(int(scratch.sum()))


def _swap(words: NDArray[np.uint16], halves: NDArray[np.uint64]) -> None:
    """Turn the byte order around in place; by shifts, which the processor does side by side (``byteswap`` takes twice as long)."""
    low = halves.view(np.uint16)[: words.size]
    np.right_shift(words, _BYTE, out=low)
    np.left_shift(words, _BYTE, out=words)
    np.bitwise_or(words, low, out=words)


def _lanes(both: int) -> int:
    return (both & 0xFFFF_FFFF) + (both >> 32)


def _fill(source: int, part: NDArray[np.uint8], offset: int, raw: Path) -> None:
    done = 0
    view = part.data
    while done < len(view):
        got = os.preadv(source, [view[done:]], offset + done)
        if got == 0:
            raise TransientError(f"{shown(raw)}: became shorter while it was read")
        done += got
