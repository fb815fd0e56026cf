"""What the service knows of itself: watched folders, what happened, and what made the products."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from nightcrew.frames.identity import alike_in, ambiguous
from nightcrew.frames.numbering import absent_numbers
from nightcrew.frames.site import Site, night_span
from nightcrew.io.patience import answers
from nightcrew.io.source import shown
from nightcrew.ledger import arrivals, messages
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.database import iso
from nightcrew.ledger.jsontext import loads
from nightcrew.ledger.rows import ProductRow
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import NightParameters, as_dict
from nightcrew.settings import Settings
from reports.commands import command
from reports.model import FolderFact, Level, Notice, Provenance
from reports.night_data import Archive, ScopeData, name_of, why
from reports.text import joined, minute, plural

_SOFTWARE = ("nightcrew", "numpy", "scipy", "astropy", "photutils", "sep", "astroalign", "astroscrappy")
_LEVELS: dict[str, Level] = {"info": "info", "notice": "notice", "warning": "warning", "problem": "problem"}
_GRAVITY: tuple[Level, ...] = ("info", "notice", "warning", "problem")
MOST_NOTICES = 12  # of what happened, on one page
_NAMED = 3  # vanished files; all of them are in the saved numbers
_AHEAD = timedelta(minutes=15)  # of a frame's start before its arrival: clocks of cameras differ by minutes
_ANSWER_S = 5.0  # how long a page waits for a watched folder
_WALKS_MISSED = 3  # so many walks of a folder may be late before its watcher is not taken for living
_AFTER_NIGHT = timedelta(hours=12)  # how long after its end what happens still belongs to a night's page


def site_of(settings: Settings) -> Site:
    """The site of a configuration."""
    site = settings.site
    return Site(longitude_deg=site.longitude_deg, latitude_deg=site.latitude_deg, elevation_m=site.elevation_m, timezone=site.timezone)


def folders(
    settings: Settings, last_seen: Mapping[str, str], signs: Mapping[str, tuple[str, str]], night: str = "", made_at: datetime | None = None
) -> tuple[FolderFact, ...]:
    """The watched folders of nights: can they be reached, and when did they last live; was what ``night`` brought looked for?

    One that does not answer is not waited for: the morning's report must go out.
    """
    found, wanted = [], _walked_after(settings, night, made_at)
    own = [folder.path for folder in settings.folders if folder.kind == "night"]
    there = answers({path: path.is_dir for path in own}, _ANSWER_S)
    for folder in own:
        path, reachable = str(folder), there.get(folder) is True
        swept = signs.get(messages.sweep_sign(path), ("", ""))[0]
        found.append(
            FolderFact(
                path=path,
                reachable=reachable,
                last_file_at=_shown(last_seen.get(path, "")),
                last_sweep_at=_shown(swept),
                walked=bool(swept) and swept >= wanted,
                note="" if reachable else "It does not exist or is not mounted." if folder in there else "It does not answer.",
            )
        )
    return tuple(found)


def _walked_after(settings: Settings, night: str, made_at: datetime | None) -> str:
    """When a folder must have been walked last, so that nothing of the night can lie there unseen; "" when nobody can say."""
    if made_at is None:
        return ""
    with suppress(ValueError):  # "undated": it has no end
        end = min(night_span(night, site_of(settings))[1], made_at)
        return iso(end - max(timedelta(seconds=_WALKS_MISSED * settings.watch.sweep_s), timedelta(minutes=30)))
    return ""


def _shown(time_utc: str) -> str:
    return f"{minute(time_utc)} UTC" if time_utc else ""


def notices(archive: Archive, night: str, made_at: datetime, scope_ids: Sequence[int] = ()) -> tuple[Notice, ...]:
    """What happened to the service from the night's beginning until half a day after its end; equal sentences once.

    What happened to the scopes of the night itself stands here whenever it was: a night may be reduced anew weeks later.
    """
    now = made_at + timedelta(seconds=1)
    span = ("", "")
    with suppress(ValueError):  # "undated": it has no beginning and no end
        start, end = night_span(night, site_of(archive.settings))
        span = (iso(start), iso(min(now, end + _AFTER_NIGHT)))
    with archive.database.read() as connection:
        return told_once(messages.happenings_of(connection, scope_ids, span, iso(now)))


def told_once(rows: Iterable[tuple[str, str, str, str]]) -> tuple[Notice, ...]:
    """Happenings (time, source, level, text) as notices in the order of their times.

    Sentences that are equal but for their numbers stand there once, the last of them; of very many the gravest and latest are told,
    and how many there are more.
    """
    alike: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for at, _, level, text in rows:
        alike.setdefault((level, messages.numberless(messages.counted(text)[0])), []).append((at, text))
    notices = [_notice(level, said) for (level, _), said in alike.items()]
    if len(notices) <= MOST_NOTICES:
        return tuple(notices)
    places = sorted(range(len(notices)), key=lambda place: (-_GRAVITY.index(notices[place].level), -place))
    told = tuple(notices[place] for place in sorted(places[:MOST_NOTICES]))
    level, more = notices[places[MOST_NOTICES]].level, len(notices) - MOST_NOTICES
    return (*told, Notice(level=level, text=f"{more} more such sentences are in the ledger", command=command("ledger", "happenings")))


def _notice(level: str, said: Sequence[tuple[str, str]]) -> Notice:
    text, _, last = messages.counted(said[-1][1])
    times = sum(messages.counted(one)[1] for _, one in said)
    often = f" ({times} times, the last at {_shown(last or said[-1][0])})" if times > 1 else ""
    known = _LEVELS.get(level, "info")
    return Notice(
        level=known, text=text + often, at=_shown(said[0][0]), command=command("doctor") if known in ("warning", "problem") else ""
    )


def stray_notice(rows: Sequence[PathRow]) -> tuple[Notice, ...]:
    """Files that belong to no night, because nothing tells when they were taken."""
    if not rows:
        return ()
    counted = Counter(row.reason or "not read yet" for row in rows)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in counted.most_common(3))
    return (Notice(level="notice", text=f"{plural(len(rows), 'file')} of the watched folders belong to no night: {reasons}"),)


def vanished_notice(scopes: Sequence[ScopeData]) -> tuple[Notice, ...]:
    """Raw files that are gone; what was made of them stays."""
    gone = [row for data in scopes for row in data.files if row.vanished]
    if not gone:
        return ()
    names = ", ".join(name_of(row) for row in gone[:_NAMED]) + (f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else "")
    text = f"{plural(len(gone), 'raw file')} vanished from the watched folders; what was made of them is kept: {names}"
    return (Notice(level="notice", text=text),)


def damaged_notice(files: Sequence[str]) -> tuple[Notice, ...]:
    """Files of products that the page would show, and that are not those that were written."""
    if not files:
        return ()
    names = sorted(set(files))
    first = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    many = f"{plural(len(names), 'file')} of products {'is' if len(names) == 1 else 'are'}"
    text = f"{many} damaged, not what was written, and therefore not shown: {first}. Delete such a file: its product is made again"
    return (Notice(level="warning", text=text, command=command("doctor", options="--products")),)


def absent_notice(archive: Archive, scopes: Sequence[ScopeData]) -> tuple[Notice, ...]:
    """Files that the numbers of the others show to be absent, and that no night has."""
    absent = absent_numbers(row.path for data in scopes for row in data.files)
    if not absent:
        return ()
    with archive.database.read() as connection:
        seen = arrivals.seen_of(connection, absent)
    names = [shown(os.fsdecode(path)) for path in absent if path not in seen]
    if not names:
        return ()
    first = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    text = f"by the numbers in the names {plural(len(names), 'file')} may be absent (not written, or not copied): {first}"
    return (Notice(level="notice", text=text),)


def twins_notice(scopes: Sequence[ScopeData]) -> tuple[Notice, ...]:
    """Frames in use that share camera, start, exposure and kind, yet differ in their pixels: each counts as an exposure of its own.

    Fast series whose start is written to the second are as many exposures as there are frames: nothing is said of them.
    """
    together: dict[tuple[object, ...], list[PathRow]] = defaultdict(list)
    for data in scopes:
        in_use = {row.frame_id: row for row in data.files if row.frame_id is not None and row.state not in ("set_aside", "rejected")}
        for frame in data.frames.values():
            row, header = in_use.get(frame.id), frame.header
            if row is not None and header.time_utc and not header.time_is_date_only and not ambiguous(header):
                together[alike_in(header)].append(row)
    twins = sorted((sorted(rows, key=name_of) for rows in together.values() if len(rows) > 1), key=lambda rows: name_of(rows[0]))
    if not twins:
        return ()
    first = "; ".join(joined([name_of(row) for row in rows[:_NAMED]]) for rows in twins[:_NAMED])
    more = sum(len(rows) for rows in twins) - sum(len(rows[:_NAMED]) for rows in twins[:_NAMED])
    text = (
        f"{plural(sum(len(rows) for rows in twins), 'frame')} in use share camera, start and exposure with another whose pixels differ: "
        f"{first}{f' and {more} more' if more else ''}. If one is a changed copy of the other, one exposure counts twice: put the copy "
        "elsewhere; else a clock stood still, or two cameras bear one name"
    )
    return (Notice(level="warning", text=text, command=why(name_of(twins[0][0]))),)


def ahead_notice(scopes: Sequence[ScopeData]) -> tuple[Notice, ...]:
    """Frames that began, as their headers say, after they had arrived: their night and the age of their calibrations may be wrong."""
    ahead: list[tuple[timedelta, str]] = []
    for data in scopes:
        for frame in data.frames.values():
            header = frame.header
            # as texts first: next to none is ahead, and both are ISO times of UTC
            if header.time_utc > frame.arrived_at and not header.time_is_date_only:
                by = datetime.fromisoformat(header.time_utc) - datetime.fromisoformat(frame.arrived_at)
                if by > _AHEAD:
                    ahead.append((by, data.name_of_frame(frame.id)))
    if not ahead:
        return ()
    ahead.sort(reverse=True)
    hours = ahead[0][0] / timedelta(hours=1)
    names = ", ".join(name for _, name in ahead[:_NAMED]) + (f" and {len(ahead) - _NAMED} more" if len(ahead) > _NAMED else "")
    text = (
        f"{plural(len(ahead), 'frame')} began, by {'its header' if len(ahead) == 1 else 'their headers'}, after arriving here, up to "
        f"{hours:.3g} h: {names}. The camera's clock is ahead, it writes local time as UTC, or the clock of this machine is behind; night "
        "and ages of calibrations follow the headers"
    )
    return (Notice(level="warning", text=text, command=why(ahead[0][1])),)


def outdated_notice(scopes: Sequence[ScopeData], night: str) -> tuple[Notice, ...]:
    """Products of an old night that the rules would make otherwise now: they stand until a person asks for new ones."""
    count = sum(data.outdated for data in scopes)
    if not count:
        return ()
    why = "a better master, a newer recipe or other parameters came after they were made; they stand until you ask for new ones"
    text = f"{plural(count, 'product')} of this night {'is' if count == 1 else 'are'} outdated: {why}"
    return (Notice(level="notice", text=text, command=command("rerun", night)),)


def provenance(archive: Archive, scopes: Sequence[ScopeData], night: str) -> Provenance:
    """Software, recipes, parameters and inputs of the night's current products."""
    rows = [row for data in scopes for row in data.current(*RECIPES)]
    counted = Counter((row.recipe, row.version) for row in rows)
    hashes = sorted(frame.sha256 for data in scopes for frame in data.frames.values())
    return Provenance(
        software=tuple((name, _version(name)) for name in _SOFTWARE),
        recipes=tuple((RECIPES[name].title, version, count) for (name, version), count in counted.items()),
        profiles=tuple(sorted({frame.header.profile for data in scopes for frame in data.frames.values()})),
        parameters=tuple(_parameters(archive.parameters)),
        inputs_digest=hashlib.sha256("".join(hashes).encode()).hexdigest()[:16] if hashes else "",
        inputs=len(hashes),
        products=tuple(str(root) for root in dict.fromkeys(archive.products_root / folder for folder in _folders_of(rows))),
        commands=(command("status", night), command("rerun", night, options="--from masters")) if scopes else (),
    )


def _folders_of(rows: Sequence[ProductRow]) -> list[str]:
    """The folders, one a night and instrument, that products lie in."""
    return sorted({"/".join(file["path"].split("/", 2)[:2]) for row in rows for file in loads(row.files_json)})


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _parameters(parameters: NightParameters) -> list[tuple[str, str]]:
    shown = []
    for section, values in as_dict(parameters).items():
        if isinstance(values, dict):
            shown.append((section.capitalize(), ", ".join(f"{name} {_word(value)}" for name, value in values.items() if value != "")))
    return shown


def _word(value: Any) -> str:
    return {True: "yes", False: "no", None: "by itself"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
