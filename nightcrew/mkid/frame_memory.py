"""Headers of frames that came, to tell a copy from a frame that is late.

A frame is known by its header: board, number and time.  A copy can be used only as long as its time agrees with the name of its file, so
that what is older than that is forgotten, and no copy escapes however many frames lie between.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w

MOST_FRAMES = 1 << 23
"""Remembered (64 MB): more than any readout sends in the time in which a copy can come."""
_PIECE = 1 << 13

Times = NDArray[np.int64]


@dataclass(frozen=True)
class _Piece:
    headers: w.Words
    first_us: int
    last_us: int


class FrameMemory:
    """Frames in the order in which they came."""

    def __init__(self, most_frames: int = MOST_FRAMES) -> None:
        self._most_frames = most_frames
        self._pieces: deque[_Piece] = deque()
        self._number = 0
        self._horizon_us = -1  # up to here frames were forgotten for want of room

    def add(self, headers: w.Words, times_us: Times) -> None:
        """Remember frames, of which none is a copy."""
        if not headers.size:
            return
        first_us, last_us = int(times_us.min()), int(times_us.max())
        self._number += headers.size
        if self._pieces and self._pieces[-1].headers.size + headers.size <= _PIECE:
            last = self._pieces.pop()
            headers = np.concatenate([last.headers, headers])
            first_us, last_us = min(first_us, last.first_us), max(last_us, last.last_us)
        self._pieces.append(_Piece(headers, first_us, last_us))
        while self._number > self._most_frames and len(self._pieces) > 1:
            self._horizon_us = max(self._horizon_us, self._drop())

    def forget(self, before_us: int) -> None:
        """Let go of frames, the oldest first, before a time of which no copy can come any more."""
        while self._pieces and self._pieces[0].last_us < before_us:
            self._drop()

    def _drop(self) -> int:
        piece = self._pieces.popleft()
        self._number -= piece.headers.size
        return piece.last_us

    def copies(self, headers: w.Words, times_us: Times) -> NDArray[np.bool_]:
        """Frames that came before, or earlier among these; so are called those, too, of which it cannot be known any more."""
        first_us, last_us = int(times_us.min()), int(times_us.max())
        known = [piece.headers for piece in self._pieces if piece.first_us <= last_us and piece.last_us >= first_us]
        every = np.concatenate([*known, headers])
        _, first, inverse = np.unique(every, return_index=True, return_inverse=True)
        found: NDArray[np.bool_] = (first[inverse.reshape(-1)] != np.arange(every.size))[every.size - headers.size :]
        return found | (times_us <= self._horizon_us)
