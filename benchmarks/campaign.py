"""Irradiation campaigns from raw frames to report: 350 frames of 256 x 256, and 60 of 2048 x 2048.

The older suite's partial runs (no conversion, or no response) of the same 350 frames took 57 to 150 s on two cores; a third of the least is
the limit.  ``python -m benchmarks.campaign [FOLDER]`` prints the table's lines; frames are made in FOLDER once and kept.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.spent import Command, nightcrew, run
from benchmarks.table import Line, as_text

OLDER_SUITE_S = 57.0
MEMORY_MB = 1000.0
SETS = {"bench": "campaign of 350 frames of 256^2", "large": "campaign of 60 frames of 2048^2"}


def make_frames(folder: Path, preset: str) -> Path:
    """The simulated campaign of a preset, made once."""
    place = folder / f"campaign_{preset}"
    if not (place / "truth.json").exists():
        shutil.rmtree(place, ignore_errors=True)  # what an interrupted run left
        run(Command(nightcrew("simulate", "campaign", place, "--preset", preset)))
    return place / "campaign"


def lines(data: Path, work: Path, repeats: int) -> list[Line]:
    """Wall time, CPU and peak memory of the whole command."""
    made = []
    for preset, name in SETS.items():
        campaign, out = make_frames(data, preset), work / f"out_{preset}"
        found = [
            run(Command(nightcrew("campaign", campaign, "--out", out), makes=(out,)))
            for _ in range(1 if preset == "large" else min(repeats, 2))
        ]
        wall = min(one.wall_s for one in found)
        limit = OLDER_SUITE_S / 3 if preset == "bench" else None
        made.append(Line(work=name, what="wall time", value=wall, unit="s"))
        note = "a third of the older suite's least time" if limit else ""
        made.append(Line(work=name, what="CPU", value=min(one.cpu_s for one in found), unit="s", at_most=limit, note=note))
        made.append(Line(work=name, what="peak memory", value=max(one.peak_mb for one in found), unit="MB", at_most=MEMORY_MB))
    return made


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "data"
        data.mkdir(parents=True, exist_ok=True)
        print(as_text(lines(data, Path(folder), 1)))


if __name__ == "__main__":
    main()
