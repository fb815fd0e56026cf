"""``nightcrew mkid wavecal``, ``flatcal``, ``masks`` and ``apply``: calibrations of photon lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json

if TYPE_CHECKING:
    from nightcrew.mkid.flat_config import FlatConfig
    from nightcrew.mkid.flat_cubes import FlatInput
    from nightcrew.mkid.flat_solution import FlatSolution
    from nightcrew.mkid.wavecal import LaserInput
    from nightcrew.mkid.wavelength_solution import WavelengthSolution

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
    plot_names: PlotsOption = "",
    plot_dir: Annotated[Path | None, typer.Option("--plot-dir", help="Folder for plots; without it beside the solution.")] = None,
    pixel: Annotated[list[str] | None, typer.Option("--pixel", help="X,Y for plots of single pixels; else a typical one.")] = None,
    ncpu: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Phase to energy for every pixel, from laser exposures."""

    from nightcrew.mkid.mask_solution import read_pixel_masks
    from nightcrew.mkid.solution_file import places_of
    from nightcrew.mkid.solution_match import check_arrays
    from nightcrew.mkid.wavecal import WavecalOptions, calibrate
    from nightcrew.mkid.wavecal_inputs import read_frequencies
    from reports.mkid_solutions import wavelength_quantities
    from reports.mkid_wavecal import summary_lines
    from reports.summary import as_row

    chosen = tuple(models.split(",")) if models else WavecalOptions().models
    options = WavecalOptions(dead_us=dead_us, threads=ncpu, models=chosen)
    lasers = _lasers(tables or [], inputs)
    known = read_frequencies(frequencies) if frequencies else {}
    masked = None
    if masks is not None:
        from nightcrew.mkid.photon_table import PhotonTable

        read = read_pixel_masks(masks)
        with PhotonTable(lasers[0].table) as table:
            check_arrays(table, {"pixel masks": read.resid})
            place = places_of(table.resid, read.resid)
        masked = read.flag().ravel()[place] * (place >= 0)
    made = calibrate(lasers, options, masked=masked)
    made.write(out)
    drawn, notes = _draw_wavecal(made.solution, made.data, known, plot_names, pixel or [], plot_dir or out.with_name(out.stem + "_plots"))
    if as_json:
        quantities = [as_row(one) for one in wavelength_quantities(made.solution)]
        say_json({"solution": out.name, "quantities": quantities, "plots": [path.name for path in drawn], "notes": notes})
        return
    for line in (*summary_lines(made.solution), *notes):
        say(line)
    for path in drawn:
        say(f"wrote {path}")


@app.command()
def plots(
    solution: Annotated[Path, typer.Argument(help="Wavelength solution.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the plots and their numbers.")],
    names: Annotated[str, typer.Option("--plots", help="Plots by name with commas, or all.")] = "all",
    frequencies: Annotated[Path | None, typer.Option("--frequencies", help="Lines `resID frequency`, for the plot rvsf.")] = None,
    pixel: Annotated[list[str] | None, typer.Option("--pixel", help="X,Y for plots of single pixels; else a typical one.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Write a page on the pixels instead.")] = False,
) -> None:
    """Plots of a wavelength solution, or a page on some of its pixels."""
    from nightcrew.mkid.line_data import read_line_data
    from nightcrew.mkid.wavecal_inputs import read_frequencies
    from nightcrew.mkid.wavelength_solution import read_wavelength_solution

    read, data = read_wavelength_solution(solution), read_line_data(solution)
    if page:
        from reports.analysis import write_analysis
        from reports.mkid_figures import write_numbers
        from reports.mkid_pixel import pixel_page
        from reports.mkid_wavecal import typical_pixel

        made, drawn = pixel_page(read, data, [_pixel(text) for text in pixel or []] or [typical_pixel(read)])
        write_numbers(drawn, out)
        write_analysis(made, out)
        say(f"wrote {out / 'report.html'}")
        return
    written, notes = _draw_wavecal(read, data, read_frequencies(frequencies) if frequencies else {}, names, pixel or [], out)
    for line in (*notes, *(f"wrote {path}" for path in written)):
        say(line)


