"""What the commands on photon tables share: options, opening a table with its calibrations, numbers in a text."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nightcrew.mkid.calibrated import CalibratedTable

TableArgument = Annotated[Path, typer.Argument(help="Photon table.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="File to write: .fits, or .h5 for HDF5.")]
SolutionOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--solution", "-s", help="Calibration to read the table with, once for each; else those registered by `nightcrew mkid apply`."
    ),
]
RawOption = Annotated[bool, typer.Option("--raw", help="Read the table without any calibration.")]
StartOption = Annotated[str, typer.Option("--start", help="Seconds since the start of the table, Unix seconds, or ISO 8601 in UTC.")]
StopOption = Annotated[str, typer.Option("--stop", help="Where the window ends; not included.")]
MinOption = Annotated[float | None, typer.Option("--min-nm", help="Shortest wavelength.")]
MaxOption = Annotated[float | None, typer.Option("--max-nm", help="Longest wavelength; not included.")]
KeepDeadOption = Annotated[bool, typer.Option("--ignore-dead-time", help="Leave dead time in the exposure.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an older file.")]


def opened(table: Path, solutions: list[Path] | None, raw: bool) -> AbstractContextManager[CalibratedTable]:
    """The table with its calibrations."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.calibrated import open_calibrated

    if raw and solutions:
        raise Refused("--raw is without calibrations: leave out --solution")
    return open_calibrated(table, [] if raw else (solutions or None))


def used_calibrations(table: Path, solutions: list[Path] | None, raw: bool) -> list[Path]:
    """Files of the calibrations that :func:`opened` reads the table with."""
    from nightcrew.mkid.registered import registered

    return [] if raw else list(solutions or registered(table).solutions)


def numbers_of(text: str, count: int, option: str) -> tuple[float, ...]:
    """Numbers with commas between; none of an empty text, ``Refused`` for another count."""
    from nightcrew.errors import Refused

    if not text:
        return ()
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(abs(value) < 1e9 for value in values):
        raise Refused(f"{option} {text!r}: give {count} numbers with commas between")
    return values
