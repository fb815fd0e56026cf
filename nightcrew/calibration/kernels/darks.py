"""Dark rate and slope of every pixel over the frames by the C kernel, ``source/dark.c``; in numpy: ``detector.dark_pixels``."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels import native
from nightcrew.calibration.kernels.library import KINDS, POINTER, address, library, pointer, scratch
from nightcrew.calibration.kernels.slab import FrameRows

NUMBERS = (
    *("b", "read2", "noise_factor", "saturation", "own_limit", "far_limit", "largest_step", "largest_db", "u_most"),
    *("hit2", "most_hits", "strong", "unstable_sigma"),
)
PLANES = ("rate", "rate_error", "db", "db_error", "correlation", "chi2", "lever", "jump", "count", "hits", "unstable", "saturated")
TERMS = 10  # numbers of a frame

# mirrors dark_t of source/dark.c
TASK = np.dtype(
    [
        ("n_frames", "i4"),
        ("own_b", "i4"),
        *((name, "f4") for name in (*NUMBERS, "unused")),
        *((name, POINTER) for name in ("term", "level", "slope", *PLANES)),
    ],
    align=True,
)


def available() -> bool:
    """Whether there is a compiled kernel."""
    return library() is not None


def fit_rows(
    rows: Sequence[NDArray[Any]],
    terms: NDArray[np.float32],
    numbers: Mapping[str, float],
    own_b: bool,
    bias: tuple[NDArray[np.float32], NDArray[np.float32]],
    planes: Mapping[str, NDArray[Any]],
    jump_sigma: float,
) -> None:
    """Fill ``planes`` [pixel] from the values of all frames [pixel].

    Pixels with a value ``jump_sigma`` off their course are fitted a second time, carefully.  ``terms`` [frame, 10] as the kernel's term_t,
    ``bias``: level and slope [pixel].
    """
    kernel = library()
    if kernel is None:
        raise RuntimeError("there is no compiled kernel")
    if kernel.dark_size != TASK.itemsize:
        raise RuntimeError("the compiled kernel and nightcrew.calibration.kernels.darks disagree about a fit")
    frames = [_readable(row) for row in rows]
    table = native.describe([FrameRows(data=row) for row in frames])
    task, level, slope = _task(terms, numbers, own_b, bias, planes)
    memory, at = scratch(int(kernel.dark_room(address(task))))
    n = planes["rate"].size
    planes["hits"][...], planes["unstable"][...] = 0, False
    kernel.dark(address(table), address(task), ctypes.c_long(n), at)
    places = np.flatnonzero(planes["jump"] > jump_sigma)
    if places.size:
        kernel.dark_carefully(address(table), address(task), address(places), ctypes.c_long(places.size), at)
    del memory, level, slope


def _readable(row: NDArray[Any]) -> NDArray[Any]:
    """A row that the kernel reads: contiguous, of a type that it knows."""
    flat = row.reshape(-1)
    return np.ascontiguousarray(flat) if flat.dtype.str[1:] in KINDS else flat.astype(np.float32)


def _task(
    terms: NDArray[np.float32],
    numbers: Mapping[str, float],
    own_b: bool,
    bias: tuple[NDArray[np.float32], NDArray[np.float32]],
    planes: Mapping[str, NDArray[Any]],
) -> tuple[NDArray[np.void], NDArray[np.float32], NDArray[np.float32]]:
    level, slope = (np.ascontiguousarray(plane, np.float32) for plane in bias)
    if terms.dtype != np.float32 or terms.shape[1:] != (TERMS,) or not terms.flags.c_contiguous:
        raise ValueError("the numbers of the frames are not as the kernel reads them")
    task = np.zeros((), TASK)
    task["n_frames"], task["own_b"] = len(terms), own_b
    for name in NUMBERS:
        task[name] = numbers[name]
    task["term"], task["level"], task["slope"] = pointer(terms), pointer(level), pointer(slope)
    for name in PLANES:
        if not planes[name].flags.c_contiguous or planes[name].size != level.size:
            raise ValueError(f"the plane {name} does not fit")
        task[name] = pointer(planes[name])
    return task, level, slope
