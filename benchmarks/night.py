"""A whole simulated night against the same night as a siril script, side by side in one run.

20 bias, 20 dark, 60 flats in three filters and 60 lights of 2048^2.  Nightcrew makes masters with uncertainties, reduced
lights with uncertainty and mask, catalogues, registered stacks and a report; siril stacks, preprocesses, registers and
stacks, without uncertainties or catalogues.  Run: ``python -m benchmarks.night [--runs N] [--keep FOLDER]``.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nightcrew.simulate.night import make_night
from nightcrew.simulate.truth import Truth

TARGET = 1.0  # Nightcrew's wall time over siril's, at most


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command with its children; it must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.stderr.write(done.stdout[-3000:])
        raise SystemExit(f"{command[0]} failed with exit code {done.returncode}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sequences(truth: Truth, raw: Path, out: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Folders of links as siril wants them: the sequence names of flats, and (lights, flats) of each stack."""
    groups: dict[str, list[str]] = {}
    for frame in truth.frames:
        name = {"bias": "bias", "dark": f"dark{frame.exposure_s:g}", "flat": f"flat{frame.filter}"}.get(frame.kind)
        groups.setdefault(name or f"light{frame.target.replace(' ', '')}{frame.filter}", []).append(frame.name)
    for name, members in groups.items():
        folder = out / name
        folder.mkdir(parents=True)
        for number, member in enumerate(members, 1):
            (folder / f"{name}_{number:05d}.fit").symlink_to(raw / member)
    lights = sorted(name for name in groups if name.startswith("light"))
    return sorted(groups), [(name, f"flat{name[-1]}") for name in lights]


def script(truth: Truth, work: Path) -> str:
    """The night as a siril script (for siril 1.0)."""
    names, lights = sequences(truth, work / "raw", work / "sequences")
    darks = [name for name in names if name.startswith("dark")]
    lines = ["requires 1.0.0", "setext fit", "set32bits"]
    for name in ["bias", *darks]:
        lines += [f"cd {work}/sequences/{name}", f"stack {name} rej 3 3 -nonorm -out={work}/sequences/{name}_stacked"]
    for name in (n for n in names if n.startswith("flat")):
        lines += [
            f"cd {work}/sequences/{name}",
            f"preprocess {name} -bias={work}/sequences/bias_stacked",
            f"stack pp_{name} rej 3 3 -norm=mul -out={work}/sequences/{name}_stacked",
        ]
    for name, flat in lights:
        exposure_s = next(f.exposure_s for f in truth.select("light") if name == f"light{f.target.replace(' ', '')}{f.filter}")
        dark = f"dark{exposure_s:g}" if f"dark{exposure_s:g}" in darks else darks[0]
        lines += [
            f"cd {work}/sequences/{name}",
            f"preprocess {name} -dark={work}/sequences/{dark}_stacked -flat={work}/sequences/{flat}_stacked",
            f"register pp_{name}",
            f"stack r_pp_{name} rej 3 3 -norm=addscale -out={work}/sequences/{name}_stacked",
        ]
    return "\n".join([*lines, "close"]) + "\n"


def measure(runs: int, keep: Path | None) -> dict[str, object]:
    """Median wall and CPU seconds of both, alternating; siril absent gives None."""
    siril = shutil.which("siril-cli") or shutil.which("siril")
    base = keep or Path(tempfile.mkdtemp(prefix="nightcrew-bench-"))
    if not (base / "truth.json").exists():
        make_night(base, "bench", 1)
    from nightcrew.simulate.truth import load_truth

    truth = load_truth(base / "truth.json")
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for number in range(runs):
        out = base / f"ours{number}"
        shutil.rmtree(out, ignore_errors=True)
        command = [str(Path(sys.executable).with_name("nightcrew")), "reduce", str(base / "raw"), "--out", str(out), "--no-cosmic-rays"]
        ours.append(run([*command, "--config", str(_configuration(base, truth))], base))
        shutil.rmtree(out)
        if siril:
            shutil.rmtree(base / "sequences", ignore_errors=True)
            (base / "night.ssf").write_text(script(truth, base))
            theirs.append(run([siril, "-s", str(base / "night.ssf")], base))
            shutil.rmtree(base / "sequences")
    if keep is None:
        shutil.rmtree(base)
    middle = [statistics.median(values) for values in zip(*ours, strict=True)]
    anchor = [statistics.median(values) for values in zip(*theirs, strict=True)] if theirs else None
    return {
        "work": "night of 160 frames of 2048^2",
        "ours_s": middle[0],
        "ours_cpu_s": middle[1],
        "anchor": "siril",
        "anchor_s": anchor[0] if anchor else None,
        "anchor_cpu_s": anchor[1] if anchor else None,
        "ratio": middle[0] / anchor[0] if anchor else None,
        "target": f"<= {TARGET:g}",
    }


def _configuration(base: Path, truth: Truth) -> Path:
    site = truth.plan.site
    path = base / "nightcrew.toml"
    path.write_text(
        f'[site]\nlongitude_deg = {site.longitude_deg}\nlatitude_deg = {site.latitude_deg}\ntimezone = "{site.timezone}"\n'
        "[limits]\ndisk_reserve_bytes = 0\n"
    )
    return path


def main() -> int:
    """Print the figures; 1 when the ratio is above the target or siril is absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--allow-absent", action="store_true")
    given = parser.parse_args()
    row = measure(given.runs, given.keep)
    print(f"load {os.getloadavg()[0]:.1f}: {row}")
    if row["ratio"] is None:
        print("siril: absent, not shown")
        return 0 if given.allow_absent else 1
    return 0 if float(str(row["ratio"])) <= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
