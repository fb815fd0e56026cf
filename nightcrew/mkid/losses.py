"""Frames that never came, found by the gaps in each board's frame counter."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w
from nightcrew.mkid.tally import Tally

_BOARDS = 256
_HALF = w.FRAME_NUMBERS // 2
_REMEMBERED = 1 << 16  # frames among which a copy is looked for


Times = NDArray[np.int64]
_ZERO = np.zeros(1, np.intp)


@dataclass(frozen=True)
class _Earlier:
    """For frames by board: where each board begins, and number and time of the frame before each one (-1: there is none)."""

    starts: NDArray[np.intp]
    number: Times
    time_us: Times


class FrameCounters:
    """The frame counter of every board through a stream without gaps.

    The counter wraps at 4096, so what a board lost while it was silent for more than 4095 frames is known modulo 4096: a lower bound.
    """

    def __init__(self, tally: Tally, start_us: int, stop_us: int) -> None:
        self._tally = tally
        self._window = (start_us, stop_us)
        self._number = np.full(_BOARDS, -1, dtype=np.int64)
        self._time_us = np.zeros(_BOARDS, dtype=np.int64)
        self._before: deque[tuple[w.Words, Times]] = deque()  # headers and times of the last frames, in the order of the stream
        self._n_before = 0

    def restart(self) -> None:
        """Forget the counters: what follows is not the continuation of what was."""
        self._number[:] = -1

    def follow(self, headers: w.Words, times_us: Times) -> NDArray[np.bool_]:
        """Count what is lost between these frames, in the order of the stream; True where a frame came before."""
        repeated = np.zeros(headers.size, dtype=np.bool_)
        if not headers.size:
            return repeated
        boards = w.boards(headers)
        order = np.argsort(boards, kind="stable")
        board, number, time_us = boards[order], w.frame_numbers(headers)[order], times_us[order]
        steps = self._steps(board, number, time_us)
        back = ((number - steps.number - 1) & (w.FRAME_NUMBERS - 1)) >= _HALF
        back |= time_us < steps.time_us
        back &= steps.number >= 0
        if back.any():  # late frames, a long silence, or copies
            repeated = self._copies(headers, times_us, int(time_us[back].min()))
            kept = ~repeated[order]
            board, number, time_us = board[kept], number[kept], time_us[kept]
            steps = self._steps(board, number, time_us)
        self._remember(headers, times_us)
        if board.size:
            self._count(steps, board, number, time_us)
        return repeated

    def _copies(self, headers: w.Words, times_us: Times, earliest_us: int) -> NDArray[np.bool_]:
        """Frames whose header, which names board, number and time, was seen before: since ``earliest_us``, which no copy is before."""
        parts = [before[at_us >= earliest_us] for before, at_us in self._before]
        known = np.concatenate(parts) if parts else headers[:0]
        every = np.concatenate([known, headers])
        _, first, inverse = np.unique(every, return_index=True, return_inverse=True)
        copies: NDArray[np.bool_] = (first[inverse.reshape(-1)] != np.arange(every.size))[known.size :]
        return copies & (times_us >= earliest_us)

    def _remember(self, headers: w.Words, times_us: Times) -> None:
        self._before.append((headers, times_us))
        self._n_before += headers.size
        while self._n_before > _REMEMBERED and len(self._before) > 1:
            self._n_before -= self._before.popleft()[0].size

    def _steps(self, board: NDArray[np.uint8], number: Times, time_us: Times) -> _Earlier:
        """The frame before each one of the same board."""
        starts = np.concatenate([_ZERO, np.flatnonzero(board[1:] != board[:-1]) + 1]) if board.size else np.empty(0, np.intp)
        earlier = _Earlier(starts, np.empty_like(number), np.empty_like(time_us))
        for column, before, last in ((number, earlier.number, self._number), (time_us, earlier.time_us, self._time_us)):
            before[1:] = column[:-1]
            before[starts] = last[board[starts]]
        return earlier

    def _count(self, earlier: _Earlier, board: NDArray[np.uint8], number: Times, time_us: Times) -> None:
        lost = (number - earlier.number - 1) & (w.FRAME_NUMBERS - 1)
        late = (lost >= _HALF) & (time_us - earlier.time_us <= w.TICK_US)  # overtaken on the way: it fills a gap that was counted
        known = (earlier.number >= 0) & (time_us >= self._window[0]) & (earlier.time_us < self._window[1])
        if late.any():
            lost[late] -= w.FRAME_NUMBERS
            self._tally.frames_late += int(np.count_nonzero(late & known))
        lost *= known
        counts = np.add.reduceat(lost, earlier.starts).tolist()
        for one, count in zip(board[earlier.starts].tolist(), counts, strict=True):
            self._tally.lost_frames[one] = self._tally.lost_frames.get(one, 0) + count
        ends = np.append(earlier.starts[1:], board.size) - 1
        self._number[board[ends]] = number[ends]
        self._time_us[board[ends]] = time_us[ends]
