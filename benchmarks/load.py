"""A long night in short: lights come one by one and in bursts while the ledger is full; memory and latency are followed.

``python -m benchmarks.load [--frames 4000] [--pixels 2048] [--rows 50000] [--gap 0.3] [--room /dev/shm] [--out FOLDER]``.
One frame of the night's 10 s cadence comes every ``gap`` seconds, every hundredth begins a burst of ten.  The frames are exposures
of their own in headers and in some pixels; the sky is the same.

4,000 lights of 2048^2 are 34 GB of raw frames and 170 GB of products.  ``--room`` names a folder in memory for both, and the bytes
of a light are given back to it (the file keeps its size and times, its pixels become a hole) once it was reduced.  To the service that
would be a file that was exchanged and a product that was damaged: the ledger is told the change time of the one and the hash of the
other.  So catalogues are made of empty lights; the night does not close while it is measured.  Ledger, logs and Prefect's database stay
on the disk.

Where frames come faster than this machine reduces them, those that wait fill the memory.  Below ``LEAST_FREE_GB`` the next frame
waits until there is room, and the seconds are told: that is the machine's bound, not the service's.

Only long-lived processes (supervisor, watcher, dispatcher, runner, pages) count as its own memory; Prefect's server is told beside
them.  The curves are written to ``load.json``.  Exits with 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
from sqlalchemy import select, update

from benchmarks.spent import ROOT, Command, nightcrew, run
from benchmarks.table import Line, as_text, failed
from nightcrew.ledger.schema import claim, frame, path, product, product_input, scope
from nightcrew.settings import Settings
from nightcrew.simulate import camera_file
from nightcrew.simulate.camera_file import format_card, read_value, replace_card
from nightcrew.simulate.truth import load_truth
from tests.service.running import Running, Watched, configure
from tests.support.made_nights import Shelf, small_night
from tests.support.small_nights import make_raw, small_plan

FOLDER, INSTRUMENT = "load", "LOAD"
CADENCE_S = 10.0
BURST_EVERY, BURST = 100, 10
SAMPLE_S = 5.0
ROOM_EVERY_S, HEAD_BYTES = 2.0, 1 << 16
ZEROS = memoryview(bytes(1 << 20))
PACKAGES = ("nightcrew", "reports", "tasks", "flows", "watchers", "deployments")
OWN = ("watcher", "dispatcher", "runner", "pages")
LEAST_FREE_GB = 4.0
MOST_GROWTH_MB, MOST_COMMAND_S, MOST_LAG_S = 50.0, 2.0, 20.0


def main() -> int:
    """Measure, write the curves, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--pixels", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=50_000, help="files of earlier nights in the ledger")
    parser.add_argument("--gap", type=float, default=0.3, help="seconds between two frames")
    parser.add_argument("--room", type=Path, default=Path("/dev/shm"), help="folder for raw frames and products")  # noqa: S108  folders of its own are made in it
    parser.add_argument("--out", type=Path, default=Path("out/load"))
    given = parser.parse_args()
    room = given.room if given.room.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="nightcrew-load-") as work, tempfile.TemporaryDirectory(dir=room) as fast:
        found = measure(Path(work), Path(fast), given.frames, given.pixels, given.rows, given.gap)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "load.json").write_text(json.dumps(found.told(), indent=1), encoding="utf-8")
    table = lines(found)
    print(as_text(table))
    return int(failed(table, allow_absent=False))


@dataclass
class Found:
    """What a night of load showed."""

    frames: int
    rows: int
    gap_s: float
    latency_s: list[float] = field(default_factory=list)  # of each light in the order of its coming; those never reduced are absent
    lag_s: list[float] = field(default_factory=list)  # from the close of a file to its row
    memory_mb: list[tuple[float, float, float]] = field(default_factory=list)  # seconds, our long-lived processes, Prefect's server
    commands_s: dict[str, tuple[float, float]] = field(default_factory=dict)  # wall and CPU
    prefect_mb: float = 0.0
    ledger_mb: float = 0.0
    logs_mb: float = 0.0
    held_s: float = 0.0  # for want of memory
    seconds: float = 0.0  # from the first light to the last reduced one

    def curve(self, values: Sequence[float], parts: int = 10) -> list[float]:
        """Medians of consecutive parts."""
        return [round(float(np.median(some)), 2) for some in np.array_split(np.asarray(values), parts) if some.size]

    def growth_mb(self, column: int) -> float:
        """From the second tenth of the night, when everything is imported, to the last."""
        medians = self.curve([row[column] for row in self.memory_mb])
        return medians[-1] - medians[1] if len(medians) > 2 else float("nan")

    def told(self) -> dict[str, object]:
        """For the file of curves."""
        return {
            "frames": self.frames,
            "rows": self.rows,
            "gap_s": self.gap_s,
            "reduced": len(self.latency_s),
            "seconds": self.seconds,
            "held_s": self.held_s,
            "latency_s_by_tenth": self.curve(self.latency_s),
            "latency_s_longest": max(self.latency_s, default=None),
            "lag_s_longest": max(self.lag_s, default=None),
            "own_mb_by_tenth": self.curve([row[1] for row in self.memory_mb]),
            "server_mb_by_tenth": self.curve([row[2] for row in self.memory_mb]),
            "commands_s": self.commands_s,
            "prefect_mb": self.prefect_mb,
            "ledger_mb": self.ledger_mb,
            "logs_mb": self.logs_mb,
            "memory_mb": self.memory_mb,
        }


