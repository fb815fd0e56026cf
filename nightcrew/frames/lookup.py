"""Finding a value in the headers of a file: the image's own header first, then the primary one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nightcrew.frames.profiles import Keyword
from nightcrew.frames.text import parse_number, quoted
from nightcrew.io.headers import Hdu, HeaderValue

_MAX_NOTES = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a header holds: where, its comment, and the unit that the profile states for it ("" when none)."""

    keyword: str
    value: HeaderValue
    comment: str
    unit: str

    @property
    def shown(self) -> str:
        """``EXPTIME '060.00'`` for a sentence."""
        return f"{self.keyword} {quoted(self.value)}"


@dataclass(slots=True)
class Lookup:
    """The headers that speak for one image, best first, and the notes gathered on the way."""

    headers: tuple[Hdu, ...]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, hdus: tuple[Hdu, ...], image: Hdu) -> Lookup:
        """The image's header, then the primary one: what the extension says wins over what it inherits."""
        primary = hdus[0]
        return cls((image,) if primary is image else (image, primary))

    def note(self, sentence: str) -> None:
        """Remember a conflict or an assumption, once."""
        if sentence not in self.notes and len(self.notes) < _MAX_NOTES:
            self.notes.append(sentence)

    def all(self, keywords: tuple[Keyword, ...]) -> Iterator[Found]:
        """Every value that the keywords have, best first; blank ones and those that mean "no value" are left out."""
        for entry in keywords:
            for hdu in self.headers:
                value = hdu.cards.get(entry.keyword)
                if value is None or (isinstance(value, str) and not value.strip()) or (entry.missing and _means_missing(value, entry)):
                    continue
                yield Found(entry.keyword, value, hdu.comments.get(entry.keyword, ""), entry.unit)

    def first(self, keywords: tuple[Keyword, ...]) -> Found | None:
        """The best value, None when no keyword has one."""
        return next(self.all(keywords), None)


def _means_missing(value: HeaderValue, entry: Keyword) -> bool:
    if value in entry.missing:
        return True
    number = parse_number(value)
    return number is not None and number.value in entry.missing
