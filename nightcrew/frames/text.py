"""Header values made safe: text without control characters and of bounded length, numbers that are finite."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nightcrew.io.headers import HeaderValue

MAX_TEXT = 200
_NUMBER = re.compile(r"([+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[EeDd][+-]?\d{1,4})?)\s*([^\d\s.,/+-].{0,40})?")
_FRACTION = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})\s*(s|sec)?")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True)
class Number:
    """A number as a header gave it: ``unit`` is the text that followed it (``"C"`` in ``'44 C'``)."""

    value: float
    unit: str = ""
    decimal_comma: bool = False


def clean_text(value: HeaderValue) -> str:
    """``value`` as text: control and other unprintable characters removed, blanks joined, at most 200 characters.

    Markup is kept as it is: whoever renders a page or a message escapes it.
    """
    if isinstance(value, str):
        text = value
    elif value is None:
        return ""
    elif isinstance(value, bool):
        return "T" if value else "F"
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    else:
        return _clip(_digits(value))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text[: 20 * MAX_TEXT])
    return _clip(" ".join(text[: 20 * MAX_TEXT].split()))


def _digits(value: float) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a huge number"


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1].rstrip() + "…"


def quoted(value: HeaderValue) -> str:
    """``value`` for a sentence: cleaned, at most 60 characters, in quotes when it is text."""
    text = clean_text(value)
    text = text if len(text) <= 60 else text[:59] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def slug(text: str) -> str:
    """``text`` as a name that is safe in paths: letters, digits and ``._+-``, at most 60 characters, no leading dot."""
    return _UNSAFE.sub("-", text).strip("-.")[:60].rstrip("-.")


def parse_number(value: HeaderValue) -> Number | None:
    """The finite number in ``value``: a number, ``'060.00'``, ``'3,2E-05'``, ``'44 C'`` or ``'1/60'``; None otherwise."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _finite(value)
    text = value.strip()
    if not 0 < len(text) <= 80:
        return None
    if found := _NUMBER.fullmatch(text):
        digits = found[1]
        number = _finite(digits.replace(",", ".").replace("D", "E").replace("d", "e"))
        return number and Number(number.value, (found[2] or "").strip(), "," in digits)
    if (part := _FRACTION.fullmatch(text)) and int(part[2]):
        return Number(int(part[1]) / int(part[2]), part[3] or "")
    return None


def _finite(value: float | str) -> Number | None:
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return Number(number) if math.isfinite(number) else None
