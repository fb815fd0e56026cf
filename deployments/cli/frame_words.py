"""Words that the frame tools share: options, the loose reading of numbers, complaints, tables out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

from deployments.cli.common import clean

if TYPE_CHECKING:
    from nightcrew.tools.boxes import Box
    from nightcrew.tools.tables import SmallTable

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
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more, on stderr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")]
Form = Annotated[str, typer.Option("--format", help="text, csv, ecsv or json; nothing: by the ending of -o, else text.")]


class Troubles:
    """Sentences about inputs that could not be used: told on stderr when they come up, exit code 1 in the end."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, sentence: str) -> None:
        """Say what is wrong with one input."""
        self.count += 1
        complain(sentence)

    def finish(self) -> None:
        """Leave with exit code 1 when there was anything to tell."""
        if self.count:
            raise typer.Exit(1)


def complain(sentence: str) -> None:
    """One sentence on stderr."""
    sys.stderr.write(f"nightcrew: {clean(sentence)}\n")


def teller(*, verbose: bool) -> Callable[[str], None]:
    """What -v tells goes to stderr, so that tables on stdout stay tables."""
    return print_error if verbose else (lambda _: None)


def print_error(sentence: str) -> None:
    """A line on stderr that is no complaint."""
    sys.stderr.write(f"{clean(sentence)}\n")


def now() -> str:
    """This moment, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def box_of_option(text: str) -> Box | None:
    """The box that was asked for, ``None`` when none was."""
    from nightcrew.tools.boxes import parse_box

    return parse_box(text) if text.strip() else None


def emit(table: SmallTable, output: str, form: str, *, numbered: bool = False, digits: int | None = None) -> None:
    """Print or write a table; text is appended to a file that exists, other forms never touch one; without a row nothing is."""
    from nightcrew.tools.tables import form_of, render
    from nightcrew.tools.writing import write_report

    chosen = form_of(output, form)
    if not table.rows:
        return
    text = render(table, chosen, numbered=numbered, digits=digits)
    if output in ("", "stdio", "screen"):
        sys.stdout.write(text)
    elif output != "skip":
        write_report(Path(output), text, append=chosen == "text")
