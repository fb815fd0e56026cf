"""Raw frames: bare pixels, row after row, as the camera's program wrote them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput, TransientError
from nightcrew.io.source import shown
from nightcrew.lab.config import LabConfig
from nightcrew.quality import byte_order, unwritten

Pixels = NDArray[np.uint16] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLayout:
    """How raw bytes are to be taken.

    ``header_bytes`` are skipped at the beginning; ``shift_bits``: words of 16 bits are shifted down by so many (4 for 12 bits stored x16,
    0: values stay as stored); ``pad``: a frame of the wrong size is filled up with zeros or cut instead of being rejected.
    """

    byte_order: Literal["little", "big"] = "little"
    header_bytes: int = 0
    shift_bits: int = 0
    pad: bool = False

    def __post_init__(self) -> None:
        if self.header_bytes < 0 or not 0 <= self.shift_bits <= 15:
            raise Refused("header bytes cannot be negative, and a shift is 0 to 15 bits")


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """Pixels [y, x] (uint16 or uint8) of a raw frame; ``badsize`` says what was wrong with its size ("" when nothing)."""

    pixels: Pixels
    badsize: str


def size_problem(size: int, config: LabConfig, layout: RawLayout) -> str:
    """What is wrong with a file of ``size`` bytes for this configuration; "" when it fits exactly."""
    needed = layout.header_bytes + config.height * config.width * config.bytes_per_pixel
    if size == needed:
        return ""
    shape = f"{config.width} x {config.height} pixels of {config.bytes_per_pixel * 8} bits"
    header = f" and a header of {layout.header_bytes}" if layout.header_bytes else ""
    return f"BADSIZE: {size} bytes, and {shape}{header} are {needed}"


def order_problem(path: Path, config: LabConfig, layout: RawLayout) -> str:
    """Why a raw frame was surely written in the other byte order than ``layout`` says; "" where that is not certain.

    A few rows are looked at, and the whole frame only where these raise the suspicion.  Raises OSError when it cannot be read.
    """
    if config.bytes_per_pixel != 2 or config.width < 1:
        return ""
    row_bytes = 2 * config.width
    stored = "<u2" if layout.byte_order == "little" else ">u2"
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        rows = [os.pread(descriptor, row_bytes, layout.header_bytes + y * row_bytes) for y in byte_order.sampled_rows(config.height)]
    finally:
        os.close(descriptor)
    whole = [np.frombuffer(row, stored) for row in rows if len(row) == row_bytes]
    if not whole or byte_order.suspicion(byte_order.middle_columns(np.stack(whole))) is None:
        return ""
    found = byte_order.exchanged(read_raw(path, config, replace(layout, shift_bits=0)).pixels)
    other = "big" if layout.byte_order == "little" else "little"
    return f"{shown(path)}: {found}; it was written in the other byte order: say byte_order = {other}" if found else ""


def unwritten_problem(path: Path, config: LabConfig, layout: RawLayout) -> str:
    """Why a raw frame of full size surely holds pixels that were never written (zeros); "" where that is not certain.

    The last row and a few others are looked at, and the whole frame only where one of them holds nothing.  Raises OSError when it
    cannot be read.
    """
    row_bytes = config.bytes_per_pixel * config.width
    if not row_bytes or not config.height or size_problem(path.stat().st_size, config, layout):
        return ""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        places = [*byte_order.sampled_rows(config.height), config.height - 1]
        if all(any(os.pread(descriptor, row_bytes, layout.header_bytes + y * row_bytes)) for y in places):
            return ""
    finally:
        os.close(descriptor)
    pixels = read_raw(path, config, replace(layout, shift_bits=0)).pixels
    lost = sum(run.pixels for run in unwritten.never_written(pixels, 0, certain=False))
    return f"{shown(path)}: {lost} of its {pixels.size} pixels were never written: they hold zeros; it must be copied again" if lost else ""


def read_raw(path: Path, config: LabConfig, layout: RawLayout | None = None) -> RawFrame:
    """Read a raw frame; RejectedInput (BADSIZE) when its size does not fit and padding was not asked for."""
    layout = layout or RawLayout()
    needed = config.height * config.width * config.bytes_per_pixel
    buffer = np.zeros(needed, np.uint8)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise RejectedInput(f"{shown(path)}: is not a regular file")
        problem = size_problem(before.st_size, config, layout)
        if problem and not layout.pad:
            raise RejectedInput(f"{shown(path)}: {problem}")
        wanted = min(needed, max(0, before.st_size - layout.header_bytes))
        wanted -= wanted % config.bytes_per_pixel
        _read_into(descriptor, buffer[:wanted], layout.header_bytes, path)
        after = os.fstat(descriptor)
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be read now ({error.strerror})") from error
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise TransientError(f"{shown(path)}: changed while it was read")
    return RawFrame(_to_pixels(buffer, config, layout), problem)


def _read_into(descriptor: int, buffer: NDArray[np.uint8], offset: int, path: Path) -> None:
    view = buffer.data
    done = 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if got == 0:
            raise TransientError(f"{shown(path)}: became shorter while it was read")
        done += got


def _to_pixels(buffer: NDArray[np.uint8], config: LabConfig, layout: RawLayout) -> Pixels:
    shape = (config.height, config.width)
    if config.bytes_per_pixel == 1:
        return buffer.reshape(shape)
    words: NDArray[np.uint16] = buffer.view("<u2" if layout.byte_order == "little" else ">u2").astype(np.uint16, copy=False)
    if layout.shift_bits:
        words = words >> np.uint16(layout.shift_bits)
    return words.reshape(shape)
