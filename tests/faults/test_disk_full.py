"""The disk is full: the service waits, says so, goes on by itself, and no half file ever stands under a final name."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event

from flows.pages import write_page
from nightcrew.io import atomic
from nightcrew.ledger import messages
from nightcrew.settings import LimitsSettings
from tests.faults.conftest import Peace
from tests.faults.harness import NIGHT, Life, settings_of
from tests.faults.mounts import Ballast, ext4, make_ext4, tmpfs
from tests.faults.picture import broken_promises, differences, picture_of, unowned

Record = Callable[[str, object], None]
_FULL = timedelta(seconds=12)  # so long each part of the disk is full, from the first write to it on
_PARTS = {
    "/lab/": "converting a laboratory attempt",
    "/mkid/": "converting photons",
    "masters": "combining masters",
    "lights": "reducing lights",
    "stacks": "stacking",
    "/reports/": "writing a report",
    "mailbox": "writing the mail",
}


def told(life: Life) -> list[str]:
    """What a person may want to know, as the ledger has it."""
    with life.space.database.read() as connection:
        return [text for _, _, level, text in messages.happenings(connection, "") if level != "info" or "goes on" in text]


def look(life: Life, peace: Peace) -> None:
    """Everything is as in peace."""
    assert differences(peace.picture, picture_of(life.space)) == []
    assert broken_promises(life.space, peace.picture) == []
    assert unowned(life.space) == []


def test_no_space_in_every_write_of_a_night(peace: Peace, tmp_path: Path, record_property: Record) -> None:
    """ENOSPC from the one function that writes files: converting, combining, reducing, stacking, report, mail."""
    life = Life(settings_of(peace.watched, tmp_path))
    since: dict[str, datetime] = {}
    refused: Counter[str] = Counter()

    def full(stage: str, final: Path) -> None:
        part = next((part for part in _PARTS if part in str(final)), None)
        if part is not None and stage == "write" and life.now - since.setdefault(part, life.now) < _FULL:
            refused[part] += 1
            raise OSError(errno.ENOSPC, "No space left on device", str(final))

    with atomic.injected_faults(full):
        life.live()
    assert refused.keys() == _PARTS.keys()
    look(life, peace)
    said = told(life)
    assert any("could not be made for now, tried again by itself" in text and "No space left" in text for text in said)
    assert any("ended Failed: " in text and "No space left" in text for text in said)
    page = write_page(life.space, NIGHT).path.read_text(encoding="utf-8")
    assert "No space left" in page
    record_property("faults", len(_PARTS))
    record_property("evidence", f"{sum(refused.values())} writes refused ({', '.join(_PARTS.values())}); the same night afterwards")


def test_folders_that_cannot_be_written_for_a_while(peace: Peace, tmp_path: Path, record_property: Record) -> None:
    """Permissions that are changed in the middle, and a disk that the system makes read-only after an error: waited for, and told."""
    life = Life(settings_of(peace.watched, tmp_path))
    since: dict[str, datetime] = {}
    errors = {"/lab/": errno.EACCES, "/mkid/": errno.EROFS, "masters": errno.EACCES, "lights": errno.EROFS, "stacks": errno.EPERM}

    def closed(stage: str, final: Path) -> None:
        part = next((part for part in errors if f"{tmp_path}/products" in str(final) and part in str(final)), None)
        if part is not None and stage == "open" and life.now - since.setdefault(part, life.now) < _FULL:
            raise OSError(errors[part], os.strerror(errors[part]), str(final))

    with atomic.injected_faults(closed):
        life.live()
    assert since.keys() == errors.keys()
    look(life, peace)
    page = write_page(life.space, NIGHT).path.read_text(encoding="utf-8")
    for words in ("could not be made for now, tried again by itself", "Permission denied", "Read-only file system"):
        assert words in page
    record_property("faults", len(errors))
    record_property("evidence", "products and masters waited, said so, and were made; the same night afterwards")


def test_a_full_ledger(peace: Peace, tmp_path: Path, record_property: Record) -> None:
    """The ledger's own disk is full (SQLITE_FULL) during ingest and during the plan."""
    life = Life(settings_of(peace.watched, tmp_path))
    left = Counter({"ingest": 2, "night": 2})
    limit: list[str] = []

    def between(flow: str) -> None:
        limit.clear()
        if left[flow]:
            left[flow] -= 1
            limit.append(flow)

    def begin(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={1 if limit else 1 << 30}")  # 1: not a page more than there is

    life.runs.between = between
    event.listen(life.space.database.engine, "begin", begin)
    life.live()
    assert left == {"ingest": 0, "night": 0}
    look(life, peace)
    said = [text for text in told(life) if "database or disk is full" in text]
    assert said
    assert "database or disk is full" in write_page(life.space, NIGHT).path.read_text(encoding="utf-8")
    record_property("faults", 2)
    record_property("evidence", f"{len(said)} times told: {said[0][:90]}; the same night afterwards")


def test_below_the_reserve_nothing_begins(peace: Peace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record) -> None:
    """Free space below the configured reserve: a pause that is told, and its end."""
    life = Life(settings_of(peace.watched, tmp_path, limits=LimitsSettings(disk_reserve_bytes=5_000_000, threads=1)))
    begun = life.now
    flows: list[tuple[datetime, str]] = []
    life.runs.between = lambda flow: flows.append((life.now, flow))
    until = begun + timedelta(minutes=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4_999_999 if life.now < until else 5_000_000))
    life.live()
    assert {flow for at, flow in flows if at < until} == {"ingest"}  # what came is taken in, nothing is made
    look(life, peace)
    page = write_page(life.space, NIGHT).path.read_text(encoding="utf-8")
    for words in ("paused, the disk is nearly full", "goes on, there is room again"):
        assert words in page
    record_property("evidence", "nothing was made for a minute below the reserve; the page says when it paused and when it went on")


