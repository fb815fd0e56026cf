"""Texts in cells of CSV tables, which people open in a spreadsheet: none is computed, and each can be had back.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and a formula may start a program or send
the table elsewhere; names of files and words of headers come from anywhere.  Such a text gets an apostrophe before it (and so does
one that has apostrophes there already, so that nothing is lost).  What begins with a number that no operator follows stays, since
programs join tables by such texts: numbers with errors and units (``-0.3±0.1``, ``-12.5 e-/s``, ``-12.5 %``, ``-inf``), coordinates
(``-30:10:11.5``) and the keys of masters (``-20.0C_60s_2x2_gHDR-1_ab``).  No formula has letters right behind a number.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]")
_PLAIN = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_LETTER = r"[A-Za-z\N{MICRO SIGN}\N{GREEK SMALL LETTER MU}\N{LATIN CAPITAL LETTER A WITH RING ABOVE}\N{DEGREE SIGN}]"
_UNIT = rf"{_LETTER}+-?[\N{{SUPERSCRIPT TWO}}\N{{SUPERSCRIPT THREE}}]?"
_KEY = r"[\w.%/\N{DEGREE SIGN}\N{PLUS-MINUS SIGN}-]"
_NUMBER = re.compile(
    r"[+-](?:"
    r"(?:[0-9][0-9:. ]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?: ?[A-Za-z][A-Za-z0-9_. ]*)?"  # words without an operator; coordinates
    rf"|{_PLAIN}(?: ?\N{{PLUS-MINUS SIGN}} ?{_PLAIN})?(?: ?%| ?{_UNIT}(?:/{_UNIT})*)?"
    rf"|{_PLAIN}(?![eE][+-]?[0-9])[^\W\d]{_KEY}*(?: {_KEY}+)*(?: \([A-Za-z][\w .-]*\))?"  # a key: letters right behind the number
    r"|[0-9]+\N{DEGREE SIGN} ?[0-9]+' ?[0-9.]+\""
    r"|(?i:inf|infinity|nan)"
    r")"
)


def inert(text: str) -> str:
    """``text`` for a cell: with an apostrophe before it where a spreadsheet would compute it."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def as_it_was(cell: str) -> str:
    """The text of which :func:`inert` made ``cell``."""
    return cell[1:] if cell.startswith("'") and inert(cell[1:]) == cell else cell
