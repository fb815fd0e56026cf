"""A line through 40 frames of 2048^2 for every pixel, against vectorised ``np.polyfit``: CPU in a running worker, one thread each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.spent import timed_in_turns, worker
from benchmarks.table import Line, ratio

N_FRAMES = 40
NAME = f"per-pixel line over {N_FRAMES} x 2048^2"
PIECE = 1 << 20  # pixels that polyfit gets at once, which suits it
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def lines(data: Path, _work: Path, repeats: int) -> list[Line]:
    """Ratios of CPU seconds; frames in memory as uint16 for both."""
    inside = worker("benchmarks.pixel_fits", data / "small", repeats, environment=ONE_THREAD)
    theirs = inside["polyfit"]["cpu_s"]
    return [
        ratio(NAME, "less CPU than np.polyfit", theirs, inside["line"]["cpu_s"], at_least=40),
        ratio(NAME, "same with errors and scatter", theirs, inside["line with errors"]["cpu_s"]),
        Line(work=NAME, what="largest difference of the slope", value=inside["difference"], unit="ADU/s", at_most=1e-5),
    ]


def main(folder: Path, repeats: int) -> None:
    """Measure in this process and print JSON."""
    import numpy as np

    from nightcrew.calibration.pixel_fits import fit_pixels, line
    from nightcrew.io.images import read_image

    frames = [read_image(path) for path in sorted(folder.glob("*.fits"))[:N_FRAMES]]
    exposures = np.linspace(1, 600, len(frames))

    def polyfit() -> list[Any]:
        flat = [frame.reshape(-1) for frame in frames]
        parts = range(0, flat[0].size, PIECE)
        return [np.polyfit(exposures, np.stack([frame[at : at + PIECE] for frame in flat]), 1) for at in parts]

    found: dict[str, object] = dict(
        timed_in_turns(
            {
                "line": lambda: fit_pixels(frames, line(exposures.tolist()), errors=False, threads=1),
                "line with errors": lambda: fit_pixels(frames, line(exposures.tolist()), threads=1),
                "polyfit": polyfit,
            },
            repeats,
        )
    )
    slopes = np.concatenate([part[0] for part in polyfit()])
    found["difference"] = float(np.max(np.abs(fit_pixels(frames, line(exposures.tolist())).coefficients[1].reshape(-1) - slopes)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
