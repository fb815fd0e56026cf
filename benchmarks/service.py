"""The running service: what it costs while nothing happens, how long a light takes, and how much memory a night needs.

``nightcrew up`` with its embedded Prefect server watches an empty folder; first it is left alone, then calibration frames of 2048^2
are dropped, then single lights, each timed from the close of its file to the recorded product; at last a burst of lights.
Memory is the proportional set size over all of its processes, so that shared pages count once.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.lights import bench_night
from benchmarks.spent import worker
from benchmarks.table import Line
from nightcrew.ledger import scopes
from nightcrew.simulate.truth import load_truth
from tests.service.running import Running, Watched, configure

IDLE_S = 60.0
SETTLE_S = 20.0
SINGLE, BURST = 5, 15
INSTRUMENT = "BENCH"


def lines(data: Path, work: Path, _repeats: int) -> list[Line]:
    """Idle load, memory and latency."""
    found = worker("benchmarks.service", bench_night(data) / "raw", work / "service")
    name = "the service"
    return [
        Line(work=name, what="idle: share of one core", value=100 * found["idle_core"], unit="%", at_most=6),
        Line(work=name, what="idle: proportional set size of all processes", value=found["idle_mb"], unit="MB", at_most=1200),
        Line(work=name, what="greatest while it reduced frames of 2048^2", value=found["peak_mb"], unit="MB", at_most=1200),
        Line(work=name, what="close of a file to its reduced light, longest", value=max(found["latency_s"]), unit="s", at_most=15),
    ]


class Memory:
    """Samples the proportional set size of a family of processes, every half second."""

    def __init__(self, family: Callable[[], list[psutil.Process]]) -> None:
        self._family = family
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mb = 0.0
        self._thread.start()

    def now_mb(self) -> float:
        """The sum just now."""
        total = 0
        for process in self._family():
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.peak_mb = max(self.peak_mb, self.now_mb())

    def stop(self) -> None:
        """No more samples."""
        self._stop.set()
        self._thread.join()


def measure(raw: Path, work: Path) -> dict[str, object]:
    """Numbers of one run of the service over the calibration frames and lights of one filter."""
    work.mkdir(parents=True)
    service = Running(configure(work, [Watched("bench")]))
    service.start()
    try:
        time.sleep(SETTLE_S)
        idle_core = _share(service, IDLE_S)
        memory = Memory(service.family)
        idle_mb = memory.now_mb()
        latency_s = _night(service, raw)
        memory.stop()
    finally:
        service.stop()
    return {"idle_core": idle_core, "idle_mb": idle_mb, "peak_mb": memory.peak_mb, "latency_s": latency_s}


def _share(service: Running, seconds: float) -> float:
    """CPU seconds a second of all processes together, children that end meanwhile included."""

    def spent() -> float:
        total = 0.0
        for process in service.family():
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return total

    before, start = spent(), time.monotonic()
    time.sleep(seconds)
    return (spent() - before) / (time.monotonic() - start)


def _night(service: Running, raw: Path) -> list[float]:
    truth = load_truth(raw.parent / "truth.json")
    name = min(frame.filter for frame in truth.select("light"))
    calibrations = [*truth.select("bias")[:10], *truth.select("dark")[:10], *truth.select("flat", filter_name=name)[:10]]
    service.drop("bench", [raw / frame.name for frame in calibrations])
    service.wait(lambda: _made(service, "flat_master") and _planned(service), "the masters", 300)
    lights = [raw / frame.name for frame in truth.select("light", filter_name=name)]
    latency_s = [_one(service, path, number + 1) for number, path in enumerate(lights[:SINGLE])]
    service.drop("bench", lights[SINGLE : SINGLE + BURST])
    service.wait(lambda: _made(service, "photometry") >= SINGLE + BURST, "the burst", 300)
    return latency_s


def _one(service: Running, path: Path, number: int) -> float:
    service.wait(lambda: _planned(service), "nothing is left to do", 120)
    time.sleep(2.0)
    shutil.copyfile(path, service.incoming("bench") / path.name)
    start = time.monotonic()
    service.wait(lambda: _made(service, "reduce_light") >= number, f"light {number}", 120, pause_s=0.05)
    return time.monotonic() - start


def _made(service: Running, recipe: str) -> int:
    return sum(row.recipe == recipe for row in service.products(INSTRUMENT))


def _planned(service: Running) -> bool:
    with service.space.database.read() as connection:
        found = scopes.find(connection, instrument=INSTRUMENT)
    return bool(found) and found[0].planned_mark >= found[0].mark and service.idle(INSTRUMENT)


def main() -> int:
    """The numbers as JSON on the last line; their summary for people before it."""
    found = measure(Path(sys.argv[1]), Path(sys.argv[2]))
    latency_s = found["latency_s"]
    if isinstance(latency_s, list):
        sys.stdout.write(f"median latency {statistics.median(latency_s):.1f} s\n")
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
