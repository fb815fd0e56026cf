"""Runs of Rice-compressed tiles in one call of the C kernel, which releases the interpreter's lock."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.library import address, library

Array = NDArray[Any]


def available() -> bool:
    """Whether there is a compiled kernel; without it the tiles are decoded one by one."""
    return library() is not None


def decode_run(data: Array, begins: Array, lengths: Array, block: int, out: Array) -> int | None:
    """Decode tiles of equal size into the rows of ``out`` [tile, pixel] (u1, i2 or i4, contiguous).

    Tile i is ``lengths[i]`` bytes of ``data`` (u1, with the margin of ``tilecodecs.guarded``) from ``begins[i]`` on (both int64).
    Returns the first tile whose stream ends before its pixels do, or None.  Source: FITS 4.0, 10.4.1.
    """
    kernel = library()
    if kernel is None:
        raise ValueError("there is no compiled kernel")
    if not (out.flags.c_contiguous and out.dtype.itemsize in (1, 2, 4) and len(out) == len(begins) == len(lengths)):
        raise ValueError("the tiles do not fit into their place")
    first, count = np.ascontiguousarray(begins, np.int64), np.ascontiguousarray(lengths, np.int64)
    tiles, pixels = out.shape
    words = (ctypes.c_int64(tiles), ctypes.c_int64(pixels), ctypes.c_int(block), ctypes.c_int(out.dtype.itemsize))
    damaged = int(kernel.rice(address(data), address(first), address(count), *words, address(out)))
    return None if damaged < 0 else damaged
