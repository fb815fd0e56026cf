"""``nightcrew doctor``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, say, say_json

_MARKS = {"good": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


def doctor(
    of_products: Annotated[bool, typer.Option("--products", help="Read every product and compare it with its hash, nothing else.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Check configuration, versions, folders and their events, disk, mail, ledger, service and clock; say how to mend each."""
    from deployments.doctor import look
    from deployments.doctor_products import products
    from nightcrew.settings import Settings

    settings = Settings.load(config)
    findings = list(products(settings)) if of_products else look(settings)
    if json:
        say_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{_MARKS[finding.level]}  {finding.subject}: {finding.text}")
            if finding.mend:
                say(f"         mend: {finding.mend}")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)
