"""Watched folders and the ledger together."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from nightcrew.errors import Refused, TransientError
from nightcrew.ledger import arrivals, messages
from nightcrew.ledger import database as databases
from nightcrew.ledger.database import Database
from nightcrew.ledger.schema import metadata
from nightcrew.settings import FolderSettings, Settings, WatchSettings
from watchers import service
from watchers.service import ledger_sink, unwatchable, watch
from watchers.settle import Settled


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "raw").mkdir()
    quick = WatchSettings(settle_s=0.1, burst_s=0.1)
    return Settings(folders=(FolderSettings(path=Path("raw")),), watch=quick).anchored(tmp_path)


@pytest.fixture
def database(settings: Settings) -> Database:
    ledger = Database(settings.ledger_url)
    metadata.create_all(ledger.engine)
    return ledger


def test_arrivals_become_rows_and_a_second_service_is_refused(settings: Settings, database: Database) -> None:
    raw = settings.folders[0].path
    (raw / "early.fits").write_bytes(b"x")
    (raw / ".DS_Store").write_bytes(b"x")
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(settings, database, lambda path: True, stop))
    thread.start()
    try:
        (raw / "late.fits").write_bytes(b"x")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with database.read() as connection:
                rows = {row.path.rpartition(b"/")[2]: row for row in arrivals.without_scope(connection)}
                swept = messages.signs_of_life(connection)
            if len(rows) == 3 and swept:
                break
            time.sleep(0.05)
        assert {name: row.state for name, row in rows.items()} == {
            b"early.fits": "waiting",
            b"late.fits": "waiting",
            b".DS_Store": "set_aside",
        }
        assert messages.sweep_sign(str(raw)) in swept
        with pytest.raises(Refused):
            watch(settings, database, lambda path: True, stop)
    finally:
        stop.set()
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_locked_ledger_loses_no_arrival(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the ledger's lock while files arrive: the watcher waits, never fails, and reading goes on."""
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.2)
    ledger = Database(settings.ledger_url)
    metadata.create_all(ledger.engine)
    raw, stop = settings.folders[0].path, threading.Event()
    thread = threading.Thread(target=watch, args=(settings, ledger, lambda path: True, stop))
    holder = sqlite3.connect(str(ledger.engine.url.database), isolation_level=None)
    try:
        assert holder.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        holder.execute("BEGIN IMMEDIATE")
        thread.start()
        (raw / "at-dusk.fits").write_bytes(b"x")
        time.sleep(1.0)  # several times longer than a writer waits
        assert thread.is_alive()
        with ledger.read() as connection:  # readers are not kept waiting
            assert arrivals.without_scope(connection) == []
        holder.execute("COMMIT")

        def there() -> bool:
            with ledger.read() as connection:
                return [row.path for row in arrivals.without_scope(connection)] == [os.fsencode(raw / "at-dusk.fits")]

        until(there, 20.0)
    finally:
        holder.close()
        stop.set()
        thread.join(timeout=10)
        ledger.close()


