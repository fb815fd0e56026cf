"""An analysis as one HTML page in the style of the night's: self-contained, everything escaped, readable on a phone.

The unit's own page and the one that the service publishes come from here; the latter also shows what came in
(:class:`Standing`), as the night's page does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from reports import names, views
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisStatus, AnalysisTable, Cell, table_names
from reports.analysis_words import between, conditions, key_quantities, label, measured, needs_of, temperature
from reports.check import html_faults, is_hollow
from reports.model import BalanceRow, Cause, Link, Notice, Status
from reports.render import content_security_policy, environment, safe_link, style
from reports.summary import Quantity
from reports.text import DASH, adaptive, number, sentence
from reports.values import Picture

WORDS: dict[str, str] = {"good": "Good", "attention": "Needs a look", "bad": "Bad", "empty": "In progress"}
NUMBERS_OPEN = 24  # so many quantities stand in the open; more are folded away


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the service knows of a set beyond the analysis itself."""

    site: str
    made_at: str
    closed: bool
    status: Status | Literal[""] = ""  # in the place of the page's own
    word: str = ""
    remark: str = ""
    commands: tuple[str, ...] = ()
    balance: tuple[BalanceRow, ...]
    causes: tuple[Cause, ...]
    happened: tuple[Notice, ...] = ()  # to the service while it worked on the set
    links: tuple[Link, ...] = ()
    back: str = "../../index.html"


@dataclass(frozen=True)
class ShownCell:
    """A table cell as it is printed."""

    text: str
    numeric: bool


@dataclass(frozen=True)
class ShownTable:
    """A table as it is printed; ``file`` is where its numbers lie."""

    table: AnalysisTable
    rows: tuple[tuple[ShownCell, ...], ...]
    numeric: tuple[bool, ...]
    file: str


@dataclass(frozen=True)
class ShownFigure:
    """A figure as it is printed; ``file`` is a link to its numbers, "" without one."""

    figure: AnalysisFigure
    picture: Picture
    file: str


@dataclass(frozen=True)
class ShownSection:
    """A chapter as it is printed."""

    anchor: str
    section: AnalysisSection
    tables: tuple[ShownTable, ...]
    figures: tuple[ShownFigure, ...]


Exists = Callable[[str], bool]
"""Is there a file of that name beside the page?"""


def sound_html(
    page: AnalysisPage, drawn: Mapping[str, Picture], exists: Exists, folder: Path, standing: Standing | None = None
) -> tuple[str, tuple[str, ...]]:
    """(The page as one HTML text, what its own check found); it tells of all of that itself, also of faults of the text."""
    faults = faults_of(page, drawn, exists, folder)
    html = analysis_html(page, drawn, exists, faults, standing)
    late = html_faults(html)
    if late:
        faults = (*faults, *late)
        html = analysis_html(page, drawn, exists, faults, standing)
    return html, faults


def analysis_html(
    page: AnalysisPage, drawn: Mapping[str, Picture], exists: Exists, faults: Sequence[str], standing: Standing | None = None
) -> str:
    """The page as one HTML text; ``drawn`` are its pictures (:func:`reports.analysis.pictures`), ``faults`` what its check found."""
    status = standing.status if standing is not None and standing.status else status_of(page, faults)
    shown = tuple(
        _section(section, place, stems, drawn, exists)
        for place, (section, stems) in enumerate(zip(page.sections, table_names(page), strict=True))
    )
    balance = standing.balance if standing is not None else ()
    causes = standing.causes if standing is not None else ()
    context: Mapping[str, Any] = {
        "page": page,
        "status": status,
        "word": standing.word if standing is not None and standing.word else WORDS[status],
        "verdict": sentence(page.verdict),
        "standing": standing,
        "csp": content_security_policy(),
        "css": Markup(style()),  # noqa: S704  our own file
        "tiles": tiles(page),
        "needs": (*needs_of(page), *(f"The report's own check found: {fault}." for fault in faults)),
        "shown": shown,
        "quantities": tuple(_quantity_row(quantity) for quantity in page.summary.quantities),
        "numbers_open": len(page.summary.quantities) <= NUMBERS_OPEN,
        "commands": tuple(dict.fromkeys((*page.commands, *(standing.commands if standing is not None else ())))),
        "files": tuple((name, what, linked(name, exists)) for name, what in page.files),
        "balance": balance,
        "total": views.total_row(balance),
        "closes": all(row.missing == 0 for row in balance),
        "causes": views.by_state(causes, "failed", "rejected", "waiting"),
        "set_aside": views.by_state(causes, "set_aside"),
        "shown_files": views.SHOWN_FILES,
    }
    return environment().get_template("analysis.html.j2").render(**context)


