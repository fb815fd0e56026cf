"""Pictures of products on disk: read by rows, so that a large file costs no more than its thumbnail needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import NightcrewError
from nightcrew.io.images import ImageFile
from reports.stretch import Stretch, encode, sized_png, thumbnail_rows
from reports.values import Picture


def picture_of_image(path: Path, alt: str, *, size_px: int = 160, stretch: Stretch = "asinh", flat_is_fine: bool = False) -> Picture | None:
    """A picture of a FITS product's science plane; None when the file cannot be read (the report's check then says so)."""
    try:
        with ImageFile(path) as image:
            ny, nx = image.shape[-2:]
            return thumbnail_rows(image.read_rows, (ny, nx), alt, size_px=size_px, stretch=stretch, flat_is_fine=flat_is_fine)
    except (NightcrewError, OSError):
        return None


def picture_of_mask(path: Path, alt: str, *, size_px: int = 160) -> Picture | None:
    """A mask as a picture: a block with any flagged pixel is white; None when the file cannot be read."""
    try:
        with ImageFile(path) as image:
            ny, nx = image.shape[-2:]
            flagged = image.read_rows(0, ny) != 0
    except (NightcrewError, OSError):
        return None
    step = max(1, -(-max(ny, nx) // size_px))
    rows, columns = ny // step, nx // step
    blocks = flagged[: rows * step, : columns * step].reshape(rows, step, columns, step).any(axis=(1, 3))
    grey: NDArray[np.uint8] = np.where(blocks[::-1], np.uint8(255), np.uint8(24))
    drawn = encode(np.ascontiguousarray(grey), alt, lossy=False)
    # a mask without a flagged pixel is a good one, not an empty picture
    return Picture(data=drawn.data, media_type=drawn.media_type, width_px=drawn.width_px, height_px=drawn.height_px, alt=alt)


def picture_of_png(path: Path, alt: str, most_bytes: int = 2_000_000) -> Picture | None:
    """A PNG that a unit of work drew; None when it cannot be read or is no picture."""
    try:
        if path.stat().st_size > most_bytes:
            return None
        return sized_png(path.read_bytes(), alt)
    except (OSError, ValueError):
        return None
