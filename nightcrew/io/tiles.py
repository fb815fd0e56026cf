"""Tile-compressed images (FITS 4.0, section 10) by rows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from nightcrew.io.headers import Hdu
from nightcrew.io.source import ByteSource

Array = npt.NDArray[Any]


class TileReader:
    """Rows of one tile-compressed image."""

    def __init__(self, source: ByteSource, hdu: Hdu) -> None:
        self._source = source
        self._hdu = hdu
        self._cache: Array | None = None
        whole = self._whole()
        self.dtype = whole.dtype
        self._cache = whole.reshape(-1, hdu.shape[-1])

    def _whole(self) -> Array:
        from astropy.io import fits

        data = self._source.read_at(self._hdu.data_offset, -(-self._hdu.data_size // 2880) * 2880)
        empty = fits.PrimaryHDU().header.tostring().encode()
        raw = self._hdu.raw + b" " * (-len(self._hdu.raw) % 2880)
        with fits.open(io.BytesIO(empty + raw + data), memmap=False) as opened:
            values: Array = np.asarray(opened[1].data)
        return values.astype(values.dtype.newbyteorder("="))

    def rows(self, first: int, last: int) -> Array:
        """Physical values of rows ``first:last`` of the stream of all planes."""
        assert self._cache is not None  # noqa: S101
        return self._cache[first:last].copy()
