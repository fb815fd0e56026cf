"""Fingerprints: what a product *should* be made of, in one hash.

fingerprint = H(recipe, version, scope, own parameters, the inputs that the rules choose now).  Of a frame its content hash
and those normalised header values count that the recipe uses, so that a mended profile remakes just what it touches; of a
product its fingerprint and its effective grade, since the grade is written into what is made from it.  Night and
instrument count, since they stand in the product's header and path.  Neither time, host, absolute path nor row number
enters, so two ledgers agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.model import Input

_PLACE = (
    "kind",
    "camera",
    "detector",
    "nx",
    "ny",
    "hdu",
    "window_x0",
    "window_y0",
    "binning_x",
    "binning_y",
    "trim",
    "overscan",
    "bias_subtracted",
)
_SETTING = ("gain_setting", "offset_setting", "readout_mode", "exposure_s", "temperature_c", "time_utc")
_COMMON = _PLACE + _SETTING
USED_VALUES: dict[str, tuple[str, ...]] = {
    "bias": (*_COMMON, "gain_e_per_adu", "read_noise_e"),
    "dark": (*_COMMON, "gain_e_per_adu"),
    "thermal": _COMMON,
    "flat": (*_COMMON, "filter", "saturation_adu"),
    "light": (*_COMMON, "filter", "saturation_adu", "gain_e_per_adu", "read_noise_e", "bayer"),
}
"""Role of a frame among the inputs -> the values of its header that its recipes use."""

_values_of = {role: attrgetter(*names) for role, names in USED_VALUES.items()}
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> str:
    """Canonical JSON text."""
    return _encode(value)


def canonical_facts(facts: Mapping[str, Any]) -> str:
    """Canonical text of a flat dictionary of numbers and texts, in a tenth of the time."""
    return repr(sorted(facts.items()))


class UsedValues:
    """The header values that count, as text; worked out once for each frame and role, since masters and lights share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, role: str, frame: FrameRow) -> str:
        """Canonical text of the values of ``frame`` that recipes use of it in this role."""
        key = (role, frame.header_hash)
        text = self._known.get(key)
        if text is None:
            text = self._known[key] = _text(role, frame.header)
        return text


def _text(role: str, header: FrameHeader) -> str:
    values = _values_of.get(role)
    return repr(values(header)) if values is not None else header.canonical()


def fingerprint(head: tuple[str, ...], inputs: Sequence[Input], used: UsedValues) -> str:
    """The fingerprint (64 hexadecimal digits) of a planned product.

    ``head`` is all that stands for itself: recipe, version, night, instrument, key, parameters, facts (what the product's
    own header says of its inputs) and the effective grade with its reasons, as it will stand there, too.
    """
    parts = list(head)
    for item in inputs:
        parts += (item.role, item.fingerprint) if item.frame is None else (item.role, item.fingerprint, used.of(item.role, item.frame))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
