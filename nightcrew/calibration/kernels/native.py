"""The combine kernel in C: same arguments and same results as :mod:`nightcrew.calibration.kernels.fallback`."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.library import FRAME, KINDS, MAX_PLANES, POINTER, address, library, pointer, scratch
from nightcrew.calibration.kernels.network import comparators
from nightcrew.calibration.kernels.slab import IN_MEMORY, PARKED, FrameRows, OutRows, RowsOut, needs_frames, sort_type
from nightcrew.calibration.kernels.threads import RangeWork, share_ranges
from nightcrew.calibration.methods import DropExtremes, Rule, SigmaClip, error_factors

METHODS = ("mean", "median", "sum", "min", "max", "quantile", "std", "var", "root_mean_square", "weighted_mean")
METHOD_CODES = {name: i for i, name in enumerate(METHODS)}
SORT_CODES = {"i2": 0, "f4": 1, "f8": 2}
BLOCK_BYTES = {"i2": 48 << 10, "f4": 256 << 10, "f8": 256 << 10}  # of the sorted block, by type: measured best
SLAB_BYTES = 4 << 20  # of stored rows, of all frames together: measured best between 2 and 8 MB
CHUNKS_A_THREAD = 16  # so that no thread waits long for the other at the end

# mirrors task_t of source/combine.c
TASK = np.dtype(
    [
        *((name, "i4") for name in ("n_frames", "sort", "method", "clip", "iterations", "drop_low", "drop_high", "needs_moments")),
        *((name, "i4") for name in ("result_f8", "n_comparators", "n_full_comparators", "needs_frames")),
        *((name, "f8") for name in ("low2", "high2", "quantile", "base")),
        *((name, POINTER) for name in ("network", "full_network", "factors", "result", "uncertainty", "count", "mask")),
    ],
    align=True,
)


@lru_cache(maxsize=64)
def _network(n: int, wanted: frozenset[int] | None) -> NDArray[np.int32]:
    return np.array(comparators(n, wanted), dtype=np.int32).reshape(-1, 3)


def describe(frames: list[FrameRows]) -> NDArray[Any]:
    """The frames as the kernel reads them; the arrays must stay alive."""
    table = np.zeros(len(frames), FRAME)
    for row, frame in zip(table, frames, strict=True):
        order = frame.data.dtype.byteorder
        row["data"], row["mask"] = pointer(frame.data) if frame.descriptor == IN_MEMORY else 0, pointer(frame.mask)
        if frame.descriptor == PARKED:
            row["path"] = ctypes.cast(ctypes.c_char_p(frame.path), ctypes.c_void_p).value or 0
            row["size"], row["mtime_ns"] = frame.identity
        row["descriptor"], row["offset"] = frame.descriptor, frame.offset
        row["row_pixels"], row["first_column"] = frame.row_pixels, frame.first_column
        row["sigma"], row["divide"] = pointer(frame.sigma), pointer(frame.divide)
        for i, (plane, factor) in enumerate(frame.subtract):
            row["plane"][i], row["factor"][i] = pointer(plane), factor
        row["zero"], row["scale"], row["shift"], row["saturation"] = frame.zero, frame.scale, frame.shift, frame.saturation
        row["weight"], row["kind"], row["swapped"] = frame.weight, KINDS[frame.data.dtype.str[1:]], order == ">"
        row["n_planes"], row["plain"], row["exclude"] = len(frame.subtract), frame.plain, frame.exclude
        row["weight_by_sigma"] = frame.weight_by_sigma
    return table


def takes(frame: FrameRows) -> bool:
    """Whether the kernel has room for what is to be done to the frame."""
    return len(frame.subtract) <= MAX_PLANES


def can_do(frames: list[FrameRows], rule: Rule) -> bool:
    """Whether the kernel exists and covers this work."""
    return rule.method in METHOD_CODES and all(takes(frame) for frame in frames) and library() is not None


def combine_rows(frames: list[FrameRows], rule: Rule, out: OutRows) -> None:
    """Combine the rows of all frames into ``out`` by ``rule``; see ``nightcrew.calibration.combine.combine``."""
    work = _Work(frames, rule, out)
    task = work.task_for(out)
    memory, at = scratch(work.room(0, 0))
    work.kernel.combine(work.table_at, address(task), ctypes.c_long(out.result.size), work.stride, at)
    del memory


def combine_images(
    frames: list[FrameRows], rule: Rule, shape: tuple[int, int], output: RowsOut, *, threads: int, memory_bytes: int
) -> int | None:
    """Combine whole images [y, x] in memory or in files; the index of a frame that could not be read, or ``None``.

    Rows are read into a buffer that stays in the cache, ``memory_bytes`` at most for all threads.
    """
    ny, nx = shape
    work = _Work(frames, rule, output.rows(0, 0, nx))
    row_bytes = sum((frame.row_pixels or nx) * frame.data.itemsize for frame in frames)
    step = max(1, min(SLAB_BYTES, memory_bytes // threads) // row_bytes)
    chunk = max(step, -(-ny // (threads * CHUNKS_A_THREAD)))
    failed: list[int] = []

    def worker() -> RangeWork:
        memory, at = scratch(work.room(step, nx))

        def run(y0: int, y1: int) -> None:
            out = output.rows(y0, y1, nx)
            task = work.task_for(out)
            numbers = (ctypes.c_long(value) for value in (y0, y1, nx, step))
            status = work.kernel.combine_images(work.table_at, address(task), *numbers, work.stride, at)
            if status:
                failed.append(status - 1)
            else:
                output.done(y0, out)
            memory[:0] = 0  # keeps it alive

        return run

    share_ranges(ny, chunk, threads, worker)
    return min(failed, default=None)


class _Work:
    """The description of a combination as the kernel reads it; keeps alive what it points to."""

    def __init__(self, frames: list[FrameRows], rule: Rule, out: OutRows) -> None:
        kernel = library()
        if kernel is None:
            raise RuntimeError("there is no compiled kernel")
        self.kernel = kernel
        n, kind = len(frames), sort_type(frames, rule)
        self._networks = _network(n, None if out.uncertainty is not None else rule.ranks(n)), _network(n, None)
        self._factors = error_factors(rule, n)
        self._table, self._task = describe(frames), np.zeros((), TASK)
        self._frames = frames
        task = self._task
        task["n_frames"], task["sort"], task["method"] = n, SORT_CODES[kind], METHOD_CODES[rule.method]
        task["needs_moments"], task["quantile"] = rule.needs_moments(), rule.quantile
        task["needs_frames"] = needs_frames(frames, rule)
        task["base"] = 32768.0 if kind == "i2" and frames[0].kind == "u2" else 0.0
        _set_clip(task, rule)
        task["n_comparators"], task["n_full_comparators"] = (len(network) for network in self._networks)
        task["network"], task["full_network"] = (pointer(network) for network in self._networks)
        task["factors"], task["result_f8"] = pointer(self._factors), out.result.dtype == np.float64
        size = int(kind[1]) * (2 if task["needs_frames"] else 1) + (32 if task["needs_frames"] else 0)
        self.stride = ctypes.c_long(min(2048, max(64, BLOCK_BYTES[kind] // (n * size) // 64 * 64)))
        self.table_at = address(self._table)

    def task_for(self, out: OutRows) -> NDArray[Any]:
        """The task that fills ``out``."""
        task = self._task.copy()
        for name, plane in out.by_name().items():
            task[name] = pointer(plane)
        return task

    def room(self, most_rows: int, nx: int) -> int:
        """Bytes of scratch that slabs of ``most_rows`` rows of ``nx`` pixels need."""
        numbers = (ctypes.c_long(most_rows), ctypes.c_long(nx), self.stride)
        return int(self.kernel.combine_room(self.table_at, address(self._task), *numbers))


def _set_clip(task: NDArray[Any], rule: Rule) -> None:
    if isinstance(rule.clip, SigmaClip):
        task["clip"], task["iterations"] = 1, rule.clip.iterations
        task["low2"], task["high2"] = rule.clip.low * rule.clip.low, rule.clip.high * rule.clip.high
    elif isinstance(rule.clip, DropExtremes):
        task["clip"], task["drop_low"], task["drop_high"] = 2, rule.clip.low, rule.clip.high
