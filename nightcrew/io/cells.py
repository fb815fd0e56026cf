"""Texts in cells of CSV tables, which people open in a spreadsheet: none is computed, and each can be had back.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and a formula may start a program or send
the table elsewhere; names of files and words of headers come from anywhere.  Such a text gets an apostrophe before it (and so does
one that has apostrophes there already, so that nothing is lost).  Numbers with their units, and coordinates (``-20.0C 60s``,
``-30:10:11.5``), stay: they hold no operator, bracket or reference.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}]")
_NUMBER = re.compile(r"[+-](?:[0-9][0-9:. ]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?: ?[A-Za-z][A-Za-z0-9_. ]*)?")


def inert(text: str) -> str:
    """``text`` for a cell: with an apostrophe before it where a spreadsheet would compute it."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def as_it_was(cell: str) -> str:
    """The text of which :func:`inert` made ``cell``."""
    return cell[1:] if cell.startswith("'") and inert(cell[1:]) == cell else cell
