"""New FITS files of the hand tools: any pixel type, images and cubes, with UNCERT and MASK where there are any.

Written whole or not at all and never over another file (:mod:`nightcrew.io.atomic`).  The same inputs give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import Refused
from nightcrew.frames.flags import DESCRIPTIONS
from nightcrew.io import checksum
from nightcrew.io.atomic import write_new, write_text
from nightcrew.io.cardtext import Card, format_card, header_block
from nightcrew.io.headers import BLOCK
from nightcrew.tools.arith import Operand

Array = NDArray[Any]

# BITPIX and BZERO of every type that FITS can hold
_STORED = {
    "u1": (8, 0),
    "i1": (8, -128),
    "i2": (16, 0),
    "u2": (16, 1 << 15),
    "i4": (32, 0),
    "u4": (32, 1 << 31),
    "i8": (64, 0),
    "u8": (64, 1 << 63),
    "f4": (-32, 0),
    "f8": (-64, 0),
}
_NOT_WRITTEN = (".fz", ".bz2", ".Z")


def write_frame(path: Path, operand: Operand, header: Sequence[str], *, unit: str = "", extras: Mapping[str, Array] | None = None) -> Path:
    """Write ``operand`` as a new FITS file with the cards ``header`` (text of multiples of 80 characters) and return its path.

    ``extras`` are further planes by their EXTNAME.

    A name that ends with ``.gz`` is compressed.  :class:`Refused` when the file exists, the folder cannot be written or the ending
    promises another compression; then nothing is left behind.
    """
    check_output(path)
    companions = operand.uncertainty is not None or operand.mask is not None
    parts = [_hdu(operand.pixels, [*_unit(unit), *([_name("SCI")] if companions else [])], header, first=True)]
    if operand.uncertainty is not None:
        cards = [_name("UNCERT"), ("UTYPE", "StdDevUncertainty", "one standard deviation"), *_unit(unit)]
        parts.append(_hdu(operand.uncertainty.astype(np.float32), cards, ()))
    if operand.mask is not None:
        bits: list[Card] = [(f"BIT{flag.bit_length() - 1:02d}", (flag.name or "").lower(), text) for flag, text in DESCRIPTIONS.items()]
        parts.append(_hdu(operand.mask.astype(np.uint16), [_name("MASK"), *bits], ()))
    parts += [_hdu(plane, [_name(name)], ()) for name, plane in (extras or {}).items()]
    data = b"".join(parts)
    if path.name.endswith(".gz"):
        import gzip

        data = gzip.compress(data, compresslevel=1, mtime=0)
    return write_bytes(path, data)


def check_output(path: Path) -> None:
    """Refuse, before any work, an output that exists or whose name promises what cannot be written."""
    if path.name.endswith(_NOT_WRITTEN):
        raise Refused(f"{path.name}: files of this compression are not written; use a name ending with .fits or .fits.gz")
    if os.path.lexists(path):
        raise Refused(f"{path} exists already and is left as it is: choose another name with -o")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"{path} cannot be written: no files can be made in {folder}")


def write_bytes(path: Path, data: bytes) -> Path:
    """Write ``data`` to a new file, whole or not at all."""

    def writer(file: BinaryIO) -> None:
        file.write(data)

    return write_new(path, writer)


def write_report(path: Path, text: str, *, append: bool = False) -> Path:
    """Write ``text`` to a new file, or with ``append`` behind the text that the file holds already, in one step.

    :class:`Refused` for a file that is no text: nothing is added to an image.
    """
    if append and os.path.isfile(path):  # noqa: PTH113  False for what cannot be a name
        return write_text(path, _text_of(path) + text, overwrite=True)
    check_output(path)
    return write_text(path, text)


def _text_of(path: Path) -> str:
    refusal = Refused(f"{path} is no text that a table could be added to: choose another name with -o")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise refusal from error
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    if "\0" in text or text.startswith("SIMPLE  ="):
        raise refusal
    return text


def _hdu(pixels: Array, cards: Sequence[Card], header: Sequence[str], *, first: bool = False) -> bytes:
    code = pixels.dtype.str[1:]
    bitpix, zero = _STORED[code]
    structure: list[Card] = [("SIMPLE", True, "FITS standard 4.0") if first else ("XTENSION", "IMAGE", "image extension")]
    structure += [("BITPIX", bitpix, "bits per stored number"), ("NAXIS", pixels.ndim, "")]
    structure += [(f"NAXIS{i}", length, "") for i, length in enumerate(reversed(pixels.shape), 1)]
    structure += [("EXTEND", True, "")] if first else [("PCOUNT", 0, ""), ("GCOUNT", 1, "")]
    if zero:
        structure += [("BSCALE", 1, ""), ("BZERO", zero, "integers are stored with this offset")]
    text = [format_card(*card) for card in [*structure, *cards]] + list(header)
    data = _stored(pixels, code, zero)
    data += b"\0" * (-len(data) % BLOCK)
    return _summed(text, data) + data


def _stored(pixels: Array, code: str, zero: int) -> bytes:
    """Big-endian bytes; subtracting 2^(n-1) modulo 2^n is the exclusive or with the sign bit."""
    if zero:
        bits = np.ascontiguousarray(pixels).view(f"u{pixels.itemsize}") ^ np.array(1 << (8 * pixels.itemsize - 1), f"u{pixels.itemsize}")
        return bytes(bits.astype(f">u{pixels.itemsize}").data)
    return pixels.astype(f">{code}").tobytes()


def _summed(cards: Sequence[str], data: bytes) -> bytes:
    """The header block with DATASUM and CHECKSUM."""
    total = checksum.fold(checksum.sum_bytes(data))
    body = [*cards, format_card("DATASUM", str(total), "data unit checksum")]
    blank = header_block([*body, format_card("CHECKSUM", "0" * 16, "HDU checksum")])
    value = checksum.encode(checksum.fold(checksum.sum_bytes(blank) + total))
    return header_block([*body, format_card("CHECKSUM", value, "HDU checksum")])


def _name(name: str) -> Card:
    return "EXTNAME", name, ""


def _unit(unit: str) -> list[Card]:
    return [("BUNIT", unit, "")] if unit else []