def lines(found: Found) -> list[Line]:
    """The table of what was found, with the limits."""
    name = f"a night of {found.frames} lights, {found.rows} rows in the ledger"
    reached = found.curve(found.latency_s)
    return [
        Line(work=name, what="lights reduced", value=100 * len(found.latency_s) / found.frames, unit="%", at_least=100),
        Line(work=name, what="from the first light to the last reduced one", value=found.seconds, unit="s"),
        Line(work=name, what="frames kept from coming for want of memory", value=found.held_s, unit="s"),
        Line(work=name, what="growth of the service's own memory", value=found.growth_mb(1), unit="MB", at_most=MOST_GROWTH_MB),
        Line(work=name, what="growth of Prefect's server", value=found.growth_mb(2), unit="MB"),
        Line(work=name, what="close of a file to its row, longest", value=max(found.lag_s, default=None), unit="s", at_most=MOST_LAG_S),
        Line(work=name, what="close to reduced, median", value=statistics.median(found.latency_s) if found.latency_s else None, unit="s"),
        Line(work=name, what="close to reduced, median of the last tenth", value=reached[-1] if reached else None, unit="s"),
        Line(work=name, what="close to reduced, longest", value=max(found.latency_s, default=None), unit="s"),
        *(Line(work=name, what=f"nightcrew {word}", value=s[0], unit="s", at_most=MOST_COMMAND_S) for word, s in found.commands_s.items()),
        *(Line(work=name, what=f"nightcrew {word}, CPU", value=s[1], unit="s") for word, s in found.commands_s.items()),
        Line(work=name, what="database of Prefect", value=found.prefect_mb, unit="MB"),
        Line(work=name, what="ledger", value=found.ledger_mb, unit="MB"),
        Line(work=name, what="logs", value=found.logs_mb, unit="MB"),
    ]


def measure(work: Path, fast: Path, frames: int, pixels: int, rows: int, gap_s: float) -> Found:
    """Run the service through the night; ``fast`` takes raw frames and products."""
    truth = make_raw(work / "made", small_plan("2025-05-16", pixels=pixels))
    raw = work / "made" / "raw"
    service = Running(settings_of(work, fast))
    fill(service.settings.ledger_url, rows)
    found = Found(frames, rows, gap_s)
    service.start()
    try:
        calibrations = [raw / one.name for kind in ("bias", "dark", "flat") for one in truth.select(kind)]
        service.drop(FOLDER, calibrations)
        service.wait(lambda: made(service, "flat_master") >= 2, "the masters", 300)
        memory, room = Memory(service), Room(service)
        begun_s = time.monotonic()
        dropped, found.held_s = drop_lights(service, raw, frames, gap_s)
        service.wait(lambda: made(service, "reduce_light") >= frames, "all lights", 600 + 2 * frames, pause_s=2.0)
        found.seconds = time.monotonic() - begun_s
        found.memory_mb = memory.stop()
        room.stop()
        found.latency_s, found.lag_s = latencies(service, dropped)
        found.commands_s = {
            "status": command_s(service, "status", times=2),
            "report, for the first time": command_s(service, "report", "2025-05-16"),
            "report, again": command_s(service, "report", "2025-05-16", times=2),
        }
        found.prefect_mb = size_mb(service.settings.state.root / "prefect")
        found.ledger_mb = size_mb(service.settings.state.root, "ledger.sqlite*")
        found.logs_mb = size_mb(service.settings.state.root / "logs")
    finally:
        service.stop()
    return found


