"""Planning: seconds to load and plan a scope of 20,000 frames, and whether the archive around it costs anything.

Run by itself (``python -m benchmarks.planning [FRAMES] [ARCHIVE]``) it prints one JSON line a measurement and exits non-zero when
a target is missed.  Every measurement is taken in a process of its own: beside the 50,000 frames that were just made in this one,
short work would be measured with caches that they had emptied.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.spent import worker
from nightcrew.ledger import arrivals, exposures, products, scopes
from nightcrew.ledger.claims import Claimed
from nightcrew.ledger.rows import FileRow, NewProduct
from nightcrew.planning.model import Plan, PlannedProduct, Snapshot
from nightcrew.planning.night import plan_night
from nightcrew.planning.snapshot import load
from tasks.run import recorded as record_of
from tests.support.made_nights import NIGHT, Made, Shelf, fake_unit, header, reading_of, series, small_night

FRAMES = 20_000
ARCHIVE = 50_000
TARGET_S = 1.0
TARGET_RATIO = 1.5  # what the archive may add to the work on one scope
REPEATS, MOST_REPEATS = 3, 40
SHORT_S = 0.2
_BURST = 1000


def big_night(count: int) -> list[Made]:
    """A night of ``count`` frames: a tenth calibrations, four filters, twenty targets."""
    calibration = (
        series("bias", count // 40, 0.0) + series("dark", count // 40, 1000.0) + series("dark", count // 40, 2000.0, exposure_s=2.0)
    )
    for name in "BVRI":
        calibration += series("flat", count // 160, 3000.0, filter=name)
    lights = [
        Made(f"light-{n:06d}.fit", header("light", 6000.0 + n, filter="BVRI"[n % 4], target=f"Field {n % 20}"))
        for n in range(count - len(calibration))
    ]
    return calibration + lights


def put(shelf: Shelf, frames: list[Made]) -> None:
    """Take frames in, burst by burst."""
    for start in range(0, len(frames), _BURST):
        shelf.put(frames[start : start + _BURST])


def make_everything(shelf: Shelf, night: str = NIGHT) -> None:
    """Record every planned product as made, round by round; in bulk, past the claims."""
    for _ in range(8):
        ready = shelf.plan(night).with_status("ready")
        if not ready:
            return
        with shelf.database.write() as connection:
            for planned in ready:
                claimed = Claimed(0, planned.scope_id, planned.recipe, planned.key, planned.fingerprint)
                recorded = record_of(planned)
                made = _with_file(fake_unit(None, planned), planned)
                row = products._upsert(connection, claimed, recorded, made, "")
                products._write_inputs(connection, row, recorded.inputs, made)
                products._make_current(connection, claimed, planned.recipe, planned.key, row)


def _with_file(made: NewProduct, planned: PlannedProduct) -> NewProduct:
    """A row as long as a real one."""
    name = f"{planned.night}/NCSIM/lights/{planned.recipe}_{planned.key}.{planned.fingerprint[:12]}.fits"
    return replace(made, files=(FileRow(role="image", path=name, sha256="0" * 64, size=1),), metrics={**made.metrics, "grid": [1.25] * 64})


def timed(work: Callable[[], Any]) -> float:
    """The best CPU seconds of some repeats, of many where the work is short; what others left to be collected is not counted."""
    best, spent, repeats = float("inf"), 0.0, 0
    while repeats < REPEATS or (spent < SHORT_S and repeats < MOST_REPEATS):
        gc.collect()
        start = time.process_time()
        work()
        taken = time.process_time() - start
        best, spent, repeats = min(best, taken), spent + taken, repeats + 1
    return best


def look(shelf: Shelf, night: str = NIGHT) -> tuple[Snapshot, Plan]:
    """Load and plan, with nothing remembered from the last time."""
    scope = shelf.scope(night)
    _forget()
    with shelf.database.read() as connection:
        snapshot = load(connection, scope.id, shelf.parameters, shelf.rules)
    return snapshot, plan_night(snapshot, shelf.database.now())


def _forget() -> None:
    """Empty every memory between plans: a run starts in a fresh process."""
    from nightcrew.planning import fingerprints, snapshot

    for module in (fingerprints, snapshot):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def measure(frames: int = FRAMES, archive: int = ARCHIVE) -> list[dict[str, Any]]:
    """Rows ``{work, seconds, target}``."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shelf = Shelf.on_disk(folder)
        put(shelf, big_night(frames))
        shelf.close()
        rows.append({"work": f"plan of {frames} frames, nothing made", "seconds": apart("plan", folder), "target": TARGET_S})
        make_everything(shelf)
        rows.append({"work": f"plan of {frames} frames, everything made", "seconds": apart("plan", folder), "target": TARGET_S})
        rows += _incremental(shelf, folder, archive)
    return rows


