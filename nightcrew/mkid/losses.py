"""Frames that never came, found by the gaps in each board's frame counter and by the frames' own times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w
from nightcrew.mkid.frame_memory import FrameMemory
from nightcrew.mkid.tally import Tally

_BOARDS = 256
_HALF = w.FRAME_NUMBERS // 2
_SILENT_US = 100_000  # a board that says nothing for longer is silent; a gap of all boards is never longer without being seen
_LEAST_HEARD = 20  # frames of a board, from which its rate of frames is known
_LEAST_RATE = 0.5  # frames in half a millisecond; a board that sends fewer may be silent without a loss
_LATE_TICKS = 64  # by which the frames of a silence may be fewer than its half milliseconds


Times = NDArray[np.int64]
_ZERO = np.zeros(1, np.intp)


@dataclass(frozen=True)
class _Earlier:
    """For frames by board: where each board begins, and number and time of the frame before each one (-1: there is none)."""

    starts: NDArray[np.intp]
    number: Times
    time_us: Times


@dataclass(frozen=True)
class BoardLoss:
    """What one board sent and lost in a window; time in which no board sent anything is not counted against it."""

    frames: int
    silences_us: tuple[tuple[int, int], ...]  # stretches in which other boards sent frames and this one did not
    share: float  # of its frames, or of the time, that is lost
    share_heard: float = 0.0  # of its frames that is lost while it was not silent: by so much the rates of its pixels are low

    @property
    def silent_s(self) -> float:
        """Time for which the board was silent while others were not."""
        return sum(stop - start for start, stop in self.silences_us) / 1e6


@dataclass(frozen=True)
class _Silence:
    start_us: int
    stop_us: int
    lost: int


class FrameCounters:
    """The frame counter of every board through a stream without gaps.

    The counter wraps at 4096.  How often it did while a board was silent follows from the time, as a board sends a frame at least every
    half millisecond, and from the rate of frames that the board had.
    """

    def __init__(self, tally: Tally, start_us: int, stop_us: int) -> None:
        self._tally = tally
        self._window = (start_us, stop_us)
        self._number = np.full(_BOARDS, -1, dtype=np.int64)
        self._time_us = np.full(_BOARDS, -1, dtype=np.int64)
        self._first_us = np.full(_BOARDS, -1, dtype=np.int64)
        self._inside = np.zeros(_BOARDS, dtype=np.int64)  # frames in the window
        self._heard = np.zeros(_BOARDS, dtype=np.int64)  # frames that came soon after another one,
        self._heard_us = np.zeros(_BOARDS, dtype=np.int64)  # and the time from one to the next of them
        self._silences: dict[int, list[_Silence]] = {}
        self._memory = FrameMemory()

    def restart(self) -> None:
        """Forget the counters: what follows is not the continuation of what was."""
        self._number[:] = -1

    def follow(self, headers: w.Words, times_us: Times, oldest_us: int) -> NDArray[np.bool_]:
        """Count what is lost between these frames, in the order of the stream; True where a frame came before.

        From here on no frame comes whose time is before ``oldest_us``.
        """
        repeated = np.zeros(headers.size, dtype=np.bool_)
        if not headers.size:
            return repeated
        boards = w.boards(headers)
        order = np.argsort(boards, kind="stable")
        board, number, time_us = boards[order], w.frame_numbers(headers)[order], times_us[order]
        steps = self._steps(board, number, time_us)
        back = ((number - steps.number - 1) & (w.FRAME_NUMBERS - 1)) >= _HALF
        back &= steps.number >= 0
        back |= time_us < steps.time_us  # across a missing second, too
        if back.any():  # late frames, a long silence, or copies
            suspected = np.flatnonzero(times_us >= int(time_us[back].min()))
            repeated[suspected] = self._memory.copies(headers[suspected], times_us[suspected])
            kept = ~repeated[order]
            board, number, time_us = board[kept], number[kept], time_us[kept]
            steps = self._steps(board, number, time_us)
        self._memory.forget(oldest_us)
        self._memory.add(headers[~repeated], times_us[~repeated])
        if board.size:
            self._count(steps, board, number, time_us)
        return repeated

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
        boards = board[earlier.starts]
        ends = np.append(earlier.starts[1:], board.size) - 1
        silent = self._hear(earlier, boards, ends, time_us)
        self._first_us[boards] = np.where(self._first_us[boards] < 0, time_us[earlier.starts], self._first_us[boards])
        for place in silent.tolist():
            one, began_us, ended_us = int(board[place]), int(earlier.time_us[place]) + w.TICK_US, int(time_us[place])
            if known[place]:
                lost[place] += self._turns(one, (ended_us - began_us) / w.TICK_US, int(lost[place])) * w.FRAME_NUMBERS
            self._silences.setdefault(one, []).append(_Silence(began_us, ended_us, int(lost[place])))
        counts = np.add.reduceat(lost, earlier.starts).tolist()
        for one, count in zip(boards.tolist(), counts, strict=True):
            self._tally.lost_frames[one] = self._tally.lost_frames.get(one, 0) + count
        self._number[board[ends]] = number[ends]
        self._time_us[board[ends]] = time_us[ends]

    def _hear(self, earlier: _Earlier, boards: NDArray[np.uint8], ends: NDArray[np.intp], time_us: Times) -> NDArray[np.intp]:
        """Note for how long each of ``boards`` was heard, and its frames in the window; the frames that end a silence."""
        apart_us = time_us - earlier.time_us
        known = earlier.time_us >= 0
        silent = np.flatnonzero(known & (apart_us > _SILENT_US))
        first_us, last_us = int(time_us.min()), int(time_us.max())
        if not silent.size and known.all():  # nearly always: the times between frames add up to that from the first to the last
            self._heard[boards] += ends - earlier.starts + 1
            self._heard_us[boards] += time_us[ends] - earlier.time_us[earlier.starts]
        else:
            heard = known & (apart_us <= _SILENT_US)
            self._heard[boards] += np.add.reduceat(heard.astype(np.int64), earlier.starts)
            self._heard_us[boards] += np.add.reduceat(apart_us * heard, earlier.starts)
        if self._window[0] <= first_us and last_us < self._window[1]:
            self._inside[boards] += ends - earlier.starts + 1
        else:
            inside = (time_us >= self._window[0]) & (time_us < self._window[1])
            self._inside[boards] += np.add.reduceat(inside.astype(np.int64), earlier.starts)
        return silent

    def _rate(self, board: int) -> float | None:
        """Frames of a board in half a millisecond; None where it does not send them all the time, or is hardly known."""
        heard, heard_us = int(self._heard[board]), int(self._heard_us[board])
        rate = heard * w.TICK_US / max(heard_us, 1)
        return rate if heard >= _LEAST_HEARD and rate >= _LEAST_RATE else None

    def _turns(self, board: int, ticks: float, lost: int) -> int:
        """How often the counter went round in a silence of so many half milliseconds, after which ``lost`` frames seem to be lost."""
        rate = self._rate(board)
        if rate is None:
            return 0
        least = -((lost - ticks + _LATE_TICKS) // w.FRAME_NUMBERS)
        return max(round((ticks * max(rate, 1.0) - lost) / w.FRAME_NUMBERS), int(least), 0)

    def by_board(self, gaps_us: Sequence[tuple[int, int]]) -> dict[int, BoardLoss]:
        """What every board lost outside of ``gaps_us``, the stretches in order in which no board sent a frame.  To be asked once, last.

        What a board did not send before its first frame and after its last is counted as lost here, by time.
        """
        start_us, stop_us = self._window
        ends = [stop for _, stop in gaps_us]
        live_us = max(stop_us - start_us - sum(stop - start for start, stop in gaps_us), 1)
        found: dict[int, BoardLoss] = {}
        for board in self._tally.boards:
            rate = self._rate(board)
            if rate is None:
                continue
            first_us, last_us = int(self._first_us[board]), int(self._time_us[board]) + w.TICK_US
            before, after = _Silence(start_us, first_us, 0), _Silence(last_us, stop_us, 0)
            silences: list[tuple[int, int]] = []
            in_gaps = in_silences = 0.0
            for one in (before, *self._silences.get(board, []), after):
                parts = _apart(max(one.start_us, start_us), min(one.stop_us, stop_us), gaps_us, ends)
                silent_us = sum(stop - start for start, stop in parts)
                in_gaps += one.lost * (1 - silent_us / max(one.stop_us - one.start_us, 1))
                long = [part for part in parts if part[1] - part[0] > _SILENT_US]
                silences += long
                long_us = sum(stop - start for start, stop in long)
                in_silences += one.lost * long_us / max(one.stop_us - one.start_us, 1)
                if one is before or one is after:
                    frames = round(long_us * max(rate, 1.0) / w.TICK_US)
                    self._tally.lost_frames[board] += frames
                    in_silences += frames
            frames_lost = max(self._tally.lost_frames[board] - in_gaps, 0.0)
            lost_heard = max(frames_lost - in_silences, 0.0)
            inside = int(self._inside[board])
            share = max(frames_lost / max(frames_lost + inside, 1.0), sum(stop - start for start, stop in silences) / live_us)
            found[board] = BoardLoss(inside, tuple(silences), min(share, 1.0), lost_heard / max(lost_heard + inside, 1.0))
        return found


def _apart(start_us: int, stop_us: int, gaps_us: Sequence[tuple[int, int]], ends: Sequence[int]) -> list[tuple[int, int]]:
    """What remains of a stretch without the gaps, which are in order and end at ``ends``."""
    parts = []
    for low, high in gaps_us[bisect_left(ends, start_us) :]:
        if low >= stop_us:
            break
        if low > start_us:
            parts.append((start_us, low))
        start_us = max(start_us, high)
    return [*parts, (start_us, stop_us)] if stop_us > start_us else parts
