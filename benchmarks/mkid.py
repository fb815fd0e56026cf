"""Photon lists against the limits of the design, in Mphoton per CPU second of one core.

``python -m benchmarks.mkid [MILLIONS]`` prints one JSON line a measurement and exits non-zero when a target is missed.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Line
from nightcrew.mkid import clock
from nightcrew.mkid import words as w

SHAPE = (125, 80)
START_S = clock.year_start_us(2021) // 1_000_000 + 86400 * 100
SPAN_S = 10
REPEATS = 3


def make_files(folder: Path, millions: float) -> None:
    """Ten seconds of a full DARKNESS array on five boards: pulses of about 60 degrees, every photon random."""
    from nightcrew.simulate.mkid_frames import Events, Readout

    rng = np.random.default_rng(7)
    readout = Readout([10, 11, 12, 13, 14], clock.year_start_us(2021))
    n = round(millions * 1e6 / SPAN_S)
    columns, rows = SHAPE[1], SHAPE[0]
    text = "".join(f"{10000 + p} 0 {p % columns} {p // columns}\n" for p in range(columns * rows))
    (folder / "beammap.txt").write_text(text, encoding="ascii")
    for second in range(START_S, START_S + SPAN_S):
        pixel = rng.integers(0, columns * rows, n)
        phase = np.rint(rng.normal(-60, 6, n) / w.DEGREE_PER_PHASE_UNIT).astype(np.int64)
        baseline = np.rint(rng.normal(0, 1.5, n) / w.DEGREE_PER_BASELINE_UNIT).astype(np.int64)
        time_us = second * 1_000_000 + rng.integers(0, 1_000_000, n)
        stretch = readout.stretch(
            Events(time_us, pixel % 5, pixel % columns, pixel // columns, phase, baseline), second * 1_000_000, (second + 1) * 1_000_000
        )
        (folder / f"{second}.bin").write_bytes(stretch.words.astype(">u8").tobytes())


def best(work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of some repeats."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def parse(folder: Path) -> int:
    """All columns of every photon, from the bytes in memory; read before, so that the disk does not count."""
    from nightcrew.mkid.packets import BLOCK_WORDS, StreamParser

    parser = StreamParser(SHAPE)
    for second in range(START_S, START_S + SPAN_S):
        stored = np.frombuffer(_bytes(folder, second), dtype=">u8")
        for start in range(0, stored.size, BLOCK_WORDS):
            photons = parser.feed(stored[start : start + BLOCK_WORDS], second)
            _ = photons.phase, photons.baseline
    parser.finish()
    return parser.tally.photons


_KEPT: dict[int, bytes] = {}


def _bytes(folder: Path, second: int) -> bytes:
    if second not in _KEPT:
        _KEPT[second] = (folder / f"{second}.bin").read_bytes()
    return _KEPT[second]


def sort_inputs() -> tuple[Any, ...]:
    """Two million photons in order of time, as a slab has them."""
    rng = np.random.default_rng(1)
    n = 1 << 21
    times = np.sort(rng.integers(0, 1_000_000, n))
    return rng.integers(0, SHAPE[0] * SHAPE[1], n).astype(np.int32), times, rng.integers(0, 2**35, n).astype(np.uint64), SHAPE[0] * SHAPE[1]


def convert(folder: Path, out: Path) -> dict[str, Any]:
    """Files to table in a process of its own: CPU seconds and peak memory of the whole process."""
    code = (
        "import sys, pathlib, benchmarks.mkid as b; from nightcrew.mkid.beam_map import read_beam_map;"
        "from nightcrew.mkid.convert import convert_window; from nightcrew.mkid.seconds import list_seconds;"
        "folder, out = map(pathlib.Path, sys.argv[1:]);"
        "convert_window(list_seconds(folder).files, read_beam_map(folder / 'beammap.txt'), b.START_S * 10**6,"
        " (b.START_S + b.SPAN_S) * 10**6, out);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", code, str(folder), str(out)], check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_s": time.perf_counter() - start,
        "peak_mb": int(said) / 1024,
    }


def reading(table: Path) -> dict[str, float]:
    """CPU seconds: one pixel with opening the file (median), 3 s of 10, everything."""
    from nightcrew.mkid.photon_table import PhotonTable

    def one_pixel(pixel: int) -> float:
        start = time.process_time()
        with PhotonTable(table) as opened:
            opened.read(range(pixel, pixel + 1))
        return time.process_time() - start

    with PhotonTable(table) as opened:
        everything = best(opened.read)
        part = best(lambda: opened.read(start_us=3_000_000, stop_us=6_000_000))
    return {"pixel_s": float(np.median([one_pixel(pixel) for pixel in range(500, 9500, 300)])), "all_s": everything, "part_s": part}


def measure(folder: Path, millions: float) -> list[dict[str, Any]]:
    """Rows ``{work, value, unit, target, ok}``."""
    from nightcrew.mkid.order import by_pixel

    make_files(folder, millions)
    n = parse(folder) / 1e6
    parsed = n / best(lambda: parse(folder))
    _KEPT.clear()
    columns = sort_inputs()
    by_pixel(*columns)
    ordered = columns[0].size / 1e6 / best(lambda: by_pixel(*columns))
    runs = [convert(folder, folder / f"table{number}.h5") for number in range(2)]
    run = min(runs, key=lambda one: float(one["cpu_s"]))
    read = reading(folder / "table0.h5")
    size = (folder / "table0.h5").stat().st_size / n / 1e6
    return [
        _row("parse", parsed, "Mphoton/s", 150, at_least=True),
        _row("sort by pixel", ordered, "Mphoton/s", 60, at_least=True),
        _row(f"{n:.0f} M photons, .bin to table, whole process", n / run["cpu_s"], "Mphoton/s", 10, at_least=True),
        _row("peak memory of it", max(one["peak_mb"] for one in runs), "MB", 600, at_least=False),
        _row("one pixel, file opened for it", read["pixel_s"] * 1e3, "ms", 5, at_least=False),
        _row("3 s of 10 against all", read["part_s"] / read["all_s"], "", 0.35, at_least=False),
        {"work": "read all", "value": n / read["all_s"], "unit": "Mphoton/s"},
        {"work": "size of the table", "value": size, "unit": "bytes a photon"},
    ]


def _row(work: str, value: float, unit: str, target: float, *, at_least: bool) -> dict[str, Any]:
    ok = value >= target if at_least else value <= target
    return {"work": work, "value": value, "unit": unit, "target": target, "at_least": at_least, "ok": ok}


def lines(_data: Path, work: Path, _repeats: int) -> list[Line]:
    """The same as lines of the benchmark's table."""
    folder = work / "mkid"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for row in measure(folder, 20.0):
        limit = {} if "target" not in row else {"at_least" if row["at_least"] else "at_most": row["target"]}
        found.append(Line(work="photon lists", what=row["work"], value=row["value"], unit=row["unit"], **limit))
    return found


def main() -> int:
    """Print the rows; 1 when a target is missed."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), millions)
    for row in rows:
        print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}))
    return int(any(row.get("ok") is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
