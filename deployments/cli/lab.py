"""``nightcrew lab``: raw laboratory frames to FITS, index, masters and detector models.  Every import waits until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import JsonOption, say, say_json
from deployments.cli.lab_models import models, synthesize
from deployments.cli.lab_words import (
    BiasOption,
    ByteOrderOption,
    DarkOption,
    DepthOption,
    FlatOption,
    HeaderOption,
    InPlaceOption,
    OutOption,
    PadOption,
    Roots,
    ShiftOption,
    VerboseOption,
    layout_of,
    sections_of,
    target_of,
    tell_warnings,
)

if TYPE_CHECKING:
    from nightcrew.lab.convert import AttemptResult
    from nightcrew.lab.results import LabMade

app = typer.Typer(
    help="Laboratory frames: convert, index, masters, run, models, synthesize.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def convert(
    roots: Roots = None,
    bias: BiasOption = None,
    dark: DarkOption = None,
    flat: FlatOption = None,
    out: OutOption = None,
    in_place: InPlaceOption = False,
    search_depth: DepthOption = 6,
    skip_bias: Annotated[bool, typer.Option("--skip-bias", help="Leave bias frames out.")] = False,
    skip_dark: Annotated[bool, typer.Option("--skip-dark", help="Leave darks out.")] = False,
    skip_flat: Annotated[bool, typer.Option("--skip-flat", help="Leave flats out.")] = False,
    byte_order: ByteOrderOption = "little",
    header_bytes: HeaderOption = 0,
    shift_bits: ShiftOption = 0,
    pad: PadOption = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Raw frames to FITS with what configuration, log and names say, and fits_index.csv.  Starts again where it stopped."""
    from nightcrew.lab.convert import convert_sections

    skipped = tuple(kind for kind, skip in (("BIAS", skip_bias), ("DARK", skip_dark), ("FLAT", skip_flat)) if skip)
    sections = sections_of(roots, bias, dark, flat, skipped)
    layout = layout_of(byte_order, header_bytes, shift_bits, pad)
    told = _tell_attempt if verbose and not as_json else None
    made = convert_sections(sections, target_of(out, in_place), search_depth=search_depth, layout=layout, skipped=skipped, told=told)
    warnings = made.warnings + [warning for result in made.attempts for warning in result.warnings]
    new = sum(frame.made for frame in made.frames)
    if as_json:
        rejected = [{"file": str(path), "reason": reason} for path, reason in made.rejected]
        tables = [str(path) for path in made.tables]
        say_json({"converted": new, "kept": len(made.frames) - new, "rejected": rejected, "warnings": warnings, "tables": tables})
    else:
        tell_warnings(warnings, verbose=verbose)
        tell_warnings([reason for _, reason in made.rejected], verbose=verbose)
        say(f"{len(made.attempts)} attempts: {new} frames converted, {len(made.frames) - new} stood there, {len(made.rejected)} rejected.")
        for path in made.tables:
            say(f"wrote {path}")
    if not made.frames:
        raise typer.Exit(1)


def _tell_attempt(result: AttemptResult) -> None:
    new = sum(frame.made for frame in result.frames)
    say(f"{result.attempt.label}: {new} converted, {len(result.frames) - new} kept, {len(result.rejected)} rejected")


