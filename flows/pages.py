"""Pages of nights and sets, as the flows and the command line ask for them.  No Prefect here."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

from nightcrew import failpoints
from nightcrew.frames.site import night_span
from nightcrew.ledger import dispatches, messages, scopes
from nightcrew.ledger.database import iso
from nightcrew.ledger.rows import ScopeRow
from nightcrew.planning.collector import collector_paused
from reports import keep as kept
from reports import names
from reports.commands import all_asking, own_config
from reports.gather import gather_night
from reports.gather_service import told_once
from reports.keep import Keep
from reports.model import AnalysisSection, Notice, ScopeKind, TruthRow
from reports.night_data import Archive
from reports.publish import CoursesAhead, Published, publish_index, publish_night
from reports.revisions import read_stored
from reports.values import KeyNumber
from tasks.kinds import KINDS
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from reports.beside import Beside
    from reports.set_pages import PublishedSet

_LOG = logging.getLogger("nightcrew.reporting")
_A_DAY = timedelta(days=1)


def link_of(space: Workspace, page: str) -> str:
    """Address of a report page (its path below the report folder); "" where nobody knows the port that the pages are served on."""
    reports = space.settings.reports
    if not reports.link and not reports.port:
        return ""
    return f"{(reports.link or f'http://{reports.address}:{reports.port}').rstrip('/')}/{page}"


def write_page(space: Workspace, name: str, kind: ScopeKind = "night", failed: str = "", beside: Beside | None = None) -> Published:
    """Write the page of a night (over all its instruments) and the index; a night that the ledger does not know is an empty one.

    ``beside`` is a process that draws figures, where one was started.
    """
    keep = Keep(space.settings.state.root / kept.FOLDER, space.settings.limits.disk_reserve_bytes, beside)
    archive = Archive(database=space.database, settings=space.settings, rules_for=space.rules_for, parameters=space.parameters, keep=keep)
    root = space.settings.reports.root
    with _one_writer(space):
        with space.database.read() as connection:
            found = scopes.find(connection, kind=kind, name=name)  # their marks before reading: what comes later is not in the page
            failed = failed or next(filter(None, (_broken_off(connection, scope) for scope in found)), "")
        now = space.database.clock()
        sections = _sections_of_night(space, name)
        with collector_paused(), CoursesAhead(keep) as ahead:
            page = gather_night(
                archive,
                name,
                made_at=now,
                kind=kind,
                failed=failed,
                truth=_truth(space, name),
                sections=sections,
                lights_known=ahead.begin,
            )
            published = publish_night(page, root, keep, ahead)
        publish_index(root, page.site, page.made_at, page.timezone, all_asking(tuple(of_the_service(space)), own_config(space.settings)))
    failpoints.reach("report.unrecorded")
    _record(space, found, published, names.page_path(kind, name))
    for fault in published.faults:
        _LOG.warning("the page of %s: %s", name, fault)
    return published


def _broken_off(connection: Connection, scope: ScopeRow) -> str:
    """Why the plan of a scope is not finished, when its last run failed; "" when it is finished or was never begun."""
    if scope.mark <= scope.planned_mark:
        return ""
    last = dispatches.last_ended(connection, scope.id)
    fine = last is None or last.outcome == "Completed" or dispatches.was_stopped(last)
    return "" if last is None or fine else f"the run of {scope.title} ended {last.outcome}"


def write_set_page(space: Workspace, scope_id: int) -> PublishedSet:
    """Write the page of a set and the index."""
    from flows.set_pages import publish_page_of  # the page of a night does without

    root = space.settings.reports.root
    with _one_writer(space):
        published, scope = publish_page_of(space, scope_id, root)
        site = space.settings.site
        made_at = local_now(space).replace(tzinfo=None).isoformat(timespec="seconds")
        publish_index(root, site.name, made_at, site.timezone, all_asking(tuple(of_the_service(space)), own_config(space.settings)))
    if published.changed or scope.reported_mark < 0:
        verdict, status = published.sentence, published.status
        messages.record_report(space.database, scope.id, path=published.relative, verdict=verdict, status=status, mark=scope.mark)
    else:
        with space.database.write() as connection:
            scopes.reported(connection, scope.id, scope.mark)
    for fault in published.faults:
        _LOG.warning("the page of %s: %s", scope.title, fault)
    return published


def _record(space: Workspace, found: Sequence[ScopeRow], published: Published, path: str) -> None:
    for scope in found:
        if published.changed or scope.reported_mark < 0:
            verdict = published.verdict
            messages.record_report(space.database, scope.id, path=path, verdict=verdict.sentence, status=verdict.status, mark=scope.mark)
        else:
            with space.database.write() as connection:
                scopes.reported(connection, scope.id, scope.mark)


def _truth(space: Workspace, night: str) -> tuple[TruthRow, ...]:
    file = space.settings.reports.truth
    if file is None:
        return ()
    from nightcrew.simulate.truth import load_truth
    from reports.recovered import truth_rows

    return truth_rows(space.database, space.settings.products.root, file) if load_truth(file).plan.night == night else ()


@contextmanager
def _one_writer(space: Workspace) -> Iterator[None]:
    """Two processes never write pages at the same time: revisions are counted from what stands there."""
    root = space.settings.state.root
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "reports.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_pages(space: Workspace, nights: Sequence[str], *, kind: ScopeKind = "night") -> list[str]:
    """Write the pages of these nights; their paths below the report folder."""
    for name in dict.fromkeys(nights):
        write_page(space, name, kind)
    return [names.page_path(kind, name) for name in dict.fromkeys(nights)]


def report_when_closed(space: Workspace, scope_id: int) -> str:
    """Write the report of a closed night or set when it is not current; its path below the report folder, "" when it is."""
    scope = space.scope(scope_id)
    if scope.state != "closed" or scope.reported_mark == scope.mark:
        return ""
    if scope.kind != "night":
        return write_set_page(space, scope_id).relative
    write_page(space, scope.name, "night")
    return names.page_path("night", scope.name)


def local_now(space: Workspace) -> datetime:
    """The time at the site."""
    return space.database.clock().astimezone(ZoneInfo(space.settings.site.timezone))


def of_the_service(space: Workspace, since: datetime | None = None, *, without_mails: bool = False) -> list[Notice]:
    """What went wrong with the service ``since`` then, or yesterday: a full disk, a folder that was away, runs that ended badly.

    Where a trouble passed, that stands behind it.  ``without_mails``: those of mails are told already.
    """
    since = since or space.database.clock() - _A_DAY
    with space.database.read() as connection:
        rows = [row for row in messages.happenings(connection, iso(since)) if not (without_mails and row[1] == "mail")]
    troubled = {source for _, source, level, _ in rows if level != "info"} - {"service"}
    return list(told_once(row for row in rows if row[2] != "info" or row[1] in troubled))


def _sections_of_night(space: Workspace, night: str) -> tuple[AnalysisSection, ...]:
    """The sets whose pages changed between the mail before a night and the night's end: short, with links to the pages."""
    try:
        start, end = night_span(night, space.site)
    except ValueError:
        return ()
    zone, (hour, _, minutes) = ZoneInfo(space.settings.site.timezone), space.settings.reports.time.partition(":")
    mailed = start.astimezone(zone).replace(hour=int(hour), minute=int(minutes))
    since = min(mailed, start) if mailed <= start else mailed - timedelta(days=1)
    with space.database.read() as connection:
        reported = messages.sets_reported(connection, iso(since), iso(end))
    return tuple(section for kind, name in reported if (section := _short(space, cast(ScopeKind, kind), name)) is not None)


def _short(space: Workspace, kind: ScopeKind, name: str) -> AnalysisSection | None:
    entry = read_stored(space.settings.reports.root / names.page_folder(kind, name)).entry
    if entry is None:
        return None
    return AnalysisSection(
        title=f"{KINDS[kind].title.capitalize()} {name}",
        status=entry.status,
        verdict=entry.sentence,
        key_numbers=tuple(KeyNumber(name=label, value=value) for label, value in entry.numbers),
        link=f"../../{names.page_path(kind, name)}",
    )
