"""Share row ranges out among threads: each takes the next one, the first error stops all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

RangeWork = Callable[[int, int], None]


def share_ranges(n_rows: int, step: int, threads: int, make_worker: Callable[[], RangeWork]) -> None:
    """Call a worker (one made for each thread) with [y0, y1) for all ranges of ``step`` rows; the first error is raised."""
    ranges = ((y0, min(n_rows, y0 + step)) for y0 in range(0, n_rows, step))
    if threads == 1 or step >= n_rows:
        worker = make_worker()
        for y0, y1 in ranges:
            worker(y0, y1)
        return
    lock, stop = threading.Lock(), threading.Event()

    def take() -> tuple[int, int] | None:
        with lock:
            return next(ranges, None)

    def run() -> None:
        worker = make_worker()
        try:
            while not stop.is_set() and (part := take()) is not None:
                worker(*part)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(run) for _ in range(threads)]
        try:
            for future in futures:
                future.result()
        finally:
            stop.set()
