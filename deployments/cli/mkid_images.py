"""``nightcrew mkid image | cube | speckles | lightcurve``: what photon tables show.  Every import waits until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli import mkid_images_sky
from deployments.cli.common import JsonOption, say, say_json, say_table
from deployments.cli.mkid_images_words import (
    KeepDeadOption,
    MaxOption,
    MinOption,
    OutOption,
    OverwriteOption,
    RawOption,
    SolutionOption,
    StartOption,
    StopOption,
    TableArgument,
    opened,
    used_calibrations,
)

if TYPE_CHECKING:
    from nightcrew.mkid.cube import Cube
    from nightcrew.mkid.image import CubeWish

app = typer.Typer()

app.registered_commands += mkid_images_sky.app.registered_commands


def _write(
    table: Path,
    wish: CubeWish,
    out: Path,
    source: tuple[list[Path] | None, bool],
    overwrite: bool,
    as_json: bool,
    response: Path | None = None,
) -> None:
    from nightcrew.mkid.image import make_file, provenance_cards
    from nightcrew.mkid.image_sky import sky_of

    factors = None
    if response is not None:
        from nightcrew.mkid.spectra_response import read_response

        factors = read_response(response)
    with opened(table, *source) as photons:
        cards = provenance_cards(table, [*used_calibrations(table, *source), *([] if response is None else [response])])
        cube = make_file(photons, wish, out, cards=cards, sky=sky_of(photons), response=factors, overwrite=overwrite)
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
    response: Annotated[Path | None, typer.Option("--response", help="Response of a standard star: adds FLUX in erg/s/cm2/A.")] = None,
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
    _write(table, wish, out, (solution, raw), overwrite, as_json, response)


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
    write_maps(out, maps, cards=provenance_cards(table, used_calibrations(table, solution, raw)), overwrite=overwrite)
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
    from nightcrew.mkid.flags import describe
    from nightcrew.mkid.image import CubeWish, provenance_cards
    from nightcrew.mkid.lightcurve import aperture, missing_of
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
        flagged, beyond = missing_of(photons.shape, x, y, radius, pixels)
        flags = describe(int(photons.flag.ravel()[pixels[0]])) if radius <= 0 and not photons.usable.ravel()[pixels[0]] else ""
    made.meta.update({"flagged_pixels_left_out": flagged, "pixels_beyond_the_edge": beyond, "flags": flags})
    write_light(out, made, provenance_cards(table, used_calibrations(table, solution, raw)), overwrite=overwrite)
    say(f"{out.name}: {what} of {len(pixels)} pixels, {len(made)} rows")
    if flags:
        say(f"the pixel is flagged: {flags}")
    if flagged or beyond:
        say(f"the aperture lacks {flagged} flagged pixels and {beyond} beyond the edge: their light is not in the rate")
    say_table(("column", "unit"), [(name, str(made[name].unit or "")) for name in made.colnames])
