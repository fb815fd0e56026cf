"""The same rows of many frames at a time: what fits over frames are streamed from."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.images import ImageFile
from nightcrew.io.spill import FramesAside

F4 = NDArray[np.float32]
Frame = Path | NDArray[Any]
MOST_OPEN = 400  # files held open; of more each is opened anew for every slab, and decoded once where it is compressed as a whole
SAMPLE_VALUES = 1 << 23  # of all frames together: what a sample of their pixels holds at most
LEAST_SAMPLED = 4096  # pixels of a frame


class FrameStack:
    """Frames of one shape, as files or arrays [y, x], read in rows.  Use it in a ``with`` block.

    Raises ``Refused`` for no frames, RejectedInput when their shapes differ.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        if not frames:
            raise Refused("there is no frame to fit")
        self._frames = list(frames)
        self._exits = ExitStack()
        self._open: dict[int, ImageFile] = {}
        self._aside = self._exits.enter_context(closing(FramesAside()))
        self._lock = threading.Lock()

    def __enter__(self) -> FrameStack:
        try:
            if len(self._frames) <= MOST_OPEN:
                for number, frame in enumerate(self._frames):
                    if isinstance(frame, Path):
                        self._open[number] = self._exits.enter_context(ImageFile(frame))
            self.shape = self._shape_of(0)
            for number in range(len(self)):
                if self._shape_of(number) != self.shape:
                    raise RejectedInput(f"{self.name(number)}: is {self._shape_of(number)} pixels, {self.name(0)} is {self.shape}")
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exits.close()

    def __len__(self) -> int:
        return len(self._frames)

    def name(self, number: int) -> str:
        """The frame's file name, or its number."""
        frame = self._frames[number]
        return frame.name if isinstance(frame, Path) else f"frame {number}"

    def _shape_of(self, number: int) -> tuple[int, int]:
        frame = self._frames[number]
        if not isinstance(frame, Path):
            shape: tuple[int, ...] = frame.shape
        elif number in self._open:
            shape = self._open[number].shape
        else:
            with ImageFile(frame) as image:
                shape = image.shape
        if len(shape) != 2:
            raise RejectedInput(f"{self.name(number)}: is no image of two axes")
        return int(shape[0]), int(shape[1])

    def _rows_of(self, number: int, y0: int, y1: int) -> NDArray[Any]:
        frame = self._frames[number]
        if not isinstance(frame, Path):
            return frame[y0:y1]
        if number in self._open:
            return self._open[number].read_rows(y0, y1)
        rows: NDArray[Any] = self._aside.rows(number, frame, y0, y1)
        if rows.shape[1] != self.shape[1]:
            raise RejectedInput(f"{self.name(number)}: has rows of {rows.shape[1]} pixels, {self.name(0)} of {self.shape[1]}")
        return rows

    def rows(self, y0: int, y1: int, out: F4 | None = None) -> F4:
        """Rows y0..y1 of every frame as float32 [frame, pixel]; into ``out`` where it is given and large enough."""
        n_pixels = (y1 - y0) * self.shape[1]
        values = np.empty((len(self), n_pixels), np.float32) if out is None else out[:, :n_pixels]
        for number in range(len(self)):
            values[number] = self._rows_of(number, y0, y1).reshape(-1)
        return values

    def stored_rows(self, y0: int, y1: int) -> list[NDArray[Any]]:
        """Rows y0..y1 of every frame, flat, in the type that the frame has."""
        return [self._rows_of(number, y0, y1).reshape(-1) for number in range(len(self))]

    def columns(self, places: NDArray[np.intp], most_values: int = 1 << 20) -> Iterator[tuple[NDArray[np.intp], F4]]:
        """Values of some pixels (sorted flat places) in every frame [frame, pixel], a part of the pixels at a time."""
        nx = self.shape[1]
        step = max(1, most_values // len(self))
        for start in range(0, places.size, step):
            part = places[start : start + step]
            y0, y1 = int(part[0]) // nx, int(part[-1]) // nx + 1
            yield part, np.stack([self._rows_of(n, y0, y1).reshape(-1)[part - y0 * nx] for n in range(len(self))]).astype(np.float32)

    def slabs(self, bytes_per_value: int, memory_bytes: int) -> Iterator[tuple[int, int]]:
        """Row ranges whose ``bytes_per_value`` (of all arrays that the work holds) stay within ``memory_bytes``; at least one row."""
        ny, nx = self.shape
        step = max(1, min(ny, memory_bytes // max(1, bytes_per_value * nx * len(self))))
        for y0 in range(0, ny, step):
            yield y0, min(ny, y0 + step)

    def sample_rows(self, most_pixels: int) -> NDArray[np.int64]:
        """Rows spread evenly over the frame that hold about ``most_pixels`` pixels, fewer of many frames; always the same."""
        ny, nx = self.shape
        most_pixels = min(most_pixels, max(LEAST_SAMPLED, SAMPLE_VALUES // len(self)))
        count = max(1, min(ny, most_pixels // nx))
        return (np.arange(count) * ny + ny // 2) // count

    def sample(self, most_pixels: int) -> F4:
        """Those rows of every frame [frame, pixel]."""
        chosen = self.sample_rows(most_pixels)
        return np.concatenate([self.rows(int(y), int(y) + 1) for y in chosen], axis=1)
