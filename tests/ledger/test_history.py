"""What is told of earlier starts: each question looks at the starts that it asks for, and at no others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nightcrew.ledger import claims, history, scopes
from nightcrew.ledger.history import NO_MEMORY, NOT_TRIED, PUT_OFF
from tests.support.made_nights import Shelf


@pytest.fixture
def scope_id(shelf: Shelf) -> int:
    with shelf.database.write() as connection:
        return scopes.ensure(connection, "night", "2026-03-14", "NCSIM", shelf.database.now())


def start(shelf: Shelf, scope_id: int, fingerprint: str, *ends: tuple[str, str], recipe: str = "plate_solution") -> None:
    """Starts of a product, one after the other, each with its end (state, reason)."""
    for state, reason in ends:
        claimed = claims.take(shelf.database, scope_id, recipe, fingerprint, fingerprint)
        assert claimed is not None
        assert claims.end(shelf.database, claimed, state, reason=reason)


def test_a_hindrance_is_that_of_the_last_start(shelf: Shelf, scope_id: int) -> None:
    start(shelf, scope_id, "a", ("again", "disk full"), ("done", ""))
    start(shelf, scope_id, "b", ("again", "disk full"), ("again", "the folder is away"))
    start(shelf, scope_id, "c", ("failed", "cut short"))
    with shelf.database.read() as connection:
        assert history.hindrances(connection, scope_id) == {"b": "the folder is away"}


def test_tries_in_vain_are_failures_deaths_and_what_was_tried_and_put_off(shelf: Shelf, scope_id: int) -> None:
    start(shelf, scope_id, "a", ("died", ""), ("died", ""), ("failed", "no stars"))
    start(shelf, scope_id, "b", ("again", f"{PUT_OFF}busy"), ("again", f"{NOT_TRIED}busy"), ("again", "disk full"))
    start(shelf, scope_id, "c", ("done", ""))
    start(shelf, scope_id, "a", ("failed", "of another recipe"), recipe="stack")
    with shelf.database.write() as connection:
        assert history.put_offs(connection, "b") == 1
        assert history.deaths_of(connection, "a") == 2
        assert history.forgive(connection, scope_id) == 7
        assert history.tried_in_vain(connection, scope_id, "plate_solution") == {"a": 3, "b": 1}  # forgiven or not
        assert history.put_offs(connection, "b") == 0
        assert history.deaths_of(connection, "a") == 0


def test_the_tries_that_count_are_those_of_the_most_often_tried(shelf: Shelf, scope_id: int) -> None:
    start(shelf, scope_id, "a", ("again", "disk full"))
    start(shelf, scope_id, "b", *[("again", "disk full")] * 3)
    with shelf.database.read() as connection:
        assert history.most_tries(connection, scope_id, {"a", "b"}) == 3


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("its process ended", "gave up: the process died 3 times while making it"),
        (f"{NO_MEMORY} (64 MB)", f"gave up after 3 tries: {NO_MEMORY} (64 MB)"),
    ],
)
def test_what_is_given_up_tells_of_its_last_death(shelf: Shelf, scope_id: int, last: str, told: str) -> None:
    start(shelf, scope_id, "a", ("died", f"{NO_MEMORY} (128 MB)"), ("died", "its process ended"), ("died", last))
    with shelf.database.read() as connection:
        failure = history.failures(connection, scope_id)["a"]
    assert (failure.reason, failure.deaths) == (told, 3)


def test_attempts_of_one_product_by_the_beginning_of_its_fingerprint(shelf: Shelf, scope_id: int) -> None:
    start(shelf, scope_id, "ab1", ("again", "disk full"), ("done", ""))
    start(shelf, scope_id, "ab2", ("done", ""))
    with shelf.database.read() as connection:
        assert [one.state for one in history.attempts(connection, "ab1")] == ["again", "done"]
        assert history.attempts(connection, "ab") == []  # of two products
        assert history.attempts(connection, "") == []


def test_ends_since_a_time_and_after_a_start(shelf: Shelf, scope_id: int) -> None:
    start(shelf, scope_id, "a", ("failed", "early"))
    with shelf.database.read() as connection:
        first = history.last_start(connection)
    shelf.now += timedelta(hours=1)
    since = shelf.database.now()
    start(shelf, scope_id, "b", ("failed", "no stars"), ("again", f"{NOT_TRIED}busy"), ("again", f"{PUT_OFF}busy"))
    with shelf.database.read() as connection:
        late = [("again", "busy", ""), ("failed", "no stars", "")]  # latest first
        assert history.ends(connection, scope_id, "plate_solution", "") == [*late, ("failed", "early", "")]
        assert history.ends(connection, scope_id, "plate_solution", since) == late
        assert history.ends(connection, scope_id, "plate_solution", "", first) == late
        assert history.ends(connection, scope_id, "plate_solution", "", most=1) == late[:1]
