"""Pixels of a FITS image by rows: plain, gzip, bzip2, compress, and tile-compressed (``.fz``) files.

Physical value = BZERO + BSCALE x stored value (FITS 4.0, 4.4.2.5).  The unsigned-integer convention (BSCALE 1,
BZERO 2^(n-1)) gives unsigned integers exactly, without a step through floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nightcrew.errors import RejectedInput
from nightcrew.io.headers import Hdu, HeaderValue, choose_image, is_wanted_image, iter_hdus
from nightcrew.io.source import DEFAULT_MAX_BYTES, ByteSource, open_source

if TYPE_CHECKING:
    from nightcrew.io.tiles import TileReader

Array = npt.NDArray[Any]

_STORED = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_UNSIGNED = {(16, 32768.0): "u2", (32, 2147483648.0): "u4", (64, 9223372036854775808.0): "u8", (8, -128.0): "i1"}
_MOST_EXPANSION = 1100  # deflate cannot expand further than 1032:1


def _number(cards: dict[str, HeaderValue], key: str, default: float, name: str) -> float:
    value = cards.get(key)
    if value is None:
        return default
    try:
        number = float(value.replace(",", ".") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RejectedInput(f"{name}: {key} = {value!r} is not a finite number")
    return number


class Scaling:
    """What turns stored numbers into physical values, from BITPIX, BSCALE, BZERO and BLANK."""

    def __init__(self, cards: dict[str, HeaderValue], name: str) -> None:
        bitpix = int(cards["BITPIX"] or 0)  # the header scan has seen to it that it is one of these
        self.bitpix = bitpix
        self.stored = np.dtype(_STORED[bitpix])
        self.scale = _number(cards, "BSCALE", 1.0, name)
        self.zero = _number(cards, "BZERO", 0.0, name)
        blank = cards.get("BLANK", cards.get("ZBLANK"))
        self.blank = blank if bitpix > 0 and isinstance(blank, int) and not isinstance(blank, bool) else None
        self.identity = self.scale == 1.0 and self.zero == 0.0
        self.unsigned = self.scale == 1.0 and (bitpix, self.zero) in _UNSIGNED
        self.as_stored = self.identity or (self.unsigned and self.zero > 0)  # with an integer added, stored numbers are the values
        self.dtype = self._physical_dtype()

    def _physical_dtype(self) -> np.dtype[Any]:
        if self.unsigned:
            return np.dtype(_UNSIGNED[self.bitpix, self.zero])
        if self.identity:
            return self.stored.newbyteorder("=")
        return np.dtype("f4" if self.bitpix in (8, 16, -32) else "f8")

    def apply(self, stored: Array, *, own: bool = False) -> Array:
        """Physical values in native byte order; with ``own`` the caller gives ``stored`` away, else it is not changed."""
        native = stored.astype(stored.dtype.newbyteorder("="), copy=not own)
        if self.identity:
            return native
        if self.unsigned:  # adding 2^(n-1) modulo 2^n flips the sign bit
            word = np.dtype(f"u{self.dtype.itemsize}")
            bits = native.view(word)
            bits ^= word.type(1 << (8 * self.dtype.itemsize - 1))
            return bits.view(self.dtype)
        values = native.astype(self.dtype)
        values *= self.scale
        values += self.zero
        if self.blank is not None:
            values[native == self.blank] = np.nan
        return values


class PixelReader:
    """Pixels of one image HDU of an open source, in row ranges.

    ``shape`` is ``[y, x]`` or ``[plane, ..., y, x]``, ``dtype`` that of the physical numbers: the stored integers or floats in native
    order, unsigned by the BZERO convention, float32 for other scalings (float64 when 32 or 64 bits are stored).

    ``read`` and ``read_rows`` give values: pixels without one are NaN, integers with BLANK therefore floats (``value_type``).
    ``numbers`` and ``number_rows`` give the numbers, of which ``blank`` stands for no value.
    """

    def __init__(self, source: ByteSource, hdu: Hdu) -> None:
        self._source = source
        self.hdu = hdu
        self._prepare()

    def _prepare(self) -> None:
        self.shape = self.hdu.shape
        self._scaling = Scaling(self.hdu.cards, self._source.name)
        self.dtype: np.dtype[Any] = self._scaling.dtype
        self._check_complete()
        self._tiles: TileReader | None = None
        if self.hdu.kind == "TILE":
            from nightcrew.io.tiles import TileReader

            self._tiles = TileReader(self._source, self.hdu)

    def _check_complete(self) -> None:
        """No array is made for data that cannot be there."""
        size = self._source.size
        needed = self.hdu.data_offset + self.hdu.data_size
        if size is not None and needed > size:
            raise RejectedInput(f"{self._source.name}: data cut short: {size} of {needed} bytes")
        if self._source.compression == "gzip" and needed > self._source.stored_bytes * _MOST_EXPANSION:
            raise RejectedInput(f"{self._source.name}: the header declares {needed} bytes, more than the gzip stream can hold")

    @property
    def name(self) -> str:
        """The file's name, escaped for messages."""
        return self._source.name

    @property
    def compressed(self) -> bool:
        """Whether rows cost decoding (then reading forwards is much cheaper than going back)."""
        return bool(self._source.compression) or self._tiles is not None

    @property
    def rows_apart(self) -> bool:
        """Whether rows can be read without decoding others before or beside them."""
        return not self._source.compression and (self._tiles is None or self._tiles.rows_apart)

    @property
    def descriptor(self) -> int | None:
        """The open file whose bytes from ``hdu.data_offset`` on are the stored numbers; None for compressed files."""
        return None if self._tiles is not None else self._source.descriptor

    @property
    def n_planes(self) -> int:
        """Number of ``[y, x]`` planes: 1 for an image, all leading axes multiplied for a cube."""
        return int(np.prod(self.shape[:-2], dtype=np.int64)) if len(self.shape) > 2 else 1

    @property
    def blank(self) -> int | None:
        """The number of pixels without a value (BLANK) where integers come out; None without it, and where such pixels are NaN."""
        scaling = self._scaling
        return scaling.blank + int(scaling.zero) if scaling.blank is not None and scaling.dtype.kind in "iu" else None

    @property
    def value_type(self) -> np.dtype[Any]:
        """Type of what ``read`` and ``read_rows`` give."""
        return self.dtype if self.blank is None else np.dtype("f4" if self.dtype.itemsize <= 2 else "f8")

    def _checked_range(self, y0: int, y1: int, plane: int | None) -> int:
        """Rows before ``y0`` in the stream of all planes; RejectedInput or ValueError outside the image."""
        ny = self.shape[-2]
        if plane is None:
            if self.n_planes > 1:
                raise RejectedInput(f"{self.name}: is a cube of {self.n_planes} planes; say which plane to read")
            plane = 0
        if not (0 <= y0 <= y1 <= ny and 0 <= plane < self.n_planes):
            raise ValueError(f"rows {y0}:{y1} of plane {plane} lie outside {self.shape}")
        return plane * ny + y0

    def _stored_rows(self, first: int, count: int) -> Array:
        out = np.empty((count, self.shape[-1]), self._scaling.stored)
        self.raw_into(out, first * self.shape[-1])
        return out

    def raw_into(self, out: Array, first_pixel: int) -> None:
        """Fill the C-contiguous ``out`` with stored numbers beginning at ``first_pixel`` of the stream of all planes."""
        view = out.reshape(-1).view(np.uint8).data
        offset = self.hdu.data_offset + first_pixel * out.itemsize
        got = self._source.readinto_at(offset, view)
        if got < len(view):
            raise RejectedInput(f"{self.name}: data cut short: {offset + got} of {self.hdu.data_offset + self.hdu.data_size} bytes")

    @property
    def stored_type(self) -> np.dtype[Any]:
        """Type of what ``raw_into`` fills: as the bytes stand in the file, before any scaling."""
        return self._scaling.stored

    @property
    def stored_zero(self) -> int | None:
        """BZERO of what ``raw_into`` gives where the stored numbers serve as they are.

        None where they are scaled, tile-compressed, or one of them means that there is no value (BLANK).
        """
        return int(self._scaling.zero) if self._tiles is None and self._scaling.as_stored and self.blank is None else None

    @property
    def decoded(self) -> tuple[np.dtype[Any], int] | None:
        """Type and BZERO of what ``decoded_into`` gives: a tile-compressed image whose stored numbers serve as they are, else None."""
        if self._tiles is None or not self._scaling.as_stored or self.blank is not None:
            return None
        return self._tiles.dtype, int(self._scaling.zero)

    def decoded_into(self, out: Array, y0: int, plane: int = 0) -> None:
        """Fill ``out`` with stored numbers of a tile-compressed image, in native byte order, from row ``y0`` on; see ``decoded``."""
        if self._tiles is None:
            raise ValueError(f"{self.name}: is not tile-compressed")
        first = self._checked_range(y0, y0 + len(out), plane)
        self._tiles.rows(first, first + len(out), out)

    def read_rows(self, y0: int, y1: int, plane: int | None = None) -> Array:
        """Physical values ``[y1-y0, nx]`` in native byte order; pixels without a value (NaN, BLANK) are NaN."""
        numbers, blank, kind = self.number_rows(y0, y1, plane), self.blank, self.value_type
        return numbers if blank is None else np.where(numbers == blank, kind.type(np.nan), numbers.astype(kind))

    def number_rows(self, y0: int, y1: int, plane: int | None = None) -> Array:
        """As ``read_rows``, but integers stay integers also where one of them (``blank``) means that there is no value."""
        first = self._checked_range(y0, y1, plane)
        stored = self._tiles.rows(first, first + y1 - y0) if self._tiles is not None else self._stored_rows(first, y1 - y0)
        return self._scaling.apply(stored, own=True)

    def read(self, plane: int | None = None) -> Array:
        """The values of the whole image ``[y, x]``; of a cube without ``plane`` as ``[plane, y, x]`` in its full shape."""
        return self._whole(self.read_rows, self.value_type, plane)

    def numbers(self, plane: int | None = None) -> Array:
        """As ``read``, of what ``number_rows`` gives."""
        return self._whole(self.number_rows, self.dtype, plane)

    def _whole(self, rows: Callable[[int, int, int | None], Array], kind: np.dtype[Any], plane: int | None) -> Array:
        if plane is not None or self.n_planes == 1:
            return rows(0, self.shape[-2], plane if self.n_planes > 1 else 0).reshape(self.shape[-2:])
        out = np.empty((self.n_planes, *self.shape[-2:]), kind)
        for index in range(self.n_planes):
            out[index] = rows(0, self.shape[-2], index)
        return out.reshape(self.shape)


