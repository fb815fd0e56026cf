"""Unix ``compress`` (``.Z``): adaptive Lempel-Ziv-Welch with codes of 9 to 16 bits (Welch 1984, doi:10.1109/MC.1984.1659158)."""

from __future__ import annotations

_CLEAR = 256
_MAX_HISTORY = 1 << 30


class LzwDecoder:
    """Decodes a ``.Z`` stream in pieces.

    An entry of the code table is a place in the output, because every string of the table was written there when
    the entry was made; so the table needs no memory of its own, even for a gigabyte of zeros.
    """

    unused = b""
    finished = False  # the format has no end mark

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0  # byte offset of the current group of eight codes
        self._in_group = 0  # codes of the group already used
        self._bits = 0  # 0 until the three-byte file header was read
        self._out = bytearray()
        self._given = 0
        self._old: tuple[int, int] | None = None  # place and length of the last string written

    @property
    def complete(self) -> bool:
        """Whether the input may end here."""
        return self._bits > 0

    def decode(self, data: bytes, limit: int) -> bytes:
        """Up to about ``limit`` more bytes of output; nothing when more input is needed.  ValueError on a bad stream."""
        self._data += data
        if not self._bits and not self._read_header():
            return b""
        while len(self._out) - self._given < limit:
            code = self._next_code()
            if code is None:
                break
            self._take(code)
        piece = bytes(self._out[self._given : self._given + limit])
        self._given += len(piece)
        return piece

    def _read_header(self) -> bool:
        if len(self._data) < 3:
            return False
        flags = self._data[2]
        self._max_bits = flags & 31
        self._block_mode = bool(flags & 128)
        if not 9 <= self._max_bits <= 16:
            raise ValueError(f"codes of {self._max_bits} bits")
        self._at = 3
        self._reset_table(257 if self._block_mode else 256)
        return True

    def _reset_table(self, first_free: int) -> None:
        self._bits = 9
        self._places = [0] * first_free  # indexed by code; the single bytes are not looked up
        self._lengths = [1] * first_free

    def _next_code(self) -> int | None:
        if len(self._places) > (1 << self._bits) - 1 and self._bits < self._max_bits:
            self._end_group()
            self._bits += 1
        first = self._in_group * self._bits
        begin, end = self._at + (first >> 3), self._at + ((first + self._bits + 7) >> 3)
        if end > len(self._data):
            return None
        code = (int.from_bytes(self._data[begin:end], "little") >> (first & 7)) & ((1 << self._bits) - 1)
        self._in_group += 1
        if self._in_group == 8:
            self._end_group()
        return code

    def _end_group(self) -> None:
        """Codes come in groups of eight; what is left of a group is padding when the width changes."""
        if self._in_group:
            self._at += self._bits
            self._in_group = 0
        if self._at > 1 << 16 and self._at <= len(self._data):
            del self._data[: self._at]
            self._at = 0

    def _take(self, code: int) -> None:
        if code == _CLEAR and self._block_mode and self._old is not None:
            self._end_group()
            self._reset_table(_CLEAR)
            self._forget()
            return
        out = self._out
        here = len(out)
        if code < 256:
            out.append(code)
        elif self._old is None or code > len(self._places):
            raise ValueError("a code that the table does not have")
        else:
            place, length = (self._places[code], self._lengths[code]) if code < len(self._places) else (self._old[0], self._old[1] + 1)
            if place + length > here:  # the string that is being defined ends with its own first byte
                out += out[place:here]
                out.append(out[place])
            else:
                out += out[place : place + length]
        if self._old is not None and len(self._places) < 1 << self._max_bits:
            self._places.append(self._old[0])
            self._lengths.append(self._old[1] + 1)
        self._old = (here, len(out) - here)
        if len(out) > _MAX_HISTORY:
            raise ValueError(f"more than {_MAX_HISTORY} bytes without a new code table")

    def _forget(self) -> None:
        """A cleared table refers to nothing before the last string."""
        if self._old is None:
            return
        keep_from = min(self._old[0], self._given)
        if keep_from > 1 << 20:
            del self._out[:keep_from]
            self._given -= keep_from
            self._old = (self._old[0] - keep_from, self._old[1])
