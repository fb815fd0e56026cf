"""Is a file all there?  What kind is it?  What are its bytes?  Answered from the file alone."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.headers import BLOCK, Hdu, UnfinishedHeader, scan_hdus
from nightcrew.io.magic import is_tiff_like, kind_of
from nightcrew.io.source import DEFAULT_MAX_BYTES, ByteSource, CompressedSource, open_source, shown

_SLACK = 1 << 20  # decoded bytes after the last HDU that are tolerated in a compressed file
_HASH_PIECE = 1 << 20
FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fz", ".fits.gz", ".fit.gz", ".fts.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What the bytes of a file say about it.

    ``complete`` is True when everything that the file itself announces is there; otherwise ``reason`` is a sentence that
    names the cause, and ``damaged`` says that waiting will not mend it.  ``kind`` is ``"fits"``, ``"tiff"``, ``"camera_raw"``,
    ``"hdf5"``, ``"foreign"`` or ``"empty"``.  ``stored_bytes`` is the size on disk; ``expected_bytes`` the length that the file
    announces, padding included (of the decoded stream when ``compression`` is not empty; 0 when unknown).  ``note`` names what is odd
    but harmless.  ``hdus`` are the headers of a FITS file, so that nobody needs to read them twice.
    """

    complete: bool
    reason: str
    kind: str
    stored_bytes: int
    expected_bytes: int = 0
    damaged: bool = False
    compression: str = ""
    note: str = ""
    hdus: tuple[Hdu, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Fingerprinted:
    """Content hash of a file, with the size and modification time that it had before and after, and the change time before."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int


def check(path: Path | str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Structure:
    """Judge whether ``path`` is complete, from the lengths that its own header declares.

    Missing padding after the last data is tolerated with a note, data cut short are not.  Compressed files are decoded to
    the end of their stream, but never further than their own header explains.  Raises :class:`TransientError` when the file
    cannot be opened or read now; everything else is an answer.
    """
    try:
        source = open_source(path, max_bytes=max_bytes)
    except RejectedInput as error:
        return Structure(complete=False, reason=str(error), kind="foreign", stored_bytes=0, damaged=True)
    with source:
        if source.stored_bytes == 0:
            return _incomplete(source, "the file is empty", "empty")
        try:
            kind, reason = _kind(source, path)
            return _check_fits(source, max_bytes) if kind == "fits" else _check_other(source, kind, reason)
        except UnfinishedHeader as error:
            return _incomplete(source, str(error))
        except RejectedInput as error:
            return dataclasses.replace(_incomplete(source, str(error)), damaged=True)


def _incomplete(source: ByteSource, reason: str, kind: str = "fits", expected: int = 0, hdus: tuple[Hdu, ...] = ()) -> Structure:
    named = reason if reason.startswith(source.name) else f"{source.name}: {reason}"
    stored, compression = source.stored_bytes, source.compression
    return Structure(
        complete=False, reason=named, kind=kind, stored_bytes=stored, expected_bytes=expected, compression=compression, hdus=hdus
    )


def _kind(source: ByteSource, path: Path | str) -> tuple[str, str]:
    """Kind of the (decoded) stream, and why it is not a FITS file although its name says so."""
    head = source.read_at(0, 64)
    kind = kind_of(head, Path(path).name)
    if kind != "foreign" or not Path(path).name.lower().endswith(FITS_SUFFIXES):
        return kind, ""
    if not head.strip(b"\0") or b"SIMPLE  =".startswith(head[:9]):
        return "fits", ""  # preallocated, or only the first bytes are there yet
    return "foreign", f"{source.name}: is not a FITS file although its name says so (it does not begin with SIMPLE =)"


def _check_other(source: ByteSource, kind: str, reason: str) -> Structure:
    stored, expected = source.stored_bytes, 0
    if not source.compression and is_tiff_like(source.read_at(0, 4)):
        from nightcrew.io.tiff import expected_length

        expected = expected_length(source)
        if expected > stored:
            return _incomplete(source, f"data cut short: {stored} of {expected} bytes", kind, expected)
    return Structure(
        complete=True,
        reason=reason,
        kind=kind,
        stored_bytes=stored,
        expected_bytes=expected,
        damaged=bool(reason),
        compression=source.compression,
    )


def _check_fits(source: ByteSource, max_bytes: int) -> Structure:
    unfinished = _unfinished_start(source)
    if unfinished:
        return _incomplete(source, unfinished)
    hdus = scan_hdus(source, max_bytes=max_bytes)
    needed = hdus[-1].data_offset + hdus[-1].data_size
    expected = hdus[-1].end_offset
    length = _stream_length(source, expected)
    if length < needed:
        return _incomplete(source, f"data cut short: {length} of {expected} bytes", expected=expected, hdus=hdus)
    if isinstance(source, CompressedSource) and not source.ended_cleanly:
        return _incomplete(source, f"the {source.compression} stream ends before its trailer", expected=expected, hdus=hdus)
    return Structure(
        complete=True,
        reason="",
        kind="fits",
        stored_bytes=source.stored_bytes,
        expected_bytes=expected,
        compression=source.compression,
        note=_note(length, expected),
        hdus=hdus,
    )


def _unfinished_start(source: ByteSource) -> str:
    head = source.read_at(0, BLOCK)
    if not head:
        return f"the {source.compression} stream holds nothing yet"
    if not head.strip(b"\0"):
        return "begins with zeros: allocated, but not written yet"
    return "the file ends inside its first card" if len(head) < 9 else ""


def _stream_length(source: ByteSource, expected: int) -> int:
    if isinstance(source, CompressedSource):
        return source.drain(expected + _SLACK)
    return source.stored_bytes


def _note(length: int, expected: int) -> str:
    if length < expected:
        return f"the last {expected - length} bytes of padding are missing"
    return f"{length - expected} bytes follow the last HDU" if length > expected else ""


def sha256_file(path: Path | str, expected_stat: os.stat_result | None = None) -> Fingerprinted:
    """SHA-256 of the stored bytes.

    Raises :class:`TransientError` when the file cannot be read, is no file any more (a pipe of its name must not hold us),
    differs from ``expected_stat`` in size or modification time, or changes while it is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be opened ({error.strerror})") from error
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise TransientError(f"{shown(path)}: is not a regular file")
        if expected_stat is not None and _state(before) != _state(expected_stat):
            raise TransientError(f"{shown(path)}: changed since it was seen")
        digest, length = _digest(descriptor)
        if _state(os.fstat(descriptor)) != _state(before) or length != before.st_size:
            raise TransientError(f"{shown(path)}: changed while it was read")
    except OSError as error:
        raise TransientError(f"{shown(path)}: cannot be read now ({error.strerror})") from error
    finally:
        os.close(descriptor)
    return Fingerprinted(digest, before.st_size, before.st_mtime_ns, before.st_ctime_ns)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _digest(descriptor: int) -> tuple[str, int]:
    digest = hashlib.sha256()
    buffer = bytearray(_HASH_PIECE)
    view = memoryview(buffer)
    length = 0
    while got := os.preadv(descriptor, [view], length):
        digest.update(view[:got])
        length += got
    return digest.hexdigest(), length
