"""How long a TIFF (or TIFF-like camera raw) file must be, from its own directories (TIFF 6.0, Adobe 1992; BigTIFF)."""

from __future__ import annotations

import struct

from nightcrew.io.source import ByteSource

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_OFFSETS = {273: 279, 324: 325, 513: 514}  # strips, tiles, embedded JPEG: offsets and their byte counts
_SUB_DIRECTORIES = (330, 34665)
_MAX_DIRECTORIES = 64
_MAX_COUNT = 1 << 20


class _Reader:
    def __init__(self, source: ByteSource) -> None:
        self._source = source
        head = source.read_at(0, 16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[2:4] in (b"+\0", b"\0+")
        self.need = 8
        self.first = self.unpack("Q" if self.big else "I", head[8:16] if self.big else head[4:8])

    def unpack(self, code: str, data: bytes) -> int:
        size = struct.calcsize(self.order + code)
        return int(struct.unpack(self.order + code, data[:size])[0]) if len(data) >= size else 0

    def take(self, offset: int, count: int) -> bytes:
        """Bytes at an offset, noting how far the file must reach."""
        self.need = max(self.need, offset + count)
        return self._source.read_at(offset, count)


def expected_length(source: ByteSource) -> int:
    """The least length in bytes that holds every directory, strip and tile that the file names."""
    reader = _Reader(source)
    waiting, seen = [reader.first], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        offset = waiting.pop()
        if offset < 8 or offset in seen:
            continue
        seen.add(offset)
        waiting += _directory(reader, offset)
    return reader.need


def _directory(reader: _Reader, offset: int) -> list[int]:
    """Offsets of the directories that the one at ``offset`` leads to."""
    counter, entry, pointer = ("Q", 20, 8) if reader.big else ("H", 12, 4)
    head = struct.calcsize("=" + counter)
    count = reader.unpack(counter, reader.take(offset, head))
    if count > 4096:
        return []
    body = reader.take(offset + head, count * entry + pointer)
    values = {}
    for i in range(len(body) // entry if len(body) < count * entry else count):
        tag, numbers = _entry(reader, body[i * entry : (i + 1) * entry])
        values[tag] = numbers
    for where, how_many in _OFFSETS.items():
        for place, length in zip(values.get(where, ()), values.get(how_many, ()), strict=False):
            reader.need = max(reader.need, place + length)
    following = reader.unpack("Q" if reader.big else "I", body[count * entry :])
    return [following, *(n for tag in _SUB_DIRECTORIES for n in values.get(tag, ()))]


def _entry(reader: _Reader, data: bytes) -> tuple[int, tuple[int, ...]]:
    tag, kind = struct.unpack(reader.order + "HH", data[:4])
    count = reader.unpack("Q" if reader.big else "I", data[4:])
    if kind not in _CODES or count > _MAX_COUNT or tag not in (*_OFFSETS, *_OFFSETS.values(), *_SUB_DIRECTORIES):
        return tag, ()
    inline = data[12:] if reader.big else data[8:]
    size = count * _SIZES[kind]
    stored = inline[:size] if size <= len(inline) else reader.take(reader.unpack("Q" if reader.big else "I", inline), size)
    whole = len(stored) // _SIZES[kind]
    return tag, struct.unpack(f"{reader.order}{whole}{_CODES[kind]}", stored[: whole * _SIZES[kind]])
