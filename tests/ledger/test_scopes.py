"""Scopes: open, marked, planned, closed; who may be served by whom."""

from __future__ import annotations

import pytest

from nightcrew.ledger import scopes
from tests.support.made_nights import Shelf


def make(shelf: Shelf, *names: str, instrument: str = "CAM", kind: str = "night") -> list[int]:
    with shelf.database.write() as connection:
        return [scopes.ensure(connection, kind, name, instrument, shelf.database.now()) for name in names]


def due(shelf: Shelf) -> list[int]:
    with shelf.database.read() as connection:
        return [row.id for row in scopes.due(connection, shelf.database.now())]


def test_a_scope_is_made_once(shelf: Shelf) -> None:
    assert make(shelf, "2026-03-14") == make(shelf, "2026-03-14")
    assert make(shelf, "2026-03-14", instrument="OTHER") != make(shelf, "2026-03-14")
    with shelf.database.read() as connection:
        found = scopes.find(connection, name="2026-03-14")
    assert [row.title for row in found] == ["2026-03-14/CAM", "2026-03-14/OTHER"]


def test_a_new_scope_wants_a_plan_until_it_had_one(shelf: Shelf) -> None:
    (one,) = make(shelf, "2026-03-14")
    assert due(shelf) == [one]
    with shelf.database.write() as connection:
        scopes.planned(connection, one, read_mark=scopes.get(connection, one).mark, wake_at="")
    assert due(shelf) == []
    with shelf.database.write() as connection:
        scopes.mark(connection, [one, one], shelf.database.now())
    assert due(shelf) == [one]


def test_a_mark_raised_during_a_plan_keeps_the_scope_due(shelf: Shelf) -> None:
    (one,) = make(shelf, "2026-03-14")
    with shelf.database.write() as connection:
        read = scopes.get(connection, one).mark
        scopes.mark(connection, [one], shelf.database.now())
        scopes.planned(connection, one, read_mark=read, wake_at="")
    assert due(shelf) == [one]


@pytest.mark.parametrize(("wake_at", "wanted"), [("2026-03-15T17:59:59.999", True), ("2026-03-15T18:00:00.001", False), ("", False)])
def test_a_scope_wakes_when_its_group_is_quiet(shelf: Shelf, wake_at: str, wanted: bool) -> None:
    (one,) = make(shelf, "2026-03-14")
    with shelf.database.write() as connection:
        scopes.planned(connection, one, read_mark=scopes.get(connection, one).mark, wake_at=wake_at)
    assert (due(shelf) == [one]) == wanted


def test_tonight_goes_first(shelf: Shelf) -> None:
    old, new = make(shelf, "2026-03-13", "2026-03-14")
    assert due(shelf) == [new, old]


def test_closing_and_opening_again(shelf: Shelf) -> None:
    (one,) = make(shelf, "2026-03-14")
    now = shelf.database.now()
    with shelf.database.write() as connection:
        scopes.ask_to_close(connection, one)
        scopes.close(connection, one, now)
        closed = scopes.get(connection, one)
        scopes.arrived(connection, [one], now)
        opened = scopes.get(connection, one)
    assert (closed.state, closed.closed_at) == ("closed", now)
    assert (opened.state, opened.closed_at, opened.close_asked, opened.last_arrival_at) == ("open", "", False, now)
    assert opened.mark == closed.mark + 1


def test_a_look_from_elsewhere_is_no_news_for_the_mail(shelf: Shelf) -> None:
    (one,) = make(shelf, "2026-03-14")
    with shelf.database.write() as connection:
        scopes.mailed(connection, [one], shelf.database.now())
        scopes.look_again(connection, [one])
        assert scopes.touched_since_mail(connection) == []
    assert due(shelf) == [one]


def test_siblings_are_open_scopes_and_the_newest_of_the_same_instrument(shelf: Shelf) -> None:
    old, open_, third, second, mine = make(shelf, "2026-01-01", "2026-01-02", "2026-03-12", "2026-03-13", "2026-03-14")
    make(shelf, "2026-03-14", instrument="OTHER")
    make(shelf, "2026-03-14", kind="lab")
    with shelf.database.write() as connection:
        for one in (old, third, second, mine):
            scopes.close(connection, one, shelf.database.now())
        assert scopes.siblings(connection, mine, 2) == [second, open_]
        assert scopes.siblings(connection, mine, 3) == [second, third, open_]
        assert [scopes.is_remade_unasked(connection, one, 2) for one in (mine, second, third, open_, old)] == [
            True,
            True,
            False,
            True,
            False,
        ]


def test_open_scopes_are_found_by_their_state(shelf: Shelf) -> None:
    one, two = make(shelf, "2026-03-13", "2026-03-14")
    with shelf.database.write() as connection:
        scopes.close(connection, one, shelf.database.now())
        assert [row.id for row in scopes.find(connection, state="open")] == [two]


def test_what_has_no_date_is_not_the_newest_night(shelf: Shelf) -> None:
    undated, old, new = make(shelf, "undated", "2026-03-13", "2026-03-14")
    with shelf.database.read() as connection:
        assert [row.id for row in scopes.find(connection)] == [new, old, undated]
        scopes_due = [row.id for row in scopes.due(connection, shelf.database.now())]
    assert scopes_due == [new, old, undated]
    with shelf.database.write() as connection:
        for one in (undated, old, new):
            scopes.close(connection, one, shelf.database.now())
        assert scopes.is_remade_unasked(connection, new, 1)
        assert not scopes.is_remade_unasked(connection, old, 1)
