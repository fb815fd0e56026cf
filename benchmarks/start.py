"""Start of the frame tools: CPU of whole commands whose work is next to nothing."""

from __future__ import annotations

from pathlib import Path

from benchmarks.spent import Command, in_turns, nightcrew
from benchmarks.table import Line

MOST_S = 0.8


def lines(_data: Path, work: Path, repeats: int) -> list[Line]:
    """One line a command."""
    frame = work / "tiny.fits"
    frame.write_bytes(_tiny())
    out = work / "tiny_out.fits"
    commands = {
        "stats": Command(nightcrew("frames", "stats", frame)),
        "log": Command(nightcrew("frames", "log", frame)),
        "combine": Command(nightcrew("frames", "combine", frame, frame, "-o", out), [out]),
        "--help": Command(nightcrew("frames", "--help")),
    }
    spent = in_turns(commands, repeats)
    return [
        Line(work=f"start of nightcrew frames {name}", what="CPU of the whole command", value=cost.cpu_s, unit="s", at_most=MOST_S)
        for name, cost in spent.items()
    ]


def _tiny() -> bytes:
    """A FITS file of 4 x 4 pixels."""
    cards = [("SIMPLE", "T"), ("BITPIX", "16"), ("NAXIS", "2"), ("NAXIS1", "4"), ("NAXIS2", "4"), ("BZERO", "32768")]
    text = "".join(f"{key:8}= {value:>20}".ljust(80) for key, value in cards) + "END".ljust(80)
    return text.ljust(2880).encode() + bytes(2880)
