"""Times in which no board sent a frame, measured from the frames themselves.

Every board sends a frame at least every half millisecond, so silence is a gap of the readout, whatever files there are: the writer's
clock lags, and of a second whose file is missing a part stands in the file before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid.words import TICK_US

Times = NDArray[np.int64]
_STEP_US = 50_000
_LEAST_FRAMES = 20  # of a step with frames, on average; a readout that sends fewer may be silent without a gap
_MOST_STEPS = 1 << 22  # of a window: 58 hours
_NEVER = np.iinfo(np.int64).max


class FrameTimes:
    """First and last frame of every twentieth of a second of a window of Unix microseconds."""

    def __init__(self, start_us: int, stop_us: int) -> None:
        self._start_us, self._stop_us = start_us, stop_us
        steps = -(-(stop_us - start_us) // _STEP_US)
        self._count = np.zeros(steps if steps <= _MOST_STEPS else 0, dtype=np.int64)
        self._first = np.full(self._count.size, _NEVER, dtype=np.int64)
        self._last = np.full(self._count.size, -1, dtype=np.int64)

    def add(self, times_us: Times) -> None:
        """Frames that begin at these times."""
        if not self._count.size or not times_us.size:
            return
        if int(times_us.min()) < self._start_us or int(times_us.max()) >= self._stop_us:
            times_us = times_us[(times_us >= self._start_us) & (times_us < self._stop_us)]
        step = (times_us - self._start_us) // _STEP_US
        self._count += np.bincount(step, minlength=self._count.size) if step.size > 256 else 0
        if step.size <= 256:
            np.add.at(self._count, step, 1)
        np.minimum.at(self._first, step, times_us)
        np.maximum.at(self._last, step, times_us)

    def gaps(self) -> list[tuple[int, int]] | None:
        """Half-open stretches without a frame, the whole window when there is none; None where frames are too few to tell.

        What is shorter than a twentieth of a second is no gap, and may be none up to twice that.
        """
        seen = self._count > 0
        if not self._count.size or self._count.sum() < _LEAST_FRAMES * np.count_nonzero(seen):
            return None
        edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]]).astype(np.int8)))
        found = []
        for low, high in edges.reshape(-1, 2).tolist():
            start_us = int(self._last[low - 1]) + TICK_US if low else self._start_us
            stop_us = int(self._first[high]) if high < seen.size else self._stop_us
            if stop_us > start_us:
                found.append((start_us, min(stop_us, self._stop_us)))
        return found
