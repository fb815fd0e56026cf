"""What commands cost: wall and CPU seconds and peak memory of whole processes, run in turns.

This module must stay small: a child's peak memory begins with that of the process that started it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, CPU seconds of all threads, peak resident memory in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Command:
    """A command, the files that it makes (removed before and after), and additions to its environment."""

    words: Sequence[str]
    makes: Sequence[Path] = ()
    environment: Mapping[str, str] | None = None


def python(module: str, *arguments: object) -> list[str]:
    """Words of a module run by this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def nightcrew(*arguments: object) -> list[str]:
    """Words of the nightcrew command."""
    return [str(Path(sys.executable).with_name("nightcrew")), *map(str, arguments)]


def siril() -> str | None:
    """The siril that can run scripts, if there is one."""
    return shutil.which("siril-cli") or shutil.which("siril")


def run(command: Command) -> Spent:
    """Run one command to its end; RuntimeError with its output when it fails."""
    _remove(command.makes)
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            command.words, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **(command.environment or {})}
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(map(str, command.words[:6]))} failed:\n{output.read()[-3000:].decode(errors='replace')}")
    _remove(command.makes)
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def in_turns(commands: Mapping[str, Command], repeats: int) -> dict[str, Spent]:
    """Medians over ``repeats`` rounds of all commands in turn, after one round that is not counted."""
    rounds: list[dict[str, Spent]] = []
    for number in range(repeats + 1):
        spent = {name: run(command) for name, command in commands.items()}
        if number or repeats == 1:
            rounds.append(spent)
    return {
        name: Spent(
            statistics.median(r[name].wall_s for r in rounds),
            statistics.median(r[name].cpu_s for r in rounds),
            statistics.median(r[name].peak_mb for r in rounds),
        )
        for name in commands
    }


def worker(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """What a module prints as JSON on its last line, when run by this Python in a process of its own."""
    done = subprocess.run(
        python(module, *arguments), capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def timed_in_turns(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median ``wall_s`` and ``cpu_s`` of functions of this process, called in turns, after one call of each that is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if number:
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {"wall_s": statistics.median(w for w, _ in values), "cpu_s": statistics.median(c for _, c in values)}
        for name, values in taken.items()
    }
