"""The bias level of a frame from its overscan, and the trim to the exposed pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput

Region = tuple[int, int, int, int]
"""(x0, x1, y0, y1), 0-based, half-open, in the stored array."""

OverscanMethod = Literal["rows", "level", "none"]

MEDIAN_NOISE = math.sqrt(math.pi / 2.0)
"""Noise of a median over that of a mean, for many Gaussian values."""


@dataclass(frozen=True, slots=True)
class OverscanLevel:
    """``level_adu``: one value a row of the trimmed frame (float32 ``[y]``), or ``None`` when nothing is taken off.

    ``n_pixels`` is how many overscan pixels stand behind each value; ``noise_factor`` times the read noise is its error.
    """

    level_adu: NDArray[np.float32] | None
    n_pixels: int

    @property
    def noise_factor(self) -> float:
        """Error of the level in units of the read noise (0 when nothing is taken off)."""
        return 0.0 if self.level_adu is None or self.n_pixels == 0 else MEDIAN_NOISE / math.sqrt(self.n_pixels)


def trimmed(raw: NDArray[Any], trim: Region | None) -> NDArray[Any]:
    """The part ``trim`` of ``raw`` ``[y, x]`` (a view; all of it for ``None``).

    :raises RejectedInput: the region does not lie within the frame.
    """
    if trim is None:
        return raw
    _check(raw, trim, "trim")
    x0, x1, y0, y1 = trim
    return raw[y0:y1, x0:x1]


def overscan_level(raw: NDArray[Any], overscan: Region | None, trim: Region | None, method: OverscanMethod = "rows") -> OverscanLevel:
    """Robust overscan level for each row of the trimmed frame.

    ``"rows"``: the median of the row's own overscan pixels, when the overscan lies beside every trimmed row;
    otherwise, and for ``"level"``, one median of the whole overscan.  ``"none"`` or no region: nothing.

    :raises RejectedInput: the region does not lie within the frame.
    """
    if overscan is None or method == "none":
        return OverscanLevel(None, 0)
    _check(raw, overscan, "overscan")
    x0, x1, y0, y1 = overscan
    top, bottom = (trim[2], trim[3]) if trim else (0, raw.shape[0])
    if method == "rows" and y0 <= top and y1 >= bottom:
        level = np.median(raw[top:bottom, x0:x1], axis=1)
        return OverscanLevel(level.astype(np.float32), x1 - x0)
    single = np.float32(np.median(raw[y0:y1, x0:x1]))
    return OverscanLevel(np.full(bottom - top, single, np.float32), (x1 - x0) * (y1 - y0))


def _check(raw: NDArray[Any], region: Region, name: str) -> None:
    x0, x1, y0, y1 = region
    ny, nx = raw.shape
    if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
        raise RejectedInput(f"the {name} region x {x0}:{x1}, y {y0}:{y1} does not lie within the frame of {nx} x {ny} pixels")
