"""Flags of MKID pixels.  Files keep the names beside the bits and are decoded by name, so that a new flag renumbers nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput

FLAGS: dict[str, str] = {
    "beammap.noDacTone": "the channel has no tone: it is not read out",
    "beammap.failed": "the beam map could not place the resonator",
    "beammap.yFailed": "the beam map has no y for the resonator",
    "beammap.xFailed": "the beam map has no x for the resonator",
    "beammap.double": "two resonators answer to one tone",
    "beammap.wrongFeedline": "the resonator was found on another feed line",
    "beammap.duplicatePixel": "another resonator has this place too",
    "beammap.noResonator": "no resonator has this place",
}
"""Name -> description; the bit of a flag is its place here."""

CURRENT = ("", "noDacTone", "failed", "yFailed", "xFailed", "double", "wrongFeedline", "duplicatePixel")
OLDER = ("", "failed", "yFailed", "xFailed", "wrongFeedline")
ENUMERATIONS = {"current": CURRENT, "older": OLDER}
"""What the numbers in a beam map mean; 0 is good.  The two cannot be told apart by their numbers."""


def bit(name: str, names: Sequence[str] | None = None) -> int:
    """Value of a flag among ``names`` (those of a file; otherwise ours); ``RejectedInput`` when it is not among them."""
    known = list(FLAGS) if names is None else list(names)
    if name not in known:
        raise RejectedInput(f"there is no flag {name!r}, only {', '.join(known)}")
    return 1 << known.index(name)


def named(values: NDArray[np.uint32], stored: Sequence[str]) -> NDArray[np.uint32]:
    """Bits of a file, whose flags are called ``stored`` in this order, as ours; ``RejectedInput`` for a name that we do not know."""
    ours = np.zeros(values.shape, dtype=np.uint32)
    for place, name in enumerate(stored):
        ours |= np.where(values >> np.uint32(place) & np.uint32(1), np.uint32(bit(name)), np.uint32(0))
    return ours


def describe(value: int) -> str:
    """Names of the flags set in ``value``, comma-separated; ``"good"`` for 0."""
    return ", ".join(name for place, name in enumerate(FLAGS) if value >> place & 1) or "good"
