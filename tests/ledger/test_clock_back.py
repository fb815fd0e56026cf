"""Times of the ledger that lie in the future are taken for now, and no others."""

from __future__ import annotations

from datetime import timedelta

from nightcrew.ledger import arrivals, messages, scopes
from nightcrew.ledger.clock_back import mend_future
from tests.support.made_nights import MORNING, Shelf, small_night


def test_a_ledger_of_tomorrow_becomes_one_of_today(shelf: Shelf) -> None:
    shelf.now = MORNING + timedelta(days=1)
    shelf.put(small_night())
    with shelf.database.write() as connection:
        scopes.mailed(connection, [shelf.scope().id], shelf.database.now())
        scopes.planned(connection, shelf.scope().id, read_mark=1, wake_at=shelf.database.now())
    row = messages.queue_mail(shelf.database, morning="2026-03-16", message_id="<x>", subject="s", message=b"m")
    messages.end_sending(shelf.database, row.id, "queued", next_try_at=shelf.database.now())
    shelf.now = MORNING
    assert mend_future(shelf.database)
    now, scope = shelf.database.now(), shelf.scope()
    assert (scope.last_arrival_at, scope.touched_at, scope.wake_at, scope.mailed_at) == (now, now, now, "")
    assert {frame.arrived_at for frame in shelf.snapshot().frames} == {now}
    with shelf.database.read() as connection:
        assert [mail.next_try_at for mail in messages.mails(connection)] == [""]
        assert [one.id for one in scopes.touched_since_mail(connection)] == [scope.id]
        assert arrivals.count_to_read(connection) == 0
    assert not mend_future(shelf.database)


def test_what_is_past_or_soon_stays(shelf: Shelf) -> None:
    assert not mend_future(shelf.database)  # an empty ledger has no time at all
    shelf.put(small_night())
    wake_at = (MORNING + timedelta(hours=1)).isoformat()
    with shelf.database.write() as connection:
        scopes.planned(connection, shelf.scope().id, read_mark=1, wake_at=wake_at)
    before = shelf.scope()
    shelf.now = MORNING - timedelta(seconds=90)  # two machines, two clocks
    assert not mend_future(shelf.database)
    assert shelf.scope() == before
