"""``nightcrew mkid wavecal``, ``flatcal``, ``masks`` and ``apply``: calibrations of photon lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json

if TYPE_CHECKING:
    from nightcrew.mkid.wavecal import LaserInput

app = typer.Typer()
ThreadsOption = Annotated[int, typer.Option("--ncpu", help="Threads; the result is the same for any number.")]
PlotsOption = Annotated[str, typer.Option("--plots", help="Plots to draw besides the summary, by name with commas, or all.")]


@app.command()
def wavecal(
    out: Annotated[Path, typer.Option("--out", "-o", help="Solution to write, an .h5 file.")],
    tables: Annotated[list[Path] | None, typer.Argument(help="Photon tables of lasers, and darks if there are any.")] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="List instead: table,wavelength_nm,start,stop,dark with a heading.")
    ] = None,
    frequencies: Annotated[Path | None, typer.Option("--frequencies", help="Lines `resID frequency`, for the plot rvsf.")] = None,
    masks: Annotated[Path | None, typer.Option("--masks", help="Pixel masks: what they call bad is not fitted.")] = None,
    models: Annotated[str, typer.Option("--models", help="Models of a histogram with commas; without it all three.")] = "",
    dead_us: Annotated[int, typer.Option("--dt", help="Photons that follow another within so many us are left out.")] = 500,
    plots: PlotsOption = "",
    plot_dir: Annotated[Path | None, typer.Option("--plot-dir", help="Folder for plots; without it beside the solution.")] = None,
    pixel: Annotated[list[str] | None, typer.Option("--pixel", help="X,Y for plots of single pixels; else a typical one.")] = None,
    ncpu: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Phase to energy for every pixel, from laser exposures."""
    from dataclasses import asdict

    from nightcrew.mkid.mask_solution import read_pixel_masks
    from nightcrew.mkid.solution_file import places_of
    from nightcrew.mkid.wavecal import WavecalOptions, calibrate
    from nightcrew.mkid.wavecal_inputs import read_frequencies
    from reports.mkid_solutions import wavelength_quantities
    from reports.mkid_wavecal import summary_lines

    chosen = tuple(models.split(",")) if models else WavecalOptions().models
    options = WavecalOptions(dead_us=dead_us, threads=ncpu, models=chosen)
    lasers = _lasers(tables or [], inputs)
    known = read_frequencies(frequencies) if frequencies else {}
    masked = None
    if masks is not None:
        from nightcrew.mkid.photon_table import PhotonTable

        read = read_pixel_masks(masks)
        with PhotonTable(lasers[0].table) as table:
            place = places_of(table.resid, read.resid)
        masked = read.flag().ravel()[place] * (place >= 0)
    made = calibrate(lasers, options, masked=masked)
    made.write(out)
    drawn = _draw_wavecal(made.solution, made.data, known, plots, pixel or [], plot_dir or out.with_name(out.stem + "_plots"))
    if as_json:
        quantities = [asdict(one) for one in wavelength_quantities(made.solution)]
        say_json({"solution": out.name, "quantities": quantities, "plots": [path.name for path in drawn]})
        return
    for line in summary_lines(made.solution):
        say(line)
    for path in drawn:
        say(f"wrote {path}")


def _lasers(tables: list[Path], inputs: Path | None) -> list[LaserInput]:
    from nightcrew.errors import Refused
    from nightcrew.mkid.wavecal_inputs import inputs_of_tables, read_inputs

    if bool(tables) == (inputs is not None):
        raise Refused("name photon tables, or a list with --inputs, one of both")
    return read_inputs(inputs) if inputs is not None else inputs_of_tables(tables)


def _draw_wavecal(solution: object, data: object, known: dict[int, float], plots: str, pixel: list[str], folder: Path) -> list[Path]:
    from nightcrew.mkid.line_data import LineData
    from nightcrew.mkid.wavelength_solution import WavelengthSolution
    from reports import mkid_wavecal as figures
    from reports.mkid_figures import write_plots

    if not isinstance(solution, WavelengthSolution) or not isinstance(data, LineData):
        raise TypeError("no solution to draw")
    if not solution.solved.any():
        say("There is nothing to draw: no pixel has a solution.")
        return []
    names = [name for name in plots.split(",") if name]
    names = list(figures.NAMES) if names == ["all"] else names
    if "rvsf" in names and not known:
        names.remove("rvsf")
        say(figures.NO_FREQUENCIES)
    pixels = [_pixel(text) for text in pixel] or [figures.typical_pixel(solution)]
    return write_plots(figures.draw([*names, "summary"], solution, data, known, pixels), folder)


def _pixel(text: str) -> tuple[int, int]:
    """(y, x) of ``X,Y``."""
    from nightcrew.errors import Refused

    x, comma, y = text.partition(",")
    if not (comma and x.strip().isdecimal() and y.strip().isdecimal()):
        raise Refused(f"{text!r} is no pixel: give X,Y, as 12,34")
    return int(y), int(x)