def _incremental(shelf: Shelf, folder: Path, archive: int) -> list[dict[str, Any]]:
    """A small night beside a growing archive: plan it, and take in a burst of another, so that the first stays as it is."""
    night, other = "2026-04-01", "2026-04-02"
    for name in (night, other):
        put(shelf, small_night(name, lights=20))
    alone = {"plan": apart("plan", folder, night), "burst": apart("burst", folder, other)}
    put(shelf, _archive(archive))
    crowded = {"plan": apart("plan", folder, night), "burst": apart("burst", folder, other, 100)}
    return [
        {
            "work": f"{what} beside {archive} more frames in other nights",
            "seconds": crowded[what],
            "alone_s": alone[what],
            "ratio": crowded[what] / alone[what],
            "target_ratio": TARGET_RATIO,
        }
        for what in alone
    ]


def apart(what: str, folder: Path, night: str = NIGHT, first: int = 0) -> float:
    """CPU seconds of ``plan`` or ``burst`` over the ledger in a folder, in a process of its own."""
    seconds: float = worker("benchmarks.planning", what, folder, night, first)
    return seconds


def measure_here(what: str, folder: str, night: str, first: str) -> float:
    """The same in this process."""
    shelf = Shelf.on_disk(Path(folder))
    return timed(lambda: look(shelf, night)) if what == "plan" else _burst(shelf, night, int(first))


def _burst(shelf: Shelf, night: str, first: int) -> float:
    bursts = [series("light", 50, 20_000.0 + 3000.0 * (first + n), night=night, name=f"late-{first + n}") for n in range(MOST_REPEATS)]

    def take_in() -> None:
        burst = bursts.pop()
        arrivals.record(shelf.database, [])
        shelf.see(burst)
        with shelf.database.read() as connection:
            ids = {row.path: row.id for row in arrivals.to_read(connection, 1000)}
        exposures.store(shelf.database, [reading_of(f, ids[f.path]) for f in burst])
        arrivals.adopt_scopeless(shelf.database)
        with shelf.database.read() as connection:
            scopes.due(connection, shelf.database.now())

    return timed(take_in)


def _archive(count: int) -> list[Made]:
    frames: list[Made] = []
    nights = max(1, count // 500)
    for n in range(nights):
        night = f"20{10 + n // 336:02d}-{1 + n // 28 % 12:02d}-{1 + n % 28:02d}"
        frames += [Made(f"{night}-{k:04d}.fit", header("light", 6000.0 + k, night=night)) for k in range(count // nights)]
    return frames


def main() -> int:
    """Print the rows; 1 when a target is missed."""
    if len(sys.argv) == 5:
        print(measure_here(*sys.argv[1:]))
        return 0
    rows = measure(*(int(text) for text in sys.argv[1:3]))
    for row in rows:
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}))
    late = any("target" in row and row["seconds"] > row["target"] for row in rows)
    return int(late or any("target_ratio" in row and row["ratio"] > row["target_ratio"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
