"""Pages of sets, as the flows and the command line ask for them: what was made, what failed, what waits.  No Prefect here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from nightcrew.errors import MissingCalibration, TransientError
from nightcrew.ledger import arrivals, messages, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.rows import FILE_STATES, ProductRow, ScopeRow
from nightcrew.planning.model import Plan, PlannedProduct
from nightcrew.planning.set_states import is_of_one_file
from nightcrew.recipes.catalogue import RECIPES
from reports import gather_files
from reports.analysis import MODEL, AnalysisPage, AnalysisStatus, BadPageError, numbers_of, parts_of, read_analysis
from reports.analysis_html import Standing
from reports.commands import asking, command, own_config
from reports.gather_service import told_once
from reports.model import Notice, ScopeKind
from reports.night_data import name_of, why
from reports.set_pages import NUMBERS_LIMIT, PublishedSet, SetPage, publish_set
from reports.summary import Quantity, Summary
from reports.text import minute, plural
from tasks.kinds import KINDS
from tasks.naming import folder_of_files
from tasks.standing import AnySnapshot
from tasks.ways import SetWay
from tasks.workspace import Workspace

_LOG = logging.getLogger("nightcrew.reporting")
_NEEDS = 10  # failures named one by one


@dataclass(frozen=True, kw_only=True)
class SetData:
    """A set as the ledger knows it now."""

    scope: ScopeRow
    seen: AnySnapshot
    plan: Plan
    files: tuple[PathRow, ...]
    instrument: str = ""


def read_set(space: Workspace, scope_id: int) -> SetData:
    """Files, products and plan of a set; nothing is changed."""
    way = SetWay(space.options)
    with space.database.read() as connection:
        files = tuple(arrivals.of_scope(connection, scope_id))
        remade = scopes.is_remade_unasked(connection, scope_id, space.settings.night.remake_nights)
        seen = way.load(connection, scopes.get(connection, scope_id), remake=remade)
    return SetData(scope=seen.scope, seen=seen, plan=way.plan(seen, space.database.now()), files=files)


def publish_page_of(space: Workspace, scope_id: int, root: Path) -> tuple[PublishedSet, ScopeRow]:
    """Write the page of a set below ``root``; what it says, and the scope with the mark that the page knows."""
    data = read_set(space, scope_id)
    pages = [page for planned, row in _with_pages(data) if (page := _page(space, planned, row)) is not None]
    main = pages[-1] if pages else SetPage(page=_none_yet(data))
    standing = _standing(space, data, analysed=bool(pages))
    main = replace(main, page=_with_failures(main.page, data, own_config(space.settings), analysed=bool(pages)))
    kind = cast(ScopeKind, data.scope.kind)
    files = gather_files.file_table([data])
    config, title = own_config(space.settings), _called(data.scope.kind, data.scope.name)
    published = publish_set(kind, data.scope.name, main, standing, root, files=files, more=pages[:-1], title=title, config=config)
    return published, data.scope


def _called(kind: str, name: str) -> str:
    return f"{KINDS[kind].title.capitalize()} {name}"


def _with_pages(data: SetData) -> list[tuple[PlannedProduct | None, ProductRow]]:
    """Products with a page, in the order of the plan: the newest one that stands of each, and those that are held meanwhile."""
    found: list[tuple[PlannedProduct | None, ProductRow]] = []
    for planned in data.plan.products:
        older = data.seen.products.get(data.seen.current.get((planned.recipe, planned.key), ""))
        row = data.seen.products.get(planned.fingerprint)
        for one in (row, older):
            if one is not None and one.state == "made":
                found.append((planned, one))
                break
    for key in sorted(data.plan.held):
        row = data.seen.products.get(data.seen.current.get(key, ""))
        if row is not None and row.state == "made":
            found.append((None, row))
    return [(planned, row) for planned, row in found if any(file.role == MODEL for file in row.files)]


def _page(space: Workspace, planned: PlannedProduct | None, row: ProductRow) -> SetPage | None:
    folder = space.settings.products.root / folder_of_files(row.files)
    try:
        space.context.check(row, parts_of(file.role for file in row.files))
        page = read_analysis(folder)
        beside = numbers_of(page)
        space.context.check(row, {file.role for file in row.files if file.role in beside and file.size <= NUMBERS_LIMIT})
    except (BadPageError, MissingCalibration, TransientError) as error:  # a damaged one counts as lost from now on, and is made again
        _LOG.warning("the page of %s %s: %s", row.recipe, row.key, error)
        return None
    notes: tuple[str, ...] = ()
    if planned is not None and planned.fingerprint != row.fingerprint:
        notes = (f"This is the earlier analysis; the new one is not made: {planned.reason or 'it is being made'}.",)
    if planned is not None and planned.kept:
        notes += (f"This analysis is {planned.kept}.",)
    if row.marked_bad:
        notes += (f"A person marked this analysis bad: {row.marked_bad}.",)
    notes += tuple(f"Grade {row.grade}: {reason}." for reason in row.grade_reasons if row.grade in ("C", "D"))
    status: AnalysisStatus = "attention" if notes and page.status == "good" else page.status
    page = replace(page, needs_person=(*notes, *page.needs_person), status=status)
    return SetPage(page=page, source=folder, label=f"{row.recipe}_{row.key}")


def _standing(space: Workspace, data: SetData, *, analysed: bool) -> Standing:
    failed = bool(data.plan.with_status("failed")) or bool(data.plan.fault)
    waits = not analysed and not failed
    nothing = data.scope.state == "closed" and not _waiting(data)
    made_at = _local(space, space.database.clock())
    return Standing(
        site=space.settings.site.name,
        made_at=f"{minute(made_at)} {space.settings.site.timezone}",
        closed=data.scope.state == "closed",
        balance=gather_files.balance([data]),
        causes=gather_files.causes([data]),
        remark="files have come since this analysis; it is made anew when no more come"
        if analysed and data.plan.held and data.plan.wake_at
        else "",
        status="empty" if waits else "",
        word=("Nothing to analyse" if nothing else "In progress") if waits else "",
        commands=(command("status", data.scope.title), command("rerun", data.scope.title)),
        happened=_happened(space, data.scope),
    )


def _happened(space: Workspace, scope: ScopeRow) -> tuple[Notice, ...]:
    with space.database.read() as connection:
        rows = messages.happenings_of(connection, [scope.id])
    return told_once(row for row in rows if row[2] != "info")


def _local(space: Workspace, moment: datetime) -> str:
    return moment.astimezone(ZoneInfo(space.settings.site.timezone)).replace(tzinfo=None).isoformat(timespec="seconds")


def _none_yet(data: SetData) -> AnalysisPage:
    """What a set's page says while it has no analysis."""
    failed = data.plan.with_status("failed")
    return AnalysisPage(
        kind=data.scope.kind,
        title=_called(data.scope.kind, data.scope.name),
        verdict=data.plan.fault or (f"The analysis could not be made: {failed[-1].reason}" if failed else _why_none(data)),
        status="bad" if failed or data.plan.fault else "attention",
        summary=Summary(recipe="set_report", inputs=(), grade="", quantities=_counts(data)),
        key_quantities=(),
        sections=(),
    )


