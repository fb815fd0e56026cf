"""``nightcrew frames``: tools for single frames.  GODO's letters, long names beside them; every import waits until it is needed."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

from deployments.cli.common import clean, say

if TYPE_CHECKING:
    from nightcrew.tools.boxes import Box
    from nightcrew.tools.tables import SmallTable

app = typer.Typer(
    help="Tools for single frames: rename, log, stats, arith, combine, show, recipe.  Files are names, globs or comma lists of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class LooseCommand(TyperCommand):
    """Takes ``-b 1 3 0 2`` (several numbers after one letter) and negative numbers as plain words, as GODO's programs did."""

    numbers: ClassVar[Mapping[str, int]] = {"-b": 4, "--box": 4, "-B": 6}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gather the numbers of an option into one word, and keep ``-4`` from being taken for an option."""
        return super().parse_args(ctx, gathered(args, self.numbers))


class ShowCommand(LooseCommand):
    """As :class:`LooseCommand`, with ``-m LOW HIGH``."""

    numbers: ClassVar[Mapping[str, int]] = {**LooseCommand.numbers, "-m": 2, "--limits": 2}


def gathered(words: Sequence[str], numbers: Mapping[str, int]) -> list[str]:
    """``words`` with the numbers that belong to an option of ``numbers`` joined into one word, negative numbers marked by a blank."""
    out: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        count = numbers.get(word, 0)
        following = words[index + 1 : index + 1 + count]
        if count and len(following) == count and all(_NUMBER.fullmatch(number) for number in following):
            out += [word, " " + " ".join(following)]
            index += 1 + count
            continue
        out.append(" " + word if word.startswith("-") and _NUMBER.fullmatch(word) else word)
        index += 1
    return out


Files = Annotated[list[str] | None, typer.Argument(metavar="FILES", help="Names, globs, comma lists; nothing: every FITS file here.")]
BoxOption = Annotated[
    str,
    typer.Option(
        "--box",
        "-b",
        "-B",
        metavar="X0 X1 Y0 Y1 [Z0 Z1]",
        help="Box, from 0, upper bound not included; or '[x0:x1,y0:y1]' as in FITS, from 1.",
    ),
]
Extension = Annotated[str, typer.Option("--extension", "-x", help="Number or name of the extension; nothing: the first image.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
Form = Annotated[str, typer.Option("--format", help="text, csv, ecsv or json; nothing: by the ending of -o, else text.")]


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
    if dry_run:
        for move in moves:
            say(f"{move.old} -> {move.new}")
    else:
        path, outcomes = journal.run(moves, Path(log_root), now_utc=_now())
        _tell(outcomes, f"{path} can take it back: nightcrew frames rename --undo {path}")
    troubles.finish()


def _undo(files: Sequence[str], log_root: str, *, dry_run: bool) -> None:
    from nightcrew.tools import journal

    paths = [Path(name) for name in files] or [journal.newest(Path(log_root).parent, Path(log_root).name)]
    for path in paths:
        _tell(journal.undo(path, now_utc=_now(), dry_run=dry_run), f"{path} {'would be' if dry_run else 'was'} undone")


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
    for path in without_repetitions(expand(files or []))[0]:
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
) -> None:
    """Header values of many files as a table: aligned text, CSV, ECSV or JSON."""
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.log import header_table, parse_keywords

    troubles = Troubles()
    table = header_table(expand(files or []), parse_keywords(keywords), extension=extension_of(extension), complain=troubles.tell)
    _emit(table, output, form, numbered=True)
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
) -> None:
    """Statistics of pixels, accumulated in float64; NaN is no pixel.  rms is the root mean square, std the standard deviation."""
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.measure import Wanted, measure
    from nightcrew.tools.stats import parse_names

    wanted = Wanted(
        names=parse_names(names),
        box=_box(box),
        per_plane=per_plane,
        good_only=good_only,
        extension=extension_of(extension),
        copy=update,
    )
    troubles = Troubles()
    _emit(measure(expand(files or []), wanted, complain=troubles.tell), output, form, digits=10)
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
    task = Task(operator=operator, box=_box(box), dtype=dtype, extension=extension_of(extension))
    troubles = Troubles()
    quiet = not (dry_run or verbose)
    written = carry_out(steps, task, say=(lambda _: None) if quiet else say, complain=troubles.tell, dry_run=dry_run)
    say(f"{written} of {len(steps)} images {'would be ' if dry_run else ''}written")
    troubles.finish()


@app.command(cls=ShowCommand)
def show(
    files: Files = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Name ending .png, .svg, .pdf or .gif; screen (this terminal), skip, filename (FILE.png).")
    ] = "screen",
    scale: Annotated[str, typer.Option("--scale", "-l", help="zscale (IRAF's), minmax, sigma (mean +- -r standard deviations).")] = "",
    sigmas: Annotated[float | None, typer.Option("--sigmas", "-r", help="Standard deviations about the mean, for -l sigma.")] = None,
    fixed: Annotated[str, typer.Option("--limits", "-m", metavar="LOW HIGH", help="Fixed limits.")] = "",
    box: BoxOption = "",
    cmap: Annotated[str, typer.Option("--cmap", "-c", help="inv (dark on white), non, or any colour map of matplotlib.")] = "inv",
    marginals: Annotated[str, typer.Option("--marginals", "-s", help="+ or y: with means of columns and rows; - or n: without.")] = "+",
    rgb: Annotated[str, typer.Option("--rgb", "-R", help="+ or y: three images, or a cube of three planes, as one colour picture.")] = "n",
    title: Annotated[str, typer.Option("--title", "-t", help="filename, object (OBJECT), sliced (OR3DFILE), or a text.")] = "filename",
    yscale: Annotated[float, typer.Option("--yscale", "-y", help="Stretch y by this.")] = 1.0,
    zstep: Annotated[int, typer.Option("--zstep", "-z", help="Every so-manieth plane of a cube.")] = 1,
    delay: Annotated[int | None, typer.Option("--animation", "-a", help="Cube as a GIF: ms a picture, negative: repeats.")] = None,
    extension: Extension = "",
) -> None:
    """Pictures of frames, with the numbers behind them beside them; a cube as a film strip or an animation."""
    from nightcrew.errors import Refused
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.show import Look, picture_names, pictures

    pair = _pair(fixed)
    look = Look(
        cmap=cmap,
        scale=scale or ("limits" if pair else "sigma" if sigmas is not None else "zscale"),
        sigmas=1.0 if sigmas is None else sigmas,
        fixed=pair,
        marginals=_yes(marginals, "-s"),
        rgb=_yes(rgb, "-R"),
        title=title,
        yscale=yscale,
        zstep=zstep,
        delay_ms=-200 if delay is None else delay,
        box=_box(box),
    )
    paths = expand(files or [])
    to_files = output not in ("screen", "terminal", "skip", "")
    if delay is not None and not output.lower().endswith(".gif"):
        raise Refused("an animation is written as a GIF: -o NAME.gif")
    if to_files:
        picture_names(paths, output)  # refuses impossible names before anything is read
    made = pictures(paths, look, extension_of(extension))
    if to_files:
        _save_pictures(made, look, output)
    else:
        _print_pictures(made, look, quiet=output == "skip")


def _save_pictures(made: Sequence[tuple[Path, Any]], look: Any, output: str) -> None:
    """Each picture and, under its name with .json, its numbers; nothing is written unless all names are free."""
    from nightcrew.tools.picture import draw
    from nightcrew.tools.show import numbers_of, picture_names
    from nightcrew.tools.writing import check_output, write_bytes, write_report

    names = picture_names([path for path, _ in made], output)
    numbers = [name.with_name(name.name + ".json") for name in names]
    for name in names + numbers:
        check_output(name)
    drawn = [draw(picture, look, name.suffix.lower().removeprefix(".")) for name, (_, picture) in zip(names, made, strict=True)]
    for name, beside, (_, picture), data in zip(names, numbers, made, drawn, strict=True):
        write_report(beside, numbers_of(picture, look))
        write_bytes(name, data)
        say(f"{name} and {beside.name}")


def _print_pictures(made: Sequence[tuple[Path, Any]], look: Any, *, quiet: bool) -> None:
    import shutil

    from nightcrew.tools.show import numbers_of
    from nightcrew.tools.terminal import terminal_text

    colour = sys.stdout.isatty()
    columns = min(shutil.get_terminal_size().columns, 120)
    for _, picture in made:
        sys.stdout.write(numbers_of(picture, look) if quiet else terminal_text(picture, look, columns=columns, colour=colour))


def _pair(text: str) -> tuple[float, float] | None:
    from nightcrew.errors import Refused

    try:
        low, high = (float(word) for word in text.replace(",", " ").split() or ("nan", "nan"))
    except ValueError as error:
        raise Refused("fixed limits are two numbers: -m LOW HIGH") from error
    return (low, high) if text.strip() else None


def _yes(word: str, option: str) -> bool:
    from nightcrew.errors import Refused

    answer = word.strip().lower()
    if answer not in ("+", "y", "yes", "-", "n", "no"):
        raise Refused(f"{option} takes + or y, - or n, not '{word}'")
    return answer in ("+", "y", "yes")


@app.command(cls=LooseCommand)
def recipe(
    files: Files = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for everything that is made.")] = Path("reduced"),
    box: BoxOption = "",
    normalisation: Annotated[str, typer.Option("--norm", "-n", help="Flats are brought to one mean, median, sum, mode or sky.")] = "mean",
    drop: Annotated[int, typer.Option("--drop", "-d", min=0, help="Highest values left out of the flats at each pixel.")] = 1,
    odd: Annotated[float, typer.Option("--odd", help="Bias and dark frames further than this many robust sigmas are left out.")] = 5.0,
    temperature_gap: Annotated[float, typer.Option("--temperature-gap", help="Temperatures further apart [C] are another set-up.")] = 1.5,
    profile: Annotated[str, typer.Option("--profile", help="Instrument profile; nothing: by the headers.")] = "",
) -> None:
    """The GODO reduction as one flow: bias, darks, dark line, scaled darks, flats, lights, a mean per target and filter."""
    from nightcrew.tools.inputs import expand, without_repetitions
    from nightcrew.tools.recipe_night import reduce_night
    from nightcrew.tools.recipe_run import Options

    options = Options(box=_box(box), flat_normalisation=normalisation, flat_drop_highest=drop, odd_limit=odd)
    paths, _ = without_repetitions(expand(files or []))
    result = reduce_night(paths, output, options, say=say, profile=profile, temperature_gap_c=temperature_gap)
    for outcome in result.outcomes:
        if outcome.line is not None:
            _say_line(outcome.line)
        for exposure_s, factor in sorted(outcome.factors.items()):
            say(f"  dark of {exposure_s:g} s = {factor:.5f} x the longest mean dark")
    say(f"{result.written} images and summary.json in {output}")


def _say_line(line: Any) -> None:
    say(f"dark counts = offset + slope x exposure, {line.n_points} exposures:")
    for name, value, errors, unit in (
        ("offset", line.offset_adu, line.offset_errors, "ADU"),
        ("slope", line.slope_adu_per_s, line.slope_errors, "ADU/s"),
    ):
        scatter = "unknown" if errors.scatter is None else f"{errors.scatter:.3g}"
        noise = "" if errors.noise is None else f", from pixel noise {errors.noise:.2g}"
        say(f"  {name} {value:.6g} {unit}, error by the residuals {scatter}{noise}; by 1 count a point {errors.unit:.4g}")


class Troubles:
    """Sentences about inputs that could not be used: told on stderr when they come up, exit code 1 in the end."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, sentence: str) -> None:
        """Say what is wrong with one input."""
        self.count += 1
        _complain(sentence)

    def finish(self) -> None:
        """Leave with exit code 1 when there was anything to tell."""
        if self.count:
            raise typer.Exit(1)


def _complain(sentence: str) -> None:
    sys.stderr.write(f"nightcrew: {clean(sentence)}\n")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _box(text: str) -> Box | None:
    from nightcrew.tools.boxes import parse_box

    return parse_box(text) if text.strip() else None


def _emit(table: SmallTable, output: str, form: str, *, numbered: bool = False, digits: int | None = None) -> None:
    """Print or write a table; text is appended to a file that exists, other forms never touch one."""
    from nightcrew.tools.tables import form_of, render
    from nightcrew.tools.writing import write_report

    chosen = form_of(output, form)
    text = render(table, chosen, numbered=numbered, digits=digits)
    if output in ("", "stdio", "screen"):
        sys.stdout.write(text)
    elif output != "skip":
        write_report(Path(output), text, append=chosen == "text")
