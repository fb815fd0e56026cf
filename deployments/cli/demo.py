"""``nightcrew demo``, what ``make night`` runs."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import say, say_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from deployments.demo import Result, Stage

_STATES = ("done", "degraded", "waiting", "rejected", "set_aside")


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="New folder for everything, or that of an earlier demonstration.")] = Path(
        "night"
    ),
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 1,
) -> None:
    """Run a short simulated night through the whole service: server, flows, watcher, report and mail; exit 0 when all came out right."""
    from rich.console import Console
    from rich.live import Live

    from deployments.demo import prepare, run

    # SIGTERM ends us like Ctrl-C, so that the service is stopped, too
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    began = time.monotonic()
    say(f"Simulating a short night into {folder} ...")
    settings, truth = prepare(folder, seed)
    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
        result = run(settings, truth, lambda stage: live.update(_picture(stage, time.monotonic() - began)))
    _tell(result, time.monotonic() - began)
    if not result.passed:
        raise typer.Exit(1)


def _picture(stage: Stage, seconds: float) -> RenderableType:
    from rich.table import Table

    table = Table(title=f"{stage.heading}   {seconds:.0f} s", box=None, title_justify="left")
    table.add_column("files")
    table.add_column(justify="right")
    table.add_column("   products")
    table.add_column(justify="right")
    left = [("dropped", f"{stage.dropped} of {stage.to_drop}"), *((state.replace("_", " "), str(stage.files[state])) for state in _STATES)]
    right = [(recipe.replace("_", " "), str(count)) for recipe, count in sorted(stage.products.items())]
    for place in range(max(len(left), len(right))):
        a = left[place] if place < len(left) else ("", "")
        b = right[place] if place < len(right) else ("", "")
        table.add_row(a[0], a[1], "   " + b[0], b[1])
    return table


def _tell(result: Result, seconds: float) -> None:
    rows = [[_number(i.recovered), _number(i.truth), i.unit, "ok" if i.passed else "WRONG", i.name] for i in result.comparison.items]
    say_table(("recovered", "truth", "unit", "", "compared"), rows)
    for item in result.comparison.failed:
        say(f"WRONG: {item.name}: {item.note or _number(item.recovered)}; the rule: {item.rule}")
    for fault in result.faults:
        say(f"WRONG: {fault}")
    say()
    say(f"Report: {result.page}")
    say(f"Mail:   {result.mail}")
    say(f"        {result.subject}")
    say(f"{'Everything came out as planted' if result.passed else 'Not everything came out as planted'}, in {seconds:.0f} s.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
