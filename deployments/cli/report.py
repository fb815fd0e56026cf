"""``nightcrew report``."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from deployments.cli.common import ConfigOption, JsonOption, open_ledger, say, say_json
from reports.beside import Beside

if TYPE_CHECKING:
    from nightcrew.ledger.rows import ScopeRow
    from nightcrew.settings import Settings
    from tasks.workspace import Workspace


def report(
    night: Annotated[str, typer.Argument(help="Night such as 2026-03-14, or a set such as sensor/set1; last: the newest night.")] = "last",
    morning: Annotated[str, typer.Option("--morning", help="Also send the mail of this morning (a date), unless it was sent.")] = "",
    resend: Annotated[
        bool, typer.Option("--resend", help="Send the mail of --morning again although nobody knows whether it came.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write the report of a night or set now, and with --morning send that morning's mail."""
    from nightcrew.errors import Refused

    if resend and not morning:
        raise Refused("--resend needs --morning DATE")
    from nightcrew.settings import Settings

    settings = Settings.load(config)
    found = _known(settings, night)
    of_set = next((row for row in found if row.kind != "night"), None)
    # Before the longer imports, where files came since the page was written: what draws is loaded by another processor meanwhile.
    new = of_set is None and len(os.sched_getaffinity(0)) > 1 and any(row.mark > row.reported_mark for row in found)
    with Beside() if new else nullcontext() as beside:
        from deployments.reduction import reopened

        space = reopened(settings)
        said = _written(space, found[0].name if night == "last" and found else night, of_set, beside)
    sent: list[tuple[str, str]] = []
    if morning:
        from flows.post import deliver_queued, requeue
        from flows.reporting import queue_morning

        row = queue_morning(space, morning)
        if resend:
            requeue(space.database, row.morning)
        if space.settings.mail.transport != "none":
            sent = deliver_queued(space.database, space.settings.mail)
    if json:
        verdict_of = {"status": said.status, "sentence": said.sentence}
        say_json({"page": str(said.path), "revision": said.revision, "faults": list(said.faults), "mails": sent, **verdict_of})
        return
    say(f"{said.word}: {said.sentence}")
    say(f"Report: {said.path} (revision {said.revision}{'' if said.changed else ', unchanged'})")
    for fault in said.faults:
        say(f"  the report's own check found: {fault}")
    for date, state in sent:
        say(f"Mail of {date}: {state}")
    if morning and not sent:
        say(f"Mail of {morning}: nothing to send; it was sent before, or mail.transport is none")
    if said.faults:
        raise typer.Exit(1)


class _Said(NamedTuple):
    """What a page says, of a night or of a set."""

    path: Path
    revision: int
    changed: bool
    status: str
    word: str
    sentence: str
    faults: tuple[str, ...]


def _written(space: Workspace, night: str, of_set: ScopeRow | None, beside: Beside | None) -> _Said:
    from flows.pages import write_page, write_set_page

    if of_set is not None:
        done = write_set_page(space, of_set.id)
        return _Said(done.path, done.revision, done.changed, done.status, done.word, done.sentence, done.faults)
    page = write_page(space, night.partition("/")[0], beside=beside)
    verdict = page.verdict
    return _Said(page.path, page.revision, page.changed, verdict.status, verdict.word, verdict.sentence, page.faults)


def _known(settings: Settings, what: str) -> list[ScopeRow]:
    """What ``what`` names: nights of all instruments, or a set; a night that nobody knows has an empty page."""
    from deployments.cli.common import scopes_named
    from nightcrew.errors import Refused

    database = open_ledger(settings)
    try:
        with database.read() as connection:
            return scopes_named(connection, what)
    except Refused:
        if what == "last":
            raise
        return []
    finally:
        database.close()
