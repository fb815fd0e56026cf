"""The compiled kernel, loaded once; ``None`` where there is none, and then numpy does the same work."""

from __future__ import annotations

import ctypes
import logging
import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.build import BuildError, find_or_build

MAX_PLANES = 6
POINTER = np.dtype(np.uintp)
KINDS = {"u1": 0, "i1": 1, "i2": 2, "u2": 3, "i4": 4, "u4": 5, "f4": 6, "f8": 7}

# mirrors frame_t of source/common.h
FRAME = np.dtype(
    [
        ("data", POINTER),
        ("mask", POINTER),
        ("sigma", POINTER),
        ("plane", POINTER, MAX_PLANES),
        ("factor", "f8", MAX_PLANES),
        ("divide", POINTER),
        ("path", POINTER),
        *((name, "i8") for name in ("offset", "size", "mtime_ns", "row_pixels", "first_column")),
        *((name, "f8") for name in ("zero", "scale", "shift", "saturation", "weight")),
        *((name, "i4") for name in ("kind", "swapped", "n_planes", "plain")),
        ("exclude", "u4"),
        *((name, "i4") for name in ("weight_by_sigma", "descriptor", "unused")),
    ],
    align=True,
)

log = logging.getLogger(__name__)


class Kernel:
    """The functions of the compiled library."""

    def __init__(self, path: str) -> None:
        found = ctypes.CDLL(path)
        self.combine_images, self.combine_room = found.nightcrew_combine_images, found.nightcrew_combine_room
        self.values, self.select = found.nightcrew_values, found.nightcrew_select
        self.combine, self.calibrate, self.resample = found.nightcrew_combine, found.nightcrew_calibrate, found.nightcrew_resample
        self.fit_images, self.fit_room = found.nightcrew_fit_images, found.nightcrew_fit_room
        self.rice = found.nightcrew_rice
        self.store32, self.store16 = found.nightcrew_store32, found.nightcrew_store16
        self.dark, self.dark_carefully, self.dark_room = found.nightcrew_dark, found.nightcrew_dark_carefully, found.nightcrew_dark_room
        for room in (self.combine_room, self.fit_room, self.rice, self.dark_room):
            room.restype = ctypes.c_int64
        for store in (self.store32, self.store16):
            store.restype = ctypes.c_uint64
        sizes = (found.nightcrew_frame_size, found.nightcrew_task_size, found.nightcrew_light_size, found.nightcrew_fit_size)
        self.frame_size, self.task_size, self.light_size, self.fit_size = (int(size()) for size in sizes)
        self.dark_size = int(found.nightcrew_dark_size())
        if self.frame_size != FRAME.itemsize:
            raise RuntimeError("the compiled kernel and nightcrew.calibration.kernels.library disagree about a frame")


@lru_cache(maxsize=1)
def library() -> Kernel | None:
    """The kernel, or ``None``: no compiler, or ``NIGHTCREW_KERNEL=numpy`` in the environment."""
    if os.environ.get("NIGHTCREW_KERNEL", "").lower() == "numpy":
        return None
    try:
        return Kernel(str(find_or_build()))
    except (BuildError, OSError) as error:
        log.info("no compiled kernel, numpy is used: %s", error)
        return None


def pointer(array: NDArray[Any] | None) -> int:
    """Address of the first element, 0 for ``None``.  The caller keeps the array alive and C-contiguous."""
    return 0 if array is None else int(array.ctypes.data)


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    """The same as an argument of a kernel."""
    return ctypes.c_void_p(pointer(array))


def scratch(n_bytes: int) -> tuple[NDArray[np.uint8], ctypes.c_void_p]:
    """Memory for a kernel's call, and its address, a multiple of 64; keep the array alive."""
    memory = np.empty(n_bytes + 64, np.uint8)
    return memory, ctypes.c_void_p(-(-pointer(memory) // 64) * 64)
