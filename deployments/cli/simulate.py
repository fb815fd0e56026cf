"""``nightcrew simulate``: frames with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.common import say

app = typer.Typer(help="Write simulated frames with their truth.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keeps the commands as commands."""


@app.command()
def night(
    out: Annotated[Path, typer.Argument(help="New folder: the frames go into OUT/raw, their truth into OUT/truth.json.")],
    preset: Annotated[str, typer.Option(help="short: 62 frames of 512 x 512 with troublemakers; bench: 160 of 2048 x 2048.")] = "short",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    date: Annotated[str | None, typer.Option(help="Local night, such as 2026-05-16.")] = None,
) -> None:
    """A whole night: bias, darks, flats and lights in three filters, with troublemakers."""
    from rich.progress import Progress

    from nightcrew.simulate.night import make_night

    with Progress(transient=True) as bar:
        task = bar.add_task("simulating", total=None)
        truth = make_night(
            out, preset, seed, night=date, progress=lambda n, of, name: bar.update(task, completed=n, total=of, description=name)
        )
    files = sum(1 for path in (out / "raw").iterdir())
    trouble = f" among them trouble of {len(truth.troubles)} kinds," if truth.troubles else ""
    say(f"Wrote {files} files of the night {truth.plan.night} to {out / 'raw'},{trouble} and their truth to {out / 'truth.json'}.")


@app.command()
def mkid(
    out: Annotated[Path, typer.Argument(help="New folder: OUT/data, OUT/beammap.txt, OUT/observing_log.csv, and the truth.")],
    preset: Annotated[str, typer.Option(help="tiny: 20 x 20; darkness: 80 x 125; mec: 140 x 146.")] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    start: Annotated[int | None, typer.Option(help="Unix second at which the readout begins.")] = None,
    photons: Annotated[bool, typer.Option("--photons/--no-photons", help="Keep every photon in OUT/truth.h5.")] = True,
) -> None:
    """A run of an MKID array: lasers, dark and flat as raw readout seconds."""
    from rich.progress import Progress

    from nightcrew.simulate.mkid_plan import preset as plan_of
    from nightcrew.simulate.mkid_run import make_run

    with Progress(transient=True) as bar:
        task = bar.add_task("simulating", total=None)
        truth = make_run(
            out,
            plan_of(preset, start_unix=start),
            seed,
            keep_photons=photons,
            progress=lambda n, of: bar.update(task, completed=n, total=of),
        )
    say(f"Wrote {truth['delivered']} photons of {len(truth['exposures'])} exposures to {out / 'data'}.")


@app.command()
def lab(
    out: Annotated[
        Path, typer.Argument(help="New folder: the campaign goes into OUT/campaign, its truth into OUT/truth.json and truth.npz.")
    ],
    preset: Annotated[str, typer.Option(help="tiny: 64 x 48; short: 256 x 256, 120 frames; bench: 2048 x 2048.")] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    layout: Annotated[str, typer.Option(help="How folders lie: standard, continuous, bare or irradiation.")] = "standard",
    restarts: Annotated[bool, typer.Option("--restarts/--runs-on", help="Whether frame numbers begin anew in each attempt.")] = True,
    messy: Annotated[bool, typer.Option("--messy", help="Untidy logs: byte-order marks, other delimiters, repeated rows.")] = False,
) -> None:
    """A laboratory campaign: bias, darks and flats of a 12-bit sensor as raw frames with logs."""
    from rich.progress import Progress

    from nightcrew.simulate.lab import make_campaign
    from nightcrew.simulate.lab_plan import lab_plan

    plan = lab_plan(preset, layout=layout, restarts=restarts, messy=messy)
    with Progress(transient=True) as bar:
        task = bar.add_task("simulating", total=None)
        truth = make_campaign(out, plan, seed, progress=lambda n, of: bar.update(task, completed=n, total=of))
    say(f"Wrote {len(truth['frames'])} raw frames to {out / 'campaign'}.")


@app.command()
def sensor(
    out: Annotated[Path, typer.Argument(help="New folder: the frames go into OUT/raw, their truth into OUT/truth.json.")],
    preset: Annotated[
        str,
        typer.Option(help="small: 128 x 128; ccd: 512 x 512, five temperatures, flooded darks; cmos: colours; amplifiers: two outputs."),
    ] = "small",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
) -> None:
    """A sensor on a bench: biases, darks and a sweep of flats."""
    from rich.progress import Progress

    from nightcrew.simulate.sensor_set import make_sensor_set
    from nightcrew.simulate.sensor_set import preset as plan_of

    with Progress(transient=True) as bar:
        task = bar.add_task("simulating", total=None)
        truth = make_sensor_set(out, plan_of(preset), seed, progress=lambda n, of: bar.update(task, completed=n, total=of))
    say(f"Wrote {len(truth['frames'])} frames to {out / 'raw'}.")


@app.command()
def campaign(
    out: Annotated[Path, typer.Argument(help="New folder: the campaign goes into OUT/campaign, its truth into OUT/truth.json.")],
    preset: Annotated[str, typer.Option(help="tiny: 48 x 40; short: 96 x 96; bench: 256 x 256; large: 2048 x 2048.")] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    layout: Annotated[str, typer.Option(help="How folders lie: irr, krad, oper or many (two campaigns).")] = "irr",
    logs: Annotated[str, typer.Option(help="Logs of the beam: complete, numbers, folders, constant or none.")] = "complete",
    restarts: Annotated[bool, typer.Option("--restarts/--runs-on", help="Whether frame numbers begin anew in each folder.")] = True,
    converted: Annotated[bool, typer.Option("--fits", help="FITS instead of raw frames.")] = False,
) -> None:
    """An irradiation campaign: biases, darks and flats before, in and after the beam, with hits, and operation sequences."""
    from rich.progress import Progress

    from nightcrew.simulate.campaign import make_irradiation
    from nightcrew.simulate.campaign_plan import campaign_plan

    plan = campaign_plan(preset, layout=layout, logs=logs, restarts=restarts, converted=converted)
    with Progress(transient=True) as bar:
        task = bar.add_task("simulating", total=None)
        truth = make_irradiation(out, plan, seed, progress=lambda n, of: bar.update(task, completed=n, total=of))
    say(f"Wrote {len(truth['frames'])} frames to {out / 'campaign'}.")
