"""Slabs: the same few rows of every frame at a time, on several threads, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from nightcrew.calibration.kernels.slab import FrameRows
from nightcrew.calibration.kernels.threads import RangeWork, share_ranges
from nightcrew.calibration.opened_frame import OpenedFrame

SLAB_BYTES = 8 << 20  # of raw pixels a thread: larger ones fall out of the cache, smaller ones cost calls
DECODED_BYTES = 16 << 20  # of pixels that were decoded: a call costs more there
PIECES_A_THREAD = 4  # of the frames of a slab: fewer make threads wait for each other, more cost calls
Work = Callable[[int, int, list[FrameRows]], None]
Buffers = list[dict[str, NDArray[Any]]]
Given = list[tuple[OpenedFrame, dict[str, NDArray[Any]]]]


def rows_per_slab(frames: Sequence[OpenedFrame], memory_bytes: int, threads: int) -> int:
    """Rows that fit: raw rows of all frames, as they are stored, stay within ``memory_bytes`` in every thread (at least one row)."""
    ny = frames[0].shape[0]
    row_bytes = sum(frame.row_bytes for frame in frames)
    most = DECODED_BYTES if any(frame.compressed for frame in frames) else SLAB_BYTES
    wanted = min(most, memory_bytes // threads) // row_bytes
    return max(1, min(wanted, -(-ny // threads)))


def run_slabs(frames: Sequence[OpenedFrame], work: Work, *, memory_bytes: int, threads: int) -> None:
    """Call ``work(y0, y1, rows of every frame)`` for all slabs, on ``threads`` threads.

    Compressed files are decoded forwards, a slab after the other, the files shared out among the threads; all others are
    read by whoever works on the slab.  The first error stops the rest and is raised.
    """
    step = rows_per_slab(frames, memory_bytes, threads)
    if threads > 1 and any(frame.compressed for frame in frames):
        _decode_then_work(frames, work, step, threads)
        return

    def worker() -> RangeWork:
        buffers: Buffers = [{} for _ in frames]

        def run(y0: int, y1: int) -> None:
            work(y0, y1, [frame.rows(y0, y1, own) for frame, own in zip(frames, buffers, strict=True)])

        return run

    share_ranges(frames[0].shape[0], step, threads, worker)


def _decode_then_work(frames: Sequence[OpenedFrame], work: Work, step: int, threads: int) -> None:
    """Threads share the frames of one slab; the work on a slab runs beside the decoding of the next."""
    both: tuple[Buffers, Buffers] = ([{} for _ in frames], [{} for _ in frames])  # decoded into one, worked on in the other
    piece = -(-len(frames) // (threads * PIECES_A_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        pending = None
        n_rows = frames[0].shape[0]
        for number, y0 in enumerate(range(0, n_rows, step)):
            y1 = min(n_rows, y0 + step)
            given = list(zip(frames, both[number % 2], strict=True))

            def decode(first: int, y0: int = y0, y1: int = y1, given: Given = given) -> list[FrameRows]:
                return [frame.rows(y0, y1, own) for frame, own in given[first : first + piece]]

            rows = [row for part in pool.map(decode, range(0, len(frames), piece)) for row in part]
            if pending is not None:
                pending.result()
            pending = pool.submit(work, y0, y1, rows)
        if pending is not None:
            pending.result()
