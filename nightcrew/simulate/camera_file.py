"""Write a FITS file byte by byte as a camera program does, and alter cards of an existing one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CardValue = str | float | bool
CameraCard = tuple[str, CardValue, str]

CARD_BYTES = 80
BLOCK_BYTES = 2880


def format_card(keyword: str, value: CardValue, comment: str = "") -> bytes:
    """One 80-byte card in fixed format; a comment that does not fit is cut."""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        text = f"'{value.replace(chr(39), chr(39) * 2):<8}'"
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{keyword}: {value} cannot stand in a FITS header")
        text = f"{repr(value).upper():>20}"
    else:
        text = f"{value:>20}"
    card = f"{keyword:<8}= {text:<20}" + (f" / {comment}" if comment else "")
    if len(f"{keyword:<8}= {text}") > CARD_BYTES:
        raise ValueError(f"{keyword}: value does not fit on one card: {value!r}")
    return card[:CARD_BYTES].ljust(CARD_BYTES).encode("ascii")


def header_bytes(cards: Sequence[bytes]) -> bytes:
    """Cards plus END, padded with blanks to whole blocks."""
    text = b"".join(cards) + b"END".ljust(CARD_BYTES)
    return text.ljust(-(-len(text) // BLOCK_BYTES) * BLOCK_BYTES)


def data_bytes(image: NDArray[np.uint16]) -> bytes:
    """Unsigned 16-bit pixels as FITS stores them: minus 32768, big-endian, padded with zeros to whole blocks."""
    stored = (image ^ np.uint16(0x8000)).astype(">u2").tobytes()
    return stored + bytes(-len(stored) % BLOCK_BYTES)


def fits_bytes(image: NDArray[np.uint16], cards: Sequence[CameraCard]) -> bytes:
    """A complete single-image FITS file."""
    ny, nx = image.shape
    structure: list[CameraCard] = [
        ("SIMPLE", True, ""),
        ("BITPIX", 16, "16-bit integers"),
        ("NAXIS", 2, ""),
        ("NAXIS1", nx, "columns"),
        ("NAXIS2", ny, "rows"),
        ("BSCALE", 1.0, "physical = BZERO + BSCALE * stored"),
        ("BZERO", 32768.0, ""),
    ]
    return header_bytes([format_card(*card) for card in (*structure, *cards)]) + data_bytes(image)


def write_camera_file(path: Path, image: NDArray[np.uint16], cards: Sequence[CameraCard]) -> None:
    """Write ``image`` [y, x] with its cards; refuses to overwrite."""
    with path.open("xb") as file:
        file.write(fits_bytes(image, cards))


def find_card(content: bytes, keyword: str) -> int:
    """Byte offset of the first card with ``keyword`` in the primary header; KeyError where there is none."""
    wanted = keyword.encode("ascii").ljust(8)
    for offset in range(0, len(content) - CARD_BYTES + 1, CARD_BYTES):
        name = content[offset : offset + 8]
        if name == wanted:
            return offset
        if name == b"END     ":
            break
    raise KeyError(keyword)


def replace_card(content: bytes, keyword: str, card: bytes) -> bytes:
    """File content with the card of ``keyword`` replaced by 80 arbitrary bytes."""
    if len(card) != CARD_BYTES:
        raise ValueError(f"a card has {CARD_BYTES} bytes, not {len(card)}")
    offset = find_card(content, keyword)
    return content[:offset] + card + content[offset + CARD_BYTES :]


def read_value(content: bytes, keyword: str) -> str:
    """Text of a card's value without quotes and comment; for headers made by this module."""
    offset = find_card(content, keyword)
    text = content[offset + 10 : offset + CARD_BYTES].decode("ascii")
    if text.startswith("'"):
        return text[1:].split("'", 1)[0].rstrip()
    return text.split("/", 1)[0].strip()


def header_length(content: bytes) -> int:
    """Bytes of the primary header with its padding."""
    return (find_card(content, "END") // BLOCK_BYTES + 1) * BLOCK_BYTES


def pixels(content: bytes) -> NDArray[np.uint16]:
    """The image [y, x] of a file made by this module."""
    nx, ny = int(read_value(content, "NAXIS1")), int(read_value(content, "NAXIS2"))
    stored = np.frombuffer(content, dtype=">u2", count=nx * ny, offset=header_length(content))
    return stored.astype(np.uint16).reshape(ny, nx) ^ np.uint16(0x8000)


def replace_pixels(content: bytes, image: NDArray[np.uint16]) -> bytes:
    """File content with other pixels of the same shape under the same header."""
    return content[: header_length(content)] + data_bytes(image)
