"""``nightcrew sensor``: what biases, darks and flats tell of a camera's sensor.  Every import waits until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import ConfigOption, JsonOption, say, say_json, say_table

if TYPE_CHECKING:
    from nightcrew.frames.profiles import Profile
    from reports.analysis import AnalysisPage
    from reports.summary import Quantity


def sensor(
    folder: Annotated[Path, typer.Argument(help="Folder with biases, darks and flats, searched with its sub-folders.")],
    out: Annotated[Path, typer.Option("--out", "-O", help="Folder for tables, figures, data sheet and report.")],
    crop: Annotated[
        str, typer.Option("--crop", "-c", help="Crop of the tables: COLUMNSxROWS about the middle, or x0:x1,y0:y1.")
    ] = "100x100",
    offset_correction: Annotated[
        float, typer.Option("--offset-correction", "-o", help="ADU taken from the signal besides the bias.")
    ] = 0.0,
    pedestal: Annotated[int, typer.Option("--pedestal", "-p", help="For old scripts: it changes nothing any more.")] = 10_000,
    box: Annotated[str, typer.Option("--box", help="Measure this window alone: x0:x1,y0:y1, 0-based, half-open.")] = "",
    amplifiers: Annotated[
        str, typer.Option("--amplifiers", help="Amplifiers side by side, COLUMNSxROWS, each measured by itself.")
    ] = "1x1",
    bayer: Annotated[
        str, typer.Option("--bayer", help="Colour pattern such as RGGB; auto takes the headers', none measures all alike.")
    ] = "auto",
    temperature_tolerance: Annotated[
        float, typer.Option("--temperature-tolerance", min=0.0, help="Temperatures this close are one, C.")
    ] = 0.5,
    max_lag: Annotated[
        int, typer.Option("--max-lag", min=0, max=16, help="Covariances with neighbours up to so many pixels; 0: none.")
    ] = 8,
    clip: Annotated[float, typer.Option("--clip", min=3.0, help="Differences beyond so many sigma are cosmic rays.")] = 5.0,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Resamplings for the bootstrap errors.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap: the same seed gives the same numbers.")] = 1,
    sky: Annotated[
        list[str] | None, typer.Option("--sky", help="FILTER=RATE of the sky in e-/s an unbinned pixel, for minimum exposures; repeatable.")
    ] = None,
    times_read_noise: Annotated[
        float, typer.Option("--times-read-noise", help="n, above 0: light's shot noise at least n read noises.")
    ] = 1.0,
    data_sheet: Annotated[str, typer.Option("--data-sheet", help="Maker's dark rate RATE@C/DOUBLING, as 112@60/11 (e-/s, C, K).")] = "",
    previous: Annotated[Path | None, typer.Option("--previous", help="Folder of an earlier result: how hot pixels grew since.")] = None,
    lights_are_flats: Annotated[bool, typer.Option("--lights-are-flats", help="Take frames labelled as lights for flats.")] = False,
    profile: Annotated[str, typer.Option("--profile", help="Instrument profile; auto lets the headers choose.")] = "auto",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gain, noise, full well, linearity, dark current and patterns of a sensor, with errors: tables, curves, page, data sheet."""
    from dataclasses import replace

    from nightcrew.errors import Refused
    from nightcrew.sensor.characterise import characterise
    from nightcrew.sensor.frames import scan
    from nightcrew.sensor.words import options_of
    from reports.analysis import write_analysis
    from reports.sensor import Standing, write_report

    if not folder.is_dir():
        raise Refused(f"{folder} is no folder")
    options = options_of(
        {
            "crop": crop,
            "offset_correction": offset_correction,
            "box": box,
            "amplifiers": amplifiers,
            "bayer": bayer,
            "temperature_tolerance_c": temperature_tolerance,
            "lights_are_flats": lights_are_flats,
            "max_lag": max_lag,
            "clip": clip,
            "bootstrap": bootstrap,
            "seed": seed,
            "times_read_noise": times_read_noise,
            "sky": sky or (),
            "data_sheet": data_sheet,
        }
    )
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".") and out not in path.parents)
    found = scan(paths, _profiles(config), root=folder, profile=profile)
    if not found.frames:
        raise Refused(
            f"{folder} holds no frame that could be read" + (f": {found.left_out[0][0]}: {found.left_out[0][1]}" if found.left_out else "")
        )
    result = characterise(found.frames, replace(options, pedestal=pedestal))
    place = folder.resolve()
    title = place.parent.name if place.name.lower() == "raw" else place.name
    standing = Standing(title=title or "Sensor", left_out=found.left_out, previous=previous)
    page = write_report(result, found.frames, standing, out)
    write_analysis(page, out)
    _tell(page, out, as_json=as_json)


def _profiles(config: Path | None) -> dict[str, Profile]:
    """The built-in profiles, and the user's where a configuration names a folder of them."""
    from nightcrew.frames.profiles import load_profiles

    if config is None:
        return load_profiles(None)
    from nightcrew.settings import Settings

    return load_profiles(Settings.load(config).instruments.folder)


def _tell(page: AnalysisPage, out: Path, *, as_json: bool) -> None:
    if as_json:
        from reports.summary import as_row

        rows = [as_row(q) for q in page.summary.quantities]
        say_json(
            {
                "verdict": page.verdict,
                "status": page.status,
                "grade": page.summary.grade,
                "quantities": rows,
                "warnings": page.summary.warnings,
            }
        )
        return
    say(page.verdict.replace("\N{NO-BREAK SPACE}", " "))
    shown = [one for one in page.summary.quantities if one.name in page.key_quantities]
    rows_shown = [
        (q.name, _short(q.value), _short(q.error), q.unit, ", ".join(f"{k} {v}" for k, v in q.where.items()), _remark(q)) for q in shown
    ]
    say_table(("quantity", "value", "error", "unit", "where", "note"), rows_shown)
    for warning in page.summary.warnings:
        say(f"! {warning}".replace("\N{NO-BREAK SPACE}", " "))
    say(f"Report: {out / 'report.html'}")


def _remark(quantity: Quantity) -> str:
    ends = quantity.interval
    interval = "" if ends is None else f"{_short(ends.low)} to {_short(ends.high)} ({100 * ends.level:.3g} %)"
    return "; ".join(filter(None, (interval, quantity.note)))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
