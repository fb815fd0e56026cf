"""The watcher of a folder, by steps with a clock of our own, and with real events."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchDescriptor

from nightcrew.errors import TransientError
from watchers.settle import Settled
from watchers.watcher import Rules, Sink, Watcher


@dataclass
class Notebook:
    """A sink that remembers."""

    bursts: list[list[Settled]] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    sweeps: list[list[str]] = field(default_factory=list)
    failures: int = 0

    def record(self, settled: Sequence[Settled]) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("the ledger cannot be written for now")
        self.bursts.append(list(settled))

    def sink(self) -> Sink:
        return Sink(record=self.record, vanished=self.gone.extend, swept=lambda reasons: self.sweeps.append(list(reasons)))

    @property
    def names(self) -> list[str]:
        return [os.fsdecode(item.path).rpartition("/")[2] for burst in self.bursts for item in burst]

    @property
    def verdicts(self) -> dict[str, str]:
        return {os.fsdecode(item.path).rpartition("/")[2]: item.verdict for burst in self.bursts for item in burst}


class Clock:
    """Seconds as we say."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def polled(raw: Path, book: Notebook, clock: Clock, known: dict[bytes, tuple[int, int, int]] | None = None, **changes: Any) -> Watcher:
    rules = replace(Rules(folder=raw, polling=True, settle_s=1.0, patience_s=10.0, sweep_s=5.0, poll_s=5.0, burst_s=1.0), **changes)
    return Watcher(rules, book.sink(), known or {}, lambda path: not path.name.startswith("cut"), clock=clock)


def run_until(watcher: Watcher, clock: Clock, end_s: float, step_s: float = 0.5) -> None:
    while clock.now < end_s:
        watcher.step()
        clock.now += step_s


