"""The morning's mail over the pages of the nights and sets, as the flows and the command line ask for them.  No Prefect here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from flows.pages import link_of, local_now, of_the_service, write_page, write_set_page
from flows.post import own_up
from nightcrew import failpoints
from nightcrew.errors import Refused, TransientError
from nightcrew.ledger import messages, outdated, scopes
from nightcrew.ledger.messages import MailRow
from nightcrew.ledger.rows import ScopeRow
from nightcrew.recipes.catalogue import RECIPES
from reports import names
from reports.commands import all_asking, command, own_config
from reports.mail import Morning, MorningNight, MorningSet, compose, message_id
from reports.model import Notice
from reports.text import plural
from tasks.workspace import Workspace

_LOG = logging.getLogger("nightcrew.reporting")
_NIGHTS_NAMED = 3
_A_DAY = timedelta(days=1)


@dataclass
class _Told:
    nights: list[MorningNight] = field(default_factory=list)
    sets: list[MorningSet] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    scopes: list[int] = field(default_factory=list)
    failed: bool = False  # a page could not be written


def queue_morning(space: Workspace, morning: str = "", *, last_try: bool = False) -> MailRow:
    """Write the pages of all nights touched since the last mail, and put one mail over them into the outbox.

    A morning that has its mail gets no second one.  A page that fails is told in the mail and stops no other.

    Parameters
    ----------
    morning
        Local calendar date; "": today's.
    last_try
        A page that cannot be written for now is told in the mail, too, instead of holding the mail up.

    Raises
    ------
    Refused
        ``morning`` is no date.
    TransientError
        A page, or the mail, cannot be written for now.
    """
    wanted = morning or local_now(space).date().isoformat()
    with space.database.read() as connection:
        is_there = messages.mail_of(connection, wanted) is not None
    wanted = wanted if is_there else _day(wanted).isoformat()  # a mail that a wrong clock made has no date for a name
    own_up(space.database, wanted)
    with space.database.read() as connection:
        known = [row for row in messages.mails(connection) if row.morning == wanted]
        touched = scopes.touched_since_mail(connection)
        unsure = messages.mails(connection, "unknown")
    if known:
        return known[0]
    day = _day(wanted)
    as_of = space.database.now()
    told = _Told()
    for row in unsure:
        told.notices.append(
            Notice(level="warning", text=f"It is not known whether the mail of {row.morning} was delivered: {row.last_error}.")
        )
    told.notices += _outdated(space)
    watches_nights = any(folder.kind == "night" for folder in space.settings.folders)
    if not watches_nights:  # else the page of the last night tells it
        told.notices += of_the_service(space, _last_mail(space), without_mails=bool(unsure))
    for scope in (one for one in touched if one.kind != "night"):  # before the night's page, which names them
        _tell_of_set(space, scope, told, last_try=last_try)
    last_night = (day - timedelta(days=1)).isoformat()
    nights = [one for one in touched if one.kind == "night"]
    for name in sorted({scope.name for scope in nights} | ({last_night} if watches_nights else set())):
        _tell_of_night(space, name, [scope for scope in nights if scope.name == name], told, always=name == last_night, last_try=last_try)
    return _queue(space, day, told, as_of)


def _last_mail(space: Workspace) -> datetime | None:
    """When the last mail was put together."""
    with space.database.read() as connection:
        made = max((row.made_at for row in messages.mails(connection)), default="")
    return None if not made else datetime.fromisoformat(made).replace(tzinfo=UTC)


def _outdated(space: Workspace) -> list[Notice]:
    """What stands in old nights although it is outdated, in one line with the command that remakes it."""
    versions = {recipe.name: recipe.version for recipe in RECIPES.values()}
    with space.database.read() as connection:
        old = outdated.kept(connection, versions, space.settings.night.remake_nights)
    if not old:
        return []
    nights = sorted({scope.name for scope, _ in old})
    named = ", ".join(nights[-_NIGHTS_NAMED:]) + (f" and {len(nights) - _NIGHTS_NAMED} more" if len(nights) > _NIGHTS_NAMED else "")
    products = plural(sum(count for _, count in old), "product")
    text = f"At least {products} of {plural(len(nights), 'older night')} are outdated, newer masters or recipes came: {named}"
    return [Notice(level="notice", text=text, command=command("rerun", nights[-1]))]


def _day(morning: str) -> date:
    try:
        return date.fromisoformat(morning)
    except ValueError as error:
        raise Refused(f"{morning!r} is no date such as 2026-03-15") from error


def _tell_of_night(space: Workspace, name: str, touched: Sequence[ScopeRow], told: _Told, *, always: bool, last_try: bool) -> None:
    try:
        published = write_page(space, name)
    except Exception as error:  # the edge: one night's page must not keep the others, or the mail, from the reader
        if isinstance(error, TransientError) and not last_try:
            raise
        _LOG.exception("the page of %s could not be written", name)
        told.failed = True
        told.notices.append(
            Notice(level="problem", text=f"The page of {name} could not be written: {error}", command=command("report", name))
        )
        return
    told.scopes += [scope.id for scope in touched]
    if always or _changed_since_mail(space, touched):
        link = link_of(space, names.page_path("night", name))
        told.nights.append(MorningNight(page=published.page, verdict=published.verdict, link=link, figures=published.figures))


def _tell_of_set(space: Workspace, scope: ScopeRow, told: _Told, *, last_try: bool) -> None:
    try:
        published = write_set_page(space, scope.id)
    except Exception as error:  # the edge: one set's page must not keep the others, or the mail, from the reader
        if isinstance(error, TransientError) and not last_try:
            raise
        _LOG.exception("the page of %s could not be written", scope.title)
        told.failed = True
        text = f"The page of {scope.title} could not be written: {error}"
        told.notices.append(Notice(level="problem", text=text, command=command("report", scope.title)))
        return
    told.scopes.append(scope.id)
    if _changed_since_mail(space, [scope]):
        told.sets.append(
            MorningSet(
                title=published.title,
                status=published.status,
                word=published.word,
                sentence=published.sentence,
                numbers=published.numbers,
                needs=published.needs,
                commands=published.commands if published.needs else (),
                link=link_of(space, published.relative),
            )
        )


def _changed_since_mail(space: Workspace, touched: Sequence[ScopeRow]) -> bool:
    """Did a page change since it stood in a mail?  A mark alone (another night's master) is no news."""
    with space.database.read() as connection:
        reports = [(scope, messages.last_report(connection, scope.id)) for scope in touched]
    return any(report is not None and report.made_at > scope.mailed_at for scope, report in reports)


def _queue(space: Workspace, day: date, told: _Told, as_of: str) -> MailRow:
    mail = space.settings.mail
    failed = "no page could be written" if told.failed and not told.nights and not told.sets and not told.scopes else ""
    morning = Morning(
        date=day.isoformat(),
        site="",
        nights=tuple(reversed(told.nights)),
        sets=tuple(told.sets),
        notices=all_asking(tuple(told.notices), own_config(space.settings)),
        failed=failed,
        index_link=link_of(space, ""),
    )
    message = compose(morning, sender=mail.sender, to=mail.to, sent_at=local_now(space))
    with space.database.read() as connection:  # mails of this morning that a wrong clock made had its Message-ID
        before = sum(row.morning.startswith(f"{morning.date} ") for row in messages.mails(connection))
    own_id = message_id(morning.date, mail.sender, f"clock {before}" if before else "")
    message.replace_header("Message-ID", own_id)
    failpoints.reach("mail.unqueued")
    row = messages.queue_mail(
        space.database,
        morning=day.isoformat(),
        message_id=own_id,
        subject=str(message["Subject"]),
        message=message.as_bytes(),
    )
    failpoints.reach("mail.queued")
    with space.database.write() as connection:
        scopes.mailed(connection, told.scopes, as_of)
    return row
