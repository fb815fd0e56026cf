"""Many frames read side by side, a range of rows at a time, with no more files open than a system allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from nightcrew.io.images import ImageFile
from nightcrew.io.spill import FramesAside

MOST_OPEN = 256  # files; further ones are opened for each range, and decoded once where they are compressed as a whole


class OpenFrames:
    """Frames of one shape; use as a context manager.  Raises what :class:`ImageFile` raises."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._open: list[ImageFile] = []
        self._aside = FramesAside()
        try:
            for path in self._paths[:MOST_OPEN]:
                self._open.append(ImageFile(path))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def compressed(self) -> bool:
        """Whether going back in a file costs decoding it again."""
        return any(image.compressed for image in self._open)

    def rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """Values ``[frame, pixel]`` of the rows ``y0`` to ``y1``."""
        out: NDArray[np.float32] | None = None
        for place, path in enumerate(self._paths):
            values = self._open[place].read_rows(y0, y1) if place < len(self._open) else self._aside.rows(place, path, y0, y1)
            if out is None:
                out = np.empty((len(self._paths), values.size), np.float32)
            out[place] = values.reshape(-1)
        return out if out is not None else np.empty((0, 0), np.float32)

    def close(self) -> None:
        """Close all files."""
        for image in self._open:
            image.close()
        self._open.clear()
        self._aside.close()

    def __enter__(self) -> OpenFrames:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