@app.command()
def index(
    roots: Roots = None,
    bias: BiasOption = None,
    dark: DarkOption = None,
    flat: FlatOption = None,
    discover: Annotated[
        list[Path] | None, typer.Option("--discover", help="Root that is searched for bias, dark and flat folders.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The table, or the folder that gets index.csv.")] = None,
    in_place: InPlaceOption = False,
    stage: Annotated[str, typer.Option("--stage", help="pre, radiating or post for all; without it folders say it.")] = "",
    vacuum: Annotated[str, typer.Option("--vacuum", help="vacuum or air for all; without it folders say it.")] = "",
    search_depth: DepthOption = 6,
    verbose: VerboseOption = False,
) -> None:
    """A table of all converted frames: kind, stage, temperature, and which cannot be used."""
    from nightcrew.errors import Refused
    from nightcrew.lab.convert import common_parent
    from nightcrew.lab.index import Given, index_sections, write_frames_index

    if stage not in ("", "pre", "radiating", "post"):
        raise Refused(f"--stage is pre, radiating or post, not {stage!r}")
    if vacuum not in ("", "vacuum", "air"):
        raise Refused(f"--vacuum is vacuum or air, not {vacuum!r}")
    sections = sections_of([*(roots or []), *(discover or [])], bias, dark, flat)
    target = target_of(out, in_place) or common_parent([section.root for section in sections])
    made = index_sections(sections, given=Given(stage, vacuum), search_depth=search_depth)
    tell_warnings(made.warnings, verbose=verbose)
    if not made.frames:
        say("No FITS frame was found, so there is no index.")
        raise typer.Exit(1)
    path = write_frames_index(target if target.suffix.lower() == ".csv" else target / "index.csv", made.frames)
    bad = [frame for frame in made.frames if frame.bad]
    for frame in bad if verbose else bad[:5]:
        say(f"bad: {frame.path.name}: {frame.reason}")
    say(f"{len(made.frames)} frames, {len(bad)} of them bad; wrote {path}")


@app.command()
def masters(
    index_table: Annotated[Path, typer.Argument(metavar="INDEX", help="index.csv of `nightcrew lab index`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masters/, frame_stats.csv, plots/ and comparisons/.")],
    gap: Annotated[float, typer.Option("--gap", min=0, help="Temperatures are one where no gap is larger than this, K.")] = 0.5,
    plots: Annotated[bool, typer.Option("--save-plots/--no-save-plots", help="Draw figures.")] = True,
    verbose: VerboseOption = False,
) -> None:
    """Masters of each stage, dose, temperature and exposure, and the statistics of every frame."""
    from nightcrew.lab.options import LabOptions
    from tasks.lab_run import campaign, masters_of

    made = campaign([index_table], out)
    masters_of(made, out, LabOptions(gap_k=gap, save_plots=plots))
    tell_warnings(made.all_warnings(), verbose=verbose)
    count = len(made.masters.masters) if made.masters else 0
    say(f"{len(made.frames)} frames, {count} masters in {out / 'masters'}")
    if not count:
        raise typer.Exit(1)


@app.command()
def run(
    roots: Annotated[list[Path], typer.Argument(help="Folders with attempts, raw or converted.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is made.")],
    search_depth: DepthOption = 6,
    byte_order: ByteOrderOption = "little",
    header_bytes: HeaderOption = 0,
    shift_bits: ShiftOption = 0,
    pad: PadOption = False,
    gap: Annotated[float, typer.Option("--gap", min=0, help="Temperatures are one where no gap is larger than this, K.")] = 0.5,
    plots: Annotated[bool, typer.Option("--save-plots/--no-save-plots", help="Draw figures.")] = True,
    verbose: VerboseOption = False,
) -> None:
    """All in one go: convert, index, masters, statistics, models, changes, report."""
    from nightcrew.lab.options import LabOptions
    from tasks.lab_run import campaign, masters_of, models_of

    options = LabOptions(gap_k=gap, save_plots=plots)
    made = campaign(roots, out, search_depth=search_depth, layout=layout_of(byte_order, header_bytes, shift_bits, pad))
    masters_of(made, out, options)
    models_of(made, out, options)
    finish(made, out, verbose=verbose)


def finish(made: LabMade, out: Path, *, verbose: bool) -> None:
    """Write the page and say what was made."""
    from reports.analysis import write_analysis
    from reports.lab import lab_page

    page = lab_page(made)
    write_analysis(page, out)
    tell_warnings(made.all_warnings(), verbose=verbose)
    for text in page.needs_person:
        say(f"note: {text}")
    say(page.verdict)
    say(f"wrote {out / 'report.html'}")
    if page.status == "bad":
        raise typer.Exit(1)


app.command()(models)
app.command()(synthesize)
