"""Ingest against reading and hashing the same frames: files a second, and the share of that speed.

Run by itself (``python -m benchmarks.ingest [FRAMES] [PIXELS]``) it prints one JSON line and exits non-zero below the target.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nightcrew.frames.profiles import load_profiles
from nightcrew.frames.site import Site
from nightcrew.ingest import Door, ingest_batch
from nightcrew.ledger import arrivals, migrate
from nightcrew.ledger.arrivals import Seen
from nightcrew.ledger.database import Database

FRAMES = 60
PIXELS = 2048
REPEATS = 3
BATCH = 500
TARGET = 0.6


def make_frames(folder: Path, count: int, pixels: int) -> list[Path]:
    """Frames of a camera, a minute apart."""
    import numpy as np
    from astropy.io import fits

    rng = np.random.default_rng(1)
    paths = []
    for n in range(count):
        head = fits.Header({"IMAGETYP": "Light Frame", "EXPTIME": 60.0, "FILTER": "V", "INSTRUME": "Bench", "CCD-TEMP": -20.0})
        head["DATE-OBS"] = f"2026-03-14T{22 + n // 3600 % 2:02d}:{n // 60 % 60:02d}:{n % 60:02d}.000"
        head["OBJECT"] = f"Field {n}"
        paths.append(folder / f"f{n:05d}.fits")
        fits.PrimaryHDU(rng.integers(0, 60_000, (pixels, pixels)).astype("u2"), head).writeto(paths[-1])
    return paths


def read_and_hash(paths: list[Path]) -> None:
    """The anchor: every byte read once and hashed, one file after the other."""
    for path in paths:
        hashlib.sha256(path.read_bytes()).hexdigest()


def take_in(paths: list[Path], folder: Path, state: Path) -> None:
    """Record and ingest the files into a ledger of their own."""
    database = Database(f"sqlite:///{state / 'ledger.sqlite'}")
    migrate.upgrade(database)
    door = Door(profiles=load_profiles(None), site=Site(), instruments={})
    start = time.perf_counter()
    stats = [(path, path.stat()) for path in paths]
    arrivals.record(database, [Seen(path=os.fsencode(p), folder=str(folder), size=s.st_size, mtime_ns=s.st_mtime_ns) for p, s in stats])
    done = 0
    while done < len(paths):
        batch = ingest_batch(database, door, BATCH)
        if batch.frames != batch.files:
            raise RuntimeError(f"{batch.files - batch.frames} frames were not taken in")
        done += batch.files
    take_in.seconds = time.perf_counter() - start  # type: ignore[attr-defined]  # without making the tables
    database.close()


def measure(count: int = FRAMES, pixels: int = PIXELS) -> dict[str, Any]:
    """``{work, files_per_s, anchor_files_per_s, ratio, target}``; wall seconds, warm cache, interleaved, median of the repeats."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "raw"
        folder.mkdir()
        paths = make_frames(folder, count, pixels)
        ours, anchor = [], []
        for n in range(REPEATS):
            start = time.perf_counter()
            read_and_hash(paths)
            anchor.append(time.perf_counter() - start)
            state = Path(temporary) / f"state{n}"
            state.mkdir()
            take_in(paths, folder, state)
            ours.append(take_in.seconds)  # type: ignore[attr-defined]  # set by itself, as above
    one, other = statistics.median(ours), statistics.median(anchor)
    return {
        "work": f"ingest of {count} frames of {pixels} x {pixels}",
        "files_per_s": count / one,
        "anchor_files_per_s": count / other,
        "ratio": other / one,
        "target": TARGET,
    }


def main() -> int:
    """Print the row; 1 below the target."""
    row = measure(*(int(text) for text in sys.argv[1:3]))
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}))
    return int(row["ratio"] < row["target"])


if __name__ == "__main__":
    sys.exit(main())