def faults_of(page: AnalysisPage, drawn: Mapping[str, Picture], exists: Exists, folder: Path) -> tuple[str, ...]:
    """What the page does not show although it says so: blank figures, numbers that are not there, axes with nothing between them."""
    figures = [figure for section in page.sections for figure in section.figures]
    blank = [f"figure {figure.title!r} is blank" for figure in figures if drawn[names.slug(figure.name)].blank]
    absent = [
        f"the numbers of figure {f.title!r} are not there ({f.numbers})" for f in figures if f.numbers and not linked(f.numbers, exists)
    ]
    hollow = [
        f"figure {f.title!r} has no numbers behind it ({f.numbers})"
        for f in figures
        if f.numbers and (place := linked(f.numbers, exists)) and is_hollow(folder / place)
    ]
    return (*blank, *absent, *hollow)


def status_of(page: AnalysisPage, faults: Sequence[str] = ()) -> AnalysisStatus:
    """The page's status; a good one needs a look when the page itself has faults."""
    return "attention" if faults and page.status == "good" else page.status


def linked(name: str, exists: Exists) -> str:
    """Where a file beside the page lies, "" when it is not there or has a name that no link should have."""
    for place in (name, f"{names.FIGURES}/{name}", f"{names.NUMBERS}/{name}"):
        if safe_link(place) == place and "://" not in place and ".." not in place and exists(place):
            return place
    return ""


def tiles(page: AnalysisPage) -> tuple[views.Tile, ...]:
    """The key quantities as tiles: name, value with error, then unit, interval and conditions in small print (a tile is narrow)."""
    return tuple(views.Tile(label(q.name), _large_print(q), _small_print(q)) for q in key_quantities(page))


def _large_print(quantity: Quantity) -> str:
    if quantity.value is not None and quantity.interval is not None:
        return between(quantity.value, quantity.interval)[0]
    return measured(replace(quantity, unit=""))


def _small_print(quantity: Quantity) -> str:
    if quantity.value is None:
        return ": ".join(part for part in (conditions(quantity), quantity.note) if part)
    unit = "" if quantity.unit == "count" else quantity.unit
    ends = "" if quantity.interval is None else between(quantity.value, quantity.interval)[1]
    return " \N{MIDDLE DOT} ".join(part for part in (unit, ends, conditions(quantity)) if part)


def _quantity_row(quantity: Quantity) -> tuple[str, str, str, str]:
    return label(quantity.name), measured(quantity), conditions(quantity), quantity.note


def _section(section: AnalysisSection, place: int, stems: Sequence[str], drawn: Mapping[str, Picture], exists: Exists) -> ShownSection:
    return ShownSection(
        anchor=f"part-{place + 1}",
        section=section,
        tables=tuple(_table(table, f"{names.NUMBERS}/{stem}.csv") for table, stem in zip(section.tables, stems, strict=True)),
        figures=tuple(ShownFigure(f, drawn[names.slug(f.name)], linked(f.numbers, exists) if f.numbers else "") for f in section.figures),
    )


def _table(table: AnalysisTable, file: str) -> ShownTable:
    warm = [column.endswith("/ C") for column in table.columns]
    rows = tuple(tuple(_cell(cell, warm=warm[n]) for n, cell in enumerate(row)) for row in table.rows)
    numeric = tuple(
        any(row[n].numeric for row in rows) and all(row[n].numeric or row[n].text == DASH for row in rows)
        for n in range(len(table.columns))
    )
    return ShownTable(table, rows, numeric, file)


def _cell(cell: Cell, *, warm: bool = False) -> ShownCell:
    if isinstance(cell, str):
        return ShownCell(cell, numeric=False)
    if cell is None or not math.isfinite(cell):
        return ShownCell(DASH, numeric=False)
    if warm:
        return ShownCell(temperature(cell), numeric=True)
    return ShownCell(
        str(cell) if isinstance(cell, int) and abs(cell) < 10_000 else adaptive(cell) if isinstance(cell, float) else number(cell, 0),
        numeric=True,
    )
