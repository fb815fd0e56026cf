"""Which board reads which pixel, and when single boards said nothing: time that counts for the pixels of the others only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nightcrew.mkid import words as w

UNKNOWN = -1
"""Board of a pixel of which no photon came."""
NEW = 1 << 20
"""Added to the number of a pixel, by the table that finds it, until its board is known; beyond every pixel number."""

Stretches = NDArray[np.int64]
Boards = NDArray[np.int16]


@dataclass(frozen=True)
class Silences:
    """Boards that were silent while others were not; one that is silent together with all others is in the gaps of the readout."""

    board: Boards  # [y, x] of each pixel; UNKNOWN: no photon of it came, so that it has no rate either
    rows: NDArray[np.int64]  # [n, 3]: board, begin, end (half-open) in Unix microseconds, in order

    @classmethod
    def of(cls, board: Boards, stretches: Mapping[int, Sequence[tuple[int, int]]]) -> Silences:
        """From the stretches of each board, which are in order and apart."""
        rows = [(one, start, stop) for one in sorted(stretches) for start, stop in stretches[one]]
        return cls(board, np.array(rows, dtype=np.int64).reshape(-1, 3))

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Silences:
        """Nothing is known of boards."""
        return cls(np.full(shape, UNKNOWN, dtype=np.int16), np.empty((0, 3), dtype=np.int64))

    def since(self, start_us: int) -> Silences:
        """The same with times since a start."""
        return Silences(self.board, self.rows - np.array([0, start_us, start_us]))

    @cached_property
    def boards(self) -> tuple[int, ...]:
        """Those that were silent."""
        return tuple(int(one) for one in np.unique(self.rows[:, 0]))

    def of_board(self, board: int) -> Stretches:
        """Stretches [n, 2] in which a board was silent."""
        return self.rows[self.rows[:, 0] == board, 1:]

    def within(self, start_us: int, stop_us: int) -> Iterator[tuple[NDArray[np.bool_], Stretches]]:
        """Pixels [y, x] and stretches of each board that was silent in a window and that reads a pixel."""
        for board in self.boards:
            stretches = self.of_board(board)
            if (stretches[:, 0] < stop_us).any() and (stretches[:, 1] > start_us).any():
                pixels = self.board == board
                if pixels.any():
                    yield pixels, stretches


class PixelBoards:
    """Learns, from the first photon of each pixel, which board reads it.

    ``table`` gives the pixel of every place (:func:`nightcrew.mkid.packets.place_table`), plus :data:`NEW` while its board is not known:
    that a block has no new pixel is known by its greatest number alone.  Where two boards answer to one place, which a beam map flags,
    the first one counts.
    """

    def __init__(self, places: NDArray[np.int32], n_pixels: int) -> None:
        self.table = np.where(places >= 0, places + np.int32(NEW), places)
        self.of_pixel: Boards = np.full(n_pixels, UNKNOWN, dtype=np.int16)

    def learn(self, block: w.Words, codes: NDArray[np.int32], headers: w.Words, lengths: NDArray[np.intp]) -> None:
        """Bring ``codes`` of new pixels back to pixel numbers; ``lengths`` are those of the frames, the last ones of them with ``headers``.

        Words that are no photons have codes below 0, those without a header too.
        """
        new = np.flatnonzero(codes >= NEW)
        codes[new] -= NEW
        possible = new[w.microseconds(block[new]) < w.TICK_US]
        of_frame = np.concatenate([np.zeros(lengths.size - headers.size, np.uint8), w.boards(headers)])
        pixel, board = codes[possible], np.repeat(of_frame, lengths)[possible]
        self.of_pixel[pixel[::-1]] = board[::-1]  # of several the first
        self.table[w.places(block[possible])] = pixel
