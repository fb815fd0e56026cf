"""``nightcrew frames``: tools for single frames.  GODO's letters, long names beside them; every import waits until it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.common import say
from deployments.cli.frame_words import (
    BoxOption,
    DryRun,
    Extension,
    Files,
    Form,
    LooseCommand,
    ShowCommand,
    Troubles,
    Verbose,
    box_of_option,
    complain,
    emit,
    now,
    print_error,
    teller,
)
from deployments.cli.frames_combine import combine, recipe
from deployments.cli.frames_show import show
from deployments.cli.frames_solve import solve

app = typer.Typer(
    help="Tools for single frames: rename, log, stats, arith, combine, show, solve, recipe.  Files: names, globs or comma lists of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command(cls=LooseCommand)
def rename(
    files: Files = None,
    root: Annotated[str, typer.Option("--root", "-o", help="What names begin with; nothing: YYYYMMDD. of the earliest frame.")] = "",
    sort: Annotated[str, typer.Option("--sort", "-s", help="Keywords to sort by, the first weighs most.")] = "DATE-OBS",
    tail: Annotated[str, typer.Option("--tail", "-t", help="What names end with (.gz, .fz ... are kept behind it).")] = ".fit",
    log_root: Annotated[str, typer.Option("--log", "-l", help="Journal: this name and .json (.2.json ... when it exists).")] = "FileRename",
    start: Annotated[int, typer.Option("--start", min=0, help="First number.")] = 1,
    into: Annotated[Path | None, typer.Option("--into", help="Folder for all; nothing: every file stays in its own.")] = None,
    date: Annotated[str, typer.Option("--date", help="Day in the name: ut, local or night (the local noon before).")] = "ut",
    timezone: Annotated[str, typer.Option("--timezone", help="Time zone of the site, as America/Phoenix.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take a renaming back: FILES is its journal (nothing: the newest here).")] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
) -> None:
    """Give files one sequence of names.  Never overwrites; a journal lets --undo take everything back."""
    from nightcrew.errors import Refused
    from nightcrew.tools import journal
    from nightcrew.tools.rename import NamedCards, Naming, plan_names
    from nightcrew.tools.times import zone_of

    if undo:
        _undo(files or [], log_root, dry_run=dry_run)
        return
    troubles = Troubles()
    keys = tuple(key.strip() for key in sort.split(",") if key.strip())
    naming = Naming(root=root, tail=tail, sort=keys, start=start, days=date, zone=zone_of(timezone) if timezone else None, into=into)
    frames = [NamedCards(path, cards) for path, cards in _cards_of(files, troubles)]
    if into is not None and not into.is_dir():
        raise Refused(f"there is no folder {into}")
    moves = plan_names(frames, naming)
    tell, cards = teller(verbose=verbose), {frame.path: frame.cards for frame in frames}
    for move in moves:
        tell(f"{move.old}: " + ", ".join(f"{key} {cards[move.old].get(key.upper(), 'missing')}" for key in keys))
    if dry_run:
        for move in moves:
            say(f"{move.old} -> {move.new}")
    else:
        path, outcomes = journal.run(moves, Path(log_root), now_utc=now())
        _tell(outcomes, f"{path} can take it back: nightcrew frames rename --undo {path}")
    troubles.finish()


def _undo(files: Sequence[str], log_root: str, *, dry_run: bool) -> None:
    from nightcrew.tools import journal

    paths = [Path(name) for name in files] or [journal.newest(Path(log_root).parent, Path(log_root).name)]
    for path in paths:
        _tell(journal.undo(path, now_utc=now(), dry_run=dry_run), f"{path} {'would be' if dry_run else 'was'} undone")


def _tell(outcomes: Sequence[Any], last: str) -> None:
    """What became of every move; exit code 1 when one failed."""
    for outcome in outcomes:
        say(f"{outcome.move.old} -> {outcome.move.new}  " + (f"failed: {outcome.reason}" if outcome.reason else "done"))
    say(last)
    if any(outcome.reason for outcome in outcomes):
        raise typer.Exit(1)


def _cards_of(files: Sequence[str] | None, troubles: Troubles) -> list[tuple[Path, Any]]:
    """Headers of the files, each file once; those that cannot be read are named and left out."""
    from nightcrew.errors import NightcrewError
    from nightcrew.tools.frame import read_cards
    from nightcrew.tools.inputs import expand, without_repetitions

    found = []
    paths, again = without_repetitions(expand(files or []))
    for path in again:
        complain(f"{path} was named more than once, or is another name of a file that is, and counts once")
    for path in paths:
        try:
            found.append((path, read_cards(path)))
        except NightcrewError as error:
            troubles.tell(str(error))
    return found


@app.command(cls=LooseCommand)
def log(
    files: Files = None,
    keywords: Annotated[str, typer.Option("--keywords", "-k", help="Comma list (Filename is the file); All: every keyword.")] = "All",
    output: Annotated[str, typer.Option("--output", "-o", help="File (text is appended); nothing, stdio, screen; skip.")] = "",
    form: Form = "",
    extension: Extension = "",
    verbose: Verbose = False,
) -> None:
    """Header values of many files as a table: aligned text, CSV, ECSV or JSON."""
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.log import header_table, parse_keywords

    troubles = Troubles()
    table = header_table(expand(files or []), parse_keywords(keywords), extension=extension_of(extension), complain=troubles.tell)
    teller(verbose=verbose)(f"{len(table.rows)} files, {len(table.names)} columns")
    emit(table, output, form, numbered=True)
    troubles.finish()


@app.command(cls=LooseCommand)
def stats(
    files: Files = None,
    box: BoxOption = "",
    names: Annotated[
        str,
        typer.Option("--stats", "-s", help="num, bad, sum, mean, median, mode, std, var, rms, mad, madstd, min, max, q0.25, p25."),
    ] = "num,sum,mean,median,std",
    output: Annotated[str, typer.Option("--output", "-o", help="File (text is appended); nothing, stdio, screen; skip.")] = "",
    per_plane: Annotated[bool, typer.Option("--planes", "-t", help="Each plane of a cube by itself.")] = False,
    update: Annotated[bool, typer.Option("--update", "-u", help="Write copies imst_... with the numbers in their headers.")] = False,
    good_only: Annotated[bool, typer.Option("--good", help="Leave out every pixel flagged in the MASK extension.")] = False,
    form: Form = "",
    extension: Extension = "",
    verbose: Verbose = False,
) -> None:
    """Statistics of pixels, accumulated in float64; NaN is no pixel.  rms is the root mean square, std the standard deviation."""
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.measure import Wanted, measure
    from nightcrew.tools.stats import parse_names

    wanted = Wanted(
        names=parse_names(names),
        box=box_of_option(box),
        per_plane=per_plane,
        good_only=good_only,
        extension=extension_of(extension),
        copy=update,
    )
    troubles = Troubles()
    table = measure(expand(files or []), wanted, complain=troubles.tell, tell=teller(verbose=verbose))
    emit(table, output, form, digits=10)
    troubles.finish()


@app.command(cls=LooseCommand)
def arith(
    words: Annotated[list[str], typer.Argument(metavar="IMAGES OPERATOR IMAGES|NUMBER", help="Operators: + - x (or *) / =")],
    output: Annotated[str, typer.Option("--output", "-o", help="Name, comma list of names, or one root: root.<number>.<rest>.")] = "",
    box: BoxOption = "",
    dtype: Annotated[str, typer.Option("--dtype", help="uint8, int16, uint16, int32, uint32, int64, float32, float64.")] = "",
    extension: Extension = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", "--simulate", "-s", help="Say what would be done, do nothing.")] = False,
    verbose: Verbose = False,
) -> None:
    """Image op image or number; a list against one, or pair by pair.  Integers exact, no wrap; errors and masks propagate."""
    from nightcrew.tools.arith_tool import Task, carry_out, plan, split_words
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.names import output_names

    left, operator, right = split_words(words)
    steps = plan(left, right, output_names(left, output))
    task = Task(operator=operator, box=box_of_option(box), dtype=dtype, extension=extension_of(extension))
    troubles = Troubles()
    told = say if dry_run else teller(verbose=verbose)
    written = carry_out(steps, task, say=told, complain=troubles.tell, remark=print_error, dry_run=dry_run)
    say(f"{written} of {len(steps)} images {'would be ' if dry_run else ''}written")
    troubles.finish()


app.command(cls=LooseCommand)(combine)
app.command(cls=ShowCommand)(show)
app.command(cls=LooseCommand)(solve)
app.command(cls=LooseCommand)(recipe)
