"""Watched folders that vanish, come back, or fill faster than anybody can look: nothing is lost and nothing is told twice."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.dispatch import Dispatcher
from nightcrew.ledger import arrivals, comparisons, dispatches, history, messages, scopes
from tests.faults.mounts import tmpfs
from tests.support.no_runs import NoRuns
from tests.support.silent import Silent
from tests.support.small_nights import make_raw, small_plan
from tests.support.watched import Watched
from watchers.service import ledger_sink
from watchers.settle import Settled
from watchers.watcher import Rules, Sink, Watcher

FILES = 20_000  # two events each, and the kernel holds 16,384 for us


@pytest.fixture
def bench(tmp_path: Path) -> Watched:
    """A night's biases in a folder that is looked into every three seconds: it sends no events."""
    make_raw(tmp_path, small_plan(pixels=64))
    for path in (tmp_path / "raw").iterdir():
        if not path.name.startswith("bias"):
            path.unlink()
    return Watched(tmp_path / "raw", tmp_path / "out")


def told(bench: Watched) -> list[tuple[str, str]]:
    with bench.space.database.read() as connection:
        return [(level, text) for _, source, level, text in messages.happenings(connection, "") if source == "watcher"]


@pytest.mark.parametrize("how", ["empty", "absent", "unreadable"])
def test_a_folder_that_is_unmounted_and_comes_back(bench: Watched, how: str) -> None:
    """The disk goes and leaves an empty folder, none, or one that answers with errors; it comes back with one file more."""
    folder = bench.folder
    away = folder.with_name("away")
    more = (folder / "bias-003.fit").rename(folder.with_name("later.fit"))
    bench.watch(12)
    bench.ingest_once()
    assert {row.state for row in bench.files()} == {"waiting"}
    with pytest.MonkeyPatch.context() as patch:
        if how == "unreadable":
            patch.setattr("watchers.sweep.os.scandir", _broken)
        else:
            folder.rename(away)
        if how == "empty":
            folder.mkdir()
        bench.watch(60)
        assert not any(row.vanished for row in bench.files())
        problems = [text for level, text in told(bench) if level == "problem"]
        assert len(problems) == 1
        assert str(folder) in problems[0]
    if how == "empty":
        folder.rmdir()
    if how != "unreadable":
        away.rename(folder)
    shutil.move(more, folder / "bias-003.fit")
    bench.watch(20)
    assert told(bench)[-1] == ("info", f"{folder} can be looked into again")
    with bench.space.database.read() as connection:
        assert arrivals.count_to_read(connection) == 1  # the new one alone: nothing is read twice
    bench.ingest_once()
    bench.close()
    bench.run()
    assert [row.state for row in bench.files()] == ["done"] * 3


def test_a_folder_that_is_unmounted_while_its_files_are_read_and_used(bench: Watched) -> None:
    """The share goes between the watcher's look and the reading, and again between reading and reducing; nobody but they notices."""
    folder, away = bench.folder, bench.folder.with_name("away")
    bench.watch(12)
    folder.rename(away)
    bench.ingest_once()
    bench.watch(20)
    away.rename(folder)
    bench.watch(20)
    bench.ingest_once()
    assert {row.kind for row in bench.files()} == {"bias"}
    bench.close()
    folder.rename(away)
    bench.run()
    assert {(row.state, row.vanished) for row in bench.files()} == {("waiting", False)}  # a folder that is away says nothing of its files
    assert all(scope.wake_at for scope in bench.scopes())  # tried again by itself
    arrivals.mark_vanished(bench.space.database, [row.path for row in bench.files()])  # as where they went one by one
    bench.run()
    assert all(row.vanished for row in bench.files())
    with bench.space.database.read() as connection:
        assert scopes.due(connection, bench.space.database.now()) == []
    (scope,) = bench.scopes()
    with bench.space.database.write() as connection:
        scopes.reported(connection, scope.id, scope.mark)
    away.rename(folder)
    dispatcher = Dispatcher(bench.space, NoRuns(), clock=lambda: 0.0)
    dispatcher.step()
    with bench.space.database.read() as connection:
        assert [row.flow for row in dispatches.all_living(connection)] == ["night"]
    bench.run()
    assert not any(row.vanished for row in bench.files())
    assert {row.state for row in bench.files()} == {"done"}
    assert bench.space.notice_returned_files() == 0


