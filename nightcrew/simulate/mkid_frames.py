"""Photons into a readout's stream: frames of several boards, interleaved, with frames that get lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w

Ints = NDArray[np.int64]
WRAPPED_TICKS = (1 << 20) * w.TICKS_PER_S


@dataclass(frozen=True)
class Events:
    """Photons as columns of equal length, in any order.  ``x`` and ``y`` may be 767, 1023 for channels without a place."""

    time_us: Ints  # Unix time
    board: Ints  # 0.., the index into the boards' numbers
    x: Ints
    y: Ints
    phase: Ints  # units of 2^-15 radian
    baseline: Ints  # units of 2^-14 radian

    def __len__(self) -> int:
        return self.time_us.size

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Events:
        """Some of them, by mask or index."""
        return Events(self.time_us[which], self.board[which], self.x[which], self.y[which], self.phase[which], self.baseline[which])

    @classmethod
    def joined(cls, parts: list[Events]) -> Events:
        """All of them."""
        names = ("time_us", "board", "x", "y", "phase", "baseline")
        return cls(*(np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, np.int64)]) for name in names))


@dataclass(frozen=True)
class Stretch:
    """A stretch of the stream."""

    words: w.Words
    frame_at: Ints  # where each frame begins
    frame_us: Ints  # when, Unix time
    delivered: NDArray[np.bool_]  # of the events
    lost: Ints  # frames lost, by board


class Readout:
    """Several boards that count their frames.  Every tick of a board has at least one frame, be it empty.

    ``epoch_us`` is the start of the year in which the readout was started; ``wraps`` makes the ticks wrap as old firmware did.
    ``silences`` are stretches (index of a board, begin, end, in Unix microseconds) in which the frames of a board do not arrive.
    """

    def __init__(
        self,
        boards: list[int],
        epoch_us: int,
        *,
        wraps: bool = False,
        first_numbers: Ints | None = None,
        silences: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        self.boards = np.array(boards, dtype=np.int64)
        self._epoch_us = epoch_us
        self._wraps = wraps
        self._silences = silences
        self._number = np.zeros(len(boards), np.int64) if first_numbers is None else first_numbers.astype(np.int64)

    def stretch(self, events: Events, start_us: int, stop_us: int, rng: np.random.Generator | None = None, loss: float = 0.0) -> Stretch:
        """The stream of ``[start_us, stop_us)``, whole ticks, with a fraction ``loss`` of the frames lost.

        The first and last frames of a stretch are never lost, so that every loss can be found, but in a silence of their board.
        """
        first_tick, n_ticks, n_boards = (start_us - self._epoch_us) // w.TICK_US, (stop_us - start_us) // w.TICK_US, self.boards.size
        tick = (events.time_us - self._epoch_us) // w.TICK_US - first_tick
        group = tick * n_boards + events.board
        order = np.lexsort((events.time_us, group))
        counts = np.bincount(group, minlength=n_ticks * n_boards)
        n_frames = counts // w.MOST_WORDS + 1
        first_frame = np.cumsum(n_frames) - n_frames
        frame_group = np.repeat(np.arange(counts.size), n_frames)
        part = np.arange(frame_group.size) - first_frame[frame_group]
        last = part == n_frames[frame_group] - 1
        photons = np.where(last, counts[frame_group] % w.MOST_WORDS, w.MOST_WORDS)
        rank = np.arange(order.size) - (np.cumsum(counts) - counts)[group[order]]
        frame_of = first_frame[group[order]] + rank // w.MOST_WORDS
        sent = self._sent(frame_group // n_boards, n_ticks, rng, loss)
        for board, silent_us, heard_us in self._silences:
            at_us = (frame_group // n_boards + first_tick) * w.TICK_US + self._epoch_us
            sent &= (frame_group % n_boards != board) | (at_us < silent_us) | (at_us >= heard_us)
        length = np.where(sent, photons + 1 + last, 0)
        sequence = np.lexsort((frame_group % n_boards, part, frame_group // n_boards))
        start = np.empty(frame_group.size, dtype=np.int64)
        start[sequence] = np.cumsum(length[sequence]) - length[sequence]
        stream = np.full(int(length.sum()), w.FILLER, dtype=np.uint64)
        ticks = frame_group // n_boards + first_tick
        numbers = self._numbers(frame_group % n_boards, n_boards)
        shown_ticks = ticks % WRAPPED_TICKS if self._wraps else ticks
        stream[start[sent]] = w.header_words(self.boards[(frame_group % n_boards)[sent]], numbers[sent], shown_ticks[sent])
        delivered_in_order = sent[frame_of]
        placed = events.chosen(order[delivered_in_order])
        place = start[frame_of[delivered_in_order]] + 1 + rank[delivered_in_order] % w.MOST_WORDS
        stream[place] = w.photon_words(placed.x, placed.y, (placed.time_us - self._epoch_us) % w.TICK_US, placed.phase, placed.baseline)
        delivered = np.empty(order.size, dtype=np.bool_)
        delivered[order] = delivered_in_order
        kept = sequence[sent[sequence]]
        lost = np.bincount((frame_group % n_boards)[~sent], minlength=n_boards)
        return Stretch(stream, start[kept], ticks[kept] * w.TICK_US + self._epoch_us, delivered, lost)

    @staticmethod
    def _sent(tick: Ints, n_ticks: int, rng: np.random.Generator | None, loss: float) -> NDArray[np.bool_]:
        if rng is None or not loss:
            return np.ones(tick.size, dtype=np.bool_)
        sent: NDArray[np.bool_] = (rng.random(tick.size) >= loss) | (tick == 0) | (tick == n_ticks - 1)
        return sent

    def _numbers(self, board: Ints, n_boards: int) -> Ints:
        """Frame counters, continued from the last stretch; frames come by tick, board and part."""
        numbers = np.empty(board.size, dtype=np.int64)
        for one in range(n_boards):
            mine = np.flatnonzero(board == one)
            numbers[mine] = self._number[one] + np.arange(mine.size)
            self._number[one] += mine.size
        return numbers


def cut(stretch: Stretch, at_us: list[int], tear: list[int]) -> list[w.Words]:
    """The stretch in pieces: before the first frame at or after each time of ``at_us`` (ascending), moved by ``tear`` words."""
    places = [0]
    for time_us, words in zip(at_us, tear, strict=True):
        frame = int(np.searchsorted(stretch.frame_us, time_us))
        place = int(stretch.frame_at[frame]) if frame < stretch.frame_at.size else stretch.words.size
        places.append(min(max(place + words, places[-1]), stretch.words.size))
    return [stretch.words[a:b] for a, b in zip(places, [*places[1:], stretch.words.size], strict=True)]
