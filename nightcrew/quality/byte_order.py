"""Are the two bytes of every 16-bit pixel exchanged?  Told from the pixels alone, and only where there is no doubt.

In a frame of a camera the more significant byte of a pixel is nearly that of its neighbour, and the less significant one is noise.
Where the bytes are exchanged it is the other way round: neighbours differ wildly, and stop doing so once the bytes are changed back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.headers import Hdu
from nightcrew.io.images import PixelReader
from nightcrew.io.source import DEFAULT_MAX_BYTES, open_source

Words = NDArray[Any]

MIN_RATIO = 8.0
"""So many times rougher must a frame be as it stands than changed back; honest frames are smoother (0.01 to 1)."""

_ROWS, _COLUMNS = 16, 1024  # looked at first; the whole frame only where these raise the suspicion
_LAG = 2  # columns: the next pixel under the same colour filter
_MIN_PAIRS = 500
_QUARTILE, _FAR = 75.0, 95.0
_ENDS = np.array([0x0000, 0xFFFF, 0x7FFF, 0x8000])  # empty and full pixels, stored with and without a sign: no shift explains them
_SHIFTED = (0, 127, 128, 255)  # low bytes of 8-bit numbers that were stored times 256
# Times 256: where a quiet bias may lie as a whole, and no pedestal under shifted 8-bit numbers is known; and the same for numbers
# whose sign bit was flipped before their bytes were exchanged (FITS's unsigned integers).
_BIAS_LEVELS = (*range(1, 32), *range(129, 160))
_MOST_ALIKE = 0.9


@dataclass(frozen=True, slots=True)
class Swapped:
    """Differences of neighbours, in steps of the camera: as the frame stands (75 % are smaller), and changed back (95 % are smaller)."""

    as_it_stands: float
    changed_back: float

    def __str__(self) -> str:
        return (
            f"the two bytes of its 16-bit pixels are exchanged: neighbouring pixels differ by {self.as_it_stands:.0f} steps as they stand, "
            f"and by {self.changed_back:.0f} with the bytes changed back"
        )


def of_file(path: Path, hdu: Hdu, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """Why the image ``hdu`` of a FITS file cannot be used: the bytes of its pixels are exchanged; "" where that is not certain.

    Raises :class:`TransientError` when the file cannot be read now.  Pixels that cannot be read at all are left to who needs them.
    """
    if hdu.cards.get("BITPIX") != 16 or len(hdu.shape) < 2:
        return ""
    with open_source(path, max_bytes=max_bytes) as source:
        try:
            reader = PixelReader(source, hdu)
            if reader.dtype.kind not in "iu":  # scaled
                return ""
            plane = 0 if reader.n_planes > 1 else None
            ny = reader.shape[-2]
            rows = [reader.number_rows(y, y + 1, plane) for y in sampled_rows(ny, only_first=reader.compressed)]
            if not rows or suspicion(middle_columns(np.concatenate(rows))) is None:
                return ""
            found = exchanged(reader.number_rows(0, ny, plane))
        except RejectedInput:
            return ""
    return f"{source.name}: {found}; it must be written anew with the more significant byte first, as FITS has it" if found else ""


def sampled_rows(ny: int, *, only_first: bool = False) -> list[int]:
    """The rows to look at first; ``only_first``: in the first eighth of the frame, where reading further costs decoding."""
    last = max(0, (ny // 8 if only_first else ny) - 1)
    return [int(row) for row in np.unique(np.linspace(0, last, min(_ROWS, last + 1)).astype(np.intp))]


def middle_columns(words: Words) -> Words:
    """The columns of ``words`` [y, x] to look at first."""
    spare = max(0, words.shape[-1] - _COLUMNS) // 2
    return words[:, spare : spare + _COLUMNS]


def suspicion(words: Words) -> Swapped | None:
    """How rough ``words`` [y, x] (16-bit integers as stored, of any byte order) are, when exchanged bytes could explain it."""
    if words.shape[-1] <= _LAG or words.shape[0] * (words.shape[-1] - _LAG) < _MIN_PAIRS:
        return None
    native = _native(words)
    found = Swapped(_difference(native, _QUARTILE), _difference(native.byteswap(), _FAR))
    return found if found.changed_back > 0 and found.as_it_stands >= MIN_RATIO * found.changed_back else None


def exchanged(words: Words) -> Swapped | None:
    """Whether the bytes of a whole frame ``words`` [y, x] are exchanged, None where that is not certain.

    8-bit numbers that were stored times 256 look the same, and are left in peace: their low bytes are all alike.  So are exchanged frames
    whose pixels are nearly all below 256.
    """
    found = suspicion(words)
    if found is None:
        return None
    native = _native(words).reshape(-1)
    counts = np.bincount(native[~np.isin(native, _ENDS)] & 0xFF, minlength=256)
    common = int(counts.argmax())
    total = int(counts.sum())
    if total < native.size / 10:  # nearly all are empty or full
        return None
    alike, others = counts[common] / total, total - counts[common]
    plain = alike > _MOST_ALIKE and (common in _SHIFTED or (others < 3 and common not in _BIAS_LEVELS))
    return None if plain else found


def _native(words: Words) -> NDArray[np.uint16]:
    native = np.ascontiguousarray(words)
    if native.dtype.itemsize != 2 or native.dtype.kind not in "iu":
        raise ValueError(f"16-bit integers are wanted, not {native.dtype}")
    return native.astype(native.dtype.newbyteorder("="), copy=False).view(np.uint16)


def _difference(words: NDArray[np.uint16], percent: float) -> float:
    """Percentile of the differences of neighbours, on the circle of 65536: an overflow or another sign convention is no difference."""
    step = (words[:, _LAG:] - words[:, :-_LAG]).view(np.int16).astype(np.int32)
    return float(np.percentile(np.abs(step), percent))
