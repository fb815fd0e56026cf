"""A raw frame as FITS: 16 bits unsigned by the BZERO convention (or 8 bits), checksums, and nothing about when or where it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nightcrew.io import checksum
from nightcrew.io.atomic import NewFile
from nightcrew.io.cardtext import Card, format_card
from nightcrew.io.headers import BLOCK
from nightcrew.io.planes import summed_header
from nightcrew.lab.raw import Pixels


def frame_cards(shape: tuple[int, ...], pixel_bytes: int, cards: Sequence[Card]) -> list[str]:
    """All cards of the file but DATASUM and CHECKSUM, for pixels [y, x] of ``shape``."""
    wide = pixel_bytes == 2
    head: list[Card] = [("SIMPLE", True, "FITS standard 4.0"), ("BITPIX", 16 if wide else 8, "bits per stored number"), ("NAXIS", 2, "")]
    head += [("NAXIS1", shape[1], "columns (x)"), ("NAXIS2", shape[0], "rows (y)")]
    if wide:
        head += [("BSCALE", 1, ""), ("BZERO", 32768, "unsigned 16-bit integers")]
    head += [("BUNIT", "adu", "numbers as stored in the raw frame")]
    return [format_card(*card) for card in [*head, *cards]]


def write_frame(path: Path, pixels: Pixels, cards: Sequence[Card], *, durable: bool = True, overwrite: bool = False) -> None:
    """Write pixels [y, x] (uint16 or uint8) with their cards; ``pixels`` of 16 bits are used up (turned into stored form in place).

    Another file under the name is left alone (``FinalExistsError``) unless ``overwrite``.
    """
    text = [
        *frame_cards(pixels.shape, pixels.dtype.itemsize, cards),
        format_card("DATASUM", "0", "data unit checksum"),
        format_card("CHECKSUM", "0" * 16, "HDU checksum"),
    ]
    total = _to_stored(pixels)
    with NewFile(path, durable=durable, overwrite=overwrite) as new:
        new.file.write(summed_header(text, total, 0))
        new.file.write(np.ascontiguousarray(pixels).data)
        new.file.write(b"\0" * (-pixels.nbytes % BLOCK))


def _to_stored(pixels: Pixels) -> int:
    """Turn pixels into the file's big-endian form, in place, and return the exact sum of their 32-bit words."""
    if pixels.dtype.itemsize == 1:
        padded = np.zeros(-(-pixels.size // 4) * 4, np.uint8)
        padded[: pixels.size] = pixels.reshape(-1)
        return checksum.sum_bytes(padded.tobytes())
    words = pixels.view(np.uint16)
    words ^= np.uint16(0x8000)
    total = checksum.sum_halves(words, 0)
    words.byteswap(inplace=True)
    return total
