"""Photons out of a readout stream: vectorised, block by block, in bounded memory.

A stream is a row of words that may be handed over in pieces of any length, torn anywhere: what follows the last header of a
piece is kept until the next header shows where its frame ends.  Every word is counted as something (:class:`Tally`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.mkid import clock
from nightcrew.mkid import words as w
from nightcrew.mkid.gaps import FrameTimes
from nightcrew.mkid.losses import BoardLoss, FrameCounters
from nightcrew.mkid.silences import NEW, PixelBoards
from nightcrew.mkid.tally import Tally, Word

BLOCK_WORDS = 1 << 17  # 1 MB: a block and what is made of it stay in the cache
FAR_FUTURE_US = 1 << 62
_KEPT_BYTES = 30 << 20
_FILLER = int(Word.FILLER)  # an array is compared with a plain number several times as fast as with one of an enumeration

_BY_CODE = ("filler", "unmapped", "", "unknown", "orphan", "misdated", "repeated", "zero", "outside")  # of -1, -2, ...


@dataclass(frozen=True)
class Photons:
    """Photons in the order of the stream, as columns of equal length."""

    pixel: NDArray[np.int32]  # y * number of columns + x
    time_us: NDArray[np.int64]  # Unix time
    word: w.Words

    @property
    def phase(self) -> w.Ints:
        """In units of 2^-15 radian."""
        return w.phases(self.word)

    @property
    def baseline(self) -> w.Ints:
        """In units of 2^-14 radian."""
        return w.baselines(self.word)

    def __len__(self) -> int:
        return self.pixel.size

    @classmethod
    def none(cls) -> Photons:
        """No photon."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint64))

    @classmethod
    def joined(cls, parts: list[Photons]) -> Photons:
        """All parts, one after the other."""
        if not parts:
            return cls.none()
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([p.pixel for p in parts]), np.concatenate([p.time_us for p in parts]), np.concatenate([p.word for p in parts])
        )


@lru_cache(maxsize=4)
def place_table(shape: tuple[int, int]) -> NDArray[np.int32]:
    """Pixel number, or :class:`Word`, of every x and y that a word can hold; ``shape`` is (rows, columns).

    Raises :class:`Refused` for an array that the words cannot address.
    """
    rows, columns = shape
    if not (0 < rows <= w.MAX_ROWS and 0 < columns <= w.MAX_COLUMNS):
        raise Refused(f"an array of {columns} x {rows} pixels cannot be read out: words hold up to {w.MAX_COLUMNS} x {w.MAX_ROWS}")
    table = np.full(w.PLACES, Word.UNKNOWN, dtype=np.int32)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    table[x << 10 | y] = y * columns + x
    table[w.FILLER_PLACE] = Word.FILLER
    table[w.UNMAPPED_PLACE] = Word.UNMAPPED
    table[w.HEADER_PLACE :] = Word.HEADER
    table.flags.writeable = False
    return table


def _lose(codes: NDArray[np.int32], code: Word) -> None:
    """Photons among these words cannot be used."""
    codes[codes >= 0] = code


class _Scratch:
    """Memory that is used again for every block: fresh pages would cost more than the work."""

    def __init__(self) -> None:
        # A large piece taken and given back, never touched: from then on the C library keeps what is freed, up to this size,
        # instead of giving it back to the system and asking anew for every block.
        untouched = np.empty(_KEPT_BYTES, np.uint8)
        del untouched
        self._words = np.empty(0, np.uint64)

    def block(self, size: int) -> w.Words:
        """Room for a block; valid until the next one."""
        if size > self._words.size:
            self._words = np.empty(size + w.MOST_WORDS, np.uint64)
            self._places = np.empty(self._words.size, np.uint64)
            self._codes = np.empty(self._words.size, np.int32)
        return self._words[:size]

    def codes(self, block: w.Words, table: NDArray[np.int32]) -> NDArray[np.int32]:
        """Pixel number or :class:`Word` of each word by its place alone; valid until the next block."""
        if block.size > self._words.size:
            self.block(block.size)
        places = np.right_shift(block, np.uint64(44), out=self._places[: block.size])
        return np.take(table, places.view(np.int64), out=self._codes[: block.size], mode="clip")

    def microseconds(self, word: w.Words) -> NDArray[np.int64]:
        """As :func:`nightcrew.mkid.words.microseconds`; valid until the next block."""
        micros = np.right_shift(word, np.uint64(35), out=self._places[: word.size])
        micros &= np.uint64(0x1FF)
        return micros.view(np.int64)


