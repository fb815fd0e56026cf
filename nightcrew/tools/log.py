"""Header values of many files as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nightcrew.errors import NightcrewError, Refused
from nightcrew.io.headers import HeaderValue
from nightcrew.tools.frame import read_cards
from nightcrew.tools.tables import SmallTable

FILENAME = "Filename"


def parse_keywords(text: str) -> tuple[str, ...]:
    """The keywords of a comma list, in order, once each; () stands for all (``All`` or nothing at all)."""
    words = [word.strip(" \t\r\n\\") for word in text.split(",")]
    keys = tuple(dict.fromkeys(_named(word) for word in words if word))
    if not keys and text.strip():
        raise Refused("no keyword is named: give a comma list, or All")
    return () if keys == ("ALL",) else keys


def header_table(
    paths: Sequence[Path], keywords: Sequence[str] = (), *, extension: int | str | None = None, complain: Callable[[str], None]
) -> SmallTable:
    """One row a file with the values of ``keywords``; without any, of every keyword that occurs, sorted, behind the file name.

    A file that cannot be read is told to ``complain`` in a sentence and has no row.
    """
    headers: list[tuple[Path, dict[str, HeaderValue]]] = []
    for path in paths:
        try:
            headers.append((path, read_cards(path, extension)))
        except NightcrewError as error:
            complain(str(error))
    names = tuple(keywords) or (FILENAME, *sorted({key for _, cards in headers for key in cards}))
    rows = tuple(tuple(str(path) if name == FILENAME else cards.get(name) for name in names) for path, cards in headers)
    return SmallTable(names, rows)


def _named(word: str) -> str:
    return FILENAME if word.upper() in ("FILENAME", "FILE") else word.upper()
