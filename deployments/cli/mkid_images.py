"""``nightcrew mkid image | cube | ...``: what photon tables show.  Every import waits until it is needed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json

if TYPE_CHECKING:
    from nightcrew.mkid.calibrated import CalibratedTable
    from nightcrew.mkid.cube import Cube
    from nightcrew.mkid.image import CubeWish

app = typer.Typer()
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


def _used(table: Path, solutions: list[Path] | None, raw: bool) -> list[Path]:
    from nightcrew.mkid.registered import registered

    return [] if raw else list(solutions or registered(table).solutions)


def _write(table: Path, wish: CubeWish, out: Path, source: tuple[list[Path] | None, bool], overwrite: bool, as_json: bool) -> None:
    from nightcrew.mkid.image import make_file, provenance_cards

    with opened(table, *source) as photons:
        cards = provenance_cards(table, _used(table, *source))
        cube = make_file(photons, wish, out, cards=cards, overwrite=overwrite)
    values = _values(cube, out)
    if as_json:
        say_json(values)
    else:
        axes = f"{values['steps']} steps, {values['bins']} bins, {values['columns']} x {values['rows']} pixels"
        say(f"{out.name}: {values['photons']} photons, {axes}")
        say(f"{values['bad_pixels']} pixels are flagged bad, {values['silent_pixels']} did not count")


def _values(cube: Cube, out: Path) -> dict[str, object]:
    steps, bins, rows, columns = cube.shape
    return {
        "file": out.name,
        "photons": int(cube.counts.sum()),
        "steps": steps,
        "bins": bins,
        "rows": rows,
        "columns": columns,
        "window_s": [float(edge) / 1e6 for edge in cube.time_edges_us[[0, -1]]],
        "dead_time_in": cube.dead_time_in,
        "bad_pixels": int(cube.bad.sum()),
        "silent_pixels": int((cube.exposure_s.sum(axis=0) <= 0).sum()),
    }


@app.command()
def image(
    table: TableArgument,
    out: OutOption,
    start: StartOption = "",
    stop: StopOption = "",
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    raw: RawOption = False,
    ignore_dead_time: KeepDeadOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """An image: rate with error, counts, variance, exposure and flags of every pixel, over a window of time and wavelength."""
    from nightcrew.mkid.image import CubeWish

    wish = CubeWish(start=start, stop=stop, min_nm=min_nm, max_nm=max_nm, dead_time=not ignore_dead_time)
    _write(table, wish, out, (solution, raw), overwrite, as_json)


@app.command()
def cube(
    table: TableArgument,
    out: OutOption,
    step: Annotated[float | None, typer.Option("--step", help="Seconds of a step of time.")] = None,
    energy_width: Annotated[float | None, typer.Option("--energy-width", help="Bins of this width in eV.")] = None,
    wavelength_width: Annotated[float | None, typer.Option("--wavelength-width", help="Bins of this width in nm.")] = None,
    by_resolution: Annotated[bool, typer.Option("--by-resolution", help="Two bins an element of the energy resolution.")] = False,
    start: StartOption = "",
    stop: StopOption = "",
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    raw: RawOption = False,
    ignore_dead_time: KeepDeadOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """A cube in time, in wavelength, or both: [time, wavelength, y, x]."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.image import CubeWish

    if step is None and energy_width is None and wavelength_width is None and not by_resolution:
        raise Refused("a cube needs --step, --energy-width, --wavelength-width or --by-resolution")
    wish = CubeWish(
        start=start,
        stop=stop,
        step_s=step,
        min_nm=min_nm,
        max_nm=max_nm,
        energy_width_ev=energy_width,
        wavelength_width_nm=wavelength_width,
        resolution_bins=by_resolution,
        dead_time=not ignore_dead_time,
    )
    _write(table, wish, out, (solution, raw), overwrite, as_json)
