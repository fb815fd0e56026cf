"""Decoders of compressed streams that give their output in bounded pieces."""

from __future__ import annotations

import bz2
import zlib
from typing import Protocol


class Decoder(Protocol):
    """One compressed stream: ``decode`` gives up to ``limit`` bytes; it asks for more input by giving none.

    ``finished`` says that the end mark was read, ``complete`` that the input may end here, ``unused`` is what follows the end.
    """

    @property
    def finished(self) -> bool: ...
    @property
    def complete(self) -> bool: ...
    @property
    def unused(self) -> bytes: ...
    def decode(self, data: bytes, limit: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def finished(self) -> bool:
        return self._inner.eof

    @property
    def complete(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data

    def decode(self, data: bytes, limit: int) -> bytes:
        return b"" if self._inner.eof else self._inner.decompress(self._inner.unconsumed_tail + data, limit)


class _Bzip2:
    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    @property
    def finished(self) -> bool:
        return self._inner.eof

    @property
    def complete(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data

    def decode(self, data: bytes, limit: int) -> bytes:
        return b"" if self._inner.eof else self._inner.decompress(data, limit)


def new_decoder(compression: str) -> Decoder:
    """A decoder for ``"gzip"``, ``"bzip2"`` or ``"compress"``."""
    if compression == "gzip":
        return _Gzip()
    if compression == "bzip2":
        return _Bzip2()
    from nightcrew.io.lzw import LzwDecoder

    return LzwDecoder()
