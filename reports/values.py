"""Pictures, numbers and figures: the parts that every page is made of, plain and frozen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as it stands in a page: encoded bytes, size and alternative text."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg"]
    width_px: int
    height_px: int
    alt: str
    blank: bool = False  # every pixel alike: an error that the page names

    def __repr__(self) -> str:
        """The bytes by their digest: a page with hundreds of pictures is told from another by its ``repr``."""
        digest = hashlib.sha256(self.data).hexdigest()
        return f"Picture({digest}, {self.media_type}, {self.width_px} x {self.height_px}, {self.alt!r}, blank={self.blank})"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of saved numbers."""

    name: str
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class NumberTable:
    """The numbers behind a figure or a table of the page; saved beside it as ``<name>.csv``."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | int | float | bool | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure in two dresses (for light and dark pages) with the numbers that it shows."""

    name: str
    title: str
    caption: str
    picture: Picture
    dark: Picture | None
    numbers: NumberTable


@dataclass(frozen=True, kw_only=True)
class KeyNumber:
    """A named value with unit; ``value`` None needs its reason in ``note``."""

    name: str
    value: float | int | str | None
    unit: str = ""
    error: float | None = None
    digits: int = 2
    note: str = ""
