"""Opening a raw frame for a unit of work: it must still be the file that was ingested; a quick look at its level."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.headers import Hdu
from nightcrew.io.images import ImageFile
from nightcrew.io.patience import answers
from nightcrew.io.sameness import is_unchanged
from nightcrew.ledger.rows import FrameRow
from nightcrew.lights.overscan import overscan_level
from nightcrew.planning.sets import SetFile
from nightcrew.quality.statistics import median_and_sigma

_SAMPLE_ROWS = 48
_ABSURD = 1e15  # ADU: no detector holds so much, and in single precision the squares of more than 1e19 are infinite
_ANSWER_S = 10.0


class GoneError(TransientError):
    """A raw file is gone from its folder: the next plan does without it."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{path.rpartition(b'/')[2].decode('utf-8', 'backslashreplace')} is gone from its folder")
        self.path = path

    @property
    def alone(self) -> bool:
        """Is its folder there, with other things in it?  One that is away or empty is perhaps not mounted, and nothing is lost."""

        def has_others() -> bool:
            with os.scandir(Path(os.fsdecode(self.path)).parent) as entries:
                return any(entries)

        return answers({"": has_others}, _ANSWER_S).get("") is True


class ChangedError(TransientError):
    """A raw file does not hold what was ingested of it."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{path.rpartition(b'/')[2].decode('utf-8', 'backslashreplace')} changed since it was ingested")
        self.path = path


def file_of(frame: FrameRow) -> Path:
    """The frame's path, after checking that its bytes are those that were ingested (size and time; their hash where that does not tell).

    Raises
    ------
    GoneError
        The file is gone.
    ChangedError
        It changed since: it is ingested again.
    TransientError
        It cannot be read now.
    """
    return checked_path(frame)


def checked_path(file: FrameRow | SetFile) -> Path:
    """As :func:`file_of`, of a frame or of a file of a set."""
    path = Path(os.fsdecode(file.path))
    try:
        status = path.lstat()  # what a link leads to may be anything, of the same size and time
    except FileNotFoundError as error:
        raise GoneError(file.path) from error
    except OSError as error:
        raise TransientError(f"{path.name} cannot be read now: {error.strerror}") from error
    if not is_unchanged(path, status, file):
        raise ChangedError(file.path)
    return path


def pixels_of(frame: FrameRow) -> tuple[NDArray[Any], float | None, Hdu]:
    """All pixels of a raw frame, NaN where there is no value (BLANK too), its saturation level [ADU], and the HDU that holds them.

    Infinite and absurd numbers (from 1e15 on) are no values: sums and squares of them drown or break all others.  The
    level is the header's (or profile's), else the largest number of the stored integers, else None.  Raises as :func:`look`.
    """
    known = frame.header.saturation_adu
    with ImageFile(file_of(frame), frame.header.hdu) as image:
        pixels = image.read()
        if pixels.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                pixels[~(np.abs(pixels) < _ABSURD)] = np.nan
        return pixels, _type_maximum(image.dtype) if known is None else known, image.hdu


@dataclass(frozen=True, slots=True)
class Look:
    """A quick look at a raw frame: numbers from evenly spread rows of its trimmed part, overscan taken off.

    ``rows`` are those rows (indices in the trimmed frame) and ``sample`` their pixels in ADU, float32.
    """

    level_adu: float
    sigma_adu: float
    saturated_fraction: float
    overscan_adu: float
    rows: NDArray[np.intp]
    sample: NDArray[np.float32]


def look(frame: FrameRow) -> Look:
    """Look at a raw frame.

    Raises
    ------
    RejectedInput, TransientError
        It cannot be read, now or ever; or it has no finite pixel.
    """
    header = frame.header
    with ImageFile(file_of(frame), header.hdu) as image:
        ny, nx = image.shape[-2:]
        x0, x1, y0, y1 = header.trim or (0, nx, 0, ny)
        if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
            raise RejectedInput(f"the trim region x {x0}:{x1}, y {y0}:{y1} does not lie within the frame of {nx} x {ny} pixels")
        rows = np.unique(np.linspace(0, y1 - y0 - 1, min(_SAMPLE_ROWS, y1 - y0)).astype(np.intp))
        raw = np.concatenate([image.read_rows(int(y0 + r), int(y0 + r) + 1) for r in rows])
        largest = _type_maximum(image.dtype)
        over = _overscan(image, header.overscan)
    sample = raw[:, x0:x1]
    finite = sample[np.isfinite(sample)]
    if finite.size == 0:
        raise RejectedInput("it has no finite pixel")
    full = header.saturation_adu if header.saturation_adu is not None else largest
    saturated = float(np.count_nonzero(finite >= full) / finite.size) if full is not None else 0.0
    values = sample.astype(np.float32) - np.float32(over)
    level, sigma = median_and_sigma(finite.astype(np.float64) - over)
    return Look(level, sigma, saturated, over, rows, values)


def _overscan(image: ImageFile, region: tuple[int, int, int, int] | None) -> float:
    if region is None:
        return 0.0
    level = overscan_level(image.read(), region, None, "level").level_adu
    return float(level[0]) if level is not None else 0.0


def _type_maximum(dtype: np.dtype[Any]) -> float | None:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else None
