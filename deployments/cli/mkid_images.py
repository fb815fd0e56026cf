"""``nightcrew mkid image | cube | ...``: what photon tables show.  Every import waits until it is needed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json, say_table

if TYPE_CHECKING:
    from nightcrew.mkid.calibrated import CalibratedTable
    from nightcrew.mkid.cube import Cube
    from nightcrew.mkid.image import CubeWish
    from nightcrew.mkid.quicklook import QuickLook

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


@app.command()
def speckles(
    table: TableArgument,
    out: OutOption,
    bin_s: Annotated[float, typer.Option("--bin", help="Seconds of a bin.")] = 0.01,
    intervals: Annotated[bool, typer.Option("--intervals", help="Fit the times between photons instead of counts in bins.")] = False,
    companion: Annotated[bool, typer.Option("--companion", help="Fit a steady companion (Ip) as well.")] = False,
    step: Annotated[float | None, typer.Option("--step", help="Seconds of a step of time: a map for each.")] = None,
    decorrelation: Annotated[float | None, typer.Option("--decorrelation", help="Decorrelation time in s, where it is known.")] = None,
    errors: Annotated[str, typer.Option("--errors", help="auto, curvature or bootstrap.")] = "auto",
    resamples: Annotated[int, typer.Option("--resamples", help="Resamples of the bootstrap.")] = 60,
    start: StartOption = "",
    stop: StopOption = "",
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    raw: RawOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Maps of speckle statistics: Ic, Is (and Ip) with errors, their ratio, how well they fit, and where they may be believed."""
    from nightcrew.mkid.cube_bins import time_edges
    from nightcrew.mkid.image import CubeWish, bins_of, provenance_cards, window_us
    from nightcrew.mkid.speckle import SpeckleRules, errors_named
    from nightcrew.mkid.speckle_files import write_maps
    from nightcrew.mkid.speckle_maps import make_maps
    from nightcrew.mkid.speckle_words import in_words, summary_of

    rules = SpeckleRules(bin_s=bin_s, companion=companion, errors=errors_named(errors), resamples=resamples, decorrelation_s=decorrelation)
    with opened(table, solution, raw) as photons:
        edges = time_edges(*window_us(photons, start, stop), None if step is None else round(step * 1e6))
        bins = bins_of(photons, CubeWish(min_nm=min_nm, max_nm=max_nm))
        window = None if bins is None else (float(bins.edges_nm[0]), float(bins.edges_nm[-1]))
        maps = make_maps(photons, rules, edges, method="intervals" if intervals else "binned", window_nm=window)
    write_maps(out, maps, cards=provenance_cards(table, _used(table, solution, raw)), overwrite=overwrite)
    values = {"file": out.name, **summary_of(maps)}
    if as_json:
        say_json(values)
    else:
        for sentence in in_words(maps):
            say(sentence)


