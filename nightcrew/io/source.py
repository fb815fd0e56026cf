"""Bytes of a file at an offset, whether it is stored plainly or as gzip, bzip2 or Unix compress.

Files are read with ``pread``, never by memory map: a mapped file that shrinks kills the process.  Compressed files
are decoded forwards in bounded pieces, so that a decompression bomb costs time for what was asked and no memory.
"""

from __future__ import annotations

import os
import stat
import threading
import zlib
from pathlib import Path

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.decoders import new_decoder

DEFAULT_MAX_BYTES = 4 << 30  # the most that one file may declare or expand to, unless the caller says otherwise
_FAR = 1 << 62  # no file is so long
_HEAD = 4 * 2880  # most headers, in one read
_MAX_LZW = 1 << 28  # compress is decoded in Python, some megabytes a second: no camera of today writes it
_CHUNK = 1 << 18  # compressed bytes read at a time
_PIECE = 1 << 20  # decoded bytes produced at a time
_KEEP = 1 << 20  # decoded bytes kept for small steps backwards

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\x1f\x9d": "compress"}


def shown(path: Path | str) -> str:
    """The file's name for a message: control characters and undecodable bytes escaped, never raw."""
    name = path.rpartition("/")[2] if isinstance(path, str) else path.name
    if name.isascii() and name.isprintable() and name not in ("", "."):
        return name
    text = os.fsencode(Path(path).name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def compression_of(head: bytes) -> str:
    """``"gzip"``, ``"bzip2"``, ``"compress"`` by the first bytes of a file, ``""`` when it is stored plainly."""
    if head[:2] == b"BZ" and head[2:3] != b"h":
        return ""
    return COMPRESSIONS.get(head[:2], "")


class ByteSource:
    """A plainly stored file, open for reading at offsets.  Safe to share between threads."""

    compression = ""

    def __init__(self, path: Path | str, descriptor: int, stored_bytes: int, head: bytes) -> None:
        self._path = path
        self._fd = descriptor
        self._head = head  # the first bytes, which were read to see what the file is
        self.stored_bytes = stored_bytes

    @property
    def name(self) -> str:
        """The file's name, escaped for messages."""
        return shown(self._path)

    @property
    def size(self) -> int | None:
        """Length of the decoded stream in bytes; None when only decoding can tell."""
        return self.stored_bytes

    @property
    def descriptor(self) -> int | None:
        """The open file, for a reader that calls ``pread`` itself; None where the bytes have to be decoded."""
        return None if self.compression else self._fd

    def _pread(self, count: int, offset: int) -> bytes:
        if offset >= _FAR:  # a header may claim any place; the system's call takes none beyond 63 bits
            return b""
        try:
            return os.pread(self._fd, count, offset)
        except OSError as error:
            raise TransientError(f"{self.name}: cannot be read now ({error.strerror})") from error

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``; fewer only at the end of the stream."""
        if offset + count <= len(self._head):
            return self._head[offset : offset + count]
        data = self._pread(count, offset)
        while 0 < len(data) < count:
            more = self._pread(count - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def readinto_at(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` (bytes) from ``offset`` and return how many bytes there were."""
        done = 0
        while done < len(view) and offset < _FAR:
            try:
                got = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise TransientError(f"{self.name}: cannot be read now ({error.strerror})") from error
            if not got:
                break
            done += got
        return done

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CompressedSource(ByteSource):
    """A gzip, bzip2 or compress file as a stream of decoded bytes.

    Reading forwards is cheap; a step back of more than a megabyte decodes again from the start.  ``max_bytes`` bounds
    what is decoded in all; a stream that goes on beyond it is rejected.
    """

    def __init__(self, path: Path | str, descriptor: int, stored_bytes: int, compression: str, max_bytes: int) -> None:
        super().__init__(path, descriptor, stored_bytes, b"")
        self.compression = compression
        self.max_bytes = min(max_bytes, _MAX_LZW) if compression == "compress" else max_bytes
        self.ended_cleanly = False
        self._lock = threading.Lock()
        self._rewind()

    @property
    def size(self) -> int | None:
        """Length of the decoded stream, known once its end was reached."""
        return self._start + len(self._window) if self._ended else None

    def _rewind(self) -> None:
        self._decoder = new_decoder(self.compression)
        self._file_offset = 0
        self._window = bytearray()
        self._start = 0  # stream offset of the window
        self._ended = False

    def _next_piece(self) -> bytes:
        """Some more decoded bytes; empty only at the end of the stream (clean or not)."""
        feed = b""
        while True:
            try:
                piece = self._decoder.decode(feed, _PIECE)
            except (zlib.error, OSError, ValueError, EOFError) as error:
                raise RejectedInput(f"{self.name}: the {self.compression} stream is damaged ({error})") from error
            if piece:
                return piece
            feed = self._after_member() if self._decoder.finished else self._more_input()
            if not feed:
                self._end()
                return b""

    def _more_input(self) -> bytes:
        data = self._pread(_CHUNK, self._file_offset)
        self._file_offset += len(data)
        return data

    def _after_member(self) -> bytes:
        """Bytes of a following gzip member (the decoder is renewed), or nothing at the true end."""
        rest = self._decoder.unused
        if len(rest) < 4:  # the next member may begin at the edge of a chunk
            more = self._pread(_CHUNK, self._file_offset)
            self._file_offset += len(more)
            rest += more
        if compression_of(rest) != self.compression:
            return b""
        self._decoder = new_decoder(self.compression)
        return rest

    def _end(self) -> None:
        self._ended = True
        self.ended_cleanly = self._decoder.complete

    def _advance(self, target: int) -> None:
        """Decode until the window reaches ``target`` or the stream ends, forgetting what lies far behind."""
        while not self._ended and self._start + len(self._window) < target:
            piece = self._next_piece()
            self._window += piece
            position = self._start + len(self._window)
            if position > self.max_bytes:
                raise RejectedInput(f"{self.name}: expands beyond the limit of {self.max_bytes} bytes")

    def _forget(self, before: int) -> None:
        drop = min(before - self._start, len(self._window)) - _KEEP
        if drop > 0:
            del self._window[:drop]
            self._start += drop

    def read_at(self, offset: int, count: int) -> bytes:
        out = bytearray(0)
        with self._lock:
            if offset < self._start:
                self._rewind()
            done = 0
            while done < count:
                step = min(_PIECE, count - done)
                self._skip_to(offset + done)
                self._advance(offset + done + step)
                begin = offset + done - self._start
                part = self._window[begin : begin + step] if begin >= 0 else b""
                out += part
                done += len(part)
                if len(part) < step:
                    break
        return bytes(out)

    def readinto_at(self, offset: int, view: memoryview) -> int:
        done = 0
        while done < len(view):
            part = self.read_at(offset + done, min(_PIECE, len(view) - done))
            if not part:
                break
            view[done : done + len(part)] = part
            done += len(part)
        return done

    def _skip_to(self, offset: int) -> None:
        while not self._ended and self._start + len(self._window) < offset:
            self._advance(min(offset, self._start + len(self._window) + _PIECE))
            self._forget(self._start + len(self._window))
        self._forget(offset)

    def drain(self, limit: int) -> int:
        """Decode to the end of the stream and return its length; RejectedInput beyond ``limit`` bytes."""
        with self._lock:
            while not self._ended:
                end = self._start + len(self._window)
                if end > limit:
                    raise RejectedInput(f"{self.name}: expands to more than the {limit} bytes that its own header explains")
                self._advance(end + 1)
                self._forget(self._start + len(self._window))
            return self._start + len(self._window)


def open_source(path: Path | str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> ByteSource:
    """Open ``path`` for reading at offsets, decoding gzip, bzip2 and compress by their magic bytes.

    Raises :class:`TransientError` when the file cannot be opened or read now, :class:`RejectedInput` when it is a folder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise TransientError(f"{shown(path)}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RejectedInput(f"{shown(path)}: is not a regular file")
        head = os.pread(descriptor, _HEAD, 0)
        compression = compression_of(head)
        if compression:
            return CompressedSource(path, descriptor, status.st_size, compression, max_bytes)
        return ByteSource(path, descriptor, status.st_size, head)
    except OSError as error:
        os.close(descriptor)
        raise TransientError(f"{shown(path)}: cannot be read now ({error.strerror})") from error
    except RejectedInput:
        os.close(descriptor)
        raise
