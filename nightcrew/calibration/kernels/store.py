"""Rows as a FITS file holds them, with the sum of their 32-bit words, by the C kernel."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.library import address, library

WORTH_IT = 4096  # pixels: fewer are not worth compiling the kernel for


def store(rows: NDArray[Any], first_pixel: int, out: NDArray[np.uint8]) -> int | None:
    """Write ``rows`` (native float32, int32 or uint16, C-contiguous) into ``out``, big-endian, uint16 by the BZERO convention.

    ``out`` is C-contiguous and has as many bytes; ``first_pixel`` is the place of the first row's first pixel in the plane.  Returns
    the exact sum of the 32-bit words that they add to the data; None where there is no kernel or no use for it, with ``out`` as it was.
    """
    kernel = library() if rows.size >= WORTH_IT else None
    if kernel is None or rows.dtype.str not in ("<f4", "<i4", "<u2") or not rows.flags.c_contiguous:
        return None
    n = ctypes.c_long(rows.size)
    if rows.dtype.itemsize == 4:
        return int(kernel.store32(address(rows), n, address(out)))
    return int(kernel.store16(address(rows), n, first_pixel % 2, address(out)))
