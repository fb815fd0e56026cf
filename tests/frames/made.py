"""Made headers: the shortest way to an :class:`Hdu` and its normalised header."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nightcrew.frames.lookup import Lookup
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.normalise import normalise
from nightcrew.frames.profiles import Profile, load_profiles
from nightcrew.frames.site import Site
from nightcrew.io.headers import Hdu, HeaderValue

MOORHEAD = Site(longitude_deg=-96.453, latitude_deg=46.867, elevation_m=311.0, timezone="America/Chicago")
WHIPPLE = Site(longitude_deg=-110.88, latitude_deg=31.68, elevation_m=1268.0, timezone="America/Phoenix")
SUTHERLAND = Site(longitude_deg=20.81, latitude_deg=-32.38, elevation_m=1760.0, timezone="Africa/Johannesburg")
USUAL: dict[str, HeaderValue] = {
    "BITPIX": 16,
    "BZERO": 32768,
    "IMAGETYP": "Light Frame",
    "DATE-OBS": "2024-03-10T04:05:06.250",
    "EXPTIME": 60.0,
    "FILTER": "V",
    "INSTRUME": "Testcam",
    "CCD-TEMP": -10.0,
}


@lru_cache(maxsize=1)
def profiles() -> dict[str, Profile]:
    """The built-in profiles."""
    return load_profiles(None)


def hdu(
    cards: Mapping[str, HeaderValue] | None = None,
    *,
    comments: Mapping[str, str] | None = None,
    shape: tuple[int, ...] = (100, 120),
    index: int = 0,
    kind: str = "IMAGE",
    duplicates: tuple[str, ...] = (),
) -> Hdu:
    """A header-data unit of the given cards."""
    return Hdu(index, kind, dict(cards or {}), dict(comments or {}), b"", 2880, 0, shape, duplicates)


def frame(
    *hdus: Hdu,
    path: str = "night/image-001.fits",
    profile: str | Profile = "generic",
    site: Site = MOORHEAD,
    comments: Mapping[str, str] | None = None,
    shape: tuple[int, ...] = (100, 120),
    **cards: Any,
) -> FrameHeader:
    """The normalised header of ``hdus``, else of the usual cards with ``cards`` over them (``_`` for ``-``; None removes)."""
    chosen = profiles()[profile] if isinstance(profile, str) else profile
    if not hdus:
        changed = {key.replace("_", "-"): value for key, value in cards.items()}
        values = {key: value for key, value in {**USUAL, **changed}.items() if value is not None}
        hdus = (hdu(values, comments=comments, shape=shape),)
    return normalise(hdus, path, chosen, site, None)


def lookup(*, comments: Mapping[str, str] | None = None, **cards: Any) -> Lookup:
    """Headers of nothing but ``cards`` (``_`` for ``-``)."""
    return Lookup((hdu({key.replace("_", "-"): value for key, value in cards.items()}, comments=comments),))


def own_profile(folder: Path, text: str, name: str = "mine") -> Profile:
    """A profile of the user's, from TOML ``text``."""
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return load_profiles(folder)[name]


def noted(header: FrameHeader, words: str) -> bool:
    """Whether a note contains ``words``."""
    return any(words in note for note in header.notes)
