"""``nightcrew reduce``."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.cli.common import ConfigOption, JsonOption, say, say_json

if TYPE_CHECKING:
    from deployments.reduction import Reduction
    from tasks.workspace import Workspace

_LOG = logging.getLogger(__name__)
_MOST_FAILURES = 10


def reduce(
    data: Annotated[Path, typer.Argument(help="Folder with the frames.")],
    out: Annotated[Path, typer.Option("--out", "-O", help="Folder for products, report and run log.")],
    calibration: Annotated[Path | None, typer.Option("--calibration", "-C", help="A further folder with bias, darks and flats.")] = None,
    radius: Annotated[float | None, typer.Option("--radius", "-R", min=0.5, help="Aperture radius, pixels; without it 1.5 x FWHM.")] = None,
    length: Annotated[int | None, typer.Option("--length", "-L", min=4, help="Half side of a star's subframe, pixels.")] = None,
    smoothing: Annotated[
        float | None, typer.Option("--smoothing", "-S", min=0, help="Gaussian smoothing for detection and profile, sigma in pixels.")
    ] = None,
    sky: Annotated[Literal["whole", "subframe", "annulus"] | None, typer.Option("--sky", help="How the sky under a star is found.")] = None,
    exclude_filter: Annotated[list[str] | None, typer.Option("--exclude-filter", "-x", help="Filter to leave out; repeatable.")] = None,
    no_flat: Annotated[bool, typer.Option("--no-flat", help="Reduce without flats (grade D).")] = False,
    no_dark: Annotated[bool, typer.Option("--no-dark", help="Reduce without darks (grade D).")] = False,
    no_cosmic_rays: Annotated[bool, typer.Option("--no-cosmic-rays", help="Do not look for cosmic rays.")] = False,
    unregistered: Annotated[bool, typer.Option("--unregistered", help="Stack without aligning the lights.")] = False,
    stack: Annotated[Literal["mean", "median"] | None, typer.Option("--stack", help="How lights become a stack.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Go on where the rules stop: combine sets below the minimum, skip what blocks.")
    ] = False,
    save: Annotated[str, typer.Option("--save", help="Title in the names of figures.")] = "",
    level: Annotated[Literal["DEBUG", "INFO"], typer.Option("--level", help="How much to write into OUT/.nightcrew/reduce.log.")] = "INFO",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Reduce one folder at once: masters, reduced lights, catalogues, stacks and a report, without the service.

    Run again on the same folders it makes only what is missing or stale.  Exits with 1 when a product could not be made.
    """
    from deployments.reduction import Wishes, open_reduction, remember, settings_for
    from nightcrew.settings import Settings

    wishes = Wishes(
        radius_px=radius,
        subframe_px=length,
        smoothing_px=smoothing,
        sky=sky,
        exclude_filters=tuple(exclude_filter or ()),
        use_flat=not no_flat,
        use_dark=not no_dark,
        cosmic_rays=False if no_cosmic_rays else None,
        register=False if unregistered else None,
        stack_method=stack,
        force=force,
        save=save,
    )
    settings = settings_for(Settings.load(config), data, calibration, out)
    space = open_reduction(settings, wishes)
    _log_to(settings.state.root / "reduce.log", level)
    done = _with_progress(space)
    known = remember(settings, wishes)
    pages = _finish(space, done, out, save)
    _tell(space, done, pages, out, as_json=json)
    if known is not None and not json:
        say(f"Why a file is as it is: nightcrew why FILE --config {shlex.quote(str(out / known.relative_to(out.absolute())))}")
    if done.failures or done.busy:
        raise typer.Exit(1)


def _log_to(file: Path, level: str) -> None:
    """Everything that is logged goes into a file, traces included; the terminal gets sentences."""
    from deployments.children import OneLine

    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("nightcrew", "tasks", "reports", "flows", "deployments"):
        logging.getLogger(name).setLevel(level)


def _with_progress(space: Workspace) -> Reduction:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from deployments.reduction import reduce_folders

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        return reduce_folders(space, lambda what, count, of: bar.update(task, description=what, completed=count, total=of or None))


def _finish(space: Workspace, done: Reduction, out: Path, save: str) -> list[str]:
    """Write the report pages and the run log; the pages' paths below the report folder."""
    from deployments.run_log import decisions, run_log
    from flows.pages import write_pages
    from nightcrew.io.atomic import write_text

    pages = write_pages(space, [scope.name for scope in done.scopes])
    with space.database.read() as connection:
        text = run_log(connection, done.scopes)
    write_text(out.absolute() / "run.log", text, overwrite=True)
    for line in (line for run in done.runs if run.plan is not None for line in decisions(run.plan)):
        _LOG.debug("%s", line)
    return pages


def _tell(space: Workspace, done: Reduction, pages: list[str], out: Path, *, as_json: bool) -> None:
    from nightcrew.ledger import arrivals

    with space.database.read() as connection:
        counted = arrivals.balance(connection)
    balance: dict[str, int] = {}
    for (_, state), count in sorted(counted.items()):
        balance[state] = balance.get(state, 0) + count
    reports = [str(out / "report" / page) for page in pages]
    if as_json:
        failures = [{"recipe": o.recipe, "key": o.key, "reason": o.reason} for o in done.failures]
        answer = {"files": done.files, "vanished": done.vanished, "made": done.made, "busy": done.busy, "balance": balance}
        say_json({**answer, "failures": failures, "reports": reports, "out": str(out)})
        return
    say(f"{done.files} files: " + ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in balance.items()) + ".")
    if done.vanished:
        say(f"{done.vanished} of the files that were there before are gone; what was made of them is kept.")
    nothing = "." if done.busy else ", everything was there already."
    say(f"{done.made} products made" + (nothing if not done.made else f", in {out}."))
    for title in done.busy:
        say(f"  not finished: another process works on {title} in {out}; ask again when it has ended")
    for outcome in done.failures[:_MOST_FAILURES]:
        say(f"  failed: {outcome.recipe.replace('_', ' ')} {outcome.key}: {outcome.reason}")
    if len(done.failures) > _MOST_FAILURES:
        say(f"  ... and {len(done.failures) - _MOST_FAILURES} more; the report names all")
    for page in reports:
        say(f"Report: {page}")
    say(f"What made what: {out / 'run.log'}")
