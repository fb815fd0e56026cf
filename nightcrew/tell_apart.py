"""Telling exposures apart that look alike: the pixels decide, and only where they must.

Camera, start, exposure time and kind agree for the frames of a fast series whose start is written to the second, for those
of a camera whose clock stands still, and for one exposure under other bytes.  Equal pixels are one exposure, other pixels
another one.  Files that tell nothing (compressed with loss, or gone) join the only exposure that there is.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.headers import HeaderValue
from nightcrew.io.patience import folders_of, while_they_answer
from nightcrew.ledger import arrivals, exposures
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import Reading
from nightcrew.ledger.exposures import Alike

UNTOLD = ""
"""The hash of pixels that tell nothing: compressed with loss, or not to be read."""
_HASH_DIGITS = 16
_CANNOT_TELL = "its pixels cannot be compared (compressed with loss, or damaged), and several exposures share its start and camera"


def tell_apart(database: Database, readings: Sequence[Reading]) -> list[Reading]:
    """The readings with identities of their own for frames that only seem to be one exposure.

    A function of the set of files: neither the order in which they come nor the batches matter.
    """
    together: dict[str, list[int]] = defaultdict(list)
    for place, reading in enumerate(readings):
        if reading.identity:
            together[reading.identity].append(place)
    with database.read() as connection:
        known = exposures.alike(connection, together)
        paths = arrivals.paths_by_id(connection, [readings[p].path_id for places in together.values() for p in places])
    result = list(readings)
    for likeness, places in together.items():
        files = [(readings[p].sha256, paths[readings[p].path_id]) for p in places]
        group = _Group(likeness, known.get(likeness, []), files)
        for place, (sha256, _) in zip(places, files, strict=True):
            result[place] = group.with_identity(readings[place], sha256)
        exposures.remember_pixels(database, group.learned)
    return result


class _Group:
    """Files that look alike: those of known exposures, and new ones as (content hash, path)."""

    def __init__(self, likeness: str, known: Sequence[Alike], files: Sequence[tuple[str, bytes]]) -> None:
        self._likeness = likeness
        self._identity_of_content = {sha256: one.identity for one in known for sha256 in one.contents}
        self.learned: dict[int, str] = {}
        self._pixels: dict[str, str] = {}
        fresh = {sha256: path for sha256, path in files if sha256 not in self._identity_of_content}
        if not fresh or (not known and len(fresh) == 1):
            self._by_pixels: dict[str, str] = {}
            self._only = likeness
            return
        self._by_pixels = {hash_of(pixels): one.identity for one in known if (pixels := self._pixels_of_known(one))}
        self._pixels = {sha256: pixels_told(path) for sha256, path in sorted(fresh.items())}
        told = {*self._by_pixels, *map(hash_of, self._pixels.values())} - {UNTOLD}
        self._only = (known[0].identity if known else likeness) if len(told) <= 1 else ""

    def _pixels_of_known(self, one: Alike) -> str:
        if len(one.pixels) > _HASH_DIGITS:
            return one.pixels
        pixels = next((found for path in one.paths if (found := pixels_told(path))), UNTOLD)
        if one.pixels and hash_of(pixels) != one.pixels:
            return one.pixels  # what was learned before sketches were made, of files that are gone or changed meanwhile
        if pixels and pixels != one.pixels:
            self.learned[one.frame_id] = pixels
        return pixels

    def with_identity(self, reading: Reading, sha256: str) -> Reading:
        """The reading with the identity of its exposure; set aside when nobody can say which one it is."""
        pixels = self._pixels.get(sha256, UNTOLD)
        known = self._identity_of_content.get(sha256) or self._by_pixels.get(hash_of(pixels)) or self._only
        if known or pixels:
            return replace(reading, identity=known or f"{self._likeness}#{hash_of(pixels)}", likeness=self._likeness, pixels=pixels)
        return replace(
            reading, header=None, identity="", state="set_aside", reason=_CANNOT_TELL, scope_instrument=_instrument(reading), pixels=""
        )


def _instrument(reading: Reading) -> str:
    return reading.header.instrument if reading.header is not None else reading.scope_instrument


def pixels_told(path: bytes) -> str:
    """Hash of the pixel values, whatever bytes hold them, and behind it the sketch of their noise (see ``nightcrew.quality.sketch``).

    ``UNTOLD`` where they are not exact or cannot be read; ``-`` stands for a sketch where there is no noise.
    """
    try:
        return while_they_answer(partial(_pixels_told, path), folders_of([path]))
    except (RejectedInput, TransientError, OSError):
        return UNTOLD


def _pixels_told(path: bytes) -> str:
    from nightcrew.io.images import ImageFile  # loads numpy, which those who only open a workspace do without
    from nightcrew.quality.sketch import noise_sketch

    with ImageFile(Path(os.fsdecode(path))) as image:
        if _is_lossy(image.hdu.cards):
            return UNTOLD
        pixels = image.numbers()
    hashed = hashlib.sha256(pixels.dtype.str.encode() + str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:_HASH_DIGITS]
    return hashed + (noise_sketch(pixels) or "-")


def hash_of(pixels: str) -> str:
    """The hash in what :func:`pixels_told` gives."""
    return pixels[:_HASH_DIGITS]


def pixel_hash(path: bytes) -> str:
    """Hash of the pixel values of a file, whatever bytes hold them; ``UNTOLD`` where they are not exact or cannot be read."""
    return hash_of(pixels_told(path))


def _is_lossy(cards: Mapping[str, HeaderValue]) -> bool:
    """Tile compression that does not give the same pixels back: quantised floats, or H-compress with a scale."""
    if "ZQUANTIZ" in cards and cards["ZQUANTIZ"] not in (None, "NONE", "NO_QUANTIZE"):
        return True
    return str(cards.get("ZCMPTYPE", "")).startswith("HCOMPRESS") and cards.get("ZVAL1") not in (None, 0, 0.0)
