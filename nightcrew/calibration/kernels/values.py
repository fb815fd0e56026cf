"""Calibrated values of a frame, and their median: C kernel or numpy."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import fallback, native
from nightcrew.calibration.kernels.library import address, library
from nightcrew.calibration.kernels.slab import FrameRows


def calibrated(rows: FrameRows, dtype: str) -> NDArray[Any]:
    """Calibrated pixels of one frame's rows, flat, NaN where masked; float32 (``f4``) or float64 (``f8``)."""
    kernel = library()
    if kernel is None or dtype != "f4" or not native.takes(rows):
        return fallback.physical(rows, slice(None), dtype)
    out = np.empty(rows.data.size, np.float32)
    table = native.describe([rows])
    kernel.values(address(table), ctypes.c_long(0), ctypes.c_long(out.size), address(out))
    return out


def median(values: NDArray[Any]) -> float:
    """Median of a flat array without NaN (not empty); of an even number the mean of the two middle values, in float64."""
    n = values.size
    ranks = np.array([(n - 1) // 2, n // 2])
    kernel = library()
    if kernel is None or values.dtype != np.float32 or not values.flags.c_contiguous:
        middle = np.partition(values, ranks)[ranks]
    else:
        middle = np.empty(2, np.float32)
        if kernel.select(address(values), ctypes.c_long(n), address(ranks), address(middle)):
            raise MemoryError("no memory for the median of a frame")
    return float(np.mean(middle, dtype=np.float64))