def settings_of(work: Path, fast: Path) -> Settings:
    """The tests' configuration, with frames and products in ``fast``; the night stays open while it is measured."""
    settings = configure(fast / "service", [Watched(FOLDER)])
    if settings.file is None:
        raise ValueError("the configuration was not written")
    text = settings.file.read_text(encoding="utf-8").replace("\nquiet_s = 2.0\n", "\nquiet_s = 7200.0\n")
    settings.file.write_text(f'{text}\n[state]\nroot = "{work / "state"}"\n', encoding="utf-8")
    return Settings.load(settings.file)


def fill(url: str, rows: int) -> None:
    """An archive of earlier nights in the ledger, done with."""
    shelf = Shelf(url)
    night = datetime(2024, 1, 1, tzinfo=UTC)
    a_night = small_night(lights=400)
    for number in range(-(-rows // len(a_night))):
        name = (night + timedelta(days=number)).date().isoformat()
        shelf.put(small_night(name, lights=400)[: rows - number * len(a_night)])
    with shelf.database.write() as connection:
        done = {
            "state": "closed",
            "planned_mark": scope.c.mark,
            "reported_mark": scope.c.mark,
            "mailed_at": scope.c.touched_at,
            "wake_at": "",
        }
        connection.execute(update(scope).values(**done))
    shelf.database.close()


def drop_lights(service: Running, raw: Path, frames: int, gap_s: float) -> tuple[dict[bytes, datetime], float]:
    """Write the lights, each another exposure; path -> when it was closed, and the seconds that there was no room."""
    truth = load_truth(raw.parent / "truth.json")
    sources = [(raw / one.name).read_bytes() for one in truth.select("light")]
    rng = np.random.default_rng(7)
    dropped: dict[bytes, datetime] = {}
    next_s, held_s = time.monotonic(), 0.0
    for number in range(frames):
        while free_gb(service.incoming(FOLDER)) < LEAST_FREE_GB:
            time.sleep(1.0)
            next_s, held_s = next_s + 1.0, held_s + 1.0
        target = service.incoming(FOLDER) / f"load-{number:05d}.fit"
        part = target.with_name(f".{target.name}")
        part.write_bytes(exposure(sources[number % len(sources)], number, rng))
        part.rename(target)
        dropped[os.fsencode(target)] = datetime.now(UTC)
        if number % BURST_EVERY >= BURST:
            next_s += gap_s
            time.sleep(max(0.0, next_s - time.monotonic()))
    return dropped, held_s


def free_gb(folder: Path) -> float:
    """What may still be written there; a folder in memory has no more than the memory has."""
    return float(min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)) / 1e9


def exposure(content: bytes, number: int, rng: np.random.Generator) -> bytes:
    """The light as the exposure of that number."""
    start = datetime.fromisoformat(read_value(content, "DATE-OBS")) + timedelta(seconds=CADENCE_S * number)
    content = replace_card(content, "DATE-OBS", format_card("DATE-OBS", start.isoformat(timespec="milliseconds"), "start, UTC"))
    content = replace_card(content, "JD", format_card("JD", float(read_value(content, "JD")) + CADENCE_S * number / 86_400, "start"))
    pixels = camera_file.pixels(content).copy()
    row = rng.integers(pixels.shape[0])
    pixels[row] = rng.permutation(pixels[row])
    return camera_file.replace_pixels(content, pixels)


def made(service: Running, recipe: str) -> int:
    """How many products of a recipe were made."""
    return sum(row.recipe == recipe for row in service.claims(INSTRUMENT, "done"))


def latencies(service: Running, dropped: dict[bytes, datetime]) -> tuple[list[float], list[float]]:
    """Seconds from the close of each light to its first reduced product, and to its row, in the order of coming."""
    of_light = (
        select(path.c.path, path.c.first_seen_at, claim.c.ended_at)
        .join(frame, frame.c.id == path.c.frame_id)
        .join(product_input, product_input.c.frame_id == frame.c.id)
        .join(product, product.c.id == product_input.c.product_id)
        .join(claim, claim.c.fingerprint == product.c.fingerprint)
        .where(product.c.recipe == "reduce_light", claim.c.state == "done")
        .order_by(claim.c.id)
    )
    with service.space.database.read() as connection:
        rows = connection.execute(of_light).all()
    first: dict[bytes, tuple[float, float]] = {}
    for row in rows:
        closed = dropped.get(row.path)
        if closed is not None and row.path not in first:
            first[row.path] = (_seconds(row.ended_at, closed), _seconds(row.first_seen_at, closed))
    ordered = [first[name] for name in dropped if name in first]
    return [one[0] for one in ordered], [one[1] for one in ordered]


def _seconds(text: str, since: datetime) -> float:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - since).total_seconds()


