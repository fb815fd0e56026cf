"""Combining frames: against siril and ccdproc as whole commands, against reading the same bytes in a running worker."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from benchmarks.spent import Command, Spent, in_turns, nightcrew, python, siril, worker
from benchmarks.table import Line, absent, ratio

LARGE, SMALL = "50 x 4096^2", "30 x 2048^2"
SIRIL_METHODS = {"median": "med", "sigma clip": "rej s 3 3", "mean": "rej n"}
OUR_METHODS = {"median": ["-m", "median"], "sigma clip": ["-m", "sigclip", "-d", "3"], "mean": ["-m", "mean"]}
MINMAX = ["-m", "mean", "-c", "minmax", "-d", "1,1"]
LESS_CPU = {"median": 30, "mean": 5, "sigma clip": 5, "min-max": 5}
GROWING = (10, 30, 100)
NUMPY = {"NIGHTCREW_KERNEL": "numpy"}


def lines(data: Path, work: Path, repeats: int) -> list[Line]:
    """All lines about combining."""
    return [*large_frames(data, work, repeats), *small_frames(data, work, repeats), *growth(data, work, repeats), *rice(data, repeats)]


def large_frames(data: Path, work: Path, repeats: int) -> list[Line]:
    """50 x 4096^2 against siril and the time to read the same bytes."""
    frames = sorted((data / "large").glob("*.fits"))
    inside = worker("benchmarks.combine_inside", "worker", data / "large", repeats, 50)
    read = inside["read"]["wall_s"]
    found: list[Line] = []
    for method, most in (("median", 4.0), ("sigma clip", 5.0)):
        ours, name = inside[method]["wall_s"], f"{method} of {LARGE}"
        found.append(ratio(name, "running worker: over reading the bytes", ours, read, at_most=most))
        if method == "median":
            found.append(ratio(name, "same with all planes", inside["median, all planes"]["wall_s"], read, at_most=8.0))
        found += _against_siril(name, method, frames, ours, work, repeats)
    return found


def _against_siril(name: str, method: str, frames: list[Path], inside_s: float, work: Path, repeats: int) -> list[Line]:
    commands = {"ours": _ours(frames, OUR_METHODS[method], work)}
    if siril():
        commands["siril"] = _siril(frames, method, work)
    spent = in_turns(commands, repeats)
    memory = Line(work=name, what="peak memory of the command", value=spent["ours"].peak_mb, unit="MB", at_most=200)
    if "siril" not in spent:
        return [memory, absent(name, "faster than siril", "siril")]
    theirs, ours = spent["siril"], spent["ours"]
    note = f"{theirs.wall_s:.2f} s / {ours.wall_s:.2f} s, CPU {theirs.cpu_s:.2f} / {ours.cpu_s:.2f} s, {theirs.peak_mb:.0f} MB"
    return [
        Line(work=name, what="running worker: faster than siril", value=theirs.wall_s / inside_s, at_least=6),
        Line(work=name, what="whole command: faster than siril", value=theirs.wall_s / ours.wall_s, at_least=4, note=note),
        memory,
    ]


def small_frames(data: Path, work: Path, repeats: int) -> list[Line]:
    """30 x 2048^2 against ccdproc and siril, and without the compiled kernel."""
    frames = sorted((data / "small").glob("*.fits"))[:30]
    inside = worker("benchmarks.combine_inside", "worker", data / "small", repeats, 30)
    found: list[Line] = []
    for method, less in LESS_CPU.items():
        commands = {"ours": _ours(frames, OUR_METHODS.get(method, MINMAX), work)}
        if has_ccdproc():
            made = work / "ccdproc.fits"
            commands["ccdproc"] = Command(python("benchmarks.combine_inside", "ccdproc", method, made, *frames), [made])
        if siril() and method in SIRIL_METHODS:
            commands["siril"] = _siril(frames, method, work)
        if method == "median":
            commands["numpy"] = Command(commands["ours"].words, commands["ours"].makes, NUMPY)
        found += _small_lines(method, less, in_turns(commands, repeats), inside)
    differing = worker("benchmarks.combine_inside", "differences", *frames[:30])
    for what, value in differing.items():
        most = 2.0 if "last place" in what else 0.0
        found.append(Line(work=f"{SMALL} without a compiled kernel", what=what, value=value, unit="", at_most=most))
    return found


def _small_lines(method: str, less: float, spent: dict[str, Spent], inside: dict[str, dict[str, float]]) -> list[Line]:
    """Lines of one method.

    As a whole command a mean is bounded by the start of Python and numpy, which takes longer than siril's share of the limit:
    there the limit is held in a running worker, and the command is reported.
    """
    ours, name = spent["ours"], f"{method} of {SMALL}"
    found = [absent(name, "less CPU than ccdproc", "ccdproc")]
    if "ccdproc" in spent:
        found = [ratio(name, "less CPU than ccdproc", spent["ccdproc"].cpu_s, ours.cpu_s, at_least=less)]
    if "siril" in spent:
        wall = spent["siril"].wall_s
        found.append(ratio(name, "running worker: faster than siril", wall, inside[method]["wall_s"], at_least=3))
        found.append(ratio(name, "whole command: faster than siril", wall, ours.wall_s, at_least=None if method == "mean" else 3))
        if "numpy" in spent:
            found.append(
                ratio(f"{name} without a compiled kernel", "whole command: faster than siril", wall, spent["numpy"].wall_s, at_least=2)
            )
    elif method in SIRIL_METHODS:
        found.append(absent(name, "faster than siril", "siril"))
    return [*found, Line(work=name, what="peak memory of the command", value=ours.peak_mb, unit="MB", at_most=100)]


def growth(data: Path, work: Path, repeats: int) -> list[Line]:
    """Memory and CPU with the number of frames; 300 are links to 100 files.

    What the command does from its arguments to the finished file is timed in a process that has started already: the start is the
    same for any number of frames and leaves the difference, but scatters by half of what twenty frames cost.
    """
    linked = work / "many"
    linked.mkdir(exist_ok=True)
    originals = sorted((data / "small").glob("*.fits"))
    for number in range(300):
        target = linked / f"f_{number:05d}.fits"
        if not target.is_symlink():
            target.symlink_to(originals[number % len(originals)].resolve())
    counts = (10, 30, 100, 300)
    paths = sorted(linked.glob("*.fits"))
    spent = in_turns({str(n): _ours(paths[:n], OUR_METHODS["median"], work) for n in counts}, repeats)
    grown = spent["300"].peak_mb - spent["10"].peak_mb
    inside = worker("benchmarks.combine_inside", "growth", data / "small", 3 * repeats, work / "grown.fits")
    name, what = "median of 10 to 100 x 2048^2", "CPU per added frame, largest over smallest"
    return [
        Line(work="median of 10 to 300 x 2048^2", what="growth of peak memory", value=grown, unit="MB", at_most=10),
        _by_frame(name, what, {n: inside[str(n)]["cpu_s"] for n in GROWING}, at_most=1.5),
        _by_frame(name, "the same of whole commands, with the noise of their starts", {n: spent[str(n)].cpu_s for n in GROWING}),
    ]


def _by_frame(name: str, what: str, cpu_s: dict[int, float], *, at_most: float | None = None) -> Line:
    """The most over the least that a further frame costs, between neighbouring numbers of frames."""
    steps = list(pairwise(cpu_s))
    each = [(cpu_s[b] - cpu_s[a]) / (b - a) for a, b in steps]
    note = ", ".join(f"{1000 * cost:.1f} ms" for cost in each) + " each for " + ", ".join(f"{a}-{b}" for a, b in steps)
    return Line(work=name, what=what, value=max(each) / min(each) if min(each) > 0 else math.inf, at_most=at_most, note=note)


def rice(data: Path, repeats: int) -> list[Line]:
    """Rice-compressed frames against decoding alone, in a running worker."""
    inside = worker("benchmarks.combine_inside", "rice", data / "rice", repeats)
    cfitsio, decode, ours = inside["decode by cfitsio"], inside["decode"], inside["median"]
    name = f"median of rice-compressed {SMALL}"
    return [
        ratio(name, "CPU over decoding alone by CFITSIO's decoder", ours["cpu_s"], cfitsio["cpu_s"], at_most=1.2),
        ratio(name, "CPU over decoding alone by our own", ours["cpu_s"], decode["cpu_s"]),
        Line(work=name, what="cores at work", value=ours["cpu_s"] / ours["wall_s"], unit="", note=f"{ours['wall_s']:.2f} s"),
    ]


def has_ccdproc() -> bool:
    """Whether ccdproc is installed."""
    from importlib.util import find_spec

    return find_spec("ccdproc") is not None


def _ours(frames: list[Path], method: list[str], work: Path) -> Command:
    return Command(nightcrew("frames", "combine", *frames, *method, "-o", work / "ours.fits"), [work / "ours.fits"])


def _siril(frames: list[Path], method: str, work: Path) -> Command:
    """A siril script over links to the frames, under the names that it wants."""
    folder = work / f"siril_{len(frames)}_{frames[0].parent.name}"
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames, 1):
        link = folder / f"f_{number:05d}.fits"
        if not link.is_symlink():
            link.symlink_to(frame.resolve())
    script, made = folder / f"{method.replace(' ', '_')}.ssf", folder / "result.fits"
    stack = f"stack f_ {SIRIL_METHODS[method]} -nonorm -out={folder}/result"
    script.write_text("\n".join(["requires 1.0.0", "setext fits", "set32bits", f"cd {folder}", stack, "close", ""]))
    return Command([siril() or "siril", "-s", str(script)], [made])
