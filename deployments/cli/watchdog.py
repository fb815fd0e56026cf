"""``nightcrew watchdog``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, say, say_json


def watchdog(
    after_min: Annotated[float, typer.Option("--after", min=1.0, help="Minutes without a sign of life that count as silence.")] = 60.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Mail when the service gives no sign of life; called by a timer of its own, never by the service."""
    from datetime import UTC, datetime, timedelta

    from deployments.watchdog import watch
    from nightcrew.settings import Settings

    found = watch(Settings.load(config), datetime.now(UTC), timedelta(minutes=after_min))
    if json:
        say_json(dataclasses.asdict(found))
    elif not found.silence:
        say(f"The service lives: its last sign was at {found.since} UTC.")
    else:
        told = f"; the mail: {found.delivery}" if found.delivery else "; told already today"
        say(f"The service did not run: {found.silence}{told}")
    if found.silence:
        raise typer.Exit(1)
