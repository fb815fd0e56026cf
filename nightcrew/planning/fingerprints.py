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
from functools import lru_cache
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
    "light_to_solve": (*_PLACE, "ra_deg", "dec_deg"),
    "light": (*_COMMON, "filter", "saturation_adu", "gain_e_per_adu", "read_noise_e", "bayer"),
}
"""Role of a frame among the inputs -> the values of its header that its recipes use."""

LIGHT_FACTS = ("camera", "exposure_s", "filter", "gain_setting", "geometry", "target", "time_utc")
"""The facts of a light, sorted by name: the arguments of ``canonical_light``."""

_values_of = {role: attrgetter(*names) for role, names in USED_VALUES.items()}
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> str:
    """Canonical JSON text."""
    return _encode(value)


def canonical_facts(facts: Mapping[str, Any]) -> str:
    """Canonical text of a flat dictionary of numbers and texts, in a tenth of the time."""
    return repr(sorted(facts.items()))


def canonical_light(camera: str, exposure_s: float | None, filter_: str, gain: str, geometry: str, target: str, time_utc: str) -> str:
    """The same of the facts of a light, which differ from frame to frame in little more than the time."""
    before, after = _same_of_lights(camera, filter_, gain, geometry, target)
    return f"{before}{exposure_s!r}{after}{time_utc!r})]"


@lru_cache(maxsize=1000)
def _same_of_lights(camera: str, filter_: str, gain: str, geometry: str, target: str) -> tuple[str, str]:
    facts = {"filter": filter_, "gain_setting": gain, "geometry": geometry, "target": target}
    return f"[('camera', {camera!r}), ('exposure_s', ", f"), {canonical_facts(facts)[1:-1]}, ('time_utc', "


class UsedValues:
    """The header values that count, as text; worked out once for each frame and role, since masters and lights share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, role: str, frame: FrameRow) -> str:
        """Canonical text of the values of ``frame`` that recipes use of it in this role."""
        if role == "light":  # goes into one product only: remembering it costs more than it saves
            return used_values(role, frame.header)
        key = (role, frame.header_hash)
        text = self._known.get(key)
        if text is None:
            text = self._known[key] = used_values(role, frame.header)
        return text


def used_values(role: str, header: FrameHeader) -> str:
    """Canonical text of the values of a header that recipes use of it in this role."""
    values = _values_of.get(role)
    return repr(values(header)) if values is not None else header.canonical()


def fingerprint(head: tuple[str, ...], inputs: Sequence[Input], used: UsedValues) -> str:
    """The fingerprint (64 hexadecimal digits) of a planned product.

    ``head`` is all that stands for itself: recipe, version, night, instrument, key, parameters, facts (what the product's
    own header says of its inputs) and the effective grade with its reasons, as it will stand there, too.
    """
    parts = list(head)
    for role, print_, frame, _ in inputs:
        parts += (role, print_) if frame is None else (role, print_, used.of(role, frame))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
