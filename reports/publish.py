"""From a page's model to files: draw, check, judge, write, and keep the index of all pages true.

``<root>/index.html`` lists ``<root>/night/2026-03-14/index.html`` and the like; beside each page lie ``summary.json``,
``numbers/*.csv``, ``figures/*.png`` and ``entry.json`` (its line in the index).  A page whose contents changed gets the
next revision, says what changed, and keeps the older one as ``revision-N.html``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from nightcrew import failpoints
from nightcrew.io import atomic
from nightcrew.planning.lights import NO_BIAS
from reports import check, names, summary, tables
from reports.figures import COURSES, EmptyFigureError, course_figure, trend_figure
from reports.keep import NOTHING_KEPT, Keep
from reports.model import IndexPage, LightEntry, Link, NightPage, Notice, Trend, Verdict
from reports.night_summary import night_summary
from reports.render import index_html, night_html
from reports.revisions import Stored, content_digest, entry_text, read_stored, revision_note
from reports.values import Figure
from reports.verdict import judge

Courses = tuple[Figure, ...]
Trends = tuple[tuple[Trend, Figure], ...]
_OLDER_SHOWN = 3  # links to older revisions on a page


@dataclass(frozen=True, kw_only=True)
class Published:
    """A page on disk.  ``faults`` are what the report's own check found; () is a sound page."""

    path: Path
    revision: int
    changed: bool  # new, or other contents than before
    page: NightPage
    verdict: Verdict
    faults: tuple[str, ...]
    figures: Courses  # as drawn for the page: the mail takes some of them


def publish_night(page: NightPage, root: Path, keep: Keep = NOTHING_KEPT) -> Published:
    """Write the page of one night (or campaign) below ``root`` with everything beside it; the index is not touched.

    ``keep`` has figures that were drawn before.

    Raises ``TransientError`` when the disk is full and ``Refused`` when the folder cannot be written.
    """
    folder = root / names.page_folder(page.kind, page.night)
    stored = read_stored(folder)
    digest = content_digest(page)
    changed = stored.entry is not None and stored.digest != digest
    page = _revised(page, stored, changed=changed)
    courses, trends, faults = draw(page, keep)
    figures = (*courses, *(figure for _, figure in trends))
    faults = (*check.page_faults(page), *faults, *check.figure_faults((*figures, *_given_figures(page))))
    verdict, html, faults = _sound_html(page, courses, trends, faults)
    if changed and stored.entry is not None:
        _keep_older(folder, stored.entry.revision)
    _write_numbers(folder, page, figures)
    atomic.write_text(folder / summary.FILE_NAME, summary.as_json(night_summary(page, verdict)), overwrite=True)
    failpoints.reach("report.half_written")
    atomic.write_text(folder / names.PAGE, html, overwrite=True)
    atomic.write_text(folder / names.ENTRY, entry_text(page, verdict, digest), overwrite=True)
    new = changed or stored.entry is None
    path = folder / names.PAGE
    return Published(path=path, revision=page.revision, changed=new, page=page, verdict=verdict, faults=faults, figures=figures)


def _sound_html(page: NightPage, courses: Courses, trends: Trends, faults: tuple[str, ...]) -> tuple[Verdict, str, tuple[str, ...]]:
    verdict = judge(page, faults)
    html = night_html(page, verdict, courses, trends)
    late = check.html_faults(html)
    if late:
        faults = (*faults, *late)
        verdict = judge(page, faults)
        html = night_html(page, verdict, courses, trends)
    return verdict, html, faults


def draw(page: NightPage, keep: Keep = NOTHING_KEPT) -> tuple[Courses, Trends, tuple[str, ...]]:
    """All figures of a page: (courses through the night, trends with their figure, what could not be drawn)."""
    faults: list[str] = []
    courses: list[Figure] = []
    made = [light for light in page.lights if light.state in ("done", "degraded")]
    for instrument in sorted({light.instrument for light in made}):
        own = [light for light in made if light.instrument == instrument]
        _draw_courses(own, f" · {instrument}" if len(page.instruments) > 1 else "", courses, faults, keep)
    trends: list[tuple[Trend, Figure]] = []
    for trend in page.trends:
        try:
            name = f"trend-{names.slug(trend.instrument)}-{names.slug(trend.quantity)}"
            trends.append((trend, trend_figure(trend, name, keep)))
        except EmptyFigureError as error:
            faults.append(str(error))
    return tuple(courses), tuple(trends), tuple(faults)


def _draw_courses(lights: Sequence[LightEntry], suffix: str, courses: list[Figure], faults: list[str], keep: Keep) -> None:
    for attribute, title, unit in COURSES:
        if attribute == "background" and all(light.background is None and NO_BIAS in light.reason for light in lights):
            continue  # the offset is still in it, as the reasons of all lights say: nothing to show is no fault
        shown = lights[0].background_unit if attribute == "background" else unit
        try:
            name = f"course-{attribute}-{names.slug(lights[0].instrument)}"
            courses.append(course_figure(lights, attribute, f"{title}{suffix}", shown, name, keep))
        except EmptyFigureError as error:
            faults.append(str(error))


def _given_figures(page: NightPage) -> tuple[Figure, ...]:
    return tuple(figure for section in page.sections for figure in section.figures)


def _revised(page: NightPage, stored: Stored, *, changed: bool) -> NightPage:
    if stored.entry is None:
        return page
    if changed:
        revision = max(page.revision, stored.entry.revision + 1)
        notes = (*stored.notes, revision_note(stored.numbers, page, revision))
    else:
        revision, notes = stored.entry.revision, stored.notes
    older = range(revision - 1, max(0, revision - 1 - _OLDER_SHOWN), -1)
    links = tuple(Link(label=f"Revision {number}", target=names.old_revision(number)) for number in older)
    return dataclasses.replace(page, revision=revision, revision_notes=notes, links=(*page.links, *links))


def _keep_older(folder: Path, revision: int) -> None:
    current = folder / names.PAGE
    if current.is_file():
        atomic.replace(folder / names.old_revision(revision), partial(_put, current.read_bytes()))


def _put(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _write_numbers(folder: Path, page: NightPage, figures: Sequence[Figure]) -> None:
    kept: set[Path] = set()
    for table in (*tables.page_tables(page), *(figure.numbers for figure in figures)):
        kept.add(
            atomic.write_text(
                folder / names.NUMBERS / f"{names.slug(table.name)}.csv", tables.csv_text(table), durable=False, overwrite=True
            )
        )
    for figure in (*figures, *_given_figures(page)):
        path = folder / names.FIGURES / f"{names.slug(figure.name)}.png"
        kept.add(atomic.replace(path, partial(_put, figure.picture.data), durable=False))
    for sub, suffix in ((names.NUMBERS, ".csv"), (names.FIGURES, ".png")):
        for path in (folder / sub).glob(f"*{suffix}"):
            if path not in kept:
                path.unlink(missing_ok=True)


def publish_index(root: Path, site: str, made_at: str, timezone: str, notices: tuple[Notice, ...] = ()) -> Path:
    """Write the index of all pages below ``root`` from the line that each keeps beside it; ``made_at`` is of that time zone."""
    kept = (read_stored(path.parent).entry for path in sorted(root.glob(f"*/*/{names.ENTRY}")))
    entries = tuple(entry for entry in kept if entry is not None)
    page = IndexPage(site=site, made_at=made_at, entries=entries, notices=notices, timezone=timezone)
    return atomic.write_text(root / names.PAGE, index_html(page), overwrite=True)
