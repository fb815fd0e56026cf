"""From a page's model to files: draw, check, judge, write, and keep the index of all pages true.

``<root>/index.html`` lists ``<root>/night/2026-03-14/index.html`` and the like; beside each page lie ``summary.json``,
``numbers/*.csv``, ``figures/*.png`` and ``entry.json`` (its line in the index).  A page whose contents changed gets the
next revision, says what changed, and keeps the older one as ``revision-N.html``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nightcrew import failpoints
from nightcrew.io import atomic
from nightcrew.planning.lights import NO_BIAS
from reports import check, names, render, summary, tables
from reports.figures import COURSES, EmptyFigureError, course_figure, trend_figure
from reports.keep import NOTHING_KEPT, Keep
from reports.model import IndexPage, LightEntry, Link, NightPage, Notice, Trend, Verdict
from reports.night_summary import night_summary
from reports.revisions import Stored, content_digest, entry_text, read_stored, revision_note
from reports.values import Figure
from reports.verdict import judge

Courses = tuple[Figure, ...]
Trends = tuple[tuple[Trend, Figure], ...]
Faults = tuple[str, ...]
_OLDER_SHOWN = 3  # links to older revisions on a page


@dataclass(frozen=True, kw_only=True)
class Published:
    """A page on disk.  ``faults`` are what the report's own check found; () is a sound page."""

    path: Path
    revision: int
    changed: bool  # new, or other contents than before
    page: NightPage
    verdict: Verdict
    faults: Faults
    figures: Courses  # as drawn for the page: the mail takes some of them


class CoursesAhead:
    """The lights' courses, drawn by the process beside ours (``keep.beside``) while the rest of their page is gathered.

    Without that process nothing is drawn ahead: two threads must not draw at the same time.
    """

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._pool = ThreadPoolExecutor(1)
        self._begun: Future[tuple[Courses, Faults]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()

    def begin(self, lights: Sequence[LightEntry], instruments: Sequence[str]) -> None:
        """Have the courses of these lights drawn; they are all those of the page."""
        if self._keep.beside is not None:
            self._begun = self._pool.submit(draw_courses, lights, instruments, self._keep)

    def drawn(self) -> tuple[Courses, Faults] | None:
        """What was begun, when it is ready; None when nothing was."""
        return None if self._begun is None else self._begun.result()


def publish_night(page: NightPage, root: Path, keep: Keep = NOTHING_KEPT, ahead: CoursesAhead | None = None) -> Published:
    """Write the page of one night (or campaign) below ``root`` with everything beside it; the index is not touched.

    ``keep`` has figures that were drawn before, ``ahead`` what of this page is being drawn already.

    Raises ``TransientError`` when the disk is full and ``Refused`` when the folder cannot be written.
    """
    folder = root / names.page_folder(page.kind, page.night)
    stored = read_stored(folder)
    digest = content_digest(page)
    changed = stored.entry is not None and stored.digest != digest
    page = _revised(page, stored, changed=changed)
    # What can be done before the figures come; they have faults rarely.
    texts = [(table.name, tables.csv_text(table)) for table in tables.page_tables(page)]
    render.prepare()
    page_faults = check.page_faults(page)
    foreseen = judge(page, page_faults)
    numbers = summary.as_json(night_summary(page, foreseen))
    courses, trends, faults = draw(page, keep, ahead.drawn() if ahead is not None else None)
    figures = (*courses, *(figure for _, figure in trends))
    faults = (*page_faults, *faults, *check.figure_faults((*figures, *_given_figures(page))))
    verdict, html, faults = _sound_html(page, courses, trends, faults)
    if changed and stored.entry is not None:
        _keep_older(folder, stored.entry.revision)
    texts += [(figure.numbers.name, tables.csv_text(figure.numbers)) for figure in figures]
    _write_numbers(folder, texts, (*figures, *_given_figures(page)))
    if verdict != foreseen:
        numbers = summary.as_json(night_summary(page, verdict))
    atomic.write_text(folder / summary.FILE_NAME, numbers, overwrite=True)
    failpoints.reach("report.half_written")
    atomic.write_text(folder / names.PAGE, html, overwrite=True)
    atomic.write_text(folder / names.ENTRY, entry_text(page, verdict, digest), overwrite=True)
    new = changed or stored.entry is None
    path = folder / names.PAGE
    return Published(path=path, revision=page.revision, changed=new, page=page, verdict=verdict, faults=faults, figures=figures)


def _sound_html(page: NightPage, courses: Courses, trends: Trends, faults: Faults) -> tuple[Verdict, str, Faults]:
    verdict = judge(page, faults)
    html = render.night_html(page, verdict, courses, trends)
    late = check.html_faults(html)
    if late:
        faults = (*faults, *late)
        verdict = judge(page, faults)
        html = render.night_html(page, verdict, courses, trends)
    return verdict, html, faults


def draw_courses(lights: Sequence[LightEntry], instruments: Sequence[str], keep: Keep = NOTHING_KEPT) -> tuple[Courses, Faults]:
    """(The courses of a page's lights through its night, what could not be drawn); ``instruments``: all those of the page."""
    faults: list[str] = []
    courses: list[Figure] = []
    made = [light for light in lights if light.state in ("done", "degraded")]
    for instrument in sorted({light.instrument for light in made}):
        own = [light for light in made if light.instrument == instrument]
        _draw_courses(own, f" · {instrument}" if len(instruments) > 1 else "", courses, faults, keep)
    return tuple(courses), tuple(faults)


def draw(page: NightPage, keep: Keep = NOTHING_KEPT, drawn: tuple[Courses, Faults] | None = None) -> tuple[Courses, Trends, Faults]:
    """All figures of a page: (courses through the night, trends with their figure, what could not be drawn).

    ``drawn``: the courses, where they are drawn already.
    """
    courses, undrawn = drawn or draw_courses(page.lights, page.instruments, keep)
    faults = list(undrawn)
    trends: list[tuple[Trend, Figure]] = []
    for trend in page.trends:
        try:
            name = f"trend-{names.slug(trend.instrument)}-{names.slug(trend.quantity)}"
            trends.append((trend, trend_figure(trend, name, keep)))
        except EmptyFigureError as error:
            faults.append(str(error))
    return courses, tuple(trends), tuple(faults)


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


def _write_numbers(folder: Path, texts: Iterable[tuple[str, str]], figures: Iterable[Figure]) -> None:
    kept: set[Path] = set()
    for name, text in texts:
        kept.add(atomic.write_text(folder / names.NUMBERS / f"{names.slug(name)}.csv", text, durable=False, overwrite=True))
    for figure in figures:
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
    return atomic.write_text(root / names.PAGE, render.index_html(page), overwrite=True)
