"""FITS files by hand, byte for byte, so that the tests do not lean on the writer that they test."""

from __future__ import annotations

from collections.abc import Sequence

BLOCK = 2880


def card(text: str) -> bytes:
    """One 80-byte card."""
    raw = text.encode("latin-1")
    if len(raw) > 80:
        raise ValueError(f"{text!r} is longer than a card")
    return raw.ljust(80)


def header(cards: Sequence[str], *, end: bool = True) -> bytes:
    """A padded header of the given card texts."""
    raw = b"".join(card(text) for text in [*cards, *(["END"] if end else [])])
    return raw.ljust(-(-len(raw) // BLOCK) * BLOCK)


def padded(data: bytes) -> bytes:
    """Data with its padding of zeros."""
    return data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


def structure(bitpix: int, *axes: int) -> list[str]:
    """The first cards of a primary header; ``axes`` in FITS order."""
    cards = ["SIMPLE  =                    T", f"BITPIX  = {bitpix:20d}", f"NAXIS   = {len(axes):20d}"]
    return cards + [f"NAXIS{i:<3d}= {n:20d}" for i, n in enumerate(axes, 1)]


def image(bitpix: int, axes: Sequence[int], data: bytes, extra: Sequence[str] = ()) -> bytes:
    """A primary HDU with data."""
    return header([*structure(bitpix, *axes), *extra]) + padded(data)
