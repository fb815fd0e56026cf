"""The careful reading of FITS cards that the fast scan leaves alone; astropy decides what each one means."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nightcrew.io.headers import CARD, HeaderValue, to_value

# the grammar of nightcrew.io.headers for one card without its newline
_PLAIN_RE = re.compile(
    r"(?=.{8}= )([A-Z0-9_-]++) *+= ++"
    r"('[^']*+(?:''[^']*+)*+'|[TF]|[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[ED][+-]?[0-9]++)?|)"
    r" *+(?:/(.*))?"
)
_STRING_RE = re.compile(r"(?=.{8}= )([A-Z0-9_-]++) *+= ++'([^']*)' *(?:/ *([^']*))?")
_MORE_RE = re.compile(r"(CONTINUE)  '([^']*)' *(?:/ *([^']*))?")
_COMMENTARY = ("", "COMMENT", "HISTORY", "END")
_UNPRINTABLE_RE = re.compile(r"[^ -~]")


def parse_carefully(raw: bytes) -> tuple[dict[str, HeaderValue], dict[str, str], tuple[str, ...]]:
    """As :func:`nightcrew.io.headers.parse_cards`, for headers with CONTINUE, HIERARCH or odd cards.

    Bytes outside printable ASCII become ``?``, as in astropy.
    """
    cards: dict[str, HeaderValue] = {}
    comments: dict[str, str] = {}
    duplicates: dict[str, None] = {}
    for text in logical_cards(raw):
        keyword, value, comment = parse_card(text)
        if keyword in _COMMENTARY:
            continue
        if keyword in cards:
            duplicates[keyword] = None
            continue
        cards[keyword] = value
        if comment:
            comments[keyword] = comment
    return cards, comments, tuple(duplicates)


def logical_cards(raw: bytes) -> Iterator[str]:
    """Cards as text, each joined with the CONTINUE cards that follow it; unprintable bytes become ``?``."""
    text = _UNPRINTABLE_RE.sub("?", raw.decode("latin-1"))
    current = ""
    for start in range(0, len(text), CARD):
        card = text[start : start + CARD].ljust(CARD)
        if current and card[:8].upper() == "CONTINUE":
            current += card
            continue
        if current:
            yield current
        current = card
    if current:
        yield current


def has_value(text: str) -> bool:
    """Whether the card has a value indicator: an equals sign and a blank at the latest in columns 9 and 10, or HIERARCH."""
    hierarch = text[:9].upper() == "HIERARCH " and "=" in text[:CARD]
    return hierarch or 0 <= text.find("= ") <= 8


def is_plain(text: str) -> bool:
    """Whether this is one value card exactly as the standard has it."""
    return len(text) == CARD and _PLAIN_RE.fullmatch(text) is not None


def parse_card(text: str) -> tuple[str, HeaderValue, str]:
    """Keyword, value and comment of one logical card; the raw text where nobody can parse the value."""
    match = _PLAIN_RE.fullmatch(text) if len(text) == CARD else None
    if match:
        return match[1], to_value(match[2]), (match[3] or "").strip()
    head = text[:8].strip().upper()
    if head in _COMMENTARY:
        return head, None, ""
    if not has_value(text):
        return head, text[8:].strip(), ""  # no value indicator: the text is all there is (as astropy has it)
    return _long_string(text) or _by_astropy(text)


def _long_string(text: str) -> tuple[str, HeaderValue, str] | None:
    """A long string over well-formed CONTINUE cards, as we write them ourselves; None for any other form."""
    pieces = [(_MORE_RE if start else _STRING_RE).fullmatch(text[start : start + CARD]) for start in range(0, len(text), CARD)]
    found = [piece for piece in pieces if piece is not None]
    if len(pieces) < 2 or len(found) < len(pieces):
        return None
    values = [piece[2].rstrip() for piece in found]
    if values[-1].endswith("&") or not all(value.endswith("&") for value in values[:-1]):
        return None
    comments = [comment for piece in found if (comment := (piece[3] or "").rstrip())]
    return found[0][1], "".join([*(value[:-1] for value in values[:-1]), values[-1]]).rstrip(), " ".join(comments)


def _by_astropy(text: str) -> tuple[str, HeaderValue, str]:
    from astropy.io.fits import Card, VerifyError
    from astropy.io.fits.card import Undefined

    card = Card.fromstring(text)
    keyword = str(card.rawkeyword).strip().upper()
    try:
        value, comment = card.rawvalue, str(card.comment)
    except (VerifyError, ValueError):
        return keyword, *_raw_value(text)
    if isinstance(value, Undefined):
        return keyword, None, comment
    if isinstance(value, bool | int | float | str):
        return keyword, value, comment
    return keyword, _raw_value(text)[0], comment  # complex numbers have no plain form


def _raw_value(text: str) -> tuple[str, str]:
    """Value and comment of a card that nobody can parse: the text after the first equals sign, split at the slash."""
    value, _, comment = text[:CARD].partition("=")[2].partition("/")
    return value.strip(), comment.strip()
