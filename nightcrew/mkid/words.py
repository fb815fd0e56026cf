"""The 64-bit words of a readout stream, bit by bit.

A ``.bin`` file is a row of big-endian words.  Most significant bit first:

- frame header: start 8 bits (all set), board 8, frame number 12 (wraps at 4096, per board), tick 36 (half milliseconds
  since the 1st of January, 00:00 UTC, of the year in which the readout was started);
- photon: x 10, y 10, microsecond within the tick 9 (0..499), phase 18 (two's complement, 15 fractional bits, radian),
  baseline 17 (two's complement, 14 fractional bits, radian).

A frame is a header and up to 100 words.  It ends with its 100th word, or at its tick with a filler of 63 set bits.  A channel without a
place in the beam map says x = 767, y = 1023.  A word whose x is 1020 or more cannot be told from a header.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]
Ints = NDArray[np.int32]

MOST_WORDS = 100  # of a frame, its header not counted
FRAME_NUMBERS = 4096
TICK_US = 500
TICKS_PER_S = 2000
MAX_COLUMNS, MAX_ROWS = 1020, 1023  # what the word can hold without becoming a header or an unmapped channel
FIRST_HEADER = np.uint64(0xFF << 56)  # a word from here on is a header
FILLER = np.uint64((1 << 63) - 1)
FILLER_PLACE = (511 << 10) | 1023  # x and y of a word, as one number
UNMAPPED_PLACE = (767 << 10) | 1023
HEADER_PLACE = MAX_COLUMNS << 10
PLACES = 1 << 20

RADIAN_PER_PHASE_UNIT = 2.0**-15
RADIAN_PER_BASELINE_UNIT = 2.0**-14
DEGREE_PER_PHASE_UNIT = float(np.rad2deg(RADIAN_PER_PHASE_UNIT))
DEGREE_PER_BASELINE_UNIT = float(np.rad2deg(RADIAN_PER_BASELINE_UNIT))
PHASE_LIMITS = (-(1 << 17), (1 << 17) - 1)
BASELINE_LIMITS = (-(1 << 16), (1 << 16) - 1)
BASELINE_ZERO = 3 << 15  # in tables, where baselines are stored without sign: noise about 0 stays within the two lower bytes

_U = np.uint64


def header_words(board: ArrayLike, frame: ArrayLike, tick: ArrayLike) -> Words:
    """Headers; ``board`` 0..255, ``frame`` is taken modulo 4096, ``tick`` 0..2^36 - 1 in half milliseconds."""
    number: Words = np.asarray(frame, dtype=np.int64).astype(_U) & _U(FRAME_NUMBERS - 1)
    words: Words = FIRST_HEADER | np.asarray(board, dtype=_U) << _U(48)
    words |= number << _U(36)
    words |= np.asarray(tick, dtype=_U)
    return words


def photon_words(x: ArrayLike, y: ArrayLike, microsecond: ArrayLike, phase: ArrayLike, baseline: ArrayLike) -> Words:
    """Photons; ``phase`` and ``baseline`` are signed integers in units of 2^-15 and 2^-14 radian."""
    word = np.asarray(x, dtype=_U) << _U(54) | np.asarray(y, dtype=_U) << _U(44) | np.asarray(microsecond, dtype=_U) << _U(35)
    signed = np.asarray(phase, dtype=np.int64).astype(_U) & _U(0x3FFFF)
    words: Words = word | signed << _U(17) | np.asarray(baseline, dtype=np.int64).astype(_U) & _U(0x1FFFF)
    return words


def boards(headers: Words) -> NDArray[np.uint8]:
    """Board numbers of headers."""
    return (headers >> _U(48)).astype(np.uint8)


def frame_numbers(headers: Words) -> NDArray[np.int64]:
    """Frame counters of headers, 0..4095."""
    return ((headers >> _U(36)) & _U(FRAME_NUMBERS - 1)).astype(np.int64)


def ticks(headers: Words) -> NDArray[np.int64]:
    """Ticks of headers in half milliseconds."""
    return (headers & _U((1 << 36) - 1)).astype(np.int64)


def places(words: Words) -> NDArray[np.int64]:
    """x and y of each word as one number, ``x << 10 | y``."""
    return (words >> _U(44)).view(np.int64)


def microseconds(words: Words) -> NDArray[np.int64]:
    """Microsecond within the tick; 0..499 in a photon."""
    return ((words >> _U(35)) & _U(0x1FF)).view(np.int64)


def phases(words: Words) -> Ints:
    """Phases in units of 2^-15 radian.  Pulses are negative."""
    found = (words >> _U(3)).astype(np.uint32).view(np.int32)
    found >>= 14
    return found


def baselines(words: Words) -> Ints:
    """Baselines in units of 2^-14 radian."""
    shifted = words.astype(np.uint32)
    shifted <<= np.uint32(15)
    found = shifted.view(np.int32)
    found >>= 15
    return found


def unsigned_baselines(words: Words) -> NDArray[np.uint32]:
    """Baselines plus :data:`BASELINE_ZERO`: noise about zero does not reach the upper bytes, which so pack to nothing."""
    found = baselines(words).view(np.uint32)
    found += np.uint32(BASELINE_ZERO)
    return found
