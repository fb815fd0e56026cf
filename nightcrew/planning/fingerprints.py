"""Fingerprints: what a product *should* be made of, in one hash.

fingerprint = H(recipe, version, own parameters, the inputs that the rules choose now).  Of a frame its content hash and
the normalised header values count; of a product its fingerprint and its effective grade, since the grade is written
into what is made from it.  Neither time, host, path nor row number enters, so two ledgers agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from nightcrew.planning.model import Input


def canonical(value: Any) -> str:
    """Canonical JSON text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(recipe: str, version: int, key: str, parameters: dict[str, Any], inputs: Sequence[Input], grade: str) -> str:
    """The fingerprint (64 hexadecimal digits) of a planned product.

    ``grade`` is the effective grade with its reasons, as it will stand in the product's header.
    """
    digest = hashlib.sha256(f"{recipe}\0{version}\0{key}\0{canonical(parameters)}\0{grade}\0".encode())
    for item in inputs:
        digest.update(f"{item.role}\0{item.fingerprint}\0".encode())
        if item.frame is not None:
            digest.update(item.frame.header_hash.encode())
        digest.update(b"\1")
    return digest.hexdigest()
