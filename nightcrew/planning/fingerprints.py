"""Fingerprints: what a product *should* be made of, in one hash.

fingerprint = H(recipe, version, own parameters, the inputs that the rules choose now).  Of a frame its content hash and
those normalised header values count that the recipe uses, so that a mended profile remakes just what it touches; of a
product its fingerprint and its effective grade, since the grade is written into what is made from it.  Neither time, host,
path nor row number enters, so two ledgers agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from nightcrew.frames.model import FrameHeader
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
    "dark": _COMMON,
    "thermal": _COMMON,
    "flat": (*_COMMON, "filter", "saturation_adu"),
    "light": (*_COMMON, "filter", "saturation_adu", "gain_e_per_adu", "read_noise_e", "bayer"),
}
"""Role of a frame among the inputs -> the values of its header that its recipes use."""


@lru_cache(maxsize=100_000)
def _used(role: str, header: FrameHeader) -> bytes:
    names = USED_VALUES.get(role)
    return canonical([getattr(header, name) for name in names] if names is not None else header.as_dict()).encode()


def canonical(value: Any) -> str:
    """Canonical JSON text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(
    recipe: str, version: int, key: str, parameters: dict[str, Any], facts: dict[str, Any], inputs: Sequence[Input], grade: str
) -> str:
    """The fingerprint (64 hexadecimal digits) of a planned product.

    ``facts`` are what the product's own header says of its inputs; ``grade`` is the effective grade with its reasons, as
    it will stand there, too.
    """
    head = (recipe, str(version), key, canonical(parameters), canonical(facts), grade)
    digest = hashlib.sha256("".join(part + "\0" for part in head).encode())
    for item in inputs:
        digest.update(f"{item.role}\0{item.fingerprint}\0".encode())
        if item.frame is not None:
            digest.update(_used(item.role, item.frame.header))
        digest.update(b"\1")
    return digest.hexdigest()