def command_s(service: Running, *words: str, times: int = 1) -> tuple[float, float]:
    """Wall and CPU seconds of a command of ours, the better of some runs; our own code is compiled, as it is where it was installed."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", *PACKAGES], cwd=ROOT, check=True)
    spent = [run(Command(nightcrew(*words, "--config", str(service.settings.file)))) for _ in range(times)]
    return min(one.wall_s for one in spent), min(one.cpu_s for one in spent)


def size_mb(folder: Path, pattern: str = "*") -> float:
    """What lies in a folder."""
    return sum(one.stat().st_size for one in folder.rglob(pattern) if one.is_file()) / 1e6


class Room:
    """Gives the bytes of reduced lights back: holes in their raw frames and products, sizes and times as they were."""

    def __init__(self, service: Running) -> None:
        self._service = service
        self._last = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(ROOM_EVERY_S):
            for product_id, raw, files in self._done():
                self._give_back(product_id, raw, json.loads(files))

    def _give_back(self, product_id: int, raw: bytes, files: list[dict[str, str]]) -> None:
        root = self._service.settings.products.root
        images = [one for one in files if one["path"].endswith(".fits")]
        for one in images:
            one["sha256"] = hash_with_hole(os.fsencode(root / one["path"]))
        for one in images:
            punch(os.fsencode(root / one["path"]))
        with self._service.space.database.write() as connection:
            connection.execute(update(product).where(product.c.id == product_id).values(files=json.dumps(files)))
            connection.execute(update(path).where(path.c.path == raw).values(ctime_ns=punch(raw)))

    def _done(self) -> list[tuple[int, bytes, str]]:
        """Product, raw frame and files of the lights that were reduced since we asked last."""
        of_light = (
            select(claim.c.id.label("claim_id"), product.c.id, path.c.path, product.c.files)
            .join(product, product.c.fingerprint == claim.c.fingerprint)
            .join(product_input, product_input.c.product_id == product.c.id)
            .join(path, path.c.frame_id == product_input.c.frame_id)
            .where(claim.c.id > self._last, claim.c.state == "done", claim.c.recipe == "reduce_light")
            .order_by(claim.c.id)
        )
        with self._service.space.database.read() as connection:
            rows = connection.execute(of_light).all()
        self._last = max((row.claim_id for row in rows), default=self._last)
        return [(row.id, row.path, row.files) for row in rows]

    def stop(self) -> None:
        """Give no more back."""
        self._stop.set()
        self._thread.join()


def hash_with_hole(name: bytes) -> str:
    """The hash that a file will have with its hole."""
    with Path(os.fsdecode(name)).open("rb") as file:
        head, size = file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size
    digest = hashlib.sha256(head)
    for left in range(size - len(head), 0, -len(ZEROS)):
        digest.update(ZEROS[:left])
    return digest.hexdigest()


def punch(name: bytes) -> int:
    """A hole in the place of everything but the head of a file; its change time then, in ns."""
    descriptor = os.open(name, os.O_RDWR)
    try:
        seen = os.fstat(descriptor)
        if seen.st_size > HEAD_BYTES:
            keep_size, hole = 0x01, 0x02  # FALLOC_FL_...
            start, length = ctypes.c_int64(HEAD_BYTES), ctypes.c_int64(seen.st_size - HEAD_BYTES)
            if ctypes.CDLL(None, use_errno=True).fallocate(descriptor, keep_size | hole, start, length):
                raise OSError(ctypes.get_errno(), f"no hole can be made in {os.fsdecode(name)}")
            os.utime(descriptor, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        return os.fstat(descriptor).st_ctime_ns
    finally:
        os.close(descriptor)


class Memory:
    """Samples the proportional set size of the long-lived processes."""

    def __init__(self, service: Running) -> None:
        self._service = service
        self._samples: list[tuple[float, float, float]] = []
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            try:
                own = [self._service.up, *(child for name in OWN if (child := self._service.child(name)) is not None)]
                taken = (sum(one.memory_full_info().pss for one in own) / 1e6, self._service.server.memory_full_info().pss / 1e6)
            except (psutil.NoSuchProcess, StopIteration):
                continue  # one of them was just started again
            self._samples.append((round(time.monotonic() - self._began, 1), round(taken[0], 1), round(taken[1], 1)))

    def stop(self) -> list[tuple[float, float, float]]:
        """No more samples; all of them."""
        self._stop.set()
        self._thread.join()
        return self._samples


if __name__ == "__main__":
    sys.exit(main())
