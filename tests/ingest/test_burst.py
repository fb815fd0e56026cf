"""Five thousand files at once: seen in bounded bursts, read in bounded runs, each in a state with its reason, nothing twice."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from nightcrew.ledger import arrivals
from nightcrew.settings import LimitsSettings
from tests.support.small_nights import Bench
from watchers.service import ledger_sink, rules_of
from watchers.settle import Settled
from watchers.watcher import Sink, Watcher

FILES = 5000
BURST = 500


def tiny_frame(number: int) -> bytes:
    """A whole FITS file of 2 x 2 pixels."""
    cards = (
        "SIMPLE  =                    T",
        "BITPIX  =                   16",
        "NAXIS   =                    2",
        "NAXIS1  =                    2",
        "NAXIS2  =                    2",
        "IMAGETYP= 'Bias Frame'",
        f"DATE-OBS= '2026-05-16T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}.5'",
        "EXPTIME =                  0.0",
        "INSTRUME= 'Burst camera'",
        "END",
    )
    return "".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(2880)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """4,800 frames, 100 notes, 100 hidden files."""
    made = tmp_path / "raw"
    made.mkdir()
    for number in range(4800):
        (made / f"bias-{number:04d}.fit").write_bytes(tiny_frame(number))
    for number in range(100):
        (made / f"note-{number}.txt").write_text(f"seeing {number}")
        (made / f".hidden-{number}").write_text("")
    return made


def test_five_thousand_files_at_once(folder: Path, tmp_path: Path) -> None:
    bench = Bench(folder, tmp_path / "out", limits=LimitsSettings(disk_reserve_bytes=0, burst_files=BURST))
    database = bench.space.database
    sink = ledger_sink(database, folder)
    bursts: list[int] = []

    def record(settled: list[Settled]) -> None:
        bursts.append(len(settled))
        sink.record(settled)

    now = [0.0]
    rules = rules_of(bench.settings.folders[0], bench.settings)
    watcher = Watcher(rules, Sink(record=record, vanished=sink.vanished, swept=sink.swept), {}, lambda _: True, clock=lambda: now[0])  # type: ignore[arg-type]  # structures are not asked for
    for _ in range(40):
        watcher.step()
        now[0] += 1.0
    assert sum(bursts) == FILES
    assert max(bursts) <= BURST
    assert len(bursts) <= 2 * FILES // BURST  # coalesced: a dozen requests, not thousands
    with database.read() as connection:
        waiting = arrivals.count_to_read(connection)
    assert waiting == FILES - 100  # what is hidden is counted and not read

    runs = []
    while batch := bench.space.ingest():
        if not batch.files:
            break
        runs.append(batch.files)
    assert sum(runs) == waiting
    assert max(runs) <= BURST
    rows = bench.files()
    assert Counter(row.state for row in rows) == {"waiting": 4800, "set_aside": 200}
    assert len({row.frame_id for row in rows if row.frame_id is not None}) == 4800
    assert all(row.reason for row in rows if row.state == "set_aside")
    bench.see(sorted(folder.iterdir()))
    assert bench.space.ingest().files == 0
    assert {os.fsdecode(row.path).rpartition("/")[2] for row in rows} == {path.name for path in folder.iterdir()}
