"""Arrivals: every path is a row in one state; what cannot be read blocks nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from nightcrew.ledger import arrivals, comparisons, scopes
from nightcrew.ledger.arrivals import Seen
from nightcrew.ledger.database import Database
from nightcrew.ledger.schema import path
from tests.support.made_nights import FOLDER, NIGHT, Made, Shelf, header


def seen(name: str, *, folder: str = FOLDER, size: int = 10, mtime_ns: int = 1, verdict: str = "") -> Seen:
    return Seen(
        path=f"{folder}/{name}".encode(),
        folder=folder,
        size=size,
        mtime_ns=mtime_ns,
        kind="ignored" if verdict else "",
        verdict=verdict,
    )


def unread(shelf: Shelf, limit: int = 100) -> list[str]:
    with shelf.database.read() as connection:
        return [row.path.decode().removeprefix(FOLDER + "/") for row in arrivals.to_read(connection, limit)]


def test_new_paths_want_to_be_read_and_ignored_ones_do_not(shelf: Shelf) -> None:
    assert arrivals.record(shelf.database, [seen("a.fit"), seen(".b", verdict="ignored: a hidden file")]) == 1
    assert unread(shelf) == ["a.fit"]
    assert shelf.file(".b").state == "set_aside"
    with shelf.database.read() as connection:
        assert arrivals.balance(connection) == {("", "waiting"): 1, ("ignored", "set_aside"): 1}


def test_recording_twice_changes_nothing(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header())])
    before = shelf.file("a.fit")
    assert arrivals.record(shelf.database, [Seen(path=before.path, folder=FOLDER, size=before.size, mtime_ns=before.mtime_ns)]) == 0
    assert shelf.file("a.fit") == before


def test_a_changed_file_is_read_again(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header())])
    assert arrivals.record(shelf.database, [seen("a.fit", mtime_ns=77)]) == 1
    assert (shelf.file("a.fit").state, shelf.file("a.fit").to_read) == ("waiting", True)


def test_a_change_time_that_moved_asks_for_the_bytes_and_one_that_was_not_known_does_not(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header())])
    row = shelf.file("a.fit")
    now = Seen(path=row.path, folder=FOLDER, size=row.size, mtime_ns=row.mtime_ns, ctime_ns=5)
    for ctime_ns, waiting in ((5, 0), (5, 0), (6, 1), (6, 1)):
        assert arrivals.record(shelf.database, [replace(now, ctime_ns=ctime_ns)]) == 0
        with shelf.database.read() as connection:
            assert comparisons.count_waiting(connection) == waiting
    assert shelf.file("a.fit") == replace(row, ctime_ns=5)  # until they are compared it is what was read
    comparisons.settle(shelf.database, shelf.database.now(), {row.id: 6}, [], [], [])
    assert shelf.file("a.fit") == replace(row, ctime_ns=6)


def test_what_is_doubted_while_it_is_compared_is_compared_again(shelf: Shelf) -> None:
    """The bytes that were read may be those of before the doubt."""
    shelf.put([Made("a.fit", header())])
    row = shelf.file("a.fit")
    comparisons.doubt(shelf.database, [row.path])
    began, clock = shelf.database.now(), shelf.database.clock
    shelf.database.clock = lambda: clock() + timedelta(seconds=1)
    arrivals.record(shelf.database, [Seen(path=row.path, folder=FOLDER, size=row.size, mtime_ns=row.mtime_ns, ctime_ns=6)])
    comparisons.doubt(shelf.database, [row.path])
    for since, waiting in ((began, 1), (shelf.database.now(), 0)):
        comparisons.settle(shelf.database, since, {row.id: 5}, [], [], [])
        with shelf.database.read() as connection:
            assert comparisons.count_waiting(connection) == waiting


def test_what_nobody_watches_any_more_is_not_compared(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header())])
    comparisons.doubt(shelf.database, [shelf.file("a.fit").path])
    for folders, waiting in (({FOLDER}, 1), ({"/elsewhere"}, 0)):
        arrivals.end_unwatched(shelf.database, folders)
        with shelf.database.read() as connection:
            assert comparisons.count_waiting(connection) == waiting


def test_one_path_twice_in_a_burst_is_one_row(shelf: Shelf) -> None:
    assert arrivals.record(shelf.database, [seen("a.fit"), seen("a.fit", size=20)]) == 1
    assert shelf.file("a.fit").size == 20


def test_a_burst_of_thousands_is_written_in_pieces(shelf: Shelf) -> None:
    assert arrivals.record(shelf.database, [seen(f"{n:05d}.fit") for n in range(1234)]) == 1234
    with shelf.database.read() as connection:
        assert arrivals.count_to_read(connection) == 1234
        assert len(arrivals.to_read(connection, 500)) == 500


def test_names_that_are_no_text_are_kept_as_bytes(shelf: Shelf) -> None:
    name = b"/watched/\xff\xfe n\xc3\xa9 \n.fit"
    arrivals.record(shelf.database, [Seen(path=name, folder=FOLDER, size=1, mtime_ns=1)])
    with shelf.database.read() as connection:
        assert [row.path for row in arrivals.find(connection, name)] == [name]
        assert arrivals.known_stats(connection, FOLDER) == {name: (1, 1, 0)}


def test_find_takes_the_end_of_a_path_but_only_whole_names(shelf: Shelf) -> None:
    arrivals.record(shelf.database, [seen("night/a.fit"), seen("other/a.fit"), seen("not-a.fit")])
    with shelf.database.read() as connection:
        assert [row.path for row in arrivals.find(connection, b"a.fit")] == [b"/watched/night/a.fit", b"/watched/other/a.fit"]
        assert [row.path for row in arrivals.find(connection, b"night/a.fit")] == [b"/watched/night/a.fit"]
        assert arrivals.find(connection, b"b.fit") == []


def test_what_vanished_before_it_was_read_is_no_arrival_any_more(shelf: Shelf) -> None:
    arrivals.record(shelf.database, [seen("a.fit")])
    assert arrivals.mark_vanished(shelf.database, [b"/watched/a.fit", b"/watched/never-seen.fit"]) == 1
    row = shelf.file("a.fit")
    assert (row.state, row.reason, row.to_read, row.vanished) == ("set_aside", arrivals.VANISHED_UNREAD, False, True)
    with shelf.database.read() as connection:
        assert arrivals.known_stats(connection, FOLDER) == {}
    assert arrivals.record(shelf.database, [seen("a.fit")]) == 1
    assert unread(shelf) == ["a.fit"]


def test_arrivals_of_a_folder_that_is_watched_no_more_are_tried_no_more(shelf: Shelf) -> None:
    """Locked, never tried, or vanished unread: one state and one reason; watched again, they are arrivals again."""
    old = "/watched/old"
    arrivals.record(
        shelf.database, [seen("locked.fit", folder=old), seen("new.fit", folder=old), seen("gone.fit", folder=old), seen("b.fit")]
    )
    arrivals.postpone(shelf.database, {shelf.file("old/locked.fit").id: "Permission denied"})
    arrivals.mark_vanished(shelf.database, [f"{old}/gone.fit".encode()])
    assert arrivals.end_unwatched(shelf.database, {FOLDER}) == 3
    assert unread(shelf) == ["b.fit"]
    rows = [shelf.file(f"old/{name}.fit") for name in ("locked", "new", "gone")]
    assert {(row.state, row.reason, row.to_read) for row in rows} == {("set_aside", arrivals.UNWATCHED, False)}
    assert arrivals.end_unwatched(shelf.database, {FOLDER}) == 0
    with shelf.database.read() as connection:
        known = arrivals.known_stats(connection, old)
    again = [seen(f"{name}.fit", folder=old) for name in ("locked", "new", "gone")]
    assert [row.path for row in again if known.get(row.path, ())[:2] == (row.size, row.mtime_ns)] == []  # the sweep hands all of them on
    assert arrivals.record(shelf.database, again) == 3
    assert {shelf.file(f"old/{name}.fit").state for name in ("locked", "new", "gone")} == {"waiting"}


def test_a_frame_of_a_folder_that_is_watched_no_more_is_kept(shelf: Shelf) -> None:
    """It was read, and changed since: what was made of it stays, and nobody tries to read it again or looks whether it came back."""
    shelf.put([Made("a.fit", header())])
    frame_id = shelf.file("a.fit").frame_id
    arrivals.record(shelf.database, [seen("a.fit", size=11)])
    assert arrivals.end_unwatched(shelf.database, {"/elsewhere"}) == 1
    row = shelf.file("a.fit")
    assert (row.frame_id, row.to_read, row.vanished) == (frame_id, False, True)
    assert row.reason == arrivals.UNWATCHED


def test_only_files_of_watched_folders_are_looked_for_when_they_are_gone(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put([Made("a.fit", header())])
    there = tmp_path / "b.fit"
    there.write_bytes(b"x")
    status = there.stat()
    with shelf.database.write() as connection:
        moved = {"path": bytes(there), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "vanished": True}
        connection.execute(update(path).values(**moved))
    scope_ids = [shelf.scope().id]
    assert arrivals.returned(shelf.database, scope_ids, {"/elsewhere"}) == 0
    assert arrivals.returned(shelf.database, scope_ids, {FOLDER}) == 1
    with shelf.database.write() as connection:
        connection.execute(update(path).values(vanished=True))
    assert arrivals.returned(shelf.database, scope_ids, {str(tmp_path)}) == 1  # watched under another name now
    with shelf.database.write() as connection:  # as of a folder that was not watched for a while: its bytes were not read again
        connection.execute(update(path).values(vanished=True, to_read=False, mtime_ns=-1))
    assert arrivals.returned(shelf.database, scope_ids, {str(tmp_path)}) == 1
    with shelf.database.read() as connection:
        assert [(row.path, row.vanished) for row in arrivals.to_read(connection, 9)] == [(bytes(there), False)]


def test_what_cannot_be_read_queues_behind_the_others_and_says_why(shelf: Shelf) -> None:
    arrivals.record(shelf.database, [seen("locked.fit"), seen("b.fit")])
    arrivals.postpone(shelf.database, {shelf.file("locked.fit").id: "Permission denied"})
    assert unread(shelf) == ["b.fit", "locked.fit"]
    assert shelf.file("locked.fit").reason == "cannot be read yet: Permission denied"
    with shelf.database.read() as connection:
        assert (arrivals.count_to_read(connection), arrivals.count_untried(connection)) == (2, 1)


def test_files_without_a_night_ride_with_the_last_frame_of_their_folder(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header(night="2026-03-13")), Made("b.fit", header(seconds=60.0)), Made("note.txt", None)])
    arrivals.record(shelf.database, [seen("x.txt", folder="/elsewhere", verdict="foreign")])
    assert arrivals.adopt_scopeless(shelf.database) == {shelf.scope(NIGHT).id}
    assert shelf.file("note.txt").scope_id == shelf.scope(NIGHT).id
    assert shelf.rows()[b"/elsewhere/x.txt"].scope_id is None
    mark = shelf.scope(NIGHT).mark
    assert arrivals.adopt_scopeless(shelf.database) == set()
    assert shelf.scope(NIGHT).mark == mark


def test_what_is_not_read_yet_is_not_adopted(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header())])
    arrivals.record(shelf.database, [seen("b.fit")])
    assert arrivals.adopt_scopeless(shelf.database) == set()


def test_the_balance_of_a_scope_and_of_everything(shelf: Shelf) -> None:
    shelf.put([Made("a.fit", header()), Made("b.fit", header("bias")), Made("c.fit", None)])
    with shelf.database.read() as connection:
        assert arrivals.balance(connection, shelf.scope().id) == {("light", "waiting"): 1, ("bias", "waiting"): 1}
        assert sum(arrivals.balance(connection).values()) == 3


def test_two_writers_wait_for_each_other(shelf: Shelf) -> None:
    other = Database(shelf.database.url)
    with shelf.database.write() as connection:
        scopes.ensure(connection, "night", "2026-01-01", "CAM", shelf.database.now())
    with other.write() as connection:
        assert scopes.ensure(connection, "night", "2026-01-01", "CAM", other.now()) == 1
    other.close()