def test_files_of_a_folder_that_does_not_answer_are_not_looked_for(bench: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks into a share whose server is gone waits until it is back, and with it the nights of all other folders."""
    bench.watch(12)
    bench.ingest_once()
    arrivals.mark_vanished(bench.space.database, [row.path for row in bench.files()])
    now = bench.space.database.clock()
    asked: list[bytes] = []
    look = os.lstat

    def lstat(path: bytes) -> os.stat_result:
        asked.append(path)
        return look(path)

    monkeypatch.setattr("nightcrew.ledger.arrivals.os.lstat", lstat)
    monkeypatch.setattr(bench.space.database, "clock", lambda: now + timedelta(hours=1))  # and no sweep came to its end meanwhile
    assert (bench.space.notice_returned_files(), asked) == (0, [])
    monkeypatch.setattr(bench.space.database, "clock", lambda: now)
    assert (bench.space.notice_returned_files(), len(asked)) == (3, 3)


def test_files_that_a_silent_folder_left_behind_hold_up_no_other_folder(bench: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """They arrived, or their change time moved, and then their server went: whoever read them would wait until it is back."""
    bench.watch(12)
    back, look = threading.Event(), os.lstat

    def lstat(path: str) -> os.stat_result:
        if path == str(bench.folder):
            back.wait(20)
        return look(path)

    with monkeypatch.context() as patch:
        patch.setattr("nightcrew.io.patience.os.lstat", lstat)
        patch.setattr("nightcrew.ingest.ANSWER_S", 0.05)
        patch.setattr("nightcrew.ingest.read_arrival", None)
        away = bench.space.ingest()
        back.set()
    assert (away.files, away.again, {row.reason for row in bench.files()}) == (3, 3, {f"{arrivals.NOT_YET}its folder does not answer"})
    assert bench.space.ingest().frames == 3
    back.clear()
    comparisons.doubt(bench.space.database, [row.path for row in bench.files()])
    with monkeypatch.context() as patch:
        patch.setattr("nightcrew.io.patience.os.lstat", lstat)
        patch.setattr("nightcrew.ingest_again.ANSWER_S", 0.05)
        patch.setattr("nightcrew.ingest_again.sha256_file", None)
        away = bench.space.ingest()
        back.set()
    assert (away.compared, away.again) == (3, 3)
    assert (bench.space.ingest().compared, bench.space.ingest().compared) == (3, 0)


def test_a_share_that_falls_silent_while_it_is_reduced_ends_the_run_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Biases lie on two shares; one falls silent under the masters' feet.  The other's are made, and the first's when it answers."""
    (tmp_path / "raw").mkdir()
    share = tmp_path / "share"
    make_raw(tmp_path, small_plan(pixels=64))
    for path in (tmp_path / "raw").iterdir():
        if not path.name.startswith(("bias", "dark")):
            path.unlink()
    bench = Watched(tmp_path / "raw", tmp_path / "out")
    share.mkdir()
    for path in sorted((tmp_path / "raw").glob("dark*")):
        path.rename(share / path.name)
    paths = [*bench.folder.iterdir(), *share.iterdir()]
    bench.see(paths)
    bench.ingest()
    bench.close()
    (scope,) = bench.scopes()
    with Silent(share, monkeypatch) as silent:
        silent.fall_after(4)
        began_s = time.monotonic()
        (run,) = bench.run()
        assert time.monotonic() - began_s < 20
        states = {outcome.recipe: outcome.state for outcome in run.outcomes}
        assert states["bias_master"] == "made"
        again = [outcome for outcome in run.outcomes if outcome.state == "again"]
        assert again
        assert {outcome.state for outcome in run.outcomes} == {"made", "again"}
        assert all(f"the folder {share} does not answer" in outcome.reason for outcome in again)
        with bench.space.database.read() as connection:
            ends = [(row.state, row.reason) for outcome in again for row in history.attempts(connection, outcome.fingerprint)]
            assert history.deaths(connection, scope.id) == {}  # no fault of theirs, however often it happens
        assert [state for state, _ in ends] == ["again"]  # one was begun; of the others nothing was
        waiting = {row.reason for row in bench.files() if row.path.startswith(os.fsencode(share))}
        assert all("does not answer" in reason for reason in waiting), waiting
        assert any("does not answer" in text for level, text in told_of(bench) if level == "warning")
        assert all(one.wake_at for one in bench.scopes())
        (run,) = bench.run()  # and again: nothing is begun, nobody waits
        assert {outcome.state for outcome in run.outcomes} == {"again"}
        silent.come_back()
    (run,) = bench.run()
    assert {outcome.state for outcome in run.outcomes} == {"made"}
    assert {row.state for row in bench.files()} == {"done"}
    for row in bench.products():
        for file in row.files:
            assert hashlib.sha256((bench.settings.products.root / file.path).read_bytes()).hexdigest() == file.sha256


def test_a_share_that_falls_silent_while_it_is_read_leaves_the_others(bench: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers when the batch begins, and goes under the first file."""
    share = bench.folder.with_name("share")
    other = Path(shutil.copytree(bench.folder, bench.folder.with_name("other")))
    for path in other.iterdir():  # other bytes: no copies of each other
        path.write_bytes(path.read_bytes() + bytes(2880))
    bench.folder.rename(share)
    bench.see([*sorted(share.iterdir()), *sorted(other.iterdir())])
    with Silent(share, monkeypatch) as silent:
        silent.fall_after(2)
        done = bench.space.ingest()
        assert (done.files, done.again) == (6, 3)
        reasons = {row.reason for row in bench.files() if row.path.startswith(os.fsencode(share))}
        assert reasons == {f"{arrivals.NOT_YET}the folder {share} does not answer (is its server gone?)"}
        assert bench.space.ingest().again == 3
        silent.come_back()
    assert bench.space.ingest().again == 0


def told_of(bench: Watched) -> list[tuple[str, str]]:
    with bench.space.database.read() as connection:
        return [(level, text) for _, _, level, text in messages.happenings(connection, "")]


def test_a_link_put_in_a_files_place_is_never_followed(bench: Watched, tmp_path: Path) -> None:
    """Between the watcher's look and the reading, and between the reading and the use: with the size and the time of the file."""
    first, second, _ = paths = sorted(bench.folder.iterdir())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def swap(path: Path) -> None:
        target = Path(shutil.copy2(path, elsewhere / path.name))
        path.unlink()
        path.symlink_to(target)

    bench.watch(12)
    swap(first)
    bench.ingest_once()
    assert bench.state_of(first.name) == ("waiting", f"{arrivals.NOT_YET}a symbolic link lies in its place; links are not followed")
    assert [bench.state_of(path.name)[0] for path in paths[1:]] == ["waiting"] * 2
    swap(second)
    bench.close()
    (run,) = bench.run()
    assert [outcome.state for outcome in run.outcomes] == ["again"]
    bench.watch(12)
    assert {bench.state_of(path.name) for path in (first, second)} == {("set_aside", "ignored: a symbolic link; links are not followed")}


def _broken(_path: bytes) -> None:
    raise OSError(116, os.strerror(116))  # ESTALE: a share whose server went


@dataclass
class Heard:
    """What a watcher tells, from its thread."""

    paths: list[bytes] = field(default_factory=list)
    largest: int = 0

    def record(self, settled: list[Settled]) -> None:
        self.paths += [item.path for item in settled]
        self.largest = max(self.largest, len(settled))

    def sink(self) -> Sink:
        return Sink(record=lambda settled: self.record(list(settled)), vanished=lambda paths: None, swept=lambda reasons: None)


@pytest.mark.slow
def test_twenty_thousand_files_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """20,000 files while the watcher stands still: the kernel drops events, the sweep finds every file, in bursts of 500."""
    folder = tmp_path / "raw"
    folder.mkdir()
    heard = Heard()
    rules = Rules(folder=folder, settle_s=0.2, burst_s=0.2, sweep_s=3600.0)
    watcher = Watcher(rules, heard.sink(), {}, lambda path: True)
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,))
    thread.start()
    time.sleep(1.0)  # it listens
    maker = os.fork()
    if maker == 0:
        _make_while_stopped(folder)
    os.waitpid(maker, 0)
    end = time.monotonic() + 120
    while len(heard.paths) < FILES and time.monotonic() < end:
        time.sleep(0.2)
    stop.set()
    watcher.wake()
    thread.join(30)
    assert len(heard.paths) == len(set(heard.paths)) == FILES
    assert heard.largest <= rules.burst_files
    assert any("overflow" in record.getMessage() for record in caplog.records)


