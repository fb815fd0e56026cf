"""``nightcrew frames show``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.common import say
from deployments.cli.frame_words import BoxOption, Extension, Files, Verbose, box_of_option, teller


def show(
    files: Files = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Name ending .png, .svg, .pdf or .gif; screen (this terminal), skip, filename (FILE.png).")
    ] = "screen",
    scale: Annotated[str, typer.Option("--scale", "-l", help="zscale (IRAF's), minmax, sigma (mean +- -r standard deviations).")] = "",
    sigmas: Annotated[float | None, typer.Option("--sigmas", "-r", help="Standard deviations about the mean, for -l sigma.")] = None,
    fixed: Annotated[str, typer.Option("--limits", "-m", metavar="LOW HIGH", help="Fixed limits.")] = "",
    box: BoxOption = "",
    cmap: Annotated[str, typer.Option("--cmap", "-c", help="inv (dark on white), non, or any colour map of matplotlib.")] = "inv",
    marginals: Annotated[str, typer.Option("--marginals", "-s", help="+ or y: with means of columns and rows; - or n: without.")] = "+",
    rgb: Annotated[str, typer.Option("--rgb", "-R", help="+ or y: three images, or a cube of three planes, as one colour picture.")] = "n",
    title: Annotated[str, typer.Option("--title", "-t", help="filename, object (OBJECT), sliced (OR3DFILE), or a text.")] = "filename",
    yscale: Annotated[float, typer.Option("--yscale", "-y", help="Stretch y by this.")] = 1.0,
    zstep: Annotated[int, typer.Option("--zstep", "-z", help="Every so-manieth plane of a cube.")] = 1,
    delay: Annotated[int | None, typer.Option("--animation", "-a", help="Cube as a GIF: ms a picture, negative: repeats.")] = None,
    extension: Extension = "",
    verbose: Verbose = False,
) -> None:
    """Pictures of frames, with the numbers behind them beside them; a cube as a film strip or an animation."""
    from nightcrew.errors import Refused
    from nightcrew.tools.frame import extension_of
    from nightcrew.tools.inputs import expand
    from nightcrew.tools.show import Look, picture_names, pictures

    pair = _pair(fixed)
    look = Look(
        cmap=cmap,
        scale=scale or ("limits" if pair else "sigma" if sigmas is not None else "zscale"),
        sigmas=1.0 if sigmas is None else sigmas,
        fixed=pair,
        marginals=_yes(marginals, "-s"),
        rgb=_yes(rgb, "-R"),
        title=title,
        yscale=yscale,
        zstep=zstep,
        delay_ms=-200 if delay is None else delay,
        box=box_of_option(box),
    )
    paths = expand(files or [])
    to_files = output not in ("screen", "terminal", "skip", "")
    if delay is not None and not output.lower().endswith(".gif"):
        raise Refused("an animation is written as a GIF: -o NAME.gif")
    if to_files:
        picture_names(paths, output)  # refuses impossible names before anything is read
    tell = teller(verbose=verbose)
    made = pictures(paths, look, extension_of(extension))
    for _, picture in made:
        for panel in picture.panels:
            plane = "" if panel.plane is None else f" plane {panel.plane}"
            tell(f"{picture.source}{plane}: {look.scale} " + "; ".join(f"{low:.6g} to {high:.6g}" for low, high in panel.limits))
    if to_files:
        _save_pictures(made, look, output)
    else:
        _print_pictures(made, look, quiet=output == "skip")


def _save_pictures(made: Sequence[tuple[Path, Any]], look: Any, output: str) -> None:
    """Each picture and, under its name with .json, its numbers; nothing is written unless all names are free."""
    from nightcrew.tools.picture import draw
    from nightcrew.tools.show import numbers_of, picture_names
    from nightcrew.tools.writing import check_output, write_bytes, write_report

    names = picture_names([path for path, _ in made], output)
    numbers = [name.with_name(name.name + ".json") for name in names]
    for name in names + numbers:
        check_output(name)
    drawn = [draw(picture, look, name.suffix.lower().removeprefix(".")) for name, (_, picture) in zip(names, made, strict=True)]
    for name, beside, (_, picture), data in zip(names, numbers, made, drawn, strict=True):
        write_report(beside, numbers_of(picture, look))
        write_bytes(name, data)
        say(f"{name} and {beside.name}")


def _print_pictures(made: Sequence[tuple[Path, Any]], look: Any, *, quiet: bool) -> None:
    import shutil

    from nightcrew.tools.show import numbers_of
    from nightcrew.tools.terminal import terminal_text

    colour = sys.stdout.isatty()
    columns = min(shutil.get_terminal_size().columns, 120)
    for _, picture in made:
        sys.stdout.write(numbers_of(picture, look) if quiet else terminal_text(picture, look, columns=columns, colour=colour))


def _pair(text: str) -> tuple[float, float] | None:
    from nightcrew.errors import Refused

    try:
        low, high = (float(word) for word in text.replace(",", " ").split() or ("nan", "nan"))
    except ValueError as error:
        raise Refused("fixed limits are two numbers: -m LOW HIGH") from error
    return (low, high) if text.strip() else None


def _yes(word: str, option: str) -> bool:
    from nightcrew.errors import Refused

    answer = word.strip().lower()
    if answer not in ("+", "y", "yes", "-", "n", "no"):
        raise Refused(f"{option} takes + or y, - or n, not '{word}'")
    return answer in ("+", "y", "yes")
