"""The report checks its own contents: an empty picture, an unnamed failure or a broken link is a fault that it states.

A check that "succeeds" over empty plots hides the very night that needed a look.  Faults stop nothing: the page is still
written, says what is wrong with it, and the unit that wrote it returns the faults.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

from reports.model import STATES, NightPage
from reports.text import joined, plural
from reports.values import Figure, NumberTable, Picture

MAX_PAGE_BYTES = 15_000_000
_VOID = {"meta", "link", "img", "source", "br", "input", "hr", "area", "base", "col", "embed", "track", "wbr"}
_RAW_TEXT = ("script", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext")
_DOCTYPE = "<!doctype html>"
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=]+")
_TAG = re.compile(r'<(?:/([a-z][a-z0-9]*)|([a-z][a-z0-9]*)((?:\s+[a-zA-Z][a-zA-Z0-9-]*(?:="[^"<>]*")?)*)\s*(/?))>')
_ATTRIBUTE = re.compile(r'([a-zA-Z][a-zA-Z0-9-]*)(?:="([^"]*)")?')
_FORBIDDEN = {"script", "iframe", "object", "embed", "base", "form"}
_LOOKED_AT = _FORBIDDEN | _VOID | {"a"}  # tags that mean something without any attribute


def page_faults(page: NightPage) -> tuple[str, ...]:
    """What is wrong or missing in the model of a page, one sentence each; () when all is there."""
    return tuple(_model_faults(page))


def _model_faults(page: NightPage) -> Iterator[str]:
    made = [light for light in page.lights if light.state in ("done", "degraded")]
    yield from _picture_faults("light", ((light.name, light.thumbnail) for light in made if light.pictured))
    yield from _picture_faults("master", ((master.name, master.picture) for master in page.masters))
    yield from _picture_faults("stack", ((stack.name, stack.picture) for stack in page.stacks))
    yield from _light_faults(page)
    yield from _cause_faults(page)
    if made and not any(light.fwhm_px is not None for light in made):
        yield f"none of {plural(len(made), 'reduced light')} has a measured FWHM"
    unknown = [master.name for master in page.masters if master.level_adu is None or not math.isfinite(master.level_adu)]
    if unknown:
        yield f"{plural(len(unknown), 'master')} without a level ({_some(unknown)})"


def _picture_faults(kind: str, pictures: Iterable[tuple[str, Picture | None]]) -> Iterator[str]:
    known = list(pictures)
    absent = [name for name, picture in known if picture is None]
    blank = [name for name, picture in known if picture is not None and (picture.blank or not picture.data)]
    if absent:
        yield f"{plural(len(absent), kind)} without a picture ({_some(absent)})"
    if blank:
        yield f"{plural(len(blank), kind)} with an empty picture ({_some(blank)})"


def _some(names: Sequence[str]) -> str:
    return joined([*names[:3], f"{len(names) - 3} more"] if len(names) > 3 else list(names))


def _light_faults(page: NightPage) -> Iterator[str]:
    for state in STATES:
        listed = sum(light.state == state for light in page.lights)
        counted = page.total(state, "light")
        if state != "set_aside" and listed != counted:
            yield f"the balance counts {plural(counted, 'light')} as {state}, the page lists {listed}"


def _cause_faults(page: NightPage) -> Iterator[str]:
    for state in ("rejected", "waiting", "degraded", "set_aside"):
        named = sum(cause.count for cause in page.causes if cause.state == state)
        counted = page.total(state)
        if named != counted:
            yield f"{plural(counted, 'file')} {'are' if counted != 1 else 'is'} {state.replace('_', ' ')}, the causes name {named}"


def figure_faults(figures: Iterable[Figure]) -> tuple[str, ...]:
    """Figures that show nothing: a blank picture, or no finite number behind it."""
    faults = []
    for figure in figures:
        if figure.picture.blank or not figure.picture.data:
            faults.append(f"figure {figure.title!r} is blank")
        elif not has_numbers(figure.numbers):
            faults.append(f"figure {figure.title!r} has no numbers behind it")
    return tuple(faults)


def has_numbers(table: NumberTable) -> bool:
    """Is there at least one finite number in the table?"""
    return any(isinstance(value, int | float) and math.isfinite(value) for row in table.rows for value in row)


def is_hollow(path: Path) -> bool:
    """Does a file of plotted numbers hold none that is finite (in a table: beside its first column)?  False for other files.

    A file that is damaged holds none: it must not keep its page from being written.
    """
    if path.suffix == ".npz":
        return not _has_finite_arrays(path)
    if path.suffix not in (".csv", ".ecsv"):
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = (re.split(r"[,\s]+", line.strip()) for line in lines if not line.startswith("#"))
        return not any(_is_finite(cell) for row in rows for cell in row[min(1, len(row) - 1) :])


def _has_finite_arrays(path: Path) -> bool:
    import zipfile
    import zlib

    import numpy as np

    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return any(np.isfinite(one).any() for one in arrays.values() if one.dtype.kind in "iufc")
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):  # whatever was done to it
        return False


def _is_finite(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


class _Page(HTMLParser):
    """Collects what a page must not have: unclosed tags, images without text, outside addresses, dead anchors."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open_tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _FORBIDDEN:
            self.faults.append(f"the page holds a <{tag}>")
        self.faults += [f"<{tag}> has an event handler" for name in values if name.startswith("on")]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values.get("href", ""))
        if tag == "img" and not values.get("alt", "").strip():
            self.faults.append("an image has no alternative text")
        for name in ("src", "srcset", "poster", "data"):
            if name in values and not values[name].startswith("data:"):
                self.faults.append(f"<{tag}> loads {values[name][:60]!r} from elsewhere")
        if tag not in _VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open_tags or self.open_tags[-1] != tag:
            self.faults.append(f"</{tag}> closes nothing")
            return
        self.open_tags.pop()