def stats_of(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def rewrite(file: Path, content: bytes) -> None:
    """Other content of the same length under the same modification time."""
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stats_of(file)[:2] == (before.st_size, before.st_mtime_ns)


def test_what_is_there_at_the_start_is_found(raw: Path) -> None:
    (raw / "a.fits").write_bytes(b"x")
    (raw / ".hidden").write_bytes(b"x")
    book, clock = Notebook(), Clock()
    run_until(polled(raw, book, clock), clock, 4)
    assert [len(burst) for burst in book.bursts] == [2]
    assert book.verdicts == {"a.fits": "", ".hidden": "ignored: a hidden file"}


def test_what_the_ledger_knows_is_not_told_again_and_a_change_is(raw: Path) -> None:
    for name in ("a.fits", "b.fits"):
        (raw / name).write_bytes(b"x")
    known = {os.fsencode(file): stats_of(file) for file in raw.iterdir()}
    (raw / "b.fits").write_bytes(b"xy")
    book, clock = Notebook(), Clock()
    run_until(polled(raw, book, clock, known), clock, 20)
    assert book.names == ["b.fits"]


def test_a_change_with_the_old_size_and_time_is_told(raw: Path) -> None:
    (raw / "a.fits").write_bytes(b"x")
    known = {os.fsencode(raw / "a.fits"): stats_of(raw / "a.fits")}
    time.sleep(0.02)  # the kernel's clock of files ticks a hundred times a second at the least
    rewrite(raw / "a.fits", b"y")
    book, clock = Notebook(), Clock()
    run_until(polled(raw, book, clock, known), clock, 20)
    assert book.names == ["a.fits"]
    assert book.bursts[0][0].ctime_ns == (raw / "a.fits").stat().st_ctime_ns


def test_change_times_that_nobody_wrote_down_are_taken_over_at_once(raw: Path) -> None:
    """After an upgrade: fifty thousand files are neither opened nor waited for."""
    for number in range(3):
        (raw / f"cut{number}.fits").write_bytes(b"x")  # would never be complete, were it asked
    known = {os.fsencode(file): (*stats_of(file)[:2], 0) for file in raw.iterdir()}
    book, clock = Notebook(), Clock()
    watcher = polled(raw, book, clock, known)
    watcher.step()
    watcher.step()
    assert {item.path: item.ctime_ns for item in book.bursts[0]} == {path: stats_of(Path(os.fsdecode(path)))[2] for path in known}


def test_change_times_that_never_stand_still_are_told_ever_more_rarely(raw: Path) -> None:
    file = raw / "a.fits"
    file.write_bytes(b"x")
    book, clock = Notebook(), Clock()
    size, mtime_ns, ctime_ns = stats_of(file)
    watcher = polled(raw, book, clock, {os.fsencode(file): (size, mtime_ns, ctime_ns - 1)}, sweep_s=300.0, poll_s=300.0)
    while clock.now < 86400:
        watcher.step()
        clock.now += 100
        watcher._known[os.fsencode(file)] = (size, mtime_ns, ctime_ns - 1)  # it differs with each look
    assert 3 <= len(book.names) <= 7


def test_vanished_paths_are_told_by_a_complete_sweep_only(raw: Path) -> None:
    (raw / "a.fits").write_bytes(b"x")
    gone = os.fsencode(raw / "gone.fits")
    book, clock = Notebook(), Clock()
    run_until(polled(raw, book, clock, {gone: (1, 1, 1)}), clock, 3)
    assert book.gone == [gone]


def test_an_empty_folder_whose_files_are_known_is_trouble_not_loss(raw: Path) -> None:
    book, clock = Notebook(), Clock()
    run_until(polled(raw, book, clock, {os.fsencode(raw / "a.fits"): (1, 1, 1)}), clock, 12)
    assert book.gone == []
    assert "is its disk mounted?" in book.sweeps[0][0]


def test_a_sweep_is_told_of_after_what_it_found(raw: Path) -> None:
    (raw / "a.fits").write_bytes(b"x")
    book, clock = Notebook(), Clock()
    watcher = polled(raw, book, clock)
    while not book.sweeps:
        run_until(watcher, clock, clock.now + 0.5)
    assert book.names == ["a.fits"]


def test_five_thousand_files_come_in_bounded_bursts(raw: Path) -> None:
    for number in range(5000):
        (raw / f"{number:04d}.fits").touch()
    book, clock = Notebook(), Clock()
    run_until(polled(raw, book, clock), clock, 20)
    assert [len(burst) for burst in book.bursts] == [500] * 10
    assert len(set(book.names)) == 5000


def test_a_burst_that_does_not_end_is_handed_over_all_the_same(raw: Path) -> None:
    book, clock = Notebook(), Clock()
    watcher = polled(raw, book, clock, sweep_s=0.4, settle_s=0.0)
    for number in range(20):
        (raw / f"{number}.fits").touch()
        run_until(watcher, clock, clock.now + 0.5)
    assert len(book.bursts) >= 1
    assert max(len(burst) for burst in book.bursts) < 20


def test_a_truncated_file_is_handed_on_when_patience_ends(raw: Path) -> None:
    (raw / "cut.fits").write_bytes(b"x")
    book, clock = Notebook(), Clock()
    watcher = polled(raw, book, clock)
    run_until(watcher, clock, 9)
    assert book.names == []
    run_until(watcher, clock, 13)
    assert book.names == ["cut.fits"]


def test_a_ledger_that_fails_for_now_gets_the_same_burst_later(raw: Path) -> None:
    (raw / "a.fits").write_bytes(b"x")
    book, clock = Notebook(failures=2), Clock()
    run_until(polled(raw, book, clock), clock, 20)
    assert book.names == ["a.fits"]


def test_a_sweep_that_meets_a_missing_folder_waits_for_it(raw: Path) -> None:
    book, clock = Notebook(), Clock()
    raw.rmdir()
    watcher = polled(raw, book, clock, {os.fsencode(raw / "a.fits"): (1, 1, 1)})
    run_until(watcher, clock, 12)
    assert book.gone == []
    assert "the folder is away" in book.sweeps[0][0]
    raw.mkdir()
    (raw / "b.fits").write_bytes(b"x")
    run_until(watcher, clock, 20)
    assert book.names == ["b.fits"]


Live = Callable[..., Notebook]


@pytest.fixture
def live(raw: Path) -> Iterator[Live]:
    """Start a watcher with events and sweeps that are too rare to help."""
    stop = threading.Event()
    started: list[tuple[Watcher, threading.Thread]] = []

    def start(**changes: Any) -> Notebook:
        book = Notebook()
        rules = replace(Rules(folder=raw, settle_s=0.2, patience_s=30.0, sweep_s=3600.0, burst_s=0.2), **changes)
        watcher = Watcher(rules, book.sink(), {}, lambda path: True)
        thread = threading.Thread(target=watcher.run, args=(stop,))
        thread.start()
        started.append((watcher, thread))
        wait_for(lambda: len(book.sweeps) == 1)
        return book

    yield start
    stop.set()
    for watcher, thread in started:
        watcher.wake()
        thread.join(timeout=10)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_events_tell_of_files_written_renamed_and_moved_in(raw: Path, live: Live, tmp_path: Path) -> None:
    book = live()
    (raw / "written.fits").write_bytes(b"x")
    (raw / "renamed.tmp").write_bytes(b"x")
    (raw / "renamed.tmp").rename(raw / "renamed.fits")
    (tmp_path / "outside.fits").write_bytes(b"x")
    (tmp_path / "outside.fits").rename(raw / "moved.fits")
    (raw / ".hidden").mkdir()
    (raw / ".hidden" / "no.fits").write_bytes(b"x")
    wait_for(lambda: {"written.fits", "renamed.fits", "moved.fits"} <= set(book.names))
    assert set(book.names) == {"written.fits", "renamed.fits", "moved.fits"}


def test_a_folder_moved_in_with_its_files_is_walked(raw: Path, live: Live, tmp_path: Path) -> None:
    book = live()
    (tmp_path / "night" / "deep").mkdir(parents=True)
    (tmp_path / "night" / "1.fits").write_bytes(b"x")
    (tmp_path / "night" / "deep" / "2.fits").write_bytes(b"x")
    shutil.move(tmp_path / "night", raw / "night")
    wait_for(lambda: {"1.fits", "2.fits"} <= set(book.names))
    (raw / "night" / "deep" / "3.fits").write_bytes(b"x")
    wait_for(lambda: "3.fits" in book.names)


def test_a_renamed_file_is_told_gone_under_its_old_name(raw: Path, live: Live) -> None:
    book = live()
    (raw / "old.fits").write_bytes(b"x")
    wait_for(lambda: book.names == ["old.fits"])
    (raw / "old.fits").rename(raw / "new.fits")
    wait_for(lambda: "new.fits" in book.names and book.gone == [os.fsencode(raw / "old.fits")])


def test_an_overflowing_queue_triggers_a_sweep(raw: Path, live: Live) -> None:
    book = live()
    overflow = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
    InotifyFD.get_instance().handle_event(overflow)
    wait_for(lambda: len(book.sweeps) == 2)


def test_a_file_of_which_no_event_told_is_found_by_the_next_sweep(raw: Path, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network share, or an event that was lost without a word: the watcher listens, and hears nothing."""
    monkeypatch.setattr(Watcher, "_hear", lambda *_: None)
    book = live(sweep_s=0.5)
    (raw / "silent.fits").write_bytes(b"x")
    wait_for(lambda: book.names == ["silent.fits"])
    wait_for(lambda: len(book.sweeps) >= 2)


def test_two_names_of_one_burst_make_one_request(raw: Path, live: Live) -> None:
    book = live(burst_s=0.5)
    for number in range(50):
        (raw / f"{number}.fits").write_bytes(b"x")
    wait_for(lambda: len(book.names) == 50)
    assert len(book.bursts) <= 2
