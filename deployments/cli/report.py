"""``nightcrew report``."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, open_space, say, say_json


def report(
    night: Annotated[str, typer.Argument(help="Night such as 2026-03-14; last: the newest.")] = "last",
    morning: Annotated[str, typer.Option("--morning", help="Also send the mail of this morning (a date), unless it was sent.")] = "",
    resend: Annotated[
        bool, typer.Option("--resend", help="Send the mail of --morning again although nobody knows whether it came.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write the report of a night now, and with --morning send that morning's mail."""
    from deployments.cli.common import scopes_named
    from flows.post import deliver_queued, requeue
    from flows.reporting import queue_morning, write_page
    from nightcrew.errors import Refused

    if resend and not morning:
        raise Refused("--resend needs --morning DATE")
    space = open_space(config)
    if night == "last":
        with space.database.read() as connection:
            night = scopes_named(connection, night)[0].name
    published = write_page(space, night.partition("/")[0])
    sent: list[tuple[str, str]] = []
    if morning:
        row = queue_morning(space, morning)
        if resend:
            requeue(space.database, row.morning)
        if space.settings.mail.transport != "none":
            sent = deliver_queued(space.database, space.settings.mail)
    if json:
        verdict = {"status": published.verdict.status, "sentence": published.verdict.sentence}
        say_json({"page": str(published.path), "revision": published.revision, "faults": list(published.faults), "mails": sent, **verdict})
        return
    say(f"{published.verdict.word}: {published.verdict.sentence}")
    say(f"Report: {published.path} (revision {published.revision}{'' if published.changed else ', unchanged'})")
    for fault in published.faults:
        say(f"  the report's own check found: {fault}")
    for date, state in sent:
        say(f"Mail of {date}: {state}")
    if morning and not sent:
        say(f"Mail of {morning}: nothing to send; it was sent before, or mail.transport is none")
    if published.faults:
        raise typer.Exit(1)