class StreamParser:
    """Parses one stream into the photons of the half-open window ``[start_us, stop_us)`` (Unix microseconds)."""

    def __init__(
        self,
        shape: tuple[int, int],
        start_us: int = 0,
        stop_us: int = FAR_FUTURE_US,
        *,
        tolerance_s: float = clock.TOLERANCE_S,
    ) -> None:
        self.tally = Tally()
        self._boards = PixelBoards(place_table(shape), shape[0] * shape[1])
        self._window = (start_us, stop_us)
        self._tolerance_s = tolerance_s
        self._counters = FrameCounters(self.tally, start_us, stop_us)
        self.frame_times = FrameTimes(start_us, stop_us)
        self._carried: w.Words = np.empty(0, np.uint64)
        self._second = 0
        self._scratch = _Scratch()

    def feed(self, stored: NDArray[np.uint64], second: int) -> Photons:
        """The photons of all frames that are whole now; ``stored`` are the next words (of any byte order), ``second`` names their file."""
        self._second = second
        self.tally.words += stored.size
        n_carried = self._carried.size
        block = self._scratch.block(n_carried + stored.size)
        block[:n_carried] = self._carried
        block[n_carried:] = stored
        heads = np.flatnonzero(block >= w.FIRST_HEADER)
        keep_from = int(heads[-1]) if heads.size else block.size
        if block.size - keep_from > w.MOST_WORDS + 1:  # longer than a frame can be
            keep_from = block.size
        elif heads.size:
            heads = heads[:-1]
        self._carried = block[keep_from:].copy()
        return self._parse(block[:keep_from], heads)

    def finish(self, *, gap: bool = True) -> Photons:
        """The photons of the last frame.  What is fed from here on does not continue it, and after a ``gap`` no frame counter either."""
        block, self._carried = self._carried, np.empty(0, np.uint64)
        photons = self._parse(block, np.flatnonzero(block >= w.FIRST_HEADER))
        if gap:
            self._counters.restart()
        return photons

    def carried_us(self) -> int | None:
        """When the frame begins whose end has not come yet (Unix time); None where there is none, or its time cannot be used."""
        heads = self._carried[self._carried >= w.FIRST_HEADER]
        if not heads.size:
            return None
        times_us, dated = clock.unix_us(w.ticks(heads[-1:]), self._second, self._tolerance_s)
        return int(times_us[0]) if dated[0] else None

    @property
    def board_of_pixel(self) -> NDArray[np.int16]:
        """Board of every pixel, y * columns + x, that a photon came of; -1 of the others."""
        return self._boards.of_pixel

    def by_board(self, gaps_us: list[tuple[int, int]]) -> dict[int, BoardLoss]:
        """As :meth:`nightcrew.mkid.losses.FrameCounters.by_board`."""
        return self._counters.by_board(gaps_us)

    def _parse(self, block: w.Words, heads: NDArray[np.intp]) -> Photons:
        if not block.size:
            return Photons.none()
        codes = self._scratch.codes(block, self._boards.table)
        headers = block[heads]
        times_us, dated = clock.unix_us(w.ticks(headers), self._second, self._tolerance_s)
        repeated = np.zeros(heads.size, dtype=np.bool_)
        oldest_us = self._second * 1_000_000 - round(self._tolerance_s * 1e6)  # before it nothing agrees with the file's name
        repeated[dated] = self._counters.follow(headers[dated], times_us[dated], oldest_us)
        self.frame_times.add(times_us[dated])
        self._count_frames(heads, dated, repeated)
        starts, lengths = self._lay_out(block, heads, codes)
        if starts.size > heads.size:  # words before the first header
            times_us = np.concatenate([times_us[:1] if heads.size else np.zeros(1, np.int64), times_us])
            before = (self._second + 1) * 1_000_000 <= self._window[0]  # older than a file that is itself before the window
            _lose(codes[: lengths[0]], Word.OUTSIDE if before else Word.ORPHAN)
        self._spoil(codes, heads, np.append(heads[1:], block.size), dated, repeated)
        if int(codes.max()) >= NEW:
            self._boards.learn(block, codes, headers, lengths)
        return self._collect(block, codes, times_us, lengths)

    def _count_frames(self, heads: NDArray[np.intp], dated: NDArray[np.bool_], repeated: NDArray[np.bool_]) -> None:
        self.tally.frames += heads.size
        self.tally.frames_misdated += int(np.count_nonzero(~dated))
        self.tally.frames_repeated += int(np.count_nonzero(repeated))

    def _lay_out(self, block: w.Words, heads: NDArray[np.intp], codes: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Starts and lengths (header included) of the frames; words that no frame can hold get their code."""
        starts = heads if heads.size and heads[0] == 0 else np.concatenate([np.zeros(1, np.intp), heads])
        lengths = np.diff(starts, append=block.size)
        ends = starts + lengths
        long = lengths > w.MOST_WORDS + 1
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
            _lose(codes[start + w.MOST_WORDS + 1 : end], Word.ORPHAN)
        filler = np.flatnonzero(codes == _FILLER)
        cut = (lengths <= w.MOST_WORDS) & (codes[ends - 1] != _FILLER)
        self.tally.frames_cut += int(np.count_nonzero(cut[starts.size - heads.size :]))
        following = block[np.minimum(filler + 1, block.size - 1)]
        inside = filler[(following < w.FIRST_HEADER) & (filler + 1 < block.size)]
        for place in inside.tolist():  # a frame ends with its filler: what follows has lost its header
            end = int(ends[np.searchsorted(starts, place, side="right") - 1])
            _lose(codes[place + 1 : end], Word.ORPHAN)
        if (block == 0).any():
            self._mark_zeros(block, codes)
        return starts, lengths

    @staticmethod
    def _mark_zeros(block: w.Words, codes: NDArray[np.int32]) -> None:
        """A run of zeros is fill: one pixel cannot give two photons in one microsecond.  A single zero is a photon."""
        zero = np.concatenate([[False], block == 0, [False]])
        codes[zero[1:-1] & (zero[:-2] | zero[2:])] = Word.ZERO

    @staticmethod
    def _spoil(
        codes: NDArray[np.int32], heads: NDArray[np.intp], ends: NDArray[np.intp], dated: NDArray[np.bool_], repeated: NDArray[np.bool_]
    ) -> None:
        for bad, code in ((~dated, Word.MISDATED), (repeated, Word.REPEATED)):
            for start, end in zip(heads[bad].tolist(), ends[bad].tolist(), strict=True):
                _lose(codes[start + 1 : end], code)

    def _collect(self, block: w.Words, codes: NDArray[np.int32], times_us: NDArray[np.int64], lengths: NDArray[np.intp]) -> Photons:
        wanted = codes >= 0
        all_us = np.repeat(times_us, lengths)
        first_us, stop_us = int(times_us.min()), int(times_us.max()) + w.TICK_US
        time_us, word = all_us[wanted], block[wanted]
        micros = self._scratch.microseconds(word)
        time_us += micros
        whole = first_us >= self._window[0] and stop_us <= self._window[1]
        if whole and not (micros.size and int(micros.max()) >= w.TICK_US):
            photons = Photons(codes[wanted], time_us, word)
        else:
            photons = self._choose(codes, wanted, time_us, word, micros)
        self._count_words(codes, wanted, len(photons))
        return photons

    def _choose(
        self, codes: NDArray[np.int32], wanted: NDArray[np.bool_], time_us: NDArray[np.int64], word: w.Words, micros: NDArray[np.int64]
    ) -> Photons:
        """The photons within the window; the others get their code."""
        outside = (time_us < self._window[0]) | (time_us >= self._window[1])
        impossible = micros >= w.TICK_US
        chosen = codes[wanted]
        chosen[outside] = Word.OUTSIDE
        chosen[impossible] = Word.UNKNOWN
        codes[wanted] = chosen
        inside = chosen >= 0
        return Photons(chosen[inside], time_us[inside], word[inside])

    def _count_words(self, codes: NDArray[np.int32], wanted: NDArray[np.bool_], n_photons: int) -> None:
        tally = self.tally
        tally.photons += n_photons
        others = codes[~wanted] if n_photons == np.count_nonzero(wanted) else codes[codes < 0]
        for kind, count in zip(_BY_CODE, np.bincount(-1 - others, minlength=len(_BY_CODE)).tolist(), strict=True):
            if kind:  # headers are counted as frames
                setattr(tally, kind, getattr(tally, kind) + count)
