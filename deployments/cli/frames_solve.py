"""``nightcrew frames solve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.frame_words import Extension, Files, Form, Troubles, Verbose, emit, teller


def solve(
    files: Files = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the copies, another than the frames'.")] = Path("solved"),
    scale: Annotated[str, typer.Option("--scale", metavar="LOW,HIGH", help="Arcsec/pixel that are believed; nothing: the header's.")] = "",
    position: Annotated[str, typer.Option("--position", metavar="RA,DEC", help="Degrees of the middle; nothing: the header's.")] = "",
    radius: Annotated[float, typer.Option("--radius", min=0.01, max=180, help="Degrees that the pointing may be off.")] = 5.0,
    program: Annotated[str, typer.Option("--program", help="The solver: a name that is looked for, or a path.")] = "solve-field",
    index_folder: Annotated[Path | None, typer.Option("--index-folder", help="Folder of index files; nothing: the packages'.")] = None,
    time_box: Annotated[float, typer.Option("--time-box", min=1, max=3600, help="Seconds for a frame.")] = 30.0,
    again: Annotated[bool, typer.Option("--again", help="Solve frames that have valid coordinates, too.")] = False,
    form: Form = "",
    extension: Extension = "",
    verbose: Verbose = False,
) -> None:
    """Plate solutions by astrometry.net's solve-field: copies with world coordinates; the frames are never touched."""
    from nightcrew.astrometry.program import NoSolverError, find_solver
    from nightcrew.errors import Refused
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.solve import Wanted, solve_copies

    low, high = _two(scale, "--scale")
    ra_deg, dec_deg = _two(position, "--position")
    if low is not None and not 0 < low < (high or 0.0):
        raise Refused(f"--scale {scale}: the first must be above 0 and below the second")
    if dec_deg is not None and abs(dec_deg) > 90.0:
        raise Refused(f"--position {position}: a declination lies between -90 and 90 degrees")
    try:
        solver = find_solver(program, index_folder, time_box)
    except NoSolverError as error:
        raise Refused(str(error)) from error
    wanted = Wanted(
        folder=output,
        scale_low=low,
        scale_high=high,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        radius_deg=radius,
        extension=extension_of(extension),
        again=again,
    )
    troubles = Troubles()
    table = solve_copies(expand(files or []), wanted, solver, complain=troubles.tell, tell=teller(verbose=verbose))
    emit(table, "", form, digits=9)
    troubles.finish()


def _two(text: str, option: str) -> tuple[float | None, float | None]:
    """Two numbers with a comma, or nothing."""
    from math import isfinite

    from nightcrew.errors import Refused

    if not text.strip():
        return None, None
    first, comma, second = text.partition(",")
    try:
        found = float(first), float(second)
    except ValueError:
        found = (float("nan"), 0.0)
    if not (comma and isfinite(found[0]) and isfinite(found[1])):
        raise Refused(f"{option} {text}: two numbers with a comma between them are wanted")
    return found