@app.command()
def lightcurve(
    table: TableArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write: .ecsv.")],
    x: Annotated[float, typer.Option("--x", help="Column of the pixel, or of the centre of the aperture.")],
    y: Annotated[float, typer.Option("--y", help="Row.")],
    radius: Annotated[float, typer.Option("--radius", help="Radius of the aperture in pixels; 0 is one pixel.")] = 0.0,
    what: Annotated[str, typer.Option("--what", help="curve, spectrum, histogram (of counts in steps) or intervals.")] = "curve",
    step: Annotated[float, typer.Option("--step", help="Seconds of a step of time.")] = 1.0,
    energy_width: Annotated[float | None, typer.Option("--energy-width", help="Bins of a spectrum in eV.")] = None,
    wavelength_width: Annotated[float | None, typer.Option("--wavelength-width", help="Bins of a spectrum in nm.")] = None,
    start: StartOption = "",
    stop: StopOption = "",
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    raw: RawOption = False,
    ignore_dead_time: KeepDeadOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Light curve, spectrum, histogram of counts, or times between photons, of a pixel or an aperture.  UTC, not barycentric."""
    from nightcrew.mkid.image import CubeWish, provenance_cards
    from nightcrew.mkid.lightcurve import aperture
    from nightcrew.mkid.lightcurve_files import make_light, write_light

    wish = CubeWish(
        start=start,
        stop=stop,
        step_s=step,
        min_nm=min_nm,
        max_nm=max_nm,
        energy_width_ev=energy_width,
        wavelength_width_nm=wavelength_width,
        dead_time=not ignore_dead_time,
    )
    with opened(table, solution, raw) as photons:
        pixels = aperture(photons.shape, x, y, radius, usable=photons.usable if radius > 0 else None)
        made = make_light(what, photons, pixels, wish)
    write_light(out, made, provenance_cards(table, _used(table, solution, raw)), overwrite=overwrite)
    say(f"{out.name}: {what} of {len(pixels)} pixels, {len(made)} rows")
    say_table(("column", "unit"), [(name, str(made[name].unit or "")) for name in made.colnames])


@app.command()
def dither(
    tables: Annotated[list[Path], typer.Argument(help="Photon tables of the positions.")],
    out: OutOption,
    register: Annotated[str, typer.Option("--register", help="Where the star is comes from: data, mirror or log.")] = "data",
    mirror: Annotated[
        str, typer.Option("--mirror", help="SLOPEX,SLOPEY,MIRRORX,MIRRORY,PIXELX,PIXELY: pixels a unit, and one place in both.")
    ] = "",
    site: Annotated[str, typer.Option("--site", help="LATITUDE,LONGITUDE in degrees, east positive: the field turns.")] = "",
    angle: Annotated[float, typer.Option("--angle", help="Degrees from +y of the array to north, through -x (where east is).")] = 0.0,
    plate_scale: Annotated[float | None, typer.Option("--plate-scale", help="Milliarcseconds of a pixel, for sky coordinates.")] = None,
    pixfrac: Annotated[float, typer.Option("--pixfrac", help="Side of a drop against that of a pixel.")] = 0.5,
    scale: Annotated[float, typer.Option("--scale", help="Pixels of the array a pixel of the result.")] = 1.0,
    energy_width: Annotated[float | None, typer.Option("--energy-width", help="Bins of this width in eV.")] = None,
    wavelength_width: Annotated[float | None, typer.Option("--wavelength-width", help="Bins of this width in nm.")] = None,
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    raw: RawOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Combine a dither: the star found in each position, the field turned back, everything drizzled onto one grid."""
    from math import isfinite

    from nightcrew.mkid.dither import Field, Mirror
    from nightcrew.mkid.dither_combine import DitherWish, combine, field_of
    from nightcrew.mkid.drizzled_files import sky_cards, write_dither
    from nightcrew.mkid.image import CubeWish

    numbers = _numbers(mirror, 6, "--mirror")
    place = _numbers(site, 2, "--site")
    pairs = [(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    slopes = Mirror(slope_px=pairs[0], mirror_reference=pairs[1], pixel_reference=pairs[2]) if pairs else None
    turned = Field(device_angle_deg=angle, latitude_deg=place[0], longitude_deg=place[1]) if place else Field(device_angle_deg=angle)
    cube_wish = CubeWish(min_nm=min_nm, max_nm=max_nm, energy_width_ev=energy_width, wavelength_width_nm=wavelength_width)
    wish = DitherWish(cube=cube_wish, register=register, mirror=slopes, field=turned, pixfrac=pixfrac, scale=scale)
    found = combine(tables, lambda path: opened(path, solution, raw), wish)
    with opened(tables[0], solution, raw) as first:
        target = field_of(first, turned)
    sky = sky_cards(found.drizzled.grid, ra_deg=target.ra_deg, dec_deg=target.dec_deg, plate_scale_mas=plate_scale)
    write_dither(out, found, sky=sky, overwrite=overwrite)
    rows = [(one.name, *one.star_px, *one.error_px, one.fwhm_px, one.n_steps, one.exposure_s) for one in found.positions]
    headings = ("position", "x", "y", "x error", "y error", "FWHM / px", "steps", "exposure / s")
    if as_json:
        plain = [[value if isinstance(value, str) or isfinite(value) else None for value in row] for row in rows]
        say_json({"file": out.name, "columns": headings, "positions": plain, "shots": found.drizzled.n_shots})
    else:
        say_table(headings, [tuple(round(value, 3) if isinstance(value, float) else value for value in row) for row in rows])


def _numbers(text: str, count: int, option: str) -> tuple[float, ...]:
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


@app.command()
def quicklook(
    files: Annotated[list[Path], typer.Argument(help="A photon table, or raw <second>.bin files of one run.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page to write; quicklook.html beside nothing else by default.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page on this machine only, and answer for pixels exactly.")] = False,
    port: Annotated[int, typer.Option("--port", help="Port of --serve; 0 takes any free one.")] = 0,
    bin_s: Annotated[float, typer.Option("--bin", help="Seconds of a bin of the intensity histogram.")] = 0.01,
    beam_map: Annotated[Path | None, typer.Option("--beam-map", "-b", help="Beam map for raw seconds: flags and resonators.")] = None,
    flags: Annotated[str, typer.Option("--flags", help="What the flags in the beam map mean: current or older.")] = "current",
    size: Annotated[str, typer.Option("--size", help="COLUMNSxROWS of raw seconds without a beam map.")] = "80x125",
    solution: SolutionOption = None,
    raw: RawOption = False,
) -> None:
    """A page to look at a photon table, or at raw seconds: flags, counts, any pixel's stream, histograms and spectrum."""
    from nightcrew.errors import Refused
    from reports.mkid_quicklook import quicklook_html, write_quicklook

    page = Path("quicklook.html") if out is None else out
    if files[0].suffix == ".bin":
        look = _raw_look(files, beam_map, flags, size, bin_s)
        if serve:
            raise Refused("--serve is for photon tables: a page of raw seconds is complete in itself")
        write_quicklook(look, page)
        say(f"{page.name}: {look.title}")
        return
    if len(files) > 1:
        raise Refused("a quick look is at one photon table")
    from nightcrew.io.source import shown
    from nightcrew.mkid.quicklook import look_at_table

    with opened(files[0], solution, raw) as photons:
        look = look_at_table(photons, shown(files[0]), bin_s=bin_s)
        if not serve:
            write_quicklook(look, page)
            say(f"{page.name}: {look.title}")
            return
        from reports.mkid_quicklook_server import serve_quicklook

        serve_quicklook(quicklook_html(look, live=True), photons, port, lambda url: say(f"{url} (end with Ctrl-C)"))


def _raw_look(files: list[Path], beam_map: Path | None, flags: str, size: str, bin_s: float) -> QuickLook:
    from deployments.cli.mkid import _shape
    from nightcrew.mkid.beam_map import read_beam_map
    from nightcrew.mkid.quicklook_raw import look_at_seconds

    placed = None if beam_map is None else read_beam_map(beam_map, enumeration=flags)
    return look_at_seconds(files, _shape(size) if placed is None else placed.shape, placed, bin_s=bin_s)
