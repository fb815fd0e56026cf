"""A time window of a readout, from its files to blocks of photons, with an account of everything that is missing."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.source import shown
from nightcrew.mkid import clock
from nightcrew.mkid.losses import BoardLoss
from nightcrew.mkid.packets import Photons, StreamParser
from nightcrew.mkid.seconds import Rejected, SecondFile, SecondReader, wanted_seconds
from nightcrew.mkid.silences import Silences
from nightcrew.mkid.tally import Tally

_MOST_SHOWN = 10
_MOST_KEPT = 1000  # silences of a board
_APART_US = 50_000  # frames that follow each other are never that far apart
_LOW = 0.01  # share of its frames that a board lost, from which it is told by how much the rates of its pixels are low


@dataclass
class Account:
    """What a window was made of.  Complete when the last block was taken."""

    tally: Tally
    missing_seconds: list[int] = field(default_factory=list)  # within the window: no usable file
    tail_missing: bool = False  # the second after the window: what was written late is not there
    rejected: list[Rejected] = field(default_factory=list)
    files: list[SecondFile] = field(default_factory=list)
    early_firmware: bool = False  # times within a tick may go backwards by a tick
    gaps_us: list[tuple[int, int]] | None = None  # stretches without a frame of any board; None: not known
    boards: dict[int, BoardLoss] = field(default_factory=dict)  # those whose frames come all the time
    window_us: tuple[int, int] | None = None
    board_of_pixel: NDArray[np.int16] | None = None  # [y, x]; -1: no photon of it came

    @property
    def silent_s(self) -> float:
        """Time of the window without a frame; by the missing seconds where it could not be measured."""
        gaps = self.gaps_us
        return float(len(self.missing_seconds)) if gaps is None else sum(stop - start for start, stop in gaps) / 1e6

    def silences(self, shape: tuple[int, int]) -> Silences:
        """Boards that were silent alone, and the pixels that they read."""
        if self.board_of_pixel is None:
            return Silences.none(shape)
        return Silences.of(self.board_of_pixel, {board: one.silences_us for board, one in self.boards.items()})

    def of_run(self, first: int, stop: int) -> None:
        """Forget what is missing outside the files ``[first, stop)`` of a run, which were parsed in a wider window."""
        self.missing_seconds = [second for second in self.missing_seconds if first <= second < stop]
        self.tail_missing = False
        self.window_us = None
        if self.gaps_us is not None:
            self.gaps_us = [gap for gap in self.gaps_us if gap[0] > (first - 1) * 1_000_000 and gap[1] < (stop + 1) * 1_000_000]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "words": self.tally.plain(),
            "missing_seconds": self.missing_seconds,
            "tail_missing": self.tail_missing,
            "rejected": [{"file": one.name, "reason": one.reason} for one in self.rejected],
            "early_firmware": self.early_firmware,
            "gaps_us": None if self.gaps_us is None else [list(gap) for gap in self.gaps_us],
            "window_us": None if self.window_us is None else list(self.window_us),
            "boards": {
                str(board): {
                    "frames": one.frames,
                    "share_lost": one.share,
                    "share_lost_heard": one.share_heard,
                    "silent_s": one.silent_s,
                    "silences_us": [list(stretch) for stretch in one.silences_us[:_MOST_KEPT]],
                }
                for board, one in sorted(self.boards.items())
            },
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """What a person should know."""
        tally, said = self.tally, []
        if self.missing_seconds:
            said.append(f"{seconds_missing(len(self.missing_seconds))}: {_runs(self.missing_seconds)}")
        if self.gaps_us:
            said.append(f"no frame came for {self.silent_s:.3f} s, which is no exposure: {_stretches(self.gaps_us)}")
        if tally.lost:
            lost = ", ".join(f"{count} on board {board}" for board, count in sorted(tally.lost_frames.items()) if count)
            said.append(f"{tally.lost} frames were lost: {lost}")
        for board, one in sorted(self.boards.items()):
            if one.silences_us:
                when = _stretches(list(one.silences_us))
                silent = f"board {board} was silent for {one.silent_s:.3f} s while others were not"
                said.append(f"{silent}, which is no exposure of its pixels: {when}")
            if one.share_heard > _LOW:
                said.append(f"board {board} lost frames: the rates of its pixels are low by {100 * one.share_heard:.1f} %")
        counted = (
            (tally.orphan, "photons have no frame header"),
            (tally.unknown, "words lie outside the array"),
            (tally.misdated, "photons are in frames whose time disagrees with their file"),
            (tally.repeated, "photons came twice"),
            (tally.zero, "words are zero fill"),
            (tally.bytes_over, "bytes stand behind the last whole word of a file"),
        )
        said += [f"{count} {what}" for count, what in counted if count]
        said += self._same_bytes()
        if self.tail_missing:
            said.append("the second after the window is missing: words that were written late are not there")
        if self.early_firmware:
            said.append("recorded with early firmware: photons near a rollover may be one half millisecond early")
        return said + [one.reason for one in self.rejected]

    def _same_bytes(self) -> list[str]:
        """Files that are copies of others under the name of another second."""
        first: dict[str, int] = {}
        pairs = [(first.setdefault(one.sha256, one.second), one.second) for one in self.files]
        told = "hold the same bytes, which count once: the other second is missing"
        return [f"{one}.bin and {other}.bin {told}" for one, other in pairs if one != other]


def seconds_missing(number: int) -> str:
    """So many seconds have no usable file, in words."""
    return "1 second is missing" if number == 1 else f"{number} seconds are missing"


def _runs(seconds: list[int]) -> str:
    shown: list[str] = []
    for second in seconds:
        first, _, last = shown[-1].partition("-") if shown else ("", "", "")
        if shown and int(last or first) == second - 1:
            shown[-1] = f"{first}-{second}"
        else:
            shown.append(str(second))
    return ", ".join(shown)


def _stretches(gaps_us: list[tuple[int, int]]) -> str:
    shown = [f"{start / 1e6:.3f} to {stop / 1e6:.3f}" for start, stop in gaps_us[:_MOST_SHOWN]]
    return ", ".join(shown) + (f", and {len(gaps_us) - _MOST_SHOWN} more" if len(gaps_us) > _MOST_SHOWN else "")


class PhotonStream:
    """Photons of the half-open window ``[start_us, stop_us)`` of Unix microseconds from files by second.

    ``shape`` is (rows, columns).  ``expected`` are the seconds that should have a file, half-open; those of the window when None.
    A file that cannot be used is named in ``account.rejected`` and its second is missing; a frame is
    never continued across a missing second.  :class:`~nightcrew.errors.TransientError` when a file changes or cannot be read now.
    """

    def __init__(
        self,
        files: Mapping[int, Path],
        shape: tuple[int, int],
        start_us: int,
        stop_us: int,
        *,
        tolerance_s: float = clock.TOLERANCE_S,
        expected: tuple[int, int] | None = None,
    ) -> None:
        if stop_us <= start_us:
            raise Refused("the window ends before it begins")
        self.start_us, self.stop_us = start_us, stop_us
        self._files, self._shape = files, shape
        self._expected = range(*(expected or (start_us // 1_000_000, -(-stop_us // 1_000_000))))
        self._has_tail = expected is None
        self._tolerance_s = tolerance_s
        self._parser = StreamParser(shape, start_us, stop_us, tolerance_s=tolerance_s)
        early = start_us < clock.MENDED_FIRMWARE_UNIX * 1_000_000
        self.account = Account(self._parser.tally, early_firmware=early, window_us=(start_us, stop_us))

    def stored_bytes(self) -> int:
        """Size of the files of the window."""
        return sum(
            path.stat().st_size
            for second in wanted_seconds(self.start_us, self.stop_us)
            if (path := self._files.get(second)) and path.is_file()
        )

    def blocks(self) -> Iterator[Photons]:
        """Photons block by block, in the order of the stream.  Can be taken once."""
        broken = True
        for second in wanted_seconds(self.start_us, self.stop_us):
            usable = yield from self._second(second, broken=broken)
            broken = not usable
            if broken:
                self._miss(second)
                yield self._parser.finish()
        yield self._parser.finish()
        gaps_us = self.account.gaps_us = self._parser.frame_times.gaps()
        if gaps_us is not None:
            self.account.boards = self._parser.by_board(gaps_us)
        self.account.board_of_pixel = self._parser.board_of_pixel.reshape(self._shape)

    def _miss(self, second: int) -> None:
        if second in self._expected:
            self.account.missing_seconds.append(second)
        elif self._has_tail and second * 1_000_000 >= self.stop_us:
            self.account.tail_missing = True

    def _follows(self, first_us: int | None) -> bool:
        """May a file whose first frame is at ``first_us`` begin with the end of the frame before?  A copy of another second may not."""
        carried_us = self._parser.carried_us()
        return first_us is None or carried_us is None or abs(first_us - carried_us) <= _APART_US

    def _second(self, second: int, *, broken: bool) -> Generator[Photons, None, bool]:
        """The blocks of one file; returns whether the next file may continue it."""
        path = self._files.get(second)
        if path is None:
            return False
        try:
            reader = SecondReader(path, second, tolerance_s=self._tolerance_s)
        except RejectedInput as error:
            self.account.rejected.append(Rejected(shown(path), str(error)))
            return False
        with reader:
            if not broken and not (reader.begins_inside and self._follows(reader.first_us)):
                yield self._parser.finish(gap=False)
            for block in reader.blocks():
                yield self._parser.feed(block, second)
            self.account.files.append(reader.identity())
            if reader.bytes_over:
                self.account.tally.bytes_over += reader.bytes_over
                yield self._parser.finish(gap=False)
        return True
