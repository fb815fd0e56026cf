"""Times of the ledger that lie in the future are taken for now, and no others."""

from __future__ import annotations

from datetime import timedelta

from nightcrew.ledger import arrivals, messages, scopes
from nightcrew.ledger.clock_back import mend_future
from nightcrew.ledger.database import iso
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
    shelf.now = MORNING - timedelta(minutes=3)  # two machines, two clocks
    assert not mend_future(shelf.database)
    assert shelf.scope() == before


def test_a_plan_that_waits_for_a_wrong_time_is_woken_though_nothing_arrived_in_it(shelf: Shelf) -> None:
    shelf.put(small_night())
    wake_at = iso(MORNING + timedelta(hours=5))
    with shelf.database.write() as connection:
        scopes.planned(connection, shelf.scope().id, read_mark=1, wake_at=wake_at)
    assert not mend_future(shelf.database, 5 * 3600.0)  # a set may be asked to be quiet for so long
    assert shelf.scope().wake_at == wake_at
    assert mend_future(shelf.database, 3600.0)
    assert shelf.scope().wake_at == shelf.database.now()


def test_a_mail_that_waits_for_a_wrong_time_is_freed_though_nothing_arrived_in_it(shelf: Shelf) -> None:
    row = messages.queue_mail(shelf.database, morning="2026-03-15", message_id="<x>", subject="s", message=b"m")
    messages.end_sending(shelf.database, row.id, "queued", next_try_at=iso(MORNING + timedelta(hours=1)))
    assert not mend_future(shelf.database)  # the longest pause
    messages.end_sending(shelf.database, row.id, "queued", next_try_at=iso(MORNING + timedelta(days=1)))
    assert mend_future(shelf.database)
    with shelf.database.read() as connection:
        assert [(mail.morning, mail.next_try_at) for mail in messages.mails(connection)] == [("2026-03-15", "")]


def test_mails_of_a_wrong_tomorrow_leave_it_to_the_real_one(shelf: Shelf) -> None:
    for number in range(3):
        shelf.now = MORNING + timedelta(days=1)
        messages.queue_mail(shelf.database, morning="2026-03-16", message_id=f"<{number}>", subject="s", message=b"m")
        shelf.now = MORNING
        assert mend_future(shelf.database)
        assert not mend_future(shelf.database)
    with shelf.database.read() as connection:
        assert [mail.morning for mail in messages.mails(connection)] == ["2026-03-16 clk 2", "2026-03-16 clk 3", "2026-03-16 clock"]
        assert messages.mail_of(connection, "2026-03-16") is None
