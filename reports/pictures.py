"""Pictures of products on disk: read by rows, so that a large file costs no more than its thumbnail needs, and kept by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.errors import NightcrewError
from nightcrew.ledger.rows import FileRow
from reports.keep import NOTHING_KEPT, Keep, key_of
from reports.values import Picture

if TYPE_CHECKING:  # a page whose pictures are all kept loads nothing that makes any
    import numpy as np
    from numpy.typing import NDArray

    from reports.stretch import Stretch


def picture_of_image(path: Path, alt: str, *, size_px: int = 160, stretch: Stretch = "asinh", flat_is_fine: bool = False) -> Picture | None:
    """A picture of a FITS product's science plane; None when the file cannot be read (the report's check then says so)."""
    from nightcrew.io.images import ImageFile
    from reports.stretch import thumbnail_rows

    try:
        with ImageFile(path) as image:
            ny, nx = image.shape[-2:]
            return thumbnail_rows(image.read_rows, (ny, nx), alt, size_px=size_px, stretch=stretch, flat_is_fine=flat_is_fine)
    except (NightcrewError, OSError):
        return None


def picture_of_mask(path: Path, alt: str, *, size_px: int = 160) -> Picture | None:
    """A mask as a picture: a block with any flagged pixel is white; None when the file cannot be read."""
    import numpy as np

    from nightcrew.io.images import ImageFile
    from reports.stretch import blocks_of, encode

    try:
        with ImageFile(path) as image:
            ny, nx = image.shape[-2:]
            flagged = image.read_rows(0, ny) != 0
    except (NightcrewError, OSError):
        return None
    high, wide = blocks_of((ny, nx), size_px)
    rows, columns = ny // high, nx // wide
    blocks = flagged[: rows * high, : columns * wide].reshape(rows, high, columns, wide).any(axis=(1, 3))
    grey: NDArray[np.uint8] = np.where(blocks[::-1], np.uint8(255), np.uint8(24))
    drawn = encode(np.ascontiguousarray(grey), alt, lossy=False)
    # a mask without a flagged pixel is a good one, not an empty picture
    return Picture(data=drawn.data, media_type=drawn.media_type, width_px=drawn.width_px, height_px=drawn.height_px, alt=alt)


class DamagedError(Exception):
    """A file does not hold what was written."""


def picture_of_png(path: Path, alt: str, most_bytes: int = 2_000_000, sha256: str = "") -> Picture | None:
    """A PNG that a unit of work drew; None when it cannot be read or is no picture, ``DamagedError`` when it has another hash."""
    from reports.stretch import sized_png

    try:
        if path.stat().st_size > most_bytes:
            return None
        data = path.read_bytes()
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedError
        return sized_png(data, alt)
    except (OSError, ValueError):
        return None


MASTER_PX = 200
# How :meth:`Gallery.image` makes the picture of a light and of a master: longer side, stretch, may it be flat.
_LIGHT: tuple[int, Stretch, bool] = (160, "asinh", False)
_MASTER: tuple[int, Stretch, bool] = (MASTER_PX, "zscale", True)


@dataclass(frozen=True)
class Gallery:
    """Pictures of products' files below ``root``; each is made once for a content.

    A file whose size or time is not that of the file that was looked at is looked at again; one that is gone has no picture.
    One that is damaged has none either, and its name is among the ``damaged``: told by its size, and by its bytes where all of them are
    read for the picture (PNGs; of a large image only some rows are).
    """

    root: Path
    keep: Keep = NOTHING_KEPT
    damaged: list[str] = field(default_factory=list)

    def image(
        self, file: FileRow | None, alt: str, *, size_px: int = 160, stretch: Stretch = "asinh", flat_is_fine: bool = False
    ) -> Picture | None:
        """As :func:`picture_of_image`."""
        how = ("image", size_px, stretch, flat_is_fine)
        return self._of(
            file, alt, how, lambda path: picture_of_image(path, "", size_px=size_px, stretch=stretch, flat_is_fine=flat_is_fine)
        )

    def master(self, file: FileRow | None, alt: str) -> Picture | None:
        """The picture of a master that is no mask."""
        size_px, stretch, flat = _MASTER
        return self.image(file, alt, size_px=size_px, stretch=stretch, flat_is_fine=flat)

    def remember(self, file: FileRow, science: NDArray[np.float32], *, master: bool = False) -> None:
        """Keep the picture that :meth:`image` (or :meth:`master`) would give of a file whose science plane ``[y, x]`` is at hand."""
        from reports.stretch import thumbnail_rows

        ny, nx = science.shape
        size_px, stretch, flat = _MASTER if master else _LIGHT

        def made(_path: Path) -> Picture | None:
            return thumbnail_rows(lambda y0, y1: science[y0:y1], (ny, nx), "", size_px=size_px, stretch=stretch, flat_is_fine=flat)

        self._of(file, "", ("image", size_px, stretch, flat), made)

    def mask(self, file: FileRow | None, alt: str, *, size_px: int = 160) -> Picture | None:
        """As :func:`picture_of_mask`."""
        return self._of(file, alt, ("mask", size_px), lambda path: picture_of_mask(path, "", size_px=size_px))

    def png(self, file: FileRow | None, alt: str) -> Picture | None:
        """As :func:`picture_of_png`."""
        sha256 = "" if file is None else file.sha256
        return self._of(file, alt, ("png",), lambda path: picture_of_png(path, "", sha256=sha256))

    def _of(self, file: FileRow | None, alt: str, how: tuple[object, ...], make: Callable[[Path], Picture | None]) -> Picture | None:
        if file is None:
            return None
        path = self.root / file.path
        try:
            seen = path.stat()
        except OSError:
            return None
        if seen.st_size != file.size:
            self.damaged.append(file.path)
            return None

        def made() -> tuple[Picture, ...]:
            picture = make(path)
            return () if picture is None else (picture,)

        try:
            found = self.keep.pictures(key_of(*how, file.sha256, seen.st_size, seen.st_mtime_ns), made)
        except DamagedError:
            self.damaged.append(file.path)
            return None
        return replace(found[0], alt=f"{alt}{found[0].alt}") if found else None
