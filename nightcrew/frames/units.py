"""Units as headers write them: by the profile, in the value (``'44 C'``), in brackets or in words in the comment."""

from __future__ import annotations

import re
from functools import lru_cache

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_NAMES = {
    "time": {
        "s": ("s", "sec", "secs", "second", "seconds"),
        "ms": ("ms", "msec", "msecs", "millisec", "millisecs", "millisecond", "milliseconds"),
        "us": ("us", "µs", "μs", "usec", "usecs", "microsec", "microsecs", "microsecond", "microseconds"),
        "ns": ("ns", "nanosecond", "nanoseconds"),
        "min": ("min", "minute", "minutes"),
        "h": ("h", "hr", "hour", "hours"),
    },
    "temperature": {
        "C": ("c", "°c", "degc", "deg_c", "deg c", "celsius", "degree celsius", "degrees celsius", "centigrade"),
        "K": ("k", "kelvin", "degk", "deg k"),
        "F": ("f", "°f", "degf", "deg f", "fahrenheit"),
    },
    "angle": {"deg": ("deg", "degree", "degrees", "d"), "h": ("h", "hr", "hour", "hours", "hms", "hourangle")},
}
_UNITS = {dimension: {name: unit for unit, names in units.items() for name in names} for dimension, units in _NAMES.items()}
_COUNTS = {"adu", "dn", "count", "counts", "ct", "electron", "electrons", "e-", "photon", "photons"}
_BRACKET = re.compile(r"[\[(]\s*([^\])]{1,20}?)\s*[\])]")
_WORDS = re.compile(r"\bin ([a-zµμ]+)(?: ([a-z]+))?|\b(milliseconds?|microseconds?|kelvin|celsius|fahrenheit)\b", re.IGNORECASE)


def unit_of_pixels(text: str) -> str:
    """BUNIT for comparing and for products: counts in small letters however they are spelt, other units as they stand (mJy is not MJy)."""
    bare = text.strip()
    return bare.lower() if bare.lower() in _COUNTS else bare


@lru_cache(maxsize=4096)
def unit_named(text: str, dimension: str) -> str:
    """The unit (``"ms"``, ``"K"``, ``"deg"``, ...) that ``text`` names in the ``dimension``, "" when it names none."""
    return _UNITS[dimension].get(text.strip().lower(), "")


@lru_cache(maxsize=4096)
def unit_in_comment(comment: str, dimension: str) -> str:
    """The unit that a card's comment states: ``[ms]``, ``(K)``, ``in us``, ``Kelvin``; "" when it states none."""
    for found in _BRACKET.finditer(comment):
        if unit := unit_named(found[1], dimension):
            return unit
    for found in _WORDS.finditer(comment):
        words = [found[3] or "", f"{found[1]} {found[2]}", found[1] or ""]
        for word in words:
            if unit := unit_named(word, dimension):
                return unit
    return ""


def to_seconds(value: float, unit: str) -> float:
    """``value`` in seconds; ``unit`` is s, ms, us, ns, min or h.  Rounded where 1/1000 would leave a tail of digits."""
    return value if unit == "s" else float(f"{value * _SECONDS[unit]:.12g}")


def to_celsius(value: float, unit: str) -> float:
    """``value`` in degrees Celsius; ``unit`` is C, K or F."""
    if unit == "K":
        return round(value - 273.15, 6)
    return round((value - 32.0) / 1.8, 6) if unit == "F" else value
