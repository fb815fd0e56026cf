"""Files whose bytes are in doubt: who waits, in which order, and what comes of each answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from nightcrew.ingest_again import compare_doubted
from nightcrew.ledger import arrivals, comparisons, messages
from nightcrew.ledger.arrivals import PathRow, Seen
from nightcrew.ledger.schema import path
from tests.support.made_nights import FOLDER, Made, Shelf, header

NAMES = ("a.fit", "b.fit", "c.fit")


@pytest.fixture
def doubted(shelf: Shelf) -> Shelf:
    """Three frames that are doubted one after the other, the last one first."""
    shelf.put([Made(name, header("light", float(number))) for number, name in enumerate(NAMES)])
    for name in reversed(NAMES):
        shelf.now += timedelta(seconds=1)
        comparisons.doubt(shelf.database, [shelf.file(name).path])
    return shelf


def waiting(shelf: Shelf) -> list[str]:
    with shelf.database.read() as connection:
        return [row.path.decode().rpartition("/")[2] for row in comparisons.doubted(connection, 10)]


def settle(shelf: Shelf, *, other: tuple[PathRow, ...] = (), later: tuple[int, ...] = (), changed: tuple[int, ...] = ()) -> None:
    shelf.now += timedelta(seconds=1)
    comparisons.settle(shelf.database, shelf.database.now(), {}, other, later, changed)


def to_read(shelf: Shelf) -> list[bytes]:
    with shelf.database.read() as connection:
        return [row.path for row in arrivals.to_read(connection, 10)]


def test_those_wait_first_that_were_not_tried_for_the_longest_time(doubted: Shelf) -> None:
    assert waiting(doubted) == ["c.fit", "b.fit", "a.fit"]
    settle(doubted, later=(doubted.file("c.fit").id,))
    assert waiting(doubted) == ["b.fit", "a.fit", "c.fit"]


def test_what_is_gone_to_be_read_or_was_never_read_is_not_compared(doubted: Shelf) -> None:
    arrivals.mark_vanished(doubted.database, [doubted.file("a.fit").path])
    arrivals.record(doubted.database, [Seen(path=doubted.file("b.fit").path, folder=FOLDER, size=99, mtime_ns=1)])
    arrivals.record(doubted.database, [Seen(path=f"{FOLDER}/new.fit".encode(), folder=FOLDER, size=1, mtime_ns=1)])
    comparisons.doubt(doubted.database, [f"{FOLDER}/new.fit".encode()])
    assert waiting(doubted) == ["c.fit"]
    assert arrivals.record(doubted.database, [Seen(path=f"{FOLDER}/new.fit".encode(), folder=FOLDER, size=1, mtime_ns=1)]) == 0


def test_other_bytes_are_an_arrival_that_is_told(doubted: Shelf) -> None:
    row = doubted.file("b.fit")
    settle(doubted, other=(row,))
    assert to_read(doubted) == [row.path]
    assert doubted.file("b.fit").state == "waiting"
    assert waiting(doubted) == ["c.fit", "a.fit"]
    with doubted.database.read() as connection:
        told = [text for _, _, level, text in messages.happenings(connection, "") if level == "warning"]
    assert told == ["b.fit holds other content than was read, under the same size and modification time: read again"]


def test_what_was_read_anew_while_it_was_compared_stays_as_it_was_read(doubted: Shelf) -> None:
    before = doubted.file("b.fit")
    with doubted.database.write() as connection:
        connection.execute(update(path).where(path.c.id == before.id).values(sha256="0" * 64))
    settle(doubted, other=(before,))
    assert to_read(doubted) == []


def test_what_differs_in_size_or_time_is_left_to_the_sweep(doubted: Shelf) -> None:
    settle(doubted, changed=(doubted.file("b.fit").id,))
    assert waiting(doubted) == ["c.fit", "a.fit"]
    assert to_read(doubted) == []


@pytest.mark.parametrize(("most_bytes", "count"), [(1, 1), (10, 2), (15, 3)])
def test_a_batch_is_at_least_one_file_and_no_more_bytes_than_it_may_be(doubted: Shelf, most_bytes: int, count: int) -> None:
    """Files of 5 bytes, none of which is there to be read."""
    assert compare_doubted(doubted.database, 10, most_bytes) == (count, count)
    assert len(waiting(doubted)) == 3
