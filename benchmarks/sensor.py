"""60 frames of a sensor, 4096 x 4096: ``nightcrew sensor`` against a plain numpy/astropy script of the same definitions, whole processes.

``python -m benchmarks.sensor FOLDER [SIDE]`` makes the frames (2 GB), runs both once and prints one JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.spent import Command, in_turns, nightcrew, python, run
from benchmarks.table import Line, ratio

SIDE = 4096
BIASES, DARKS, LEVELS = 10, 5, 20
DARK_TIMES_S = (60.0, 300.0)
NAME = "sensor: 60 frames of {0} x {0}"
TARGET = 5.0
MOST_MB = 1500.0


def make(folder: Path, side: int = SIDE) -> None:
    """10 biases, 5 darks of 60 s and of 300 s, 20 levels of 2 flats; only what is missing."""
    import numpy as np

    from nightcrew.simulate.camera_file import CameraCard, write_camera_file

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(side)
    response = 1 + rng.normal(0, 0.01, (side, side)).astype(np.float32)
    plan = [("Bias Frame", 0.0, 0.0)] * BIASES
    plan += [("Dark Frame", t, 0.3 * t) for t in DARK_TIMES_S for _ in range(DARKS)]
    plan += [("Flat Field", 1.0 * level, 2400.0 * level) for level in range(1, LEVELS + 1) for _ in range(2)]
    for number, (kind, exposure_s, level_adu) in enumerate(plan):
        path = folder / f"f_{number:03d}.fits"
        if path.exists():
            continue
        mean = np.float32(level_adu) * (response if kind == "Flat Field" else np.float32(1))
        noise = rng.standard_normal((side, side), dtype=np.float32) * np.sqrt(mean / np.float32(1.5) + np.float32(28))
        image = np.clip(np.rint(mean + noise + np.float32(1000)), 0, 65535).astype(np.uint16)
        cards: list[CameraCard] = [("IMAGETYP", kind, ""), ("EXPTIME", exposure_s, ""), ("CCD-TEMP", -10.0, ""), ("FILTER", "L", "")]
        cards.append(("DATE-OBS", f"2026-05-16T10:{number:02d}:00", ""))
        write_camera_file(path, image, cards)


def lines(data: Path, work: Path, repeats: int, side: int = SIDE) -> list[Line]:
    """Wall seconds and memory of whole processes."""
    frames, out = data / f"sensor{side}", work / "sensor"
    make(frames, side)
    ours = Command(nightcrew("sensor", frames, "--out", out), makes=[out])
    plain = Command(python("benchmarks.sensor_plain", frames), makes=[])
    spent = in_turns({"ours": ours}, min(repeats, 2)) | {"plain": run(plain)}  # the files are in the page cache by then; minutes, so once
    name = NAME.format(side)
    return [
        ratio(name, "faster than plain numpy + astropy", spent["plain"].wall_s, spent["ours"].wall_s, at_least=TARGET),
        ratio(name, "less CPU than plain numpy + astropy", spent["plain"].cpu_s, spent["ours"].cpu_s),
        Line(
            work=name,
            what="peak memory",
            value=spent["ours"].peak_mb,
            unit="MB",
            at_most=MOST_MB,
            note=f"plain {spent['plain'].peak_mb:.0f} MB",
        ),
    ]


if __name__ == "__main__":
    side = int(sys.argv[2]) if len(sys.argv) > 2 else SIDE
    found = lines(Path(sys.argv[1]), Path(sys.argv[1]), 1, side)
    print(json.dumps([{"what": line.what, "value": line.value, "limit": line.limit, "note": line.note} for line in found]))