def fill_again_and_again(peace: Peace, room: Path, seed: int) -> tuple[int, list[str]]:
    """A night on a small file system that is filled up before every second run; (how often, what was told)."""
    rng = random.Random(seed)
    ballast = Ballast(room)
    filled: list[int] = []
    promises: list[str] = []

    steps = [0]  # so many looks of the dispatcher the disk stays full

    def each_step() -> None:
        steps[0] -= 1
        if steps[0] == 0:
            ballast.drop()

    def between(_flow: str) -> None:
        if steps[0] > 0:
            return
        promises.extend(broken_promises(life.space, peace.picture))
        if len(filled) < 25 and rng.random() < 0.7:
            filled.append(rng.choice((0, 4_000, 20_000, 60_000, 120_000, 250_000, 500_000)))
            ballast.fill(filled[-1])
            steps[0] = 3

    life = Life(settings_of(peace.watched, room), between=between, each_step=each_step, runs_folder=room.with_name("runs"))
    try:
        life.live()
        assert promises == []
        look(life, peace)
        return len(filled), told(life)
    finally:
        life.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_real_disk_that_fills_up(peace: Peace, tmp_path: Path, kind: str, record_property: Record) -> None:
    """A small file system (tmpfs, ext4) is filled before every second run, down to a random rest."""
    room_of: dict[str, Callable[[], AbstractContextManager[Path]]] = {
        "tmpfs": lambda: tmpfs(tmp_path / "room", 48_000_000),
        "ext4": lambda: ext4(make_ext4(tmp_path / "disk.img", 64_000_000), tmp_path / "room"),
    }
    with room_of[kind]() as room:
        times, said = fill_again_and_again(peace, room, 7)
    full = [text for text in said if "No space left" in text or "is full" in text or "disk I/O" in text]
    assert times >= 5
    assert full
    record_property("faults", times)
    record_property("evidence", f"filled {times} times, told {len(full)} times; the same night afterwards")
