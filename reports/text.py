"""Texts and numbers as people read them: hostile characters made visible, shell words quoted, units set apart."""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from functools import lru_cache

from nightcrew.io.cells import inert

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NARROW = "\N{NARROW NO-BREAK SPACE}"  # between thousands
SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit

# controls, surrogates, private use, line and paragraph separators; and format characters such as bidi overrides,
# which make a name read backwards
_UNSAFE = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp", "Cf"})
_TO_QUOTE = re.compile(r'[",\\;\s]')


def visible(text: str) -> str:
    """``text`` with every character that cannot be seen or stored written as an escape (``\\x1b``, ``\\u202e``)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shell_word(text: str) -> str:
    """``text`` as one word of a POSIX-like shell, on one line, whatever it holds; a leading dash is no option."""
    if text == visible(text):
        return shlex.quote(f"./{text}" if text.startswith("-") else text)
    raw = text.encode("utf-8", "surrogateescape") if _encodable(text) else text.encode("utf-8", "replace")
    body = "".join(chr(b) if 0x20 <= b < 0x7F and chr(b) not in "'\\" else f"\\x{b:02x}" for b in raw)
    return f"$'{'./' if text.startswith('-') else ''}{body}'"


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def header_value(text: str, limit: int = 180) -> str:
    """``text`` fit for a mail header: one line, no control characters, at most ``limit`` characters."""
    flat = re.sub(r"\s+", " ", visible(re.sub(r"[\r\n\t\v\f\x1c-\x1e\x85\u2028\u2029]+", " ", text))).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def csv_cell(value: str | int | float | bool | None) -> str:
    """One CSV cell; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, str):
        return _csv_text(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if not math.isfinite(value) else repr(value)
    return str(value)


@lru_cache(maxsize=10_000)  # most texts of a table stand in hundreds of its rows
def _csv_text(value: str) -> str:
    clean = inert(visible(value))
    return '"' + clean.replace('"', '""') + '"' if _TO_QUOTE.search(clean) else clean


def number(value: float | int | None, digits: int = 2) -> str:
    """``value`` with ``digits`` decimals, a true minus sign and grouped thousands; a dash for None."""
    if value is None or not math.isfinite(value):
        return DASH
    shown = f"{abs(value):,.{digits}f}".replace(",", NARROW)
    negative = value < 0 and any(c in "123456789" for c in shown)
    return (MINUS if negative else "") + shown


def signed(value: float | None, digits: int = 2) -> str:
    """As :func:`number`, with a plus sign before positive values."""
    shown = number(value, digits)
    return f"+{shown}" if value is not None and math.isfinite(value) and value > 0 and shown.strip("0.") else shown


def quantity(value: float | int | str | None, unit: str = "", digits: int = 2, error: float | None = None) -> str:
    """A value with its error and unit, such as ``6.56 ± 0.03 ADU``; texts pass unchanged."""
    if isinstance(value, str):
        return f"{value}{SPACE}{unit}" if unit else value
    shown = number(value, 0 if isinstance(value, int) else digits)
    if error is not None and value is not None and math.isfinite(error):
        shown = f"{shown} ± {number(error, digits)}"
    return f"{shown}{SPACE}{unit}" if unit and shown != DASH else shown


def adaptive(value: float | None) -> str:
    """``value`` with as many decimals as its size asks for: about four significant digits, more for large ones."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.replace('-', MINUS)}·10{str(int(exponent)).translate(_RAISED)}"
    if size == 0:
        return "0"
    digits = next(digits for limit, digits in ((1e4, 0), (100, 1), (10, 2), (0.1, 3), (0, 4)) if size >= limit)
    return number(value, digits)


def plural(count: int, one: str, many: str = "") -> str:
    """``1 light``, ``2 lights``: a count with its noun."""
    return f"{number(count, 0)} {one if count == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """``text`` with a capital at its beginning and a full stop at its end; empty text stays empty."""
    clean = text.strip()
    return f"{clean[0].upper()}{clean[1:]}{'' if clean[-1] in '.!?' else '.'}" if clean else ""


def shortened(text: str, limit: int) -> str:
    """``text`` cut at a word to at most ``limit`` characters, with an ellipsis when something is left out."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    return f"{cut[: cut.rindex(' ')] if ' ' in cut[limit // 2 :] else cut}\N{HORIZONTAL ELLIPSIS}"


def noun(kind: str) -> str:
    """How one file of a kind is called: ``light``, ``flat frame``, ``file``."""
    if kind in ("light", "product", "master", "stack"):
        return kind
    return f"{kind} frame" if kind in ("bias", "dark", "flat", "thermal") else "file"


def joined(parts: list[str] | tuple[str, ...]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = list(parts)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def by_wavelength(name: str) -> tuple[int, str]:
    """Sorting key of filters: blue before red, others by name."""
    place = "UBGVRIZYJHK".find(name[:1].upper()) if len(name.rstrip("'")) == 1 else -1
    return (place if place >= 0 else 99, name)


def age(days: float | None) -> str:
    """The age of a calibration for people: ``same night``, ``1 day``, ``12 days``."""
    if days is None or not math.isfinite(days):
        return ""
    whole = round(abs(days))
    if whole == 0:
        return "same night"
    return plural(whole, "day") + (" later" if days < 0 else "")


def clock(time_utc: str) -> str:
    """``HH:MM`` of an ISO time; the text itself when it is none."""
    found = re.match(r"^\d{4}-\d{2}-\d{2}[T ](\d{2}:\d{2})", time_utc)
    return found.group(1) if found else time_utc


def minute(time_utc: str) -> str:
    """``YYYY-MM-DD HH:MM`` of an ISO time."""
    found = re.match(r"^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})", time_utc)
    return f"{found.group(1)} {found.group(2)}" if found else time_utc
