"""Writing FITS cards: values to 80-byte text, and the cards of a raw header carried over into a product."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from nightcrew.io.cards import has_value, is_plain, logical_cards, parse_card
from nightcrew.io.headers import BLOCK, CARD, Hdu, HeaderValue

Card = tuple[str, HeaderValue, str]  # keyword, value, comment

_KEYWORD_RE = re.compile(r"[A-Z0-9_-]{1,8}")
_PLAIN_TEXT_RE = re.compile(r"[ -~]*")
_COMMENTARY = ("COMMENT", "HISTORY", "")
# Structure and scaling belong to the product's own arrays; the rest of an old compressed table means nothing any more.
_NOT_KEPT_RE = re.compile(
    r"SIMPLE|BITPIX|NAXIS\d*|EXTEND|NEXTEND|END|XTENSION|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|BUNIT|DATAMIN|DATAMAX|CHECKSUM|DATASUM"
    r"|EXTNAME|EXTVER|EXTLEVEL|INHERIT|TFIELDS|THEAP|T(?:TYPE|FORM|UNIT|NULL|SCAL|ZERO|DIM|DISP|BCOL)\d+"
    r"|Z(?:IMAGE|CMPTYPE|BITPIX|NAXIS\d*|TILE\d+|NAME\d+|VAL\d+|MASKCMP|QUANTIZ|DITHER0|SIMPLE|TENSION|EXTEND|BLOCKED|PCOUNT|GCOUNT"
    r"|HECKSUM|DATASUM|BLANK|SCALE|ZERO)"
)


def plain(text: str) -> str:
    """Printable ASCII: accents dropped, control characters removed, what is left without a counterpart as ``?``."""
    if _PLAIN_TEXT_RE.fullmatch(text):
        return text
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in bare if unicodedata.category(c) not in ("Cc", "Cf"))


def _number_text(value: HeaderValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no form in a FITS header; give None and say why in the comment")
        text = repr(value).upper()
        return text if "." in text or "E" in text else text + ".0"
    return str(value)


def format_card(keyword: str, value: HeaderValue, comment: str = "") -> str:
    """One card as text of 80 characters, or several (CONTINUE for long strings, repeated COMMENT and HISTORY).

    Keywords that are not of the standard's eight characters become HIERARCH cards.  Comments are cut where they do not fit.
    Raises ValueError for numbers that are not finite and for names and numbers that do not fit into a card.
    """
    keyword, comment = plain(keyword).strip().upper(), plain(comment)
    if keyword in _COMMENTARY:
        return _commentary(keyword, plain(str(value if value is not None else "")))
    head = f"{keyword:<8}= " if _KEYWORD_RE.fullmatch(keyword) else f"HIERARCH {keyword} = "
    if "=" in keyword or len(head) > 60:
        raise ValueError(f"{keyword!r} cannot be a header keyword")
    if isinstance(value, str):
        return _string_cards(head, plain(value).rstrip(), comment)
    body = head + f"{_number_text(value):>20}"
    if len(body) > CARD:
        raise ValueError(f"{keyword}: {value} does not fit into a card")
    return _with_comment(body, comment)


def _with_comment(body: str, comment: str) -> str:
    room = CARD - len(body) - 3
    return (f"{body} / {comment[:room].rstrip()}" if comment and room > 0 else body).ljust(CARD)


def _commentary(keyword: str, text: str) -> str:
    width = CARD - 8
    pieces = [text[i : i + width] for i in range(0, len(text), width)] or [""]
    return "".join(f"{keyword:<8}{piece}".ljust(CARD) for piece in pieces)


def _string_cards(head: str, text: str, comment: str) -> str:
    quoted = text.replace("'", "''")
    if len(head) + len(quoted) + 2 <= CARD:
        return _with_comment(f"{head}'{quoted:<8}'".ljust(30), comment)
    cards: list[str] = []
    rest = text
    while rest:
        prefix = head if not cards else "CONTINUE  "
        piece, rest = _cut(rest, CARD - len(prefix) - 3)
        mark = "&" if rest else ""
        cards.append(f"{prefix}'{piece}{mark}'".ljust(CARD))
    cards[-1] = _with_comment(cards[-1].rstrip(), comment)
    return "".join(cards)


def _cut(text: str, room: int) -> tuple[str, str]:
    """The longest beginning that fits into ``room`` characters with its quotes doubled, and the rest."""
    used = 0
    for i, character in enumerate(text):
        used += 2 if character == "'" else 1
        if used > room:
            return text[:i].replace("'", "''"), text[i:]
    return text.replace("'", "''"), ""


def kept_cards(raw: bytes, *, without: Collection[str] = ()) -> list[str]:
    """Cards of a raw header that a product carries on, each as text of one or more times 80 characters.

    Left out: what describes the stored array (structure, scaling, checksums, tables) and the keywords in ``without``.  Cards
    of proper form stay as they are, to the byte; others are written anew so that any reader takes the product.
    """
    kept = []
    for text in logical_cards(raw):
        keyword, value, comment = parse_card(text)
        if keyword in without or _NOT_KEPT_RE.fullmatch(keyword):
            continue
        if _is_proper(text, keyword, value):
            kept.append(text)
            continue
        kept += _written_anew(text, keyword, value, comment)
    return kept


def whole_header(hdus: Sequence[Hdu], number: int) -> bytes:
    """The header that a product of HDU ``number`` carries on: an extension's cards behind those of the primary that it does not repeat."""
    own = hdus[number]
    if number == 0:
        return own.raw
    return header_block([*kept_cards(hdus[0].raw, without=set(own.cards)), *kept_cards(own.raw)])


def _is_proper(text: str, keyword: str, value: HeaderValue) -> bool:
    """Whether the card may stand in a standard header as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if keyword in _COMMENTARY:
        return text.startswith(f"{keyword:<8}")
    if text.startswith("HIERARCH ") or len(text) > CARD:
        quoted = text.partition("=")[2].lstrip().startswith("'")
        return quoted == isinstance(value, str)
    return is_plain(text)


def _written_anew(text: str, keyword: str, value: HeaderValue, comment: str) -> list[str]:
    if not has_value(text):
        return [format_card("COMMENT", text.rstrip())]
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    try:
        return [format_card(keyword, value, comment)]
    except ValueError:
        return [format_card("COMMENT", text.strip())]


def header_block(cards: Iterable[str], *, room_for_cards: int = 0) -> bytes:
    """Cards, blank cards up to ``room_for_cards`` in all, END and blanks to a whole block."""
    text = "".join(cards)
    text = text.ljust(room_for_cards * CARD) + "END".ljust(CARD)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")
