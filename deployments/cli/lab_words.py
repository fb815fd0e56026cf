"""Options that the commands of ``nightcrew lab`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.common import say

if TYPE_CHECKING:
    from nightcrew.lab.convert import Section
    from nightcrew.lab.raw import RawLayout

Roots = Annotated[list[Path] | None, typer.Argument(help="Folders with attempts; their names say what is bias, dark and flat.")]
BiasOption = Annotated[list[Path] | None, typer.Option("--bias", help="Folder of bias frames (may be repeated).")]
DarkOption = Annotated[list[Path] | None, typer.Option("--dark", help="Folder of darks (may be repeated).")]
FlatOption = Annotated[list[Path] | None, typer.Option("--flat", help="Folder of flats (may be repeated).")]
DepthOption = Annotated[int, typer.Option("--search-depth", min=0, help="Folders below a root that are searched.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for everything that is made.")]
InPlaceOption = Annotated[bool, typer.Option("--in-place", help="Write beside the raws: <attempt>/fits/, the tables in the root.")]
ByteOrderOption = Annotated[str, typer.Option("--byte-order", help="Of 16-bit pixels: little or big.")]
HeaderOption = Annotated[int, typer.Option("--header-bytes", min=0, help="Bytes before the first pixel.")]
ShiftOption = Annotated[
    int, typer.Option("--shift-bits", min=0, max=15, help="Shift stored words down: 4 for 12 bits stored x16; 0 keeps them.")
]
PadOption = Annotated[bool, typer.Option("--pad", help="Fill up or cut frames of the wrong size (BADSIZE) instead of rejecting them.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Tell every warning and every attempt.")]


def layout_of(byte_order: str, header_bytes: int, shift_bits: int, pad: bool) -> RawLayout:
    """How raw bytes are to be taken; ``Refused`` for an unknown byte order."""
    from nightcrew.errors import Refused
    from nightcrew.lab.raw import RawLayout

    if byte_order == "little":
        return RawLayout(byte_order="little", header_bytes=header_bytes, shift_bits=shift_bits, pad=pad)
    if byte_order == "big":
        return RawLayout(byte_order="big", header_bytes=header_bytes, shift_bits=shift_bits, pad=pad)
    raise Refused(f"--byte-order is little or big, not {byte_order!r}")


def sections_of(
    roots: list[Path] | None, bias: list[Path] | None, dark: list[Path] | None, flat: list[Path] | None, skipped: tuple[str, ...] = ()
) -> list[Section]:
    """Roots and sections that were named; ``Refused`` when there are none."""
    from nightcrew.errors import Refused
    from nightcrew.lab.convert import Section

    found = [Section(root) for root in roots or []]
    for kind, folders in (("BIAS", bias), ("DARK", dark), ("FLAT", flat)):
        found += [Section(folder, kind) for folder in folders or [] if kind not in skipped]
    if not found:
        raise Refused("name at least one folder: a root, or --bias, --dark or --flat")
    return found


def target_of(out: Path | None, in_place: bool) -> Path | None:
    """Where things go; None: beside the raws.  ``Refused`` unless exactly one of both was asked for."""
    from nightcrew.errors import Refused

    if (out is None) != in_place:
        raise Refused("say where to write: either --out FOLDER or --in-place")
    return out


def tell_warnings(warnings: list[str], *, verbose: bool, most: int = 5) -> None:
    """Warnings, the first few of them unless all are wanted."""
    for warning in warnings if verbose else warnings[:most]:
        say(f"warning: {warning}")
    if not verbose and len(warnings) > most:
        say(f"... and {len(warnings) - most} more warnings (--verbose shows them)")


def numbers_of(text: str, option: str) -> tuple[float, ...]:
    """Numbers of an option such as ``"15.0 20.0"``, split at blanks and commas; ``Refused`` for anything else."""
    import math

    from nightcrew.errors import Refused

    try:
        found = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise Refused(f"{option} takes numbers, as '15.0 20.0', not {text!r}") from error
    if not all(math.isfinite(value) for value in found):
        raise Refused(f"{option} takes finite numbers")
    return found


def one_of(word: str, words: tuple[str, ...], option: str) -> str:
    """The word; ``Refused`` with those that are possible when it is none of them."""
    from nightcrew.errors import Refused

    if word not in words:
        raise Refused(f"{option} is one of {', '.join(words)}, not {word!r}")
    return word
