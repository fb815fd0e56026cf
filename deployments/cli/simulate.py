"""``nightcrew simulate``: frames with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.common import say

app = typer.Typer(help="Write simulated frames with their truth.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keeps the commands as commands."""


@app.command()
def night(
    out: Annotated[Path, typer.Argument(help="New folder: the frames go into OUT/raw, their truth into OUT/truth.json.")],
    preset: Annotated[str, typer.Option(help="short: 62 frames of 512 x 512 with troublemakers; bench: 160 of 2048 x 2048.")] = "short",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    date: Annotated[str | None, typer.Option(help="Local night, such as 2026-05-16.")] = None,
) -> None:
    """A whole night: bias, darks, flats and lights in three filters, with troublemakers."""
    from rich.progress import Progress

    from nightcrew.simulate.night import make_night

    with Progress(transient=True) as bar:
        task = bar.add_task("simulating", total=None)
        truth = make_night(
            out, preset, seed, night=date, progress=lambda n, of, name: bar.update(task, completed=n, total=of, description=name)
        )
    say(f"Wrote {len(truth.frames)} frames and {len(truth.troubles)} troublemakers of the night {truth.plan.night} to {out / 'raw'}.")
