"""The report of an analysis (sensor, laboratory, campaign, photon lists): one model, one writer, for service and commands.

A unit of work builds an :class:`AnalysisPage`; :func:`write_analysis` turns it into a folder that is complete in itself:
``report.html`` (figures inside), ``summary.json``, ``page.json`` (the model, from which the service publishes the page
again with the balance of the files), ``figures/*.png`` and ``numbers/*.csv`` (every table, in full precision).  The same
page gives the same bytes.  Texts may hold anything that a file name held: they are escaped where they are shown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from nightcrew.errors import NightcrewError
from nightcrew.io import atomic
from reports import names, summary
from reports.summary import Summary
from reports.tables import csv_text
from reports.values import Column, NumberTable, Picture

FORMAT = 1
REPORT = "report.html"
MODEL = "page.json"
Cell = str | int | float | None
AnalysisStatus = Literal["good", "attention", "bad"]
STATUSES: tuple[AnalysisStatus, ...] = ("good", "attention", "bad")


class BadPageError(NightcrewError):
    """A page that breaks its own form; the text names the part and the rule."""


@dataclass(frozen=True, kw_only=True)
class AnalysisFigure:
    """One figure: PNG bytes drawn with fixed metadata, and the numbers that it shows.

    ``name`` is the stem of its file below ``figures/``; ``numbers`` the file with the plotted numbers (csv, npz, ecsv),
    relative to the page's folder, written by the unit itself.
    """

    name: str
    title: str
    alt: str
    png: bytes
    numbers: str = ""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class AnalysisTable:
    """One table; units stand in the columns' names, such as ``gain / (e-/adu)``.  A cell None is shown as a dash."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AnalysisSection:
    """A chapter: paragraphs of plain text, tables, figures, in this order."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[AnalysisTable, ...] = ()
    figures: tuple[AnalysisFigure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnalysisPage:
    """All that the report of one analysis shows.

    ``verdict`` is one sentence, ``needs_person`` what a person should do or know, most urgent first.  ``key_quantities``
    are names of quantities of ``summary``: those at the head of the page, in the index and in the mail.  ``files`` are
    (file name, what it is) of what lies beside the page; ``commands`` show how to see why and how to run again.
    """

    kind: str
    title: str
    verdict: str
    status: AnalysisStatus
    summary: Summary
    key_quantities: tuple[str, ...]
    sections: tuple[AnalysisSection, ...]
    needs_person: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()


def write_analysis(page: AnalysisPage, out: Path) -> None:
    """Write ``report.html``, ``summary.json``, ``page.json``, ``figures/`` and ``numbers/`` below the folder ``out``.

    Raises
    ------
    BadPageError, reports.summary.BadSummaryError
        The page breaks its form: a figure that is no PNG, two figures of one name, a row of another length than its head,
        a key quantity that is not in the summary, a value without reason.
    TransientError, Refused
        The disk is full; the folder cannot be written.
    """
    from reports.analysis_html import sound_html

    drawn = pictures(page)
    put_parts(page, out)
    atomic.write_text(out / MODEL, as_json(page), overwrite=True)
    html, _ = sound_html(page, drawn, lambda name: (out / name).is_file(), out)
    atomic.write_text(out / REPORT, html, overwrite=True)


def put_parts(page: AnalysisPage, out: Path) -> list[Path]:
    """Write what lies beside a page: summary, figures (as they were drawn, whatever the page shows of them), tables; their paths."""
    made = [atomic.write_text(out / summary.FILE_NAME, summary.as_json(page.summary), overwrite=True)]
    for figure in (figure for section in page.sections for figure in section.figures):
        path = out / names.FIGURES / f"{names.slug(figure.name)}.png"
        made.append(atomic.replace(path, partial(_put, figure.png), durable=False))
    for table in tables(page):
        made.append(atomic.write_text(out / names.NUMBERS / f"{table.name}.csv", csv_text(table), durable=False, overwrite=True))
    return made


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def pictures(page: AnalysisPage) -> dict[str, Picture]:
    """File stem -> picture of every figure; the page is checked on the way (see :func:`write_analysis`)."""
    from reports.stretch import sized_png  # loads numpy, which the page of a night does without

    _check(page)
    found: dict[str, Picture] = {}
    for section in page.sections:
        for figure in section.figures:
            stem = names.slug(figure.name)
            if stem in found:
                raise BadPageError(f"figure {figure.name!r} stands twice")
            try:
                found[stem] = sized_png(figure.png, figure.alt)
            except ValueError as error:
                raise BadPageError(f"figure {figure.name!r}: {error}") from error
    return found


def _check(page: AnalysisPage) -> None:
    if page.status not in STATUSES:
        raise BadPageError(f"status {page.status!r} is none of {', '.join(STATUSES)}")
    if not page.verdict.strip():
        raise BadPageError("the page has no verdict")
    known = {quantity.name for quantity in page.summary.quantities}
    unknown = [name for name in page.key_quantities if name not in known]
    if unknown:
        raise BadPageError(f"key quantity {unknown[0]!r} is not in the summary")
    for section in page.sections:
        for table in section.tables:
            wrong = next((row for row in table.rows if len(row) != len(table.columns)), None)
            if wrong is not None:
                raise BadPageError(f"table {table.title!r}: a row of {len(wrong)} cells under {len(table.columns)} columns")


def table_names(page: AnalysisPage) -> tuple[tuple[str, ...], ...]:
    """File stems of the tables of each section, below ``numbers/``; tables of one title are counted."""
    seen: Counter[str] = Counter()

    def name(section: AnalysisSection, table: AnalysisTable) -> str:
        stem = names.slug(f"{section.title} {table.title}".lower().replace(" ", "-"))
        seen[stem] += 1
        return stem if seen[stem] == 1 else names.slug(f"{stem}-table-{seen[stem]}", 80)

    return tuple(tuple(name(section, table) for table in section.tables) for section in page.sections)


def tables(page: AnalysisPage) -> list[NumberTable]:
    """Every table of the page in full precision, as it is saved."""
    return [
        NumberTable(name=name, columns=tuple(Column(name=column) for column in table.columns), rows=table.rows)
        for section, stems in zip(page.sections, table_names(page), strict=True)
        for table, name in zip(section.tables, stems, strict=True)
    ]


def as_json(page: AnalysisPage) -> str:
    """The page without pictures and summary as JSON text; :func:`read_analysis` is its inverse."""
    body = {
        "format": FORMAT,
        "kind": page.kind,
        "title": page.title,
        "verdict": page.verdict,
        "status": page.status,
        "needs_person": page.needs_person,
        "key_quantities": page.key_quantities,
        "sections": [
            {
                "title": section.title,
                "text": section.text,
                "tables": [
                    {"title": t.title, "columns": t.columns, "rows": [[_plain(c) for c in row] for row in t.rows], "note": t.note}
                    for t in section.tables
                ],
                "figures": [
                    {"name": f.name, "title": f.title, "alt": f.alt, "numbers": f.numbers, "caption": f.caption} for f in section.figures
                ],
            }
            for section in page.sections
        ],
        "files": page.files,
        "commands": page.commands,
    }
    return json.dumps(body, allow_nan=False, indent=1) + "\n"


def _plain(cell: Cell) -> Cell:
    """A value that is not finite is not known: it is shown as a dash and saved as null."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def read_analysis(folder: Path) -> AnalysisPage:
    """The page that :func:`write_analysis` left in ``folder``; ``BadPageError`` when it is not there or of another form."""
    try:
        body = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        if body["format"] != FORMAT:
            raise BadPageError(f"format {body['format']!r} is not {FORMAT}")
        return _page(body, folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadPageError(f"no page of form {FORMAT}: {error}") from error


def parts_of(roles: Iterable[str]) -> set[str]:
    """Those of a product's files that :func:`read_analysis` reads."""
    return {
        role for role in roles if role in (MODEL, summary.FILE_NAME) or (role.startswith(f"{names.FIGURES}/") and role.endswith(".png"))
    }


def numbers_of(page: AnalysisPage) -> set[str]:
    """Where the numbers behind its figures may lie in the product."""
    wanted = {figure.numbers for section in page.sections for figure in section.figures if figure.numbers}
    return {f"{folder}{name}" for name in wanted for folder in ("", f"{names.FIGURES}/", f"{names.NUMBERS}/")}


def _page(body: dict[str, Any], folder: Path) -> AnalysisPage:
    text = (folder / summary.FILE_NAME).read_text(encoding="utf-8")
    return AnalysisPage(
        kind=body["kind"],
        title=body["title"],
        verdict=body["verdict"],
        status=body["status"],
        summary=summary.parse(text),
        key_quantities=tuple(body["key_quantities"]),
        sections=tuple(
            _section(part, lambda name: (folder / names.FIGURES / f"{names.slug(name)}.png").read_bytes()) for part in body["sections"]
        ),
        needs_person=tuple(body["needs_person"]),
        files=tuple((name, what) for name, what in body["files"]),
        commands=tuple(body["commands"]),
    )


def _section(part: dict[str, Any], png: Callable[[str], bytes]) -> AnalysisSection:
    return AnalysisSection(
        title=part["title"],
        text=tuple(part["text"]),
        tables=tuple(
            AnalysisTable(title=t["title"], columns=tuple(t["columns"]), rows=tuple(tuple(row) for row in t["rows"]), note=t["note"])
            for t in part["tables"]
        ),
        figures=tuple(AnalysisFigure(png=png(f["name"]), **f) for f in part["figures"]),
    )