class ImageFile(PixelReader):
    """One image of a FITS file, opened once and read with ``pread`` in row ranges; see :class:`PixelReader`.

    ``path`` is the file, ``hdu`` the number or EXTNAME of the HDU (default: the first that holds an image), ``max_bytes`` the
    most that the file may declare or expand to.  Raises :class:`RejectedInput` when the file holds no such image.

    Plainly stored files may be read from several threads at once; compressed files one range at a time (a lock sees to it).
    """

    def __init__(self, path: Path | str, hdu: int | str | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.path = Path(path)
        source = open_source(path, max_bytes=max_bytes)
        try:
            chosen, first = _choose(source, hdu, max_bytes)
            super().__init__(source, chosen)
            self.cards: dict[str, HeaderValue] = {**first.cards, **chosen.cards}  # an extension's over the primary's
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._source.close()
        if self._tiles is not None:
            self._tiles.close()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _choose(source: ByteSource, wanted: int | str | None, max_bytes: int) -> tuple[Hdu, Hdu]:
    """The HDU asked for, without looking (and decoding) further than to it, and the file's first."""
    seen: list[Hdu] = []
    for hdu in iter_hdus(source, max_bytes=max_bytes):
        seen.append(hdu)
        if is_wanted_image(hdu, wanted):
            return hdu, seen[0]
    try:
        return choose_image(seen, extension=wanted), seen[0]
    except RejectedInput as error:
        raise RejectedInput(f"{source.name}: {error}") from error


def read_image(path: Path | str, hdu: int | str | None = None) -> Array:
    """All pixels of one image as physical values, NaN where there is none (see :class:`ImageFile`)."""
    with ImageFile(path, hdu) as image:
        return image.read()
