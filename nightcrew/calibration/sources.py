"""What can be combined: arrays, files, windows of them, planes of cubes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nightcrew.calibration.kernels.slab import ALL_FLAGS

if TYPE_CHECKING:
    from nightcrew.io.images import ImageFile

Array = NDArray[Any]
Window = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource:
    """One image in memory or in a file, with what belongs to it.

    ``data`` is an array [y, x], a path, or an open ``ImageFile`` (which the caller closes); ``plane`` chooses one of a cube, ``hdu`` an
    extension.  ``window`` (x0, x1, y0, y1), 0-based and half-open, trims data, mask and uncertainty alike.  ``mask`` [y, x]
    uint16 flags or bool, ``uncertainty`` [y, x] one standard deviation in the units of data, each as an array or as the
    number or name of an HDU of the same file.  Pixels with ``mask & exclude`` or at or above ``saturation`` are left out.
    ``unit`` and ``gain_setting`` must agree among the frames that state them (files: BUNIT and GAIN, ISOSPEED, EGAIN).
    """

    data: Array | Path | str | ImageFile
    name: str = ""
    plane: int | None = None
    hdu: int | str | None = None
    window: Window | None = None
    mask: Array | str | int | None = None
    uncertainty: Array | str | int | None = None
    exclude: int = ALL_FLAGS
    saturation: float = np.inf
    unit: str = ""
    gain_setting: str = ""
    exposure_s: float | None = None


Source: TypeAlias = "Array | Path | str | ImageFile | ArraySource"
