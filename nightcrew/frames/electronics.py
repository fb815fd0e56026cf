"""Gain, read noise, saturation, colour pattern: from the header, the profile, or the number format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nightcrew.frames.lookup import Found, Lookup
from nightcrew.frames.profiles import KeywordList, Profile
from nightcrew.frames.text import clean_text, parse_number
from nightcrew.io.headers import Hdu

_ELECTRONS_PER_ADU = re.compile(r"\b(?:photo-?)?e(?:-|lec(?:tron)?s?|lectrons?)?\s*(?:/|per)\s*(?:adu|dn|du|counts?|unit)\b", re.IGNORECASE)
_PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
_DIFFERENCE = 0.01  # relative: below it header and profile agree
_LARGEST_ADU = 1e12  # no count, gain or noise comes near it


@dataclass(frozen=True, slots=True)
class Electronics:
    """What turns counts into electrons; None and "" where nobody says it."""

    gain_setting: str = ""
    offset_setting: str = ""
    gain_e_per_adu: float | None = None
    read_noise_e: float | None = None
    saturation_adu: float | None = None
    bayer: str = ""


def electronics_of(lookup: Lookup, profile: Profile, image: Hdu) -> Electronics:
    """The numbers of the detector.  A GAIN card is never taken as e-/ADU unless header or profile says that it is."""
    detector, keywords = profile.detector, profile.keywords
    setting, header_gain = _gain(lookup, profile)
    return Electronics(
        gain_setting=setting,
        offset_setting=_text(lookup, keywords.offset_setting),
        gain_e_per_adu=_preferred(lookup, profile, header_gain, detector.gain_e_per_adu, "e-/ADU of gain"),
        read_noise_e=_preferred(lookup, profile, _positive(lookup, keywords.read_noise_e), detector.read_noise_e, "e- of read noise"),
        saturation_adu=_preferred(lookup, profile, _positive(lookup, keywords.saturation_adu), detector.saturation_adu, "ADU of saturation")
        or saturation_of_format(image),
        bayer=_bayer(lookup, keywords.bayer) or detector.bayer,
    )


def _gain(lookup: Lookup, profile: Profile) -> tuple[str, float | None]:
    """(camera setting as text, gain in e-/ADU).  Without a setting the e-/ADU of the header is the setting's name."""
    keywords = profile.keywords
    electrons = _positive(lookup, keywords.gain_e_per_adu)
    card = lookup.first(keywords.gain)
    setting = _text(lookup, keywords.gain_setting)
    if card is None:
        return setting or _named(electrons), electrons
    means = profile.detector.gain_means
    if means == "auto":
        means = "e_per_adu" if electrons is None and _ELECTRONS_PER_ADU.search(card.comment) else "setting"
        if means == "setting" and electrons is None:
            lookup.note(f"{card.shown} is taken as a camera setting: neither header nor profile says that it is in e-/ADU")
    if means == "setting":
        return setting or _gain_text(card), electrons
    from_card = _positive(lookup, keywords.gain)
    if from_card is None:
        lookup.note(f"{card.shown} is no gain in e-/ADU: ignored")
    electrons = from_card or electrons
    return setting or _named(electrons), electrons


def gains_said(lookup: Lookup, profile: Profile) -> tuple[tuple[str, float], ...]:
    """Every gain in e-/ADU that somebody states, with who does: ("header", 2.06), ("profile", 2.0)."""
    said = (("header", _gain(lookup, profile)[1]), ("profile", profile.detector.gain_e_per_adu))
    return tuple((who, gain) for who, gain in said if gain is not None)


def _named(gain_e_per_adu: float | None) -> str:
    return "" if gain_e_per_adu is None else f"{gain_e_per_adu:.6g}"


def _gain_text(card: Found) -> str:
    number = parse_number(card.value)
    return f"{number.value:.6g}" if number is not None and not number.unit else clean_text(card.value)


def _text(lookup: Lookup, keywords: KeywordList) -> str:
    found = lookup.first(keywords)
    return "" if found is None else _gain_text(found)


def _positive(lookup: Lookup, keywords: KeywordList) -> float | None:
    """The first number above 0 (a 0 in a primary header hides the true value of the extension)."""
    for found in lookup.all(keywords):
        number = parse_number(found.value)
        if number is not None and 0.0 < number.value < _LARGEST_ADU:
            return number.value
    return None


def _preferred(lookup: Lookup, profile: Profile, header: float | None, own: float | None, what: str) -> float | None:
    if header is None or own is None:
        return own if header is None else header
    if abs(header - own) > _DIFFERENCE * own:
        lookup.note(f"the header gives {header:g} {what}, profile {profile.name} {own:g}: the {profile.detector.prefer}'s is taken")
    return header if profile.detector.prefer == "header" else own


def saturation_of_format(image: Hdu) -> float | None:
    """The largest number that an integer image of 8 or 16 bits can hold, in ADU; None for others, which have no natural end."""
    bits = parse_number(image.cards.get("BITPIX"))
    if bits is None or bits.value not in (8, 16):
        return None
    scale, zero = parse_number(image.cards.get("BSCALE", 1)), parse_number(image.cards.get("BZERO", 0))
    if scale is None or zero is None or scale.value <= 0:
        return None
    top = 255 if bits.value == 8 else 32767
    limit = top * scale.value + zero.value
    return limit if 0 < limit < _LARGEST_ADU else None


def _bayer(lookup: Lookup, keywords: KeywordList) -> str:
    """The colour pattern of pixel (0, 0), shifted by XBAYROFF and YBAYROFF when they are odd."""
    for found in lookup.all(keywords):
        pattern = clean_text(found.value).upper()
        if pattern in _PATTERNS:
            dx, dy = (_odd(lookup, key) for key in ("XBAYROFF", "YBAYROFF"))
            rows = [pattern[:2], pattern[2:]][:: -1 if dy else 1]
            return "".join(row[:: -1 if dx else 1] for row in rows)
    return ""


def _odd(lookup: Lookup, keyword: str) -> bool:
    number = parse_number(lookup.headers[0].cards.get(keyword))
    return number is not None and number.value % 2 == 1