def _lasers(tables: list[Path], inputs: Path | None) -> list[LaserInput]:
    from nightcrew.errors import Refused
    from nightcrew.mkid.wavecal_inputs import inputs_of_tables, read_inputs

    if bool(tables) == (inputs is not None):
        raise Refused("name photon tables, or a list with --inputs, one of both")
    return read_inputs(inputs) if inputs is not None else inputs_of_tables(tables)


def _draw_wavecal(
    solution: object, data: object, known: dict[int, float], plots: str, pixel: list[str], folder: Path
) -> tuple[list[Path], list[str]]:
    """Files that were drawn, and a sentence for each plot that was not."""
    from nightcrew.mkid.line_data import LineData
    from nightcrew.mkid.wavelength_solution import WavelengthSolution
    from reports import mkid_wavecal as figures
    from reports.mkid_figures import write_plots

    if not isinstance(solution, WavelengthSolution) or not isinstance(data, LineData):
        raise TypeError("no solution to draw")
    names = [name for name in plots.split(",") if name]
    names = list(figures.NAMES) if names == ["all"] else names
    notes = []
    if "rvsf" in names and not known:
        names.remove("rvsf")
        notes.append(figures.NO_FREQUENCIES)
    pixels = [_pixel(text) for text in pixel]
    if not pixels and solution.solved.any():
        pixels = [figures.typical_pixel(solution)]
    made, empty = figures.draw([*names, "summary"], solution, data, known, pixels)
    return write_plots(made, folder), [*notes, *empty]


@app.command()
def flatcal(
    tables: Annotated[list[Path] | None, typer.Argument(help="Photon tables of flats, and darks if there are any.")] = None,
    wavecal: Annotated[Path | None, typer.Option("--wavecal", "-w", help="Wavelength solution.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Solution to write, an .h5 file.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Older configuration instead of the rest: name = value a line.")] = None,
    time_mask: Annotated[list[Path] | None, typer.Option("--time-mask", help="Pixel masks or cosmic rays, applied.")] = None,
    chunk: Annotated[float, typer.Option("--chunk", help="Seconds of a chunk.")] = 5.0,
    most: Annotated[float, typer.Option("--most", help="Seconds of each table that are used.")] = 30.0,
    bin_ev: Annotated[float, typer.Option("--bin", help="Width of a wavelength bin in eV.")] = 0.01,
    start_nm: Annotated[float, typer.Option("--from", help="Shortest wavelength in nm.")] = 700.0,
    stop_nm: Annotated[float, typer.Option("--to", help="Longest wavelength in nm.")] = 1500.0,
    most_cps: Annotated[
        float, typer.Option("--rate-cutoff", help="Chunks whose median pixel counts more a second are left out.")
    ] = 20_000.0,
    trim: Annotated[float, typer.Option("--trim", help="Fraction of the chunks that is cut off at each end.")] = 0.0,
    degree: Annotated[int, typer.Option("--degree", help="Degree of the polynomial in wavelength.")] = 2,
    laser: Annotated[bool, typer.Option("--laser", help="The flats are of lasers: one bin around each.")] = False,
    books: Annotated[bool, typer.Option("--books", help="Write the three plot books beside the solution.")] = False,
    book_pixels: Annotated[int, typer.Option("--book-pixels", help="Most pixels in a book of single pixels.")] = 120,
    as_json: JsonOption = False,
) -> None:
    """Weights by pixel and wavelength, from flats of white light or of lasers."""

    from nightcrew.mkid.calibrated import read_calibrations
    from nightcrew.mkid.flatcal import FlatOptions, flat_field
    from reports.mkid_solutions import flat_quantities
    from reports.summary import as_row

    flats, darks, solutions, final = _flat_inputs(tables or [], wavecal, time_mask or [], out, config, laser=laser)
    options = (
        _config(config).options()
        if config is not None
        else FlatOptions(
            chunk_s=chunk,
            most_s=most,
            energy_bin_ev=bin_ev,
            low_nm=start_nm,
            high_nm=stop_nm,
            most_cps=most_cps,
            trim_fraction=trim,
            degree=degree,
        )
    )
    calibrations = read_calibrations(solutions)
    flat = flat_field(flats, calibrations, options, darks=darks)
    flat.write(final)
    written, notes = _write_books(flat, calibrations.wavelength, final, book_pixels) if books else ([], [])
    quantities = flat_quantities(flat)
    if as_json:
        values = {"solution": final.name, "quantities": [as_row(one) for one in quantities]}
        say_json({**values, "books": [path.name for path in written], "notes": notes})
        return
    good = int((flat.flag == 0).sum())
    used = f"{int(flat.chunk_used.sum())} of {flat.chunk_used.size} chunks used"
    say(f"{good} of {flat.flag.size} pixels have weights at every wavelength; {used}")
    for line in (*notes, *(f"wrote {path}" for path in written)):
        say(line)