def _make_while_stopped(folder: Path) -> None:
    """In a child: stop the parent with all its threads, fill the folder, let it go on, end."""
    parent = os.getppid()
    try:
        os.kill(parent, signal.SIGSTOP)
        for number in range(FILES):
            os.close(os.open(folder / f"frame-{number:05d}.fit", os.O_CREAT | os.O_WRONLY))
    finally:
        os.kill(parent, signal.SIGCONT)
        sys.stdout.flush()
        os._exit(0)


@pytest.mark.parametrize("first", ["raw", "mirror"])
def test_the_same_files_in_two_watched_folders_count_once(bench: Watched, first: str) -> None:
    """A camera's folder and its mirror are both watched; whichever is seen first, the same files count."""
    mirror = Path(shutil.copytree(bench.folder, bench.folder.with_name("mirror")))
    folders = sorted((bench.folder, mirror), key=lambda folder: folder.name != first)
    for folder in folders:
        sink = ledger_sink(bench.space.database, folder)
        stats = [(path, path.stat()) for path in sorted(folder.iterdir())]
        sink.record([Settled(os.fsencode(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats])
        bench.ingest_once()
    bench.close()
    bench.run()
    states = {Path(os.fsdecode(row.path)): (row.state, row.reason) for row in bench.files()}
    assert len(states) == 6
    for path in bench.folder.iterdir():
        assert states[path][0] == "done"
        assert states[mirror / path.name] == ("set_aside", f"duplicate: the same bytes as {path}")


@pytest.mark.slow
def test_a_disk_that_is_really_unmounted_and_mounted_again(tmp_path: Path) -> None:
    """A tmpfs goes away under a watcher that listens for events, and another is mounted in its place with the old file and a new one."""
    folder = tmp_path / "raw"
    heard, troubles = Heard(), list[list[str]]()
    gone: list[bytes] = []
    sink = Sink(
        record=lambda settled: heard.record(list(settled)), vanished=gone.extend, swept=lambda reasons: troubles.append(list(reasons))
    )
    watcher = Watcher(Rules(folder=folder, settle_s=0.2, burst_s=0.2, sweep_s=1.0), sink, {}, lambda path: True)
    stop = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,))

    def until(reached: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < end
            time.sleep(0.1)

    def names() -> set[str]:
        return {os.fsdecode(path).rpartition("/")[2] for path in heard.paths}

    try:
        with tmpfs(folder, 1_000_000):
            (folder / "first.fit").write_bytes(b"first")
            os.utime(folder / "first.fit", (1_700_000_000, 1_700_000_000))
            thread.start()
            until(lambda: names() == {"first.fit"})
        until(lambda: any("is its disk mounted" in reason for reasons in troubles for reason in reasons))
        assert gone == []
        with tmpfs(folder, 1_000_000):
            (folder / "first.fit").write_bytes(b"first")
            os.utime(folder / "first.fit", (1_700_000_000, 1_700_000_000))
            (folder / "second.fit").write_bytes(b"second")
            until(lambda: names() == {"first.fit", "second.fit"})
            count = len(troubles)
            until(lambda: len(troubles) > count + 1)
            assert troubles[-1] == []
            (folder / "third.fit").write_bytes(b"third")
            until(lambda: "third.fit" in names())
            assert thread.is_alive()
            assert gone == []
            stop.set()
            watcher.wake()
            thread.join(30)
    finally:
        stop.set()
        watcher.wake()
        if thread.is_alive():
            thread.join(30)
