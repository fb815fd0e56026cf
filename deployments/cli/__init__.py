"""The command line, ``nightcrew``.  Only the module of the command that was called is imported: a quick command stays quick."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from copy import copy
from inspect import getdoc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a commented nightcrew.toml."),
    "up": ("up", "Run the whole service until it is stopped."),
    "demo": ("demo", "Run a simulated night through the service."),
    "reduce": ("reduce", "Reduce one folder at once, without the service."),
    "status": ("status", "The balance of a night, and what waits for what."),
    "why": ("why", "Why a file or product is as it is."),
    "report": ("report", "Write the report of a night now."),
    "rerun": ("rerun", "Make products again, all or from a step on."),
    "mark": ("mark", "Mark a product bad, or take the mark back."),
    "close": ("close", "Close a night before its time."),
    "ledger": ("ledger", "Print ledger rows as table, CSV or JSON."),
    "doctor": ("doctor", "Check the installation, and say how to mend it."),
    "watchdog": ("watchdog", "Mail when the service gives no sign of life; for a timer of its own."),
    "simulate": ("simulate", "Write simulated frames with their truth."),
    "frames": ("frames", "Tools for single frames."),
    "sensor": ("sensor", "Characterise a sensor from biases, darks and flats."),
    "mkid": ("mkid", "Photon lists of MKID arrays."),
    "lab": ("lab", "Laboratory frames: convert, index, masters and detector models."),
    "campaign": ("campaign", "Irradiation campaign: dose, response, annealing, precision."),
}
"""Command -> (module in this package, one line of help); a module that holds several commands names each of them here."""

GROUPS = frozenset({"lab", "frames", "mkid", "simulate"})
"""Commands with commands of their own."""


_COLLECT_AFTER = 50_000  # new objects: a command that lives for a second need not look for garbage a hundred times


def command_of(arguments: Sequence[str]) -> str:
    """The command that is called, "" when there is none (``--help``)."""
    return next((word for word in arguments if not word.startswith("-")), "")


def build(wanted: str, *words: str) -> typer.Typer:
    """The typer application with the command ``wanted`` in full and the others by name; ``words``: all that was typed, for its groups."""
    import typer

    app = typer.Typer(
        name="nightcrew",
        help="The crew that works while the observer sleeps: watches folders for raw frames, reduces them, and reports in the morning.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name, (module, about) in COMMANDS.items():
        if name != wanted:
            app.command(name, help=about)(_absent)
        elif name in GROUPS:
            group = importlib.import_module(f"deployments.cli.{module}").app
            after = words[words.index(name) + 1 :] if name in words else ()
            app.add_typer(_with_one(group, command_of(after)), name=name, help=about)
        else:
            app.command(name)(getattr(importlib.import_module(f"deployments.cli.{module}"), name))
    return app


def _with_one(group: Any, wanted: str) -> Any:
    """The group with the command ``wanted`` in full: looking through the options of all takes longer than some commands do."""
    if not wanted:
        return group
    slim = copy(group)
    slim.registered_commands = []
    for info in group.registered_commands:
        name = info.name or info.callback.__name__.replace("_", "-")
        one = info
        if name != wanted:
            one = copy(info)
            one.name, one.help, one.cls, one.callback = name, info.help or getdoc(info.callback), None, _absent
        slim.registered_commands.append(one)
    return slim


def _options() -> None:
    """Holds no option yet; makes typer keep the commands as commands."""


def _absent() -> None:
    """Stands for a command that was not called."""


def main() -> None:
    """Entry point: one sentence on stderr and a code above 0 when something cannot be done (2: the user's mistake)."""
    from nightcrew.errors import NightcrewError, Refused

    os.umask(os.umask(0o077) | 0o022)  # whatever this shell allows: nobody but us writes into what we write
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us: work is done without words
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # pathlib would be imported for it
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    try:
        build(command_of(sys.argv[1:]), *sys.argv[1:])()
    except Refused as error:
        _complain(str(error))
        sys.exit(2)
    except NightcrewError as error:
        _complain(str(error))
        sys.exit(1)
    finally:
        gc.freeze()  # else Python looks for cycles in all that lives before it ends: a fifth of a report's time


def _complain(text: str) -> None:
    # Sentences may quote names from files; a terminal must not obey them.
    clean = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
    sys.stderr.write(f"nightcrew: {clean}\n")
