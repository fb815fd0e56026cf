"""``nightcrew up``: the whole service in one command."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import typer

from deployments.cli.common import ConfigOption, say

if TYPE_CHECKING:
    from collections.abc import Mapping


def up(config: ConfigOption = None) -> None:
    """Run the whole service until it is stopped (Ctrl-C or SIGTERM): server, flows, watcher, dispatcher, report pages."""
    from deployments.children import log_to_stderr, stop_on_signals
    from deployments.supervise import OnlyOne, Supervisor, is_healthy, open_doors, plan_children
    from nightcrew.settings import Settings

    settings = Settings.load(config)
    log_to_stderr()
    stop = stop_on_signals()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # our memory holds passwords
    only_one = OnlyOne(settings.state.root)
    children, endpoints = plan_children(settings)
    environment = next(iter(children.values())).environment
    code = _in_a_process(environment, "prepare")
    if code:
        raise typer.Exit(code)  # it said why
    endpoints.write(settings.state.root)
    say(f"Prefect's pages: {endpoints.ui_url}   reports: {endpoints.pages_url}   logs: {settings.state.root / 'logs'}")

    for sentence in open_doors(settings):
        say(sentence)

    def tell(level: str, text: str) -> None:
        logging.getLogger("nightcrew.up").warning("%s", text)
        _in_a_process(environment, "tell", level, text)

    Supervisor(children, lambda name: is_healthy(endpoints, name), tell).run(stop)
    _in_a_process(environment, "stopped")
    only_one.close()
    say("Stopped.")


def _in_a_process(environment: Mapping[str, str], *words: str) -> int:
    """Work on the ledger in a process that ends: the supervisor runs for months and stays small."""
    return subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-P", "-m", "deployments.errands", *words], env=dict(environment), check=False, stdin=subprocess.DEVNULL
    ).returncode
