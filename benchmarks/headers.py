"""Header index of 1,000 FITS files against astropy's ``getheader``: all values parsed, and the same ones.

Run by itself (``python -m benchmarks.headers [FOLDER]``) it prints one line a measurement and exits non-zero when the target is
missed.  CPU seconds, warm cache, interleaved, median of the repeats.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

N_FILES = 1000
REPEATS = 5
TARGET = 5.0


def make_files(folder: Path, count: int = N_FILES, *, odd_every: int = 0) -> list[Path]:
    """Small camera frames of some 80 cards; every ``odd_every``-th has HIERARCH and CONTINUE cards."""
    import numpy as np
    from astropy.io import fits

    rng = np.random.default_rng(20)
    pixels = rng.integers(0, 65535, (64, 64)).astype("u2")
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        header = fits.Header()
        for k in range(14):
            header[f"STR{k}"] = (f"value {k} of {i}", "a text with a comment")
        for k in range(26):
            header[f"FLT{k}"] = (float(rng.normal() * 1e3), "[adu] a number")
        for k in range(24):
            header[f"INT{k}"] = (int(rng.integers(10**6)), "a count")
        for k in range(4):
            header[f"LOG{k}"] = (bool(k % 2), "a flag")
        header["DATE-OBS"] = "2024-01-01T00:00:00.000"
        header["HISTORY"] = "by hand"
        if odd_every and i % odd_every == 0:
            header["HIERARCH ESO DET NAME"] = "a chip"
            header["LONGTEXT"] = "word " * 30
        paths.append(folder / f"f{i:04d}.fits")
        fits.PrimaryHDU(pixels, header).writeto(paths[-1], overwrite=True)
    return paths


def ours(paths: list[Path]) -> None:
    """Every header with every value."""
    from nightcrew.io.headers import read_hdus

    for path in paths:
        read_hdus(path)


def getheader(paths: list[Path]) -> None:
    """astropy's headers, whose values are not parsed yet."""
    from astropy.io import fits

    for path in paths:
        fits.getheader(path)


def getheader_values(paths: list[Path]) -> None:
    """astropy's headers with every value asked for, as an index needs them."""
    from astropy.io import fits

    for path in paths:
        header = fits.getheader(path)
        {key: header[key] for key in header}


WAYS: dict[str, Callable[[list[Path]], None]] = {"nightcrew": ours, "getheader": getheader, "getheader with values": getheader_values}


def same_values(paths: list[Path]) -> None:
    """AssertionError where a value differs from astropy's."""
    from astropy.io import fits

    from nightcrew.io.headers import read_hdus

    for path in paths:
        cards, header = read_hdus(path)[0].cards, fits.getheader(path)
        expected = {key.upper(): header[key] for key in header if key not in ("HISTORY", "COMMENT", "")}
        assert cards == expected, path
        assert all(type(cards[key]) is type(expected[key]) for key in expected), path


def _cpu_s(work: Callable[[list[Path]], None], paths: list[Path]) -> float:
    start = time.process_time()
    work(paths)
    return time.process_time() - start


def in_process(paths: list[Path]) -> dict[str, float]:
    """Median CPU seconds of each way, interleaved, in this process."""
    for work in WAYS.values():
        work(paths[:10])
    rounds = [{name: _cpu_s(work, paths) for name, work in WAYS.items()} for _ in range(REPEATS)]
    return {name: statistics.median(r[name] for r in rounds) for name in WAYS}


def whole_process(folder: Path) -> dict[str, float]:
    """Median CPU seconds of each way as a command of its own, start of Python and imports included."""
    code = "import sys, pathlib, benchmarks.headers as b; b.WAYS[sys.argv[2]](sorted(pathlib.Path(sys.argv[1]).glob('*.fits')))"
    results: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(REPEATS):
        for name in WAYS:
            before = os.times()
            subprocess.run([sys.executable, "-c", code, str(folder), name], check=True)
            after = os.times()
            results[name].append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {name: statistics.median(values) for name, values in results.items()}


def measure(folder: Path) -> list[dict[str, Any]]:
    """Rows ``{work, ours_s, anchor, anchor_s, ratio, target}``; ``target`` None where a ratio is only reported."""
    plain, odd = make_files(folder / "plain"), make_files(folder / "odd", odd_every=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's remarks on the odd cards that are made here
        same_values(plain)
        same_values(odd)
    runs = {
        f"{N_FILES} headers": (in_process(plain), TARGET),
        f"{N_FILES} headers, 1 % with HIERARCH and CONTINUE": (in_process(odd), None),
        f"{N_FILES} headers, whole process": (whole_process(folder / "plain"), None),
    }
    rows = []
    for work, (seconds, target) in runs.items():
        for anchor in list(WAYS)[1:]:
            ratio = seconds[anchor] / seconds["nightcrew"]
            rows.append(
                {
                    "work": work,
                    "ours_s": seconds["nightcrew"],
                    "anchor": anchor,
                    "anchor_s": seconds[anchor],
                    "ratio": ratio,
                    "target": target,
                }
            )
    return rows


def main() -> int:
    """Print the rows; 1 when a target is missed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        rows = measure(folder)
    for row in rows:
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}))
    return int(any(row["target"] is not None and row["ratio"] < row["target"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