def _feed(parser: _Page, html: str) -> None:
    """Tell ``parser`` of every tag; where each ``<`` begins a tag of the form that our templates write, without looking at the rest."""
    tags = _TAG.findall(html)
    if not html.startswith(_DOCTYPE) or html.count("<") != len(tags) + 1 or any(f"<{tag}" in html for tag in _RAW_TEXT):
        parser.feed(html)
        parser.close()
        return
    for end, start, attributes, empty in tags:
        if end:
            parser.handle_endtag(end)
            continue
        if not attributes and not empty and start not in _LOOKED_AT:  # most tags
            parser.open_tags.append(start)
            continue
        found = [(name.lower(), unescape(value) if "&" in value else value) for name, value in _ATTRIBUTE.findall(attributes)]
        if empty:
            parser.handle_startendtag(start, found)
        else:
            parser.handle_starttag(start, found)


def html_faults(html: str, max_bytes: int = MAX_PAGE_BYTES) -> tuple[str, ...]:
    """What is wrong with a finished page: size, structure, scripts, outside loads, dead links, images without text."""
    faults: list[str] = []
    size = len(html.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        faults.append(f"the page is {size / 1e6:.1f} MB, more than {max_bytes / 1e6:.0f} MB")
    parser = _Page()
    # pictures are long and hold no markup: leaving them out makes the check quick
    _feed(parser, _BASE64.sub("base64,", html))
    faults += sorted(set(parser.faults))
    faults += [f"<{tag}> is never closed" for tag in parser.open_tags]
    ids = Counter(parser.ids)
    faults += [f"the id {name!r} stands twice" for name in sorted(name for name, count in ids.items() if count > 1)]
    dead = {link for link in parser.links if link.startswith("#") and link != "#" and link[1:] not in ids}
    return (*faults, *(f"the link {link!r} leads nowhere" for link in sorted(dead)))
