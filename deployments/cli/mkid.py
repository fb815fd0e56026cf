"""``nightcrew mkid``: photon lists of MKID arrays.  Every import waits until it is needed."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json, say_table

if TYPE_CHECKING:
    from nightcrew.mkid.jobs import Job
    from nightcrew.mkid.raw import RawRun
    from nightcrew.mkid.seconds import Listing

app = typer.Typer(help="Photon lists of MKID arrays.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
BeamMapOption = Annotated[Path, typer.Option("--beam-map", "-b", help="Text file, one `resID flag x y` a pixel.")]
FlagsOption = Annotated[str, typer.Option("--flags", help="What the flags in the beam map mean: current or older.")]
SizeOption = Annotated[str, typer.Option("--size", help="COLUMNSxROWS of the array, as 80x125.")]

for _part in ("mkid_calibrate", "mkid_images"):
    if importlib.util.find_spec(f"deployments.cli.{_part}"):
        app.registered_commands += importlib.import_module(f"deployments.cli.{_part}").app.registered_commands


@app.command()
def convert(
    bin_dir: Annotated[Path, typer.Argument(help="Folder of <second>.bin, or of YYYYMMDD folders with them.")],
    beam_map: BeamMapOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables; with --start also a file that ends with .h5.")],
    log: Annotated[Path | None, typer.Option("--log", help="Observing log: one table for each exposure in it.")] = None,
    start: Annotated[str, typer.Option("--start", help="Unix seconds or ISO 8601 in UTC; the window is half-open.")] = "",
    stop: Annotated[str, typer.Option("--stop", help="Where the window ends.")] = "",
    duration: Annotated[str, typer.Option("--duration", help="Seconds from --start.")] = "",
    flags: FlagsOption = "current",
    size: SizeOption = "",
    work: Annotated[Path | None, typer.Option("--work", help="Scratch folder to build tables in, perhaps on another file system.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Photon tables from readout files.  Without a log or a window: one for each contiguous run of seconds."""
    from nightcrew.errors import NightcrewError
    from nightcrew.io.source import shown
    from nightcrew.mkid.beam_map import read_beam_map
    from nightcrew.mkid.jobs import run_jobs
    from nightcrew.mkid.seconds import list_seconds
    from nightcrew.mkid.unheard import unheard_in_words

    placed = read_beam_map(beam_map, enumeration=flags, shape=_shape(size) if size else None)
    listing = list_seconds(bin_dir)
    jobs, troubles = _jobs(listing, out, log, (start, stop, duration))
    troubles += [*placed.sentences(), *(one.reason for one in listing.rejected)]
    failed = False
    rows: list[dict[str, object]] = []
    for job, made in run_jobs(jobs, listing, placed, shown(bin_dir.resolve()), work=work):
        if isinstance(made, NightcrewError):
            failed = True
            rows.append({"table": job.out.name, "photons": None, "problems": [str(made)]})
        else:
            problems = [*unheard_in_words(placed, made.account), *made.account.sentences()]
            rows.append({"table": job.out.name, "photons": made.n_photons, "problems": problems, **made.report})
        if not as_json:
            _tell(rows[-1])
    if as_json:
        say_json({"tables": rows, "problems": troubles})
    else:
        for trouble in troubles:
            say(trouble)
        if not jobs:
            say("There is nothing to convert.")
    if failed or not jobs:
        raise typer.Exit(1)


def _tell(row: dict[str, object]) -> None:
    made = row["photons"]
    say(f"{row['table']}: " + ("not made" if made is None else f"{made} photons"))
    problems = row["problems"]
    for problem in problems if isinstance(problems, list) else []:
        say(f"  {problem}")


def _jobs(listing: Listing, out: Path, log: Path | None, window: tuple[str, str, str]) -> tuple[list[Job], list[str]]:
    from nightcrew.errors import Refused
    from nightcrew.mkid.jobs import job_of_window, jobs_of_log, jobs_of_runs
    from nightcrew.mkid.observing_log import read_log

    start, stop, duration = window
    if log is not None:
        if any(window):
            raise Refused("a log has its own times: leave out --start, --stop and --duration")
        found = read_log(log)
        return jobs_of_log(found, out), [one.reason for one in found.rejected]
    if not any(window):
        return jobs_of_runs(listing, out), []
    if not start or bool(stop) == bool(duration):
        raise Refused("a window needs --start, and either --stop or --duration")
    start_us = _time_us(start)
    return [job_of_window(out, start_us, _time_us(stop) if stop else start_us + _time_us(duration))], []