def _config(path: Path) -> FlatConfig:
    from nightcrew.mkid.flat_config import read_flat_config

    return read_flat_config(path)


def _flat_inputs(
    tables: list[Path], wavecal: Path | None, masks: list[Path], out: Path | None, config: Path | None, *, laser: bool
) -> tuple[list[FlatInput], list[Path], list[Path], Path]:
    """Flats, darks, calibrations that they are read with, and where the solution goes."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.flat_cubes import FlatInput
    from nightcrew.mkid.photon_table import PhotonTable

    if config is not None:
        if tables or wavecal or masks or out:
            raise Refused("a configuration names tables, solutions and output itself: leave them out")
        read = _config(config)
        mask = read.time_mask()
        solutions = [read.wavelength_solution(), *([mask] if mask else [])]
        return [FlatInput(table=path) for path in read.tables()], [], solutions, read.solution()
    if not tables or wavecal is None or out is None:
        raise Refused("name photon tables of flats, --wavecal and --out; or a --config")
    flats, darks = [], []
    for path in tables:
        with PhotonTable(path) as table:
            kind, nm = table.attributes.get("type"), table.attributes.get("laser_nm")
        if kind == "dark":
            darks.append(path)
        elif laser and not isinstance(nm, int | float):
            raise Refused(f"{path.name}: does not say its laser's wavelength")
        else:
            flats.append(FlatInput(table=path, wavelength_nm=float(nm) if laser and nm is not None else None))
    return flats, darks, [wavecal, *masks], out


def _write_books(flat: FlatSolution, wavelength: WavelengthSolution | None, final: Path, most: int) -> tuple[list[Path], list[str]]:
    from reports import mkid_flat as books

    return books.write_books(flat, wavelength, final.parent, final.stem, books.some_pixels(flat, most))


@app.command()
def masks(
    table: Annotated[Path, typer.Argument(help="Photon table.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for <table>_masks.h5 and <table>_cosmic.h5.")],
    method: Annotated[str, typer.Option("--method", help="threshold, median or laplacian.")] = "threshold",
    step: Annotated[float, typer.Option("--step", help="Seconds of a step of the pixel mask.")] = 30.0,
    sigma: Annotated[float, typer.Option("--sigma", help="Standard deviations from which a pixel is hot or cold.")] = 5.0,
    most_cps: Annotated[float, typer.Option("--most-cps", help="Pixels that count more a second are hot; 0 for no limit.")] = 0.0,
    cosmic_method: Annotated[str, typer.Option("--cosmic", help="poisson, signal, or none.")] = "poisson",
    cosmic_sigma: Annotated[float, typer.Option("--cosmic-sigma", help="Standard deviations from which a bin is a cosmic ray.")] = 6.0,
    as_json: JsonOption = False,
) -> None:
    """Hot, cold and dead pixels per step of time, and cosmic rays."""
    from nightcrew.mkid.cosmic_search import CosmicOptions, find_cosmic_rays
    from nightcrew.mkid.mask_solution import REASONS
    from nightcrew.mkid.photon_table import PhotonTable
    from nightcrew.mkid.pixel_masks import MaskOptions, find_masks

    options = MaskOptions(method=method, step_s=step, n_sigma=sigma, most_cps=most_cps)
    cosmic_options = None if cosmic_method == "none" else CosmicOptions(method=cosmic_method, n_sigma=cosmic_sigma)
    with PhotonTable(table) as opened:
        found = find_masks(opened, options)
        cosmic = find_cosmic_rays(opened, cosmic_options) if cosmic_options else None
    found.write(out / f"{table.stem}_masks.h5")
    if cosmic is not None:
        cosmic.write(out / f"{table.stem}_cosmic.h5")
    ever = {name: int(((found.bits >> place) & 1).any(axis=0).sum()) for place, name in enumerate(REASONS[:3])}
    values = {"steps": len(found.bits), "bad_pixels": ever, "cosmic_rays": None if cosmic is None else len(cosmic)}
    values["cosmic_cut_s"] = None if cosmic is None else cosmic.cut_s
    if as_json:
        say_json(values)
        return
    counted = ", ".join(f"{count} {name.removeprefix('pixcal.')}" for name, count in ever.items())
    say(f"{len(found.bits)} steps; {counted} in some of them")
    if cosmic is not None:
        say(f"{len(cosmic)} cosmic rays, {cosmic.cut_s * 1e3:.2f} ms cut")


@app.command("apply")
def apply_solutions(
    table: Annotated[Path, typer.Argument(help="Photon table; it is not changed.")],
    solutions: Annotated[list[Path] | None, typer.Argument(help="Wavelength solution, flat field, pixel masks, cosmic rays.")] = None,
    linearity: Annotated[float | None, typer.Option("--linearity", help="Weight for dead time, with rates in steps of seconds.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget what the table was read with.")] = False,
    export: Annotated[Path | None, typer.Option("--export", help="Also write a calibrated copy, an .h5 file.")] = None,
    book_pixels: Annotated[int, typer.Option("--book-pixels", help="Most pixels in the book of an applied flat; 0 for none.")] = 24,
) -> None:
    """Note with which calibrations a table is read from now on, in place of an earlier note."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.calibrated import open_calibrated
    from nightcrew.mkid.export import export_calibrated
    from nightcrew.mkid.flat_solution import read_flat_solution
    from nightcrew.mkid.photon_table import PhotonTable
    from nightcrew.mkid.registered import checked_step_s, register
    from reports import mkid_flat as books

    checked_step_s(linearity)
    if remove == (bool(solutions) or linearity is not None):
        raise Refused("name calibrations, or --remove, one of both")
    with PhotonTable(table):
        pass  # so that nothing is noted for a file that is no table
    note = register(table, solutions or [], linearity_step_s=linearity)
    say("the table is read without calibrations" if remove else f"noted in {note}")
    if remove:
        return
    if export is not None:
        with open_calibrated(table) as opened:
            say(f"wrote {export_calibrated(opened, export)} photons to {export}")
    for source in [path for path in solutions or [] if book_pixels and _is_flat(path)]:
        flat = read_flat_solution(source)
        book = table.with_name(books.book_names(source.stem)["applied"])
        if pixels := books.some_pixels(flat, book_pixels):
            books.write_book(book, books.applied_book(flat, pixels))
            say(f"wrote {book}")
        else:
            say(f"no book of single pixels: {source.name} has no weight")


def _is_flat(path: Path) -> bool:
    from nightcrew.mkid.solution_file import FLAT, kind_of

    return kind_of(path) == FLAT


def _pixel(text: str) -> tuple[int, int]:
    """(y, x) of ``X,Y``."""
    from nightcrew.errors import Refused

    x, comma, y = text.partition(",")
    if not (comma and x.strip().isdecimal() and y.strip().isdecimal()):
        raise Refused(f"{text!r} is no pixel: give X,Y, as 12,34")
    return int(y), int(x)