def until(asked: Callable[[], bool], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not asked():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_folder_that_is_not_there_at_the_start_holds_up_no_other(settings: Settings, database: Database, tmp_path: Path) -> None:
    """After a start of the machine a share may not be mounted yet: it is told once and waited for; the other folders are watched."""
    absent = tmp_path / "absent"
    quick = settings.watch.model_copy(update={"poll_s": 0.1})
    both = settings.model_copy(update={"folders": (FolderSettings(path=absent), *settings.folders), "watch": quick})
    raw = settings.folders[0].path

    def names() -> set[bytes]:
        with database.read() as connection:
            return {row.path.rpartition(b"/")[2] for row in arrivals.without_scope(connection)}

    def told() -> list[str]:
        with database.read() as connection:
            return [text for _, _, _, text in messages.happenings(connection, "")]

    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(both, database, lambda path: True, stop))
    thread.start()
    try:
        (raw / "one.fits").write_bytes(b"x")
        until(lambda: names() == {b"one.fits"})
        time.sleep(0.3)
        assert told() == [
            f"{absent}: the folder is away, perhaps not mounted; it is waited for, and nothing that was taken in from it is lost"
        ]
        absent.mkdir()
        (absent / "two.fits").write_bytes(b"x")
        until(lambda: names() == {b"one.fits", b"two.fits"})
        until(lambda: told()[1:] == [f"{absent} can be looked into again"])
        with pytest.raises(Refused, match="another service"):
            watch(both.model_copy(update={"folders": both.folders[:1]}), database, lambda path: True, stop)
    finally:
        stop.set()
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_folders_that_are_none_or_closed_or_silent_hold_up_no_other(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain file in a folder's place, one that nobody may read, and one whose server is gone: told, waited for, watched when mended."""
    plain, closed, silent = (tmp_path / name for name in ("plain", "closed", "silent"))
    plain.write_text("no folder")
    closed.mkdir()
    silent.mkdir()
    quick = settings.watch.model_copy(update={"poll_s": 0.1})
    bad = tuple(FolderSettings(path=path) for path in (silent, plain, closed))
    many = settings.model_copy(update={"folders": (*bad, *settings.folders), "watch": quick})
    answers, readable, looked, opened = threading.Event(), threading.Event(), Path.stat, os.open

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == silent:
            answers.wait(30.0)
        return looked(path, **options)

    def open_(path: Path, *rest: int, **options: int) -> int:
        if path == closed and not readable.is_set():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return opened(path, *rest, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "open", open_)  # root may read everything
    monkeypatch.setattr(service, "_SILENT_S", 0.3)

    def names() -> set[bytes]:
        with database.read() as connection:
            return {row.path.rpartition(b"/")[2] for row in arrivals.without_scope(connection)}

    def told() -> set[str]:
        with database.read() as connection:
            return {text for _, _, _, text in messages.happenings(connection, "")}

    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(many, database, lambda path: True, stop))
    thread.start()
    try:
        (settings.folders[0].path / "one.fits").write_bytes(b"x")
        until(lambda: names() == {b"one.fits"})
        hindered = {
            unwatchable(plain, NotADirectoryError(20, "Not a directory")),
            unwatchable(closed, PermissionError(13, "Permission denied")),
        }
        until(lambda: told() == hindered | {f"{silent}: {service.SILENT}"})
        plain.unlink()
        plain.mkdir()
        readable.set()
        answers.set()
        for path in (plain, closed, silent):
            (path / f"{path.name}.fits").write_bytes(b"x")
        until(lambda: names() == {b"one.fits", b"plain.fits", b"closed.fits", b"silent.fits"})
    finally:
        answers.set()
        stop.set()
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_folder_that_never_answers_holds_up_no_stop(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, looked, raw = threading.Event(), Path.stat, settings.folders[0].path

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == raw:
            answers.wait(30.0)
        return looked(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(service, "_STOP_S", 0.2)
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(settings, database, lambda path: True, stop))
    thread.start()
    try:
        stop.set()
        thread.join(timeout=5)
        assert not thread.is_alive()
    finally:
        answers.set()


def test_a_lock_whose_folder_could_not_be_looked_up_in_the_ledger_is_given_back(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is locked just when a folder's watcher begins: the next try must not meet our own lock."""
    quick = settings.model_copy(update={"watch": settings.watch.model_copy(update={"poll_s": 0.1})})
    known, tries = arrivals.known_stats, [0]

    def known_stats(connection: Connection, folder: str) -> dict[bytes, tuple[int, int, int]]:
        tries[0] += 1
        if tries[0] == 1:
            raise TransientError("the ledger is locked")
        return known(connection, folder)

    monkeypatch.setattr(arrivals, "known_stats", known_stats)
    stop = threading.Event()
    thread = threading.Thread(target=watch, args=(quick, database, lambda path: True, stop))
    thread.start()
    try:
        (settings.folders[0].path / "one.fits").write_bytes(b"x")

        def there() -> bool:
            with database.read() as connection:
                return len(arrivals.without_scope(connection)) == 1

        until(there)
    finally:
        stop.set()
        thread.join(timeout=10)


def test_a_folder_that_stays_away_is_one_line_in_the_ledger(database: Database, tmp_path: Path) -> None:
    sink = ledger_sink(database, tmp_path)
    for reasons in (["/raw: No such file"], ["/raw: No such file"], [], []):
        sink.swept(reasons)
    with database.read() as connection:
        told = messages.happenings(connection, "")
    assert [(level, text) for _, _, level, text in told] == [
        ("problem", "/raw: No such file"),
        ("info", f"{tmp_path} can be looked into again"),
    ]


def test_names_that_are_no_text_reach_the_ledger(database: Database, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/b\xffas.fits"
    ledger_sink(database, tmp_path).record([Settled(name, 1, 1)])
    with database.read() as connection:
        assert [row.path for row in arrivals.without_scope(connection)] == [name]


def test_between_two_looks_for_a_folder_that_is_away_there_is_a_pause(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be looked for some ten thousand times a second, until it is mounted."""
    away = FolderSettings(path=tmp_path / "away")
    one = service._Folder(away, settings, database, lambda path: True)
    stop, done = threading.Event(), []

    def begin(_held: object) -> None:
        done.append("look")
        if len(done) > 20:
            stop.set()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(away.path))

    def wait(seconds: float) -> bool:
        done.append(f"pause of {seconds} s")
        return stop.is_set()

    monkeypatch.setattr(one, "_begin", begin)
    monkeypatch.setattr(stop, "wait", wait)
    one.run(stop)
    assert done == ["look", f"pause of {settings.watch.poll_s} s"] * 11
