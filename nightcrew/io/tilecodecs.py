"""Decoding single tiles of compressed images (FITS 4.0, 10.4), with everything checked that the C decoders take on trust.

The decoders are astropy's compiled ones, called directly: by their Python wrapper a frame of 2048 tiles costs twice the CPU, and
two threads gain nothing.  They release the interpreter lock.  Damaged HCOMPRESS and PLIO streams can make them write or read out of
bounds, so those streams are examined first, and ``guarded`` puts a margin behind the bytes that they may run into.  The HCOMPRESS
decoder keeps its place in the stream in static variables: it runs one tile at a time in the whole process.
"""

from __future__ import annotations

import math
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Decode = Callable[[Bytes, tuple[int, ...]], Array]

ALGORITHMS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS")
_DITHERS = {"SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_MOST_BIT_PLANES = 60  # 32-bit pixels grow by two bits in each H-transform step; more than 60 no 64-bit number can hold
_HCOMPRESS_LOCK = threading.Lock()


class DamagedTileError(ValueError):
    """The compressed bytes of a tile cannot be what they claim to be."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How the tiles of one image are compressed."""

    algorithm: str
    bitpix: int
    quantised: bool
    dither: str = ""
    block_size: int = 32
    byte_pixels: int = 4
    smooth: bool = False


GUARD = 0xFF


def guarded(data: bytes, margin_bytes: int) -> Bytes:
    """``data`` with a margin (see ``margin``) that stops a decoder which runs over the end: ones end a run of zero bits at once."""
    out = np.empty(len(data) + margin_bytes, np.uint8)
    out[: len(data)] = np.frombuffer(data, np.uint8)
    out[len(data) :] = GUARD
    return out


def margin(codec: Codec, tile: tuple[int, ...]) -> int:
    """Bytes of ones behind a stream that its decoder cannot run through, whatever the stream says, for tiles of at most that shape.

    Rice: both decoders compare their place with the stream's end after each block.  In ones, a pixel of a block takes at most
    1 bit of unary part (or 8 more up to the next byte) and 30 lower bits, or 32 bits as it is: 5 bytes; and 8 are read ahead.
    GZIP, NOCOMPRESS and PLIO read slices of their own.
    """
    if codec.algorithm.startswith("RICE"):
        return 8 * codec.block_size + 4096
    plane = [length for length in tile if length != 1]
    return _hcompress_margin(*plane) if codec.algorithm == "HCOMPRESS_1" and len(plane) == 2 else 4096


def _hcompress_margin(rows: int, columns: int) -> int:
    """The HCOMPRESS decoder reads each bit plane of the four quadrants as a tree of nybbles (or flat, which is shorter), then signs.

    The plane that it is in when the stream ends may have any nodes, of at most 6 bits each.  A plane that begins among ones is a
    tree whose every node is the code 111111, "three of four": 3^k nodes at depth k at most.  A stream may claim
    ``_MOST_BIT_PLANES`` planes (``_checked_hcompress``).  Signs are one bit a pixel.
    """
    high, wide = -(-rows // 2), -(-columns // 2)
    depth = max(1, (max(high, wide) - 1).bit_length())
    whole = [-(-high >> depth - k) * -(-wide >> depth - k) for k in range(depth)]
    any_tree, ones_tree = sum(whole), sum(min(int(3**k), n) for k, n in enumerate(whole))
    return (6 * any_tree + 4 * _MOST_BIT_PLANES * (6 * ones_tree + 12) + rows * columns) // 8 + 4096


def decoder(codec: Codec) -> Decode:
    """The function ``(data, shape) -> stored numbers`` for the tiles of one image.

    It gives integers, or floats where they were not quantised; ``data`` is a slice of a :func:`guarded` array.  It raises
    :class:`DamagedTileError`.
    """
    if codec.algorithm in ("RICE_1", "RICE_ONE"):
        return _rice(codec)
    if codec.algorithm == "HCOMPRESS_1":
        return _hcompress(codec)
    if codec.algorithm == "PLIO_1":
        return _plio()
    floats = codec.bitpix < 0 and not codec.quantised

    def plain_or_gzip(data: Bytes, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        plain = data.tobytes() if codec.algorithm == "NOCOMPRESS" else gunzip(data, size)
        if codec.algorithm == "GZIP_2":  # the bytes of all pixels, most significant first
            plain = np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(len(plain) // size, -1).T).tobytes()
        return as_numbers(plain, shape, floats=floats)

    return plain_or_gzip


def gunzip(data: Bytes, pixels: int) -> bytes:
    """A gzip member of at most eight bytes a pixel; what would grow further is no tile of this image."""
    inner = zlib.decompressobj(wbits=31)
    try:
        plain = inner.decompress(data.tobytes(), 8 * pixels + 1)
    except zlib.error as error:
        raise DamagedTileError(f"its gzip stream is damaged ({error})") from error
    if not inner.eof and len(plain) <= 8 * pixels:
        raise DamagedTileError("its gzip stream is cut short")
    if len(plain) not in (pixels, 2 * pixels, 4 * pixels, 8 * pixels):
        raise DamagedTileError(f"it holds {len(plain)} bytes for {pixels} pixels")
    return plain


def as_numbers(plain: bytes, shape: tuple[int, ...], *, floats: bool) -> Array:
    """Big-endian numbers whose width follows from the number of bytes."""
    size = math.prod(shape)
    width = len(plain) // size
    codes = {1: "u1", 2: ">i2", 4: ">f4" if floats else ">i4", 8: ">f8" if floats else ">i8"}
    if width not in codes or len(plain) != width * size:
        raise DamagedTileError(f"it holds {len(plain)} bytes for {size} pixels")
    return np.frombuffer(plain, codes[width]).reshape(shape)


def _rice(codec: Codec) -> Decode:
    from astropy.io.fits.hdu.compressed import _compression

    decompress, fault = _compression.decompress_rice_1_c, _compression.CfitsioException
    block, width = codec.block_size, codec.byte_pixels
    dtype = np.dtype(f"i{width}" if width > 1 else "u1")

    def rice(data: Bytes, shape: tuple[int, ...]) -> Array:
        try:
            plain = decompress(data, block, width, math.prod(shape))
        except fault as error:
            raise DamagedTileError(str(error)) from error
        return np.frombuffer(plain, dtype).reshape(shape)

    return rice


def _hcompress(codec: Codec) -> Decode:
    from astropy.io.fits.hdu.compressed import _compression

    def hcompress(data: Bytes, shape: tuple[int, ...]) -> Array:
        plane = _checked_hcompress(data, shape)
        try:
            with _HCOMPRESS_LOCK:
                plain = _compression.decompress_hcompress_1_c(data, *plane, 0, int(codec.smooth), 8)
        except (_compression.CfitsioException, ValueError) as error:
            raise DamagedTileError(str(error)) from error
        return np.frombuffer(plain, "i4").reshape(shape)

    return hcompress


def _checked_hcompress(data: Bytes, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the tile, when its stream says the same: the decoder writes as many as the stream says."""
    plane = [length for length in shape if length != 1]
    if len(plane) != 2 or len(data) < 25:
        raise DamagedTileError("it is no two-dimensional HCOMPRESS tile")
    magic, rows, columns = struct.unpack(">Hii", data[:10].tobytes())
    if magic != 0xDD99 or [rows, columns] != plane:
        raise DamagedTileError(f"its stream says {rows} x {columns} pixels instead of {plane[0]} x {plane[1]}")
    if int(data[22:25].max()) > _MOST_BIT_PLANES:
        raise DamagedTileError("its stream claims more bit planes than pixels have")
    return rows, columns


def _plio() -> Decode:
    from astropy.io.fits.hdu.compressed import _compression

    def plio(data: Bytes, shape: tuple[int, ...]) -> Array:
        words = np.frombuffer(data[: len(data) // 2 * 2].tobytes(), ">i2").astype("i2")
        if len(words) < 7:
            raise DamagedTileError("its line list is too short")
        short_form = words[2] > 0
        first = 4 if short_form else int(words[1]) + 1
        last = int(words[2]) if short_form else (int(words[4]) << 15) + int(words[3])
        if first < 1 or not 0 <= last <= len(words):
            raise DamagedTileError("its line list points outside itself")
        guard = np.concatenate([words, np.zeros(2, "i2")])
        return np.frombuffer(_compression.decompress_plio_1_c(guard, math.prod(shape)), "i4").reshape(shape)

    return plio


def dequantise(codec: Codec, numbers: Array, scale: float, zero: float, row: int) -> Array:
    """Floats from quantised integers: scale x (i - dither + 1/2) + zero; ``row`` (from 1) chooses the dither sequence."""
    from astropy.io.fits.hdu.compressed import _compression

    method = _DITHERS.get(codec.dither, -1)
    native = np.ascontiguousarray(numbers, dtype=numbers.dtype.newbyteorder("="))
    if native.dtype.itemsize not in (1, 2, 4):
        native = native.astype("i4")
    if method < 0:
        return native * scale + zero
    function = _compression.unquantize_float_c if codec.bitpix == -32 else _compression.unquantize_double_c
    plain = function(native, row, native.size, scale, zero, method, 0, 0, 0.0, native.dtype.itemsize)
    return np.frombuffer(plain, "f4" if codec.bitpix == -32 else "f8").reshape(numbers.shape)