def _counts(data: SetData) -> tuple[Quantity, ...]:
    counted = Counter(row.state for row in data.files)
    states = tuple(Quantity(name=f"files_{state}", value=counted[state], unit="count") for state in FILE_STATES)
    return (Quantity(name="files_seen", value=len(data.files), unit="count"), *states)


def _why_none(data: SetData) -> str:
    waiting = _waiting(data)
    if data.scope.state == "closed" and not waiting:
        return "None of its files is one that an analysis could be made of"
    under_way = data.plan.with_status("ready", "pending")
    if data.plan.wake_at and not under_way:
        return f"{plural(len(data.files), 'file')} came so far; the analysis begins when no more have come for a while"
    if waiting:
        return f"There is no analysis yet; {plural(len(waiting), 'file waits', 'files wait')}, the first: {waiting[0].reason}"
    return "There is no analysis yet"


def _waiting(data: SetData) -> list[PathRow]:
    return [row for row in data.files if row.state == "waiting" and not row.vanished]


def _with_failures(page: AnalysisPage, data: SetData, config: str, *, analysed: bool) -> AnalysisPage:
    """The page with what could not be made or used, each with the command that shows why."""
    plan = data.plan
    own = [p for p in plan.with_status("failed") if not p.reason.startswith("its input ")]
    needs = [*_failures([p for p in own if not is_of_one_file(p)], config), *_rejected(data.files, config)]
    if plan.fault and analysed:
        needs.append(f"A fault in Nightcrew while the set was planned: {plan.fault}; this page is what was made before.")
    status: AnalysisStatus = "attention" if needs and page.status == "good" else page.status
    return replace(page, needs_person=(*page.needs_person, *needs), status=status)


def _failures(failed: Sequence[PlannedProduct], config: str) -> Iterable[str]:
    for planned in failed[:_NEEDS]:
        name = f"{RECIPES[planned.recipe].title} {planned.key}"
        yield f"The {name} could not be made: {planned.reason} ({asking(command('why', planned.fingerprint[:12]), config)})"
    if len(failed) > _NEEDS:
        yield f"{len(failed) - _NEEDS} more products could not be made; see what came in."


def _rejected(files: Sequence[PathRow], config: str) -> Iterable[str]:
    rejected = [row for row in files if row.state == "rejected"]
    if rejected:
        first = rejected[0]
        more = f", the first {name_of(first)}" if len(rejected) > 1 else f" ({name_of(first)})"
        yield f"{plural(len(rejected), 'file was', 'files were')} rejected{more}: {first.reason} ({asking(why(name_of(first)), config)})"
