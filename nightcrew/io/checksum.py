"""DATASUM and CHECKSUM of FITS (standard 4.0, appendix J; Seaman, Pence & Rots 2012), by vectorised 32-bit sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_EXCLUDED = frozenset(b":;<=>?@[\\]^_`")


def fold(total: int) -> int:
    """The 32-bit ones'-complement sum of an exact sum of 32-bit words (carries are added back)."""
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def sum_words(words: npt.NDArray[np.uint32]) -> int:
    """Exact sum of 32-bit words given in native order (= the value of the stored big-endian word)."""
    return int(words.sum(dtype=np.uint64))


def sum_halves(halves: npt.NDArray[np.uint16], first: int) -> int:
    """Exact sum of the 32-bit words made of 16-bit values; ``first`` is the position of the first one in the data."""
    flat = halves.reshape(-1)
    high, low = flat[first % 2 :: 2], flat[1 - first % 2 :: 2]
    return (int(high.sum(dtype=np.uint64)) << 16) + int(low.sum(dtype=np.uint64))


def sum_bytes(data: bytes) -> int:
    """Exact sum of the big-endian 32-bit words of ``data`` (a multiple of four bytes)."""
    words: npt.NDArray[Any] = np.frombuffer(data, ">u4")
    return int(words.sum(dtype=np.uint64))


def encode(checksum: int, *, complement: bool = True) -> str:
    """The 16 characters of a CHECKSUM value that bring the sum of an HDU to all ones."""
    value = 0xFFFFFFFF - checksum if complement else checksum
    ascii_ = [0] * 16
    for i in range(4):
        byte = (value >> (24 - 8 * i)) & 0xFF
        quarter, rest = byte // 4 + 48, byte % 4
        letters = [quarter + rest, quarter, quarter, quarter]
        while any(c in _EXCLUDED for c in letters):
            for j in (0, 2):
                if letters[j] in _EXCLUDED or letters[j + 1] in _EXCLUDED:
                    letters[j] += 1
                    letters[j + 1] -= 1
        for j in range(4):
            ascii_[4 * j + i] = letters[j]
    return bytes(ascii_[-1:] + ascii_[:-1]).decode("ascii")
