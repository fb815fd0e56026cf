"""Frames that never came, found by the gaps in each board's frame counter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w
from nightcrew.mkid.tally import Tally

_BOARDS = 256
_HALF = w.FRAME_NUMBERS // 2


class FrameCounters:
    """The frame counter of every board through a stream without gaps.

    The counter wraps at 4096, so what a board lost while it was silent for more than 4095 frames is known modulo 4096: a lower bound.
    """

    def __init__(self, tally: Tally, start_us: int, stop_us: int) -> None:
        self._tally = tally
        self._window = (start_us, stop_us)
        self._number = np.full(_BOARDS, -1, dtype=np.int64)
        self._time_us = np.zeros(_BOARDS, dtype=np.int64)

    def restart(self) -> None:
        """Forget the counters: what follows is not the continuation of what was."""
        self._number[:] = -1

    def follow(self, headers: w.Words, times_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Count what is lost between these frames, in the order of the stream; True where a frame is the same as its board's last."""
        boards = w.boards(headers)
        order = np.argsort(boards, kind="stable")
        board, number, time_us = boards[order], w.frame_numbers(headers)[order], times_us[order]
        first = np.ones(board.size, dtype=np.bool_)
        first[1:] = board[1:] != board[:-1]
        again = self._repeated(first, board, number, time_us)
        if again.any():
            order, board, number, time_us = order[~again], board[~again], number[~again], time_us[~again]
            first = np.ones(board.size, dtype=np.bool_)
            first[1:] = board[1:] != board[:-1]
        self._count(first, board, number, time_us)
        repeated = np.ones(boards.size, dtype=np.bool_)
        repeated[order] = False
        return repeated

    def _before(
        self, first: NDArray[np.bool_], board: NDArray[np.uint8], column: NDArray[np.int64], last: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        before = np.empty_like(column)
        before[1:] = column[:-1]
        before[first] = last[board[first]]
        return before

    def _repeated(
        self, first: NDArray[np.bool_], board: NDArray[np.uint8], number: NDArray[np.int64], time_us: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = number == self._before(first, board, number, self._number)
        same &= time_us == self._before(first, board, time_us, self._time_us)
        return same

    def _count(self, first: NDArray[np.bool_], board: NDArray[np.uint8], number: NDArray[np.int64], time_us: NDArray[np.int64]) -> None:
        if not board.size:
            return
        earlier = self._before(first, board, number, self._number)
        earlier_us = self._before(first, board, time_us, self._time_us)
        step = (number - earlier) % w.FRAME_NUMBERS
        step[step == 0] = w.FRAME_NUMBERS
        late = (step > _HALF) & (time_us - earlier_us <= w.TICK_US)  # overtaken on the way: it fills a gap that was counted
        step[late] -= w.FRAME_NUMBERS
        known = earlier >= 0
        known &= (time_us >= self._window[0]) & (earlier_us < self._window[1])
        lost = np.where(known, step - 1, 0)
        starts = np.flatnonzero(first)
        for one, count in zip(board[starts].tolist(), np.add.reduceat(lost, starts).tolist(), strict=True):
            self._tally.lost_frames[one] = self._tally.lost_frames.get(one, 0) + count
        self._tally.frames_late += int(np.count_nonzero(late & known))
        ends = np.append(starts[1:], board.size) - 1
        self._number[board[ends]] = number[ends]
        self._time_us[board[ends]] = time_us[ends]
