"""What a kernel gets and gives: the same rows of every frame, and the planes to fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.methods import Rule

NARROW = ("u1", "i1", "i2", "u2")  # 16 bits and less: sorted as int16
SINGLE = (*NARROW, "f4")  # exact in float32
ALL_FLAGS = 0xFFFF
IN_MEMORY, PARKED = -1, -2  # instead of a descriptor: pixels are in ``data``, or in a file to be opened by its path


@dataclass(slots=True, kw_only=True)
class FrameRows:
    """Rows of one frame with what has to be done to them first.

    The value of a pixel is ``((data + zero - sum(factor * plane)) / divide) * scale + shift``, in float64, stored as float32
    (float64 for 32-bit integers and float64).  ``data`` [rows, cols] may be of either byte order; ``zero`` is FITS's BZERO where
    the rows are as stored.  A pixel is left out where the value is not finite, where ``data + zero >= saturation``, or
    where ``mask & exclude`` is not 0.  ``sigma`` is the frame's own uncertainty in the units of the result of all that.
    """

    data: NDArray[Any]
    zero: int = 0
    mask: NDArray[np.uint16] | None = None
    sigma: NDArray[np.float32] | None = None
    subtract: tuple[tuple[NDArray[np.float32], float], ...] = ()
    divide: NDArray[np.float32] | None = None
    scale: float = 1.0
    shift: float = 0.0
    weight: float = 1.0
    weight_by_sigma: bool = False
    saturation: float = np.inf
    exclude: int = ALL_FLAGS
    descriptor: int = IN_MEMORY
    offset: int = 0
    path: bytes = b""
    identity: tuple[int, int] = (0, 0)
    row_pixels: int = 0
    first_column: int = 0

    @property
    def plain(self) -> bool:
        """True when the values are those of ``data`` with nothing left out."""
        return (
            self.mask is None
            and self.sigma is None
            and not self.subtract
            and self.divide is None
            and self.scale == 1.0
            and self.shift == 0.0
            and self.saturation == np.inf
        )

    @property
    def kind(self) -> str:
        """Type of the physical values, as numpy's letter and byte count without byte order: ``u2`` for '>i2' + 32768."""
        code = self.data.dtype.str[1:]
        return "u" + code[1:] if self.zero and code[0] == "i" else code


@dataclass(slots=True, kw_only=True)
class OutRows:
    """Rows of the planes to fill, each [rows, cols]; ``None`` where nobody asked."""

    result: NDArray[Any]
    uncertainty: NDArray[Any] | None = None
    count: NDArray[np.uint16] | None = None
    mask: NDArray[np.uint16] | None = None

    def by_name(self) -> dict[str, NDArray[Any] | None]:
        """All planes."""
        return {"result": self.result, "uncertainty": self.uncertainty, "count": self.count, "mask": self.mask}


class RowsOut(Protocol):
    """Gives rows of planes to fill, and takes them when they are filled."""

    def rows(self, y0: int, y1: int, nx: int) -> OutRows:
        """Rows to fill."""

    def done(self, y0: int, rows: OutRows) -> None:
        """``rows`` from row ``y0`` on are filled."""


def needs_frames(frames: list[FrameRows], rule: Rule) -> bool:
    """Whether sums have to know which frame a value came from: weights, or the frames' own uncertainties."""
    return rule.method == "weighted_mean" or (frames[0].sigma is not None and rule.propagates())


def sort_type(frames: list[FrameRows], rule: Rule) -> str:
    """``i2`` when all frames are plain and of one narrow type, ``f4`` when float32 holds every value, else ``f8``."""
    kinds = {frame.kind for frame in frames}
    narrow = len(kinds) == 1 and kinds <= set(NARROW) and len(frames) < 32768
    if narrow and not needs_frames(frames, rule) and all(frame.plain for frame in frames):
        return "i2"
    return "f4" if kinds <= set(SINGLE) else "f8"
