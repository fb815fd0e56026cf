"""``nightcrew frames combine`` and ``recipe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.common import say
from deployments.cli.frame_words import BoxOption, Extension, Files, Verbose, box_of_option, complain, print_error, teller


def combine(
    files: Files = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="New file.")] = Path("combined.fits"),
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            help="median, mean, average (-a weights), sigclip, sigclipmedian, quantile, percentile, min, max, sum, std, rms (= std), var, "
            "root_mean_square.",
        ),
    ] = "median",
    argument: Annotated[
        str,
        typer.Option("--argument", "-a", help="Quantile 0..1, percentile 0..100, or weights: mean, median, sum, exposure, ivar, numbers."),
    ] = "",
    normalisation: Annotated[
        str, typer.Option("--norm", "-n", help="Bring all to the first frame's none, mean, median, sum, mode or sky.")
    ] = "none",
    additive: Annotated[bool, typer.Option("--additive", help="Normalise by adding instead of scaling.")] = False,
    box: BoxOption = "",
    clip: Annotated[str, typer.Option("--clip", "-c", help="Leave out at each pixel: none, min, max, minmax, sigma.")] = "none",
    drop: Annotated[str, typer.Option("--drop", "-d", help="How many (lowest,highest for minmax), or how many sigmas.")] = "",
    shift: Annotated[int, typer.Option("--shift", "-s", help="Shift by bits first: x 2^n, exact.")] = 0,
    unit: Annotated[bool, typer.Option("--unit", "-u", help="Divide the result by its mean.")] = False,
    reduce: Annotated[bool, typer.Option("--reduce", "-r", help="Combine cubes along their first axis.")] = False,
    planes: Annotated[str, typer.Option("--planes", help="What is written: result, uncertainty, count, mask, or all.")] = "result",
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64; nothing: float32 unless it would lose digits.")] = "",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads.")] = 2,
    extension: Extension = "",
    verbose: Verbose = False,
) -> None:
    """Combine frames pixel by pixel.  Order: shift, normalise (-b: by a box), clip, combine, divide by the mean."""
    from nightcrew.tools.combine_request import PLANES, Request
    from nightcrew.tools.combine_tool import combine_files
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.writing import check_output

    check_output(output)
    paths = _named(files)
    request = Request(
        method=method,
        argument=argument,
        normalisation=normalisation,
        additive=additive,
        box=box_of_option(box),
        clip=clip,
        drop=drop,
        bit_shift=shift,
        unit_mean=unit,
        reduce=reduce,
        planes=PLANES if planes == "all" else tuple(name.strip() for name in planes.split(",")),
        dtype=dtype,
        extension=extension_of(extension),
        threads=threads,
    )
    for line in combine_files(paths, request, output, remark=print_error):
        teller(verbose=verbose)(line)
    say(f"{output}: {method} of {len(paths)} files")


def _named(files: list[str] | None) -> list[Path]:
    """The files, each once; the first that was named again is told."""
    from nightcrew.tools.inputs import expand, without_repetitions

    paths, again = without_repetitions(expand(files or []))
    if again:
        complain(f"{again[0]} was named more than once and counts once")
    return paths


def recipe(
    files: Files = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for everything that is made.")] = Path("reduced"),
    box: BoxOption = "",
    normalisation: Annotated[str, typer.Option("--norm", "-n", help="Flats are brought to one mean, median, sum, mode or sky.")] = "mean",
    drop: Annotated[int, typer.Option("--drop", "-d", min=0, help="Highest values left out of the flats at each pixel.")] = 1,
    odd: Annotated[float, typer.Option("--odd", help="Bias and dark frames further than this many robust sigmas are left out.")] = 5.0,
    temperature_gap: Annotated[float, typer.Option("--temperature-gap", help="Temperatures further apart [C] are another set-up.")] = 1.5,
    profile: Annotated[str, typer.Option("--profile", help="Instrument profile; nothing: by the headers.")] = "",
    verbose: Verbose = False,
) -> None:
    """The GODO reduction as one flow: bias, darks, dark line, scaled darks, flats, lights, a mean per target and filter."""
    from nightcrew.tools.recipe_night import reduce_night
    from nightcrew.tools.recipe_run import Options

    options = Options(box=box_of_option(box), flat_normalisation=normalisation, flat_drop_highest=drop, odd_limit=odd)
    paths = _named(files)
    result = reduce_night(paths, output, options, say=say, profile=profile, temperature_gap_c=temperature_gap)
    for group in result.groups:
        for frame in group.frames:
            teller(verbose=verbose)(
                f"set-up {group.number}: {frame.path.name}: {frame.header.kind}, {frame.exposure_s:g} s {frame.header.filter}"
            )
    for outcome in result.outcomes:
        if outcome.line is not None:
            _say_line(outcome.line)
        for exposure_s, factor in sorted(outcome.factors.items()):
            say(f"  dark of {exposure_s:g} s = {factor:.5f} x the longest mean dark")
    say(f"{result.written} images and summary.json in {output}")


def _say_line(line: Any) -> None:
    say(f"dark counts = offset + slope x exposure, {line.n_points} exposures:")
    for name, value, errors, unit in (
        ("offset", line.offset_adu, line.offset_errors, "ADU"),
        ("slope", line.slope_adu_per_s, line.slope_errors, "ADU/s"),
    ):
        scatter = "unknown" if errors.scatter is None else f"{errors.scatter:.3g}"
        noise = "" if errors.noise is None else f", from pixel noise {errors.noise:.2g}"
        say(f"  {name} {value:.6g} {unit}, error by the residuals {scatter}{noise}; by 1 count a point {errors.unit:.4g}")
