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
    "beammap.double": "two resonators answer to one tone, or one resonator has two places in the beam map",
    "beammap.wrongFeedline": "the resonator was found on another feed line",
    "beammap.duplicatePixel": "another resonator has this place too",
    "beammap.noResonator": "no resonator has this place",
    "flatcal.bad": "the flat field has no weight for the pixel",
    "flatcal.not_all_weights_valid": "the flat field has no weight for some of the pixel's wavelengths",
    "pixcal.hot": "counts more than its neighbourhood, without light",
    "pixcal.cold": "counts less than its neighbourhood",
    "pixcal.dead": "counts nothing",
    "wavecal.bad": "no wavelength solution",
    "wavecal.failed_validation": "the energies that were fitted do not make sense",
    "wavecal.failed_convergence": "the fit of the energies did not end",
    "wavecal.not_monotonic": "pulses of a shorter wavelength are not higher",
    "wavecal.not_enough_histogram_fits": "fewer than two lasers could be fitted",
    "wavecal.not_attempted": "not fitted: the beam map or the pixel mask says that the pixel is bad",
    "wavecal.no_histograms": "too few photons of every laser",
    "wavecal.histogram_fit_problems": "some lasers could not be fitted",
    "wavecal.linear": "phase to energy is a straight line",
    "wavecal.quadratic": "phase to energy is a parabola",
}
"""Name -> description; the bit of a flag is its place here."""

PROBLEM = (
    "beammap.noDacTone",
    "beammap.noResonator",
    "flatcal.bad",
    "pixcal.hot",
    "pixcal.cold",
    "pixcal.dead",
    "wavecal.bad",
    "wavecal.failed_validation",
    "wavecal.failed_convergence",
    "wavecal.not_monotonic",
    "wavecal.not_enough_histogram_fits",
    "wavecal.no_histograms",
    "wavecal.not_attempted",
)
"""Pixels with one of these are left out of images unless the user says otherwise; ``flatcal.bad`` is set only while a flat is applied."""

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


def bits(names: Sequence[str]) -> np.uint32:
    """All of these flags as one value."""
    return np.uint32(sum({bit(name) for name in names}))


def named(values: NDArray[np.uint32], stored: Sequence[str]) -> NDArray[np.uint32]:
    """Bits of a file, whose flags are called ``stored`` in this order, as ours; ``RejectedInput`` for a name that we do not know."""
    ours = np.zeros(values.shape, dtype=np.uint32)
    for place, name in enumerate(stored):
        ours |= np.where(values >> np.uint32(place) & np.uint32(1), np.uint32(bit(name)), np.uint32(0))
    return ours


def describe(value: int) -> str:
    """Names of the flags set in ``value``, comma-separated; ``"good"`` for 0."""
    return ", ".join(name for place, name in enumerate(FLAGS) if value >> place & 1) or "good"
