"""The page of a set: what its analysis found, published with the balance of its files.

``<root>/<kind>/<set>/index.html`` is the page of the set's last analysis (or says why there is none yet), with its figures,
tables and ``summary.json`` beside it; further analyses of the same set stand in folders of their own and are linked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from nightcrew.io import atomic
from reports import names
from reports.analysis import AnalysisPage, as_json, pictures, put_parts
from reports.analysis_html import WORDS, Standing, sound_html, status_of
from reports.analysis_html import linked as linked_name
from reports.analysis_words import key_words, needs_of
from reports.commands import all_asking, asking, unasked
from reports.model import IndexEntry, Link, ScopeKind, Status
from reports.revisions import FORMAT, read_stored
from reports.tables import csv_text
from reports.text import sentence, visible
from reports.values import NumberTable

NUMBERS_LIMIT = 20_000_000  # bytes of a file of numbers that is copied beside the page


@dataclass(frozen=True, kw_only=True)
class SetPage:
    """One analysis of a set: its page, and the product's folder (None for a page that only says why there is none)."""

    page: AnalysisPage
    source: Path | None = None
    label: str = ""  # of further analyses: their folder and their link


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A set's page on disk, and what index, mail and the night's page tell of it."""

    path: Path
    relative: str  # below the report folder
    changed: bool
    revision: int
    title: str  # how the set is called among others: ``Sensor set1``
    status: Status
    word: str
    sentence: str
    numbers: tuple[tuple[str, str], ...]  # (name, value) of the key quantities
    needs: tuple[str, ...]
    commands: tuple[str, ...]
    faults: tuple[str, ...]


def publish_set(
    kind: ScopeKind,
    name: str,
    main: SetPage,
    standing: Standing,
    root: Path,
    *,
    files: NumberTable,
    more: Sequence[SetPage] = (),
    title: str = "",
    config: str = "",
) -> PublishedSet:
    """Write the pages of one set below ``root``, in the place of older ones; the index is not touched.

    The commands of the pages are asked of the configuration file ``config``; another one is no change of a page.

    Raises ``TransientError`` when the disk is full and ``Refused`` when the folder cannot be written.
    """
    folder = root / names.page_folder(kind, name)
    digest = _digest(main, standing, more, config)
    standing = all_asking(standing, config)
    main, more = _asking(main, config), tuple(_asking(one, config) for one in more)
    links = tuple(Link(label=visible(one.label), target=f"{names.slug(one.label)}/{names.PAGE}") for one in more)
    stored = read_stored(folder)
    faults = _write(folder, main, dataclasses.replace(standing, links=links), files)
    for one in more:
        back = Link(label=visible(main.page.title), target=f"../{names.PAGE}")
        faults += _write(
            folder / names.slug(one.label), one, dataclasses.replace(standing, links=(back,), back="../../../index.html"), files
        )
    _drop_older(folder, {names.slug(one.label) for one in more})
    changed = stored.entry is None or stored.digest != digest
    before = stored.entry.revision if stored.entry is not None else 0
    done = _told(
        kind, name, title or main.page.title, main.page, standing, folder / names.PAGE, faults, changed=changed, revision=before + changed
    )
    atomic.write_text(folder / names.ENTRY, _entry_text(kind, name, done, standing, digest), overwrite=True)
    return done


def _asking(one: SetPage, config: str) -> SetPage:
    commands = tuple(asking(text, config) for text in one.page.commands)
    return dataclasses.replace(one, page=dataclasses.replace(one.page, commands=commands))


def _write(folder: Path, one: SetPage, standing: Standing, files: NumberTable) -> tuple[str, ...]:
    page = one.page
    drawn = pictures(page)
    kept = put_parts(page, folder)
    kept.append(atomic.write_text(folder / names.NUMBERS / "files.csv", csv_text(files), durable=False, overwrite=True))
    kept += _copied(page, one.source, folder)
    for sub in (names.NUMBERS, names.FIGURES):
        for path in (folder / sub).glob("*"):
            if path not in kept and path.is_file():
                path.unlink(missing_ok=True)
    kept_names = {path.relative_to(folder).as_posix() for path in kept}
    html, faults = sound_html(page, drawn, kept_names.__contains__, folder, standing)
    atomic.write_text(folder / names.PAGE, html, overwrite=True)
    return faults


def _copied(page: AnalysisPage, source: Path | None, folder: Path) -> list[Path]:
    """The files of numbers behind the figures, copied from the product."""
    made: list[Path] = []
    if source is None:
        return made
    wanted = {figure.numbers for section in page.sections for figure in section.figures if figure.numbers}
    for name in sorted(wanted):
        found = linked_name(name, lambda place: (source / place).is_file() and not (source / place).is_symlink())
        if found and (source / found).stat().st_size <= NUMBERS_LIMIT:
            made.append(atomic.replace(folder / found, partial(_copy, source / found), durable=False))
    return made


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as data:
        shutil.copyfileobj(data, file)


def _drop_older(folder: Path, kept: set[str]) -> None:
    """Pages of analyses that are no longer made go with what lies beside them."""
    for path in folder.iterdir():
        if (
            path.is_dir()
            and not path.is_symlink()
            and path.name not in {*kept, names.NUMBERS, names.FIGURES}
            and (path / names.PAGE).is_file()
        ):
            shutil.rmtree(path, ignore_errors=True)


def _digest(main: SetPage, standing: Standing, more: Sequence[SetPage], config: str) -> str:
    said = repr(dataclasses.replace(standing, made_at="", links=()))
    texts = [said, *(unasked(as_json(one.page), config) + repr(one.page.summary) for one in (main, *more))]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _told(
    kind: ScopeKind,
    name: str,
    title: str,
    page: AnalysisPage,
    standing: Standing,
    path: Path,
    faults: tuple[str, ...],
    *,
    changed: bool,
    revision: int,
) -> PublishedSet:
    status: Status = standing.status or status_of(page, faults)
    return PublishedSet(
        path=path,
        relative=names.page_path(kind, name),
        changed=changed,
        revision=revision,
        title=visible(title),
        status=status,
        word=standing.word or WORDS[status],
        sentence=visible(sentence(page.verdict)),
        numbers=key_words(page),
        needs=tuple(visible(text) for text in (*needs_of(page), *(f"The report's own check found: {fault}." for fault in faults))),
        commands=standing.commands,
        faults=faults,
    )


def _entry_text(kind: ScopeKind, name: str, done: PublishedSet, standing: Standing, digest: str) -> str:
    entry = IndexEntry(
        night=visible(name),
        kind=kind,
        link=done.relative,
        status=done.status,
        word=done.word,
        sentence=done.sentence,
        revision=done.revision,
        instruments=(),
        seen=sum(row.seen for row in standing.balance),
        lights=0,
        reduced=0,
        grades=(0, 0, 0, 0),
        needs=len(done.needs),
        made_at=standing.made_at,
        numbers=done.numbers,
    )
    body = {"format": FORMAT, "entry": dataclasses.asdict(entry), "digest": digest, "notes": [], "numbers": {}}
    return json.dumps(body, ensure_ascii=True, indent=1) + "\n"