def _time_us(text: str) -> int:
    from nightcrew.errors import Refused
    from nightcrew.mkid.observing_log import time_us

    try:
        return time_us(text)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{text!r} is no time: give Unix seconds or ISO 8601, as 2026-05-16T03:04:05.5") from error


def _shape(size: str) -> tuple[int, int]:
    from nightcrew.errors import Refused

    columns, by, rows = size.lower().partition("x")
    if not (by and columns.isdecimal() and rows.isdecimal()):
        raise Refused(f"{size!r} is no size: give COLUMNSxROWS, as 80x125")
    return int(rows), int(columns)


@app.command()
def parse(
    files: Annotated[list[Path], typer.Argument(help="<second>.bin files.")],
    size: SizeOption = "80x125",
    photons: Annotated[
        Path | None, typer.Option("--photons", help="Write every photon as CSV: time_us,x,y,phase_deg,baseline_deg.")
    ] = None,
    cube: Annotated[Path | None, typer.Option("--cube", help="Write counts [step, y, x] as .npz, one run of seconds only.")] = None,
    step: Annotated[float | None, typer.Option("--step", help="Seconds of a step of the cube; without it one image.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What is in raw readout files, without a table."""
    from nightcrew.errors import Refused
    from nightcrew.mkid.raw import parse_runs
    from nightcrew.mkid.raw_files import PhotonText, write_cube
    from nightcrew.mkid.seconds import sort_out

    listing, shape = sort_out(files), _shape(size)
    if cube is not None and len(listing.runs()) > 1:
        raise Refused("a cube is made of one contiguous run of seconds, and these files are more")
    with PhotonText(photons, shape[1]) as text:
        runs = list(parse_runs(listing, shape, step_s=step if cube is not None else None, sink=text.add if photons else None))
    if cube is not None:
        for run in runs:
            write_cube(cube, run)
    problems = [one.reason for one in listing.rejected]
    if as_json:
        say_json({"runs": [_run_values(run) for run in runs], "problems": problems})
    else:
        _say_runs(runs, problems)
    if not any(run.account.files for run in runs):
        raise typer.Exit(1)


def _run_values(run: RawRun) -> dict[str, object]:
    lit = int((run.cube.sum(axis=0) > 0).sum())
    values = {"first_second": run.first, "seconds": run.stop - run.first, "first_photon_us": run.first_us, "last_photon_us": run.last_us}
    return {**values, "pixels_lit": lit, **run.account.plain()}


def _say_runs(runs: list[RawRun], problems: list[str]) -> None:
    headings = ("first second", "seconds", "photons", "frames", "lost", "boards", "pixels lit")
    rows = []
    for run in runs:
        tally, lit = run.account.tally, int((run.cube.sum(axis=0) > 0).sum())
        rows.append((run.first, run.stop - run.first, tally.photons, tally.frames, tally.lost, len(tally.boards), lit))
    say_table(headings, rows)
    for problem in [*(sentence for run in runs for sentence in run.account.sentences()), *problems]:
        say(problem)


@app.command()
def info(table: Annotated[Path, typer.Argument(help="Photon table.")], as_json: JsonOption = False) -> None:
    """Attributes of a photon table, its counts, flags, and what was lost."""
    from nightcrew.io.source import shown
    from nightcrew.mkid.photon_table import PhotonTable
    from nightcrew.mkid.registered import registered
    from nightcrew.mkid.table_info import describe

    with PhotonTable(table) as opened:
        values = describe(opened)
    noted = registered(table)
    values["read_with"] = [shown(path) for path in noted.solutions] + ([] if noted.linearity_step_s is None else ["linearity"])
    if as_json:
        say_json(values)
        return
    for name, value in values.items():
        if isinstance(value, dict):
            say(f"{name}:")
            say_table(("", ""), [(f"  {key}", str(one)) for key, one in value.items()])
        else:
            say(f"{name}: {value}")
