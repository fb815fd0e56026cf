"""Everything in one run: ``make bench``, or ``python -m benchmarks [--only PART ...] [--allow-absent]``.

Prints a table of measured ratios and limits, and exits with 1 where one falls short or an anchor (siril, ccdproc) is missing, unless
``--allow-absent`` is given, which prints it as not shown.  ``--write`` puts the table into docs/performance.md.

Every part runs in a process of its own: the peak memory of a command begins with that of the process that starts it, and a part that
fails takes nothing from the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.spent import ROOT, python, siril, worker
from benchmarks.table import Line, as_text, failed

Part = Callable[[Path, Path, int], list[Line]]
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"


def header_lines(_data: Path, _work: Path, _repeats: int) -> list[Line]:
    """The header index, from a module that prints one JSON object a line."""
    done = subprocess.run(python("benchmarks.headers"), capture_output=True, text=True, check=False, cwd=ROOT)
    rows = [json.loads(text) for text in done.stdout.splitlines()]
    if not rows:
        raise RuntimeError(f"benchmarks.headers failed:\n{done.stderr[-3000:]}")
    return [
        Line(
            work=row["work"],
            what=f"less CPU than {row['anchor']}",
            value=row["ratio"],
            at_least=row["target"],
            note=f"{row['anchor_s']:.3g} s / {row['ours_s']:.3g} s",
        )
        for row in rows
    ]


def planning_lines(_data: Path, _work: Path, _repeats: int) -> list[Line]:
    """Planning, from a module that prints one JSON object a line."""
    done = subprocess.run(python("benchmarks.planning"), capture_output=True, text=True, check=False, cwd=ROOT)
    found = []
    for row in (json.loads(text) for text in done.stdout.splitlines()):
        found.append(Line(work=row["work"], what="CPU", value=row["seconds"], unit="s", at_most=row.get("target")))
        if "ratio" in row:
            found.append(Line(work=row["work"], what="over the work without them", value=row["ratio"], at_most=row["target_ratio"]))
    if not found:
        raise RuntimeError(f"benchmarks.planning failed:\n{done.stderr[-3000:]}")
    return found


def night_lines(_data: Path, _work: Path, repeats: int) -> list[Line]:
    """The whole night against siril."""
    from benchmarks.night import TARGET, measure

    row = measure(max(1, min(3, repeats)), None)
    value = None if row["ratio"] is None else float(str(row["ratio"]))
    note = f"{row['ours_s']:.1f} s / {row['anchor_s']:.1f} s" if value is not None else "siril is absent"
    return [Line(work=str(row["work"]), what="wall time over siril", value=value, at_most=TARGET, note=note)]


def ingest_lines(_data: Path, _work: Path, _repeats: int) -> list[Line]:
    """Ingest, in a process of its own."""
    row = worker("benchmarks.ingest")
    note = f"{row['files_per_s']:.0f} / {row['anchor_files_per_s']:.0f} files a second"
    return [Line(work=str(row["work"]), what="of the speed of reading and hashing", value=row["ratio"], at_least=row["target"], note=note)]


PARTS: dict[str, Part | None] = {  # None: the function ``lines`` of the module of that name
    "combine": None,
    "calibrate": None,
    "headers": header_lines,
    "pixel_fits": None,
    "start": None,
    "planning": planning_lines,
    "ingest": ingest_lines,
    "lights": None,
    "night": night_lines,
    "service": None,
    "mkid": None,
    "lab": None,
    "campaign": None,
    "mkid_calibrations": None,
    "mkid_images": None,
    "sensor": None,
}


def measure_here(name: str, data: Path, work: Path, repeats: int) -> list[Line]:
    """The lines of one part, measured by this process."""
    part: Part = PARTS[name] or import_module(f"benchmarks.{name}").lines
    return part(data, work, repeats)


def measure_apart(name: str, data: Path, repeats: int) -> list[Line]:
    """The same by a process of its own; one line that is SHORT where the part failed."""
    with tempfile.TemporaryDirectory(prefix="nightcrew-bench-", dir=data) as work:
        rows = Path(work) / "rows.json"
        words = python("benchmarks", "--only", name, "--repeats", repeats, "--data", data, "--rows", rows)
        done = subprocess.run(words, stdout=sys.stderr, check=False, cwd=ROOT)
        if done.returncode or not rows.exists():
            return [Line(work=name, what="the measurement ran", value=0.0, unit="", at_least=1, note="failed: its error is printed above")]
        return [Line(**row) for row in json.loads(rows.read_text(encoding="utf-8"))]


def machine() -> str:
    """What it ran on."""
    model = next((line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, {system}, load {load}"


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def versions() -> str:
    """Versions of what was measured with and against."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("numpy", "astropy", "ccdproc"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    program = siril()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split() if program else []
    return ", ".join([*found, f"siril {said[-1]}" if said else "siril absent"])


def write_page(text: str) -> None:
    """Put the table into docs/performance.md."""
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def make_data(folder: Path) -> None:
    """Make the frames that are missing, in a process of its own: this one has to stay small."""
    subprocess.run(python("benchmarks.data", folder), check=True, cwd=ROOT)


def _as_installed() -> None:
    """Programs have their byte code at hand, as installed ones do, whatever this shell says; the checkout is left alone."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir()) / "nightcrew-bench-bytecode"))


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "nightcrew-bench-data", help="where frames are made and kept (3 GB)"
    )
    parser.add_argument("--allow-absent", action="store_true")
    parser.add_argument("--rows", type=Path, help="measure here, and write the rows as JSON into this file beside its other files")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    given = parser.parse_args()
    if given.rows:
        rows = [asdict(line) for name in given.only for line in measure_here(name, given.data, given.rows.parent, given.repeats)]
        given.rows.write_text(json.dumps(rows, default=float), encoding="utf-8")  # numbers of numpy, too
        return 0
    _as_installed()
    before = machine()
    make_data(given.data)
    found: list[Line] = []
    for name in given.only:
        start = time.monotonic()
        found += measure_apart(name, given.data, given.repeats)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    text = "\n".join([f"Machine: {before} (before), load after {os.getloadavg()[0]:.1f}.  {versions()}.", "", as_text(found)])
    print(text)
    if given.write:
        write_page(text)
    return int(failed(found, allow_absent=given.allow_absent))


if __name__ == "__main__":
    raise SystemExit(main())
