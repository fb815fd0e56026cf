"""``nightcrew mkid dither | quicklook | response``: positions together, a page to look at, flux.  Every import waits until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments.cli.common import JsonOption, say, say_json, say_table
from deployments.cli.mkid_images_words import (
    MaxOption,
    MinOption,
    OutOption,
    OverwriteOption,
    RawOption,
    SolutionOption,
    StartOption,
    StopOption,
    TableArgument,
    numbers_of,
    opened,
)

if TYPE_CHECKING:
    from nightcrew.mkid.dither import Field, Mirror
    from nightcrew.mkid.dither_combine import Dithered
    from nightcrew.mkid.dither_speckles import PlacedMaps
    from nightcrew.mkid.quicklook import QuickLook
    from nightcrew.mkid.speckle import SpeckleRules
    from nightcrew.mkid.spectra_response import Response

app = typer.Typer()


@app.command()
def dither(
    tables: Annotated[list[Path], typer.Argument(help="Photon tables of the positions.")],
    out: OutOption,
    register: Annotated[str, typer.Option("--register", help="Where the star is comes from: data, mirror or log.")] = "data",
    mirror: Annotated[
        str, typer.Option("--mirror", help="SLOPEX,SLOPEY,MIRRORX,MIRRORY,PIXELX,PIXELY: pixels a unit, and one place in both.")
    ] = "",
    site: Annotated[
        str, typer.Option("--site", help="LATITUDE,LONGITUDE in degrees, east positive: the field turns. Else the log's.")
    ] = "",
    angle: Annotated[float, typer.Option("--angle", help="Degrees from +y of the array to north, through -x (where east is).")] = 0.0,
    plate_scale: Annotated[
        float | None, typer.Option("--plate-scale", help="Milliarcseconds of a pixel, for sky coordinates; else the log's.")
    ] = None,
    pixfrac: Annotated[float, typer.Option("--pixfrac", help="Side of a drop against that of a pixel.")] = 0.5,
    scale: Annotated[float, typer.Option("--scale", help="Pixels of the array a pixel of the result.")] = 1.0,
    energy_width: Annotated[float | None, typer.Option("--energy-width", help="Bins of this width in eV.")] = None,
    wavelength_width: Annotated[float | None, typer.Option("--wavelength-width", help="Bins of this width in nm.")] = None,
    speckles: Annotated[
        Path | None,
        typer.Option("--speckles", help="Also combine speckle maps: Ic, Is (Ip) into this file, Ic / Is into <name>_ratio.fits."),
    ] = None,
    bin_s: Annotated[float, typer.Option("--bin", help="Seconds of a bin of --speckles.")] = 0.01,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Fit the times between photons in --speckles instead of counts in bins.")
    ] = False,
    companion: Annotated[bool, typer.Option("--companion", help="Fit a steady companion (Ip) in --speckles as well.")] = False,
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    raw: RawOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Combine a dither: the star found in each position, the field turned back, everything drizzled onto one grid."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.dither_combine import DitherWish, combine, field_of, log_number
    from nightcrew.mkid.drizzled_files import sky_cards, write_dither
    from nightcrew.mkid.image import CubeWish
    from nightcrew.mkid.speckle import SpeckleRules

    for asked, name in ((companion, "--companion"), (intervals, "--intervals")):
        if asked and speckles is None:
            raise Refused(f"{name} is part of --speckles: name a file for the maps")
    slopes, turned = _mirror_of(mirror), _field_of(site, angle)
    cube_wish = CubeWish(min_nm=min_nm, max_nm=max_nm, energy_width_ev=energy_width, wavelength_width_nm=wavelength_width)
    wish = DitherWish(cube=cube_wish, register=register, mirror=slopes, field=turned, pixfrac=pixfrac, scale=scale)
    found = combine(tables, lambda path: opened(path, solution, raw), wish)
    with opened(tables[0], solution, raw) as first:
        target, told = field_of(first, turned), log_number(first, "plate_scale_mas")
    scale_mas = told if plate_scale is None else plate_scale
    sky = sky_cards(found.drizzled.grid, ra_deg=target.ra_deg, dec_deg=target.dec_deg, plate_scale_mas=scale_mas)
    write_dither(out, found, sky=sky, overwrite=overwrite)
    source = (solution, raw)
    maps: dict[str, object] = {}
    if speckles:
        rules = SpeckleRules(bin_s=bin_s, companion=companion)
        placed = _placed(tables, found, turned, source, rules, "intervals" if intervals else "binned")
        maps = _speckles_of(placed, found, speckles, plate_scale_mas=scale_mas, overwrite=overwrite)
    _tell(found, maps, out, as_json=as_json)


def _mirror_of(text: str) -> Mirror | None:
    from nightcrew.mkid.dither import Mirror

    numbers = numbers_of(text, 6, "--mirror")
    pairs = [(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    return Mirror(slope_px=pairs[0], mirror_reference=pairs[1], pixel_reference=pairs[2]) if pairs else None


def _field_of(site: str, angle_deg: float) -> Field:
    from nightcrew.mkid.dither import Field

    place = numbers_of(site, 2, "--site")
    return Field(device_angle_deg=angle_deg, latitude_deg=place[0], longitude_deg=place[1]) if place else Field(device_angle_deg=angle_deg)


def _tell(found: Dithered, maps: dict[str, object], out: Path, *, as_json: bool) -> None:
    """The positions as a table, or everything as JSON; undetermined numbers are null there."""
    from math import isfinite

    rows = [(one.name, *one.star_px, *one.error_px, one.fwhm_px, one.n_steps, one.exposure_s, one.n_unexposed) for one in found.positions]
    headings = ("position", "x", "y", "x error", "y error", "FWHM / px", "steps", "exposure / s", "unexposed pixels")
    if as_json:
        plain = [[value if isinstance(value, str) or isfinite(value) else None for value in row] for row in rows]
        say_json({"file": out.name, "columns": headings, "positions": plain, "shots": found.drizzled.n_shots, "speckles": maps})
    else:
        say_table(headings, [tuple(round(value, 3) if isinstance(value, float) else value for value in row) for row in rows])
        if maps:
            say(f"speckle maps: {maps['valid']} of {maps['pixels_and_steps']} pixels and steps may be believed")


def _placed(
    tables: list[Path],
    found: Dithered,
    field: Field,
    source: tuple[list[Path] | None, bool],
    rules: SpeckleRules,
    method: Literal["binned", "intervals"],
) -> tuple[list[PlacedMaps], Field]:
    """The speckle maps of every position where its star is, and the field that they show."""
    from nightcrew.mkid.dither_combine import field_of
    from nightcrew.mkid.dither_speckles import place_maps

    made = []
    for path, position in zip(tables, found.positions, strict=True):
        with opened(path, *source) as photons:
            target = field_of(photons, field)
            made.append(place_maps(photons, rules, position.star_px, target, method=method))
    return made, target


def _speckles_of(
    placed: tuple[list[PlacedMaps], Field], found: Dithered, out: Path, *, plate_scale_mas: float | None, overwrite: bool
) -> dict[str, object]:
    """Speckle maps of the positions on one grid, and their ratio beside them."""
    from dataclasses import replace

    from nightcrew.mkid.dither_speckles import combine_maps, planes_of
    from nightcrew.mkid.drizzled_files import sky_cards, write_dither

    made, target = placed
    valid = sum(int(one.maps.valid.sum()) for one in made)
    rates, ratio = combine_maps(made)
    sky = sky_cards(rates.grid, ra_deg=target.ra_deg, dec_deg=target.dec_deg, plate_scale_mas=plate_scale_mas)
    note = ("SPECRATE", "flat field" if made[0].weight is not None else "as counted", "sensitivity of the pixels in the rates")
    write_dither(out, replace(found, drizzled=rates, bins=None), sky=sky, cards=[note], planes=planes_of(rates), overwrite=overwrite)
    beside = out.with_name(f"{out.stem}_ratio{out.suffix}")
    write_dither(beside, replace(found, drizzled=ratio, bins=None), sky=sky, planes=("Ic / Is",), unit="", overwrite=overwrite)
    return {
        "files": [out.name, beside.name],
        "planes": planes_of(rates),
        "valid": valid,
        "pixels_and_steps": sum(one.maps.valid.size for one in made),
    }


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
    from reports.mkid_quicklook import quicklook_html, refuse_place, write_quicklook

    page = Path("quicklook.html") if out is None else out
    refuse_place(page, [*files, *(solution or []), *([] if beam_map is None else [beam_map])])
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
    from nightcrew.mkid.quicklook import look_at_table, with_masked

    with opened(files[0], solution, raw) as photons:
        look = look_at_table(photons, shown(files[0]), bin_s=bin_s)
        if not serve:
            write_quicklook(look, page)
            say(f"{page.name}: {look.title}")
            return
        from reports.mkid_quicklook_server import serve_quicklook

        serve_quicklook(quicklook_html(look, live=True), with_masked(photons), port, lambda url: say(f"{url} (end with Ctrl-C)"))


def _raw_look(files: list[Path], beam_map: Path | None, flags: str, size: str, bin_s: float) -> QuickLook:
    from deployments.cli.mkid import _shape
    from nightcrew.mkid.beam_map import read_beam_map
    from nightcrew.mkid.quicklook_raw import look_at_seconds

    placed = None if beam_map is None else read_beam_map(beam_map, enumeration=flags)
    return look_at_seconds(files, _shape(size) if placed is None else placed.shape, placed, bin_s=bin_s)


@app.command()
def response(
    table: TableArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Response to write: .ecsv.")],
    reference: Annotated[Path, typer.Option("--reference", help="Known spectrum: wavelength_nm and flux in erg/s/cm2/A, two columns.")],
    x: Annotated[float, typer.Option("--x", help="Column of the standard star.")],
    y: Annotated[float, typer.Option("--y", help="Row.")],
    radius: Annotated[float, typer.Option("--radius", help="Radius of the aperture in pixels.")] = 4.0,
    sky: Annotated[str, typer.Option("--sky", help="INNER,OUTER radius of the ring that the sky is taken from.")] = "",
    resolution: Annotated[float | None, typer.Option("--resolution", help="E / FWHM; without it that of the wavelength solution.")] = None,
    energy_width: Annotated[float, typer.Option("--energy-width", help="Bins of this width in eV.")] = 0.1,
    start: StartOption = "",
    stop: StopOption = "",
    min_nm: MinOption = None,
    max_nm: MaxOption = None,
    solution: SolutionOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Response from a standard star: flux of its known spectrum over its count rate, bin by bin."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.image import CubeWish, bins_of, window_us
    from nightcrew.mkid.lightcurve import aperture, missing_of, star_share
    from nightcrew.mkid.spectra import spectrum
    from nightcrew.mkid.spectra_response import above_sky, read_reference, response_of, typical_resolution, whole, write_response

    known, ring = read_reference(reference), numbers_of(sky, 2, "--sky")
    with opened(table, solution, raw=False) as photons:
        bins = bins_of(photons, CubeWish(min_nm=min_nm, max_nm=max_nm, energy_width_ev=energy_width))
        if bins is None:
            raise Refused("a response needs bins of wavelength")
        window = window_us(photons, start, stop)
        pixels = aperture(photons.shape, x, y, radius, usable=photons.usable)
        share, missing = star_share(photons, window, x, y, radius, pixels), missing_of(photons.shape, x, y, radius, pixels)
        star = spectrum(photons, pixels, *window, bins)
        if ring:
            inner = set(aperture(photons.shape, x, y, ring[0]))
            around = [pixel for pixel in aperture(photons.shape, x, y, ring[1], usable=photons.usable) if pixel not in inner]
            if not around:
                raise Refused(f"--sky {sky!r}: the ring holds no usable pixel")
            star = above_sky(star, spectrum(photons, around, *window, bins))
        found = response_of(whole(star, share), known, typical_resolution(photons) if resolution is None else resolution)
    meta = {"table": table.name, "reference": known.name, "pixels": len(pixels), "pixels_missing": sum(missing), "light_share": share}
    write_response(out, found, meta=meta, overwrite=overwrite)
    if any(missing):
        lacks = f"{missing[0]} flagged pixels and {missing[1]} beyond the edge"
        say(f"the aperture lacks {lacks}: {100 * (1 - share):.1f} % of its light, made up for")
    say_table(("from / nm", "to / nm", "factor", "error"), [tuple(float(f"{v:.4g}") for v in row) for row in _rows_of(found)])


def _rows_of(found: Response) -> list[tuple[float, float, float, float]]:
    columns = (found.edges_nm[:-1], found.edges_nm[1:], found.factor, found.error)
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in zip(*columns, strict=True)]
