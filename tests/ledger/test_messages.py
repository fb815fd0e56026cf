"""What the service says: dispatch rows, mails in their outbox, reports, happenings, signs of life, versions."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nightcrew.errors import Refused
from nightcrew.ledger import dispatches, messages, scopes, states, versions
from nightcrew.ledger.messages import MailRow
from tests.support.made_nights import Made, Shelf, header


@pytest.fixture
def scope_id(shelf: Shelf) -> int:
    shelf.put([Made("a.fit", header())])
    return shelf.scope().id


def queue(shelf: Shelf, morning: str = "2026-03-15", text: bytes = b"mail") -> MailRow:
    return messages.queue_mail(shelf.database, morning=morning, message_id=f"<{morning}@crew>", subject="Night", message=text)


def mails(shelf: Shelf, *wanted: str) -> list[tuple[str, str, int]]:
    with shelf.database.read() as connection:
        return [(row.morning, row.state, row.attempts) for row in messages.mails(connection, *wanted)]


def test_one_mail_a_morning(shelf: Shelf) -> None:
    first = queue(shelf)
    again = queue(shelf, text=b"another one")
    assert (again.id, again.message) == (first.id, b"mail")
    queue(shelf, "2026-03-14")
    assert mails(shelf) == [("2026-03-14", "queued", 0), ("2026-03-15", "queued", 0)]


def test_a_mail_is_sent_by_one(shelf: Shelf) -> None:
    row = queue(shelf)
    assert messages.begin_sending(shelf.database, row.id)
    assert not messages.begin_sending(shelf.database, row.id)
    assert mails(shelf, "sending") == [("2026-03-15", "sending", 1)]


@pytest.mark.parametrize("end", ["delivered", "refused", "unknown"])
def test_a_mail_that_was_delivered_refused_or_is_unsure_is_not_sent_again(shelf: Shelf, end: str) -> None:
    row = queue(shelf)
    messages.begin_sending(shelf.database, row.id)
    messages.end_sending(shelf.database, row.id, end, error="550" if end == "refused" else "")
    assert not messages.begin_sending(shelf.database, row.id)
    with shelf.database.read() as connection:
        (found,) = messages.mails(connection, end)
    assert bool(found.delivered_at) == (end == "delivered")


def test_a_mail_whose_server_was_away_is_tried_again(shelf: Shelf) -> None:
    row = queue(shelf)
    messages.begin_sending(shelf.database, row.id)
    messages.end_sending(shelf.database, row.id, "queued", error="refused the connection", next_try_at="2026-03-15T19:00:00.000")
    assert messages.begin_sending(shelf.database, row.id)
    assert mails(shelf) == [("2026-03-15", "sending", 2)]


def test_equal_wishes_share_an_attempt(shelf: Shelf, scope_id: int) -> None:
    first = dispatches.request(shelf.database, "night", scope_id)
    other = dispatches.request(shelf.database, "night", scope_id, {"from_step": "lights"})
    assert other.id != first.id
    assert dispatches.request(shelf.database, "night", scope_id).id == first.id
    assert dispatches.request(shelf.database, "night", scope_id, {"from_step": "lights"}).id == other.id
    with shelf.database.read() as connection:
        assert [row.id for row in dispatches.all_living(connection)] == [first.id, other.id]
        newest = dispatches.living(connection, "night", scope_id)
        assert dispatches.living(connection, "night", None) is None
    assert newest is not None
    assert (newest.id, newest.wish) == (other.id, {"from_step": "lights"})


def test_a_new_attempt_once_the_last_has_ended(shelf: Shelf) -> None:
    first = dispatches.request(shelf.database, "ingest", None)
    dispatches.change(shelf.database, first.id, "accepted", run_id="run-1")
    assert dispatches.request(shelf.database, "ingest", None).id == first.id
    dispatches.change(shelf.database, first.id, "ended", outcome="Crashed")
    assert dispatches.request(shelf.database, "ingest", None).id != first.id


def test_an_ended_attempt_stays_ended(shelf: Shelf) -> None:
    row = dispatches.request(shelf.database, "ingest", None)
    dispatches.change(shelf.database, row.id, "ended", outcome="Completed")
    dispatches.change(shelf.database, row.id, "running", run_id="late")
    with shelf.database.read() as connection:
        (found,) = dispatches.recent(connection)
        assert dispatches.all_living(connection, ["ingest"]) == []
    assert (found.state, found.outcome, found.run_id) == ("ended", "Completed", "")


def test_reports_count_revisions(shelf: Shelf, scope_id: int) -> None:
    for revision in (1, 2):
        row = messages.record_report(shelf.database, scope_id, path="n/index.html", verdict="good", status="good", mark=7)
        assert row.revision == revision
    with shelf.database.read() as connection:
        last = messages.last_report(connection, scope_id)
        assert scopes.get(connection, scope_id).reported_mark == 7
        assert messages.last_report(connection, scope_id + 1) is None
    assert last is not None
    assert last.revision == 2


def test_happenings_of_a_span(shelf: Shelf) -> None:
    messages.happened(shelf.database, "disk", "warning", "1 GB left")
    now = shelf.database.now()
    with shelf.database.read() as connection:
        assert messages.happenings(connection, now) == [(now, "disk", "warning", "1 GB left")]
        assert messages.happenings(connection, "2020", now) == []


def levels_of(shelf: Shelf, scope_id: int) -> list[str]:
    with shelf.database.read() as connection:
        return [level for _, _, level, _ in messages.happenings_of(connection, [scope_id])]


def test_a_trouble_that_a_later_run_overcame_needs_nobody(shelf: Shelf, scope_id: int) -> None:
    messages.happened(shelf.database, "service", "problem", "the run ended Crashed", scope_id)
    assert levels_of(shelf, scope_id) == ["problem"]
    shelf.now += timedelta(seconds=1)
    row = dispatches.request(shelf.database, "night", scope_id)
    dispatches.end(shelf.database, row, "Failed: once more")
    assert levels_of(shelf, scope_id) == ["problem", "problem"]
    shelf.now += timedelta(seconds=1)
    row = dispatches.request(shelf.database, "night", scope_id)
    dispatches.end(shelf.database, row, "Completed")
    assert levels_of(shelf, scope_id) == [messages.OVERCOME] * 2
    shelf.now += timedelta(seconds=1)
    messages.happened(shelf.database, "service", "warning", "a product was lost", scope_id)
    assert levels_of(shelf, scope_id) == [messages.OVERCOME, messages.OVERCOME, "warning"]
    with shelf.database.write() as connection:
        scopes.planned(connection, scope_id, read_mark=scopes.get(connection, scope_id).mark, wake_at="")
    shelf.now += timedelta(seconds=1)
    assert levels_of(shelf, scope_id) == [messages.OVERCOME] * 3  # its plan is finished


def test_what_hinders_again_and_again_is_one_row_with_a_count(shelf: Shelf, scope_id: int) -> None:
    """Retries whose sentences differ in numbers alone; another file, another day and another scope are told by themselves."""

    def told() -> list[tuple[str, int]]:
        with shelf.database.read() as connection:
            return [messages.counted(text)[:2] for _, _, _, text in messages.happenings(connection, "")]

    for free in ("1.6", "12", "0.25"):
        messages.happened_again(shelf.database, "service", "warning", f"light-001.fit waits for room ({free} MB free)", scope_id)
    assert told() == [("light-001.fit waits for room (0.25 MB free)", 3)]
    messages.happened_again(shelf.database, "service", "warning", "light-002.fit waits for room (1 MB free)", scope_id)
    assert [times for _, times in told()] == [3, 1]
    shelf.now += timedelta(days=2)
    messages.happened_again(shelf.database, "service", "warning", "light-001.fit waits for room (2 MB free)", scope_id)
    assert [times for _, times in told()] == [3, 1, 1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.6 MB free", "20 MB free", True),
        ("(3 in all, the first: x)", "(17 in all, the first: x)", True),
        ("the run of 2026-03-14 failed", "the run of 2026-03-15 failed", False),
        ("light-001.fit is away", "light-002.fit is away", False),
        ("at 12:30", "at 12:31", False),
        ("/raw/3/a.fit", "/raw/4/a.fit", False),
        ("it fell below 5.", "it fell below 6.", True),
    ],
)
def test_numbers_of_a_sentence_are_told_from_names_and_dates(one: str, other: str, same: bool) -> None:
    assert (messages.numberless(one) == messages.numberless(other)) is same


def test_two_long_folders_have_sweeps_of_their_own(shelf: Shelf) -> None:
    folders = [f"/data/{'observatory-' * 20}{name}" for name in ("north", "south")]
    messages.alive(shelf.database, messages.sweep_sign(folders[0]), folders[0])
    with shelf.database.read() as connection:
        signs = messages.signs_of_life(connection)
    assert messages.sweep_sign(folders[0]) in signs
    assert messages.sweep_sign(folders[1]) not in signs


def test_signs_of_life_are_one_row_a_source(shelf: Shelf) -> None:
    messages.alive(shelf.database, "watcher", "1")
    messages.alive(shelf.database, "watcher", "2")
    with shelf.database.read() as connection:
        assert messages.signs_of_life(connection) == {"watcher": (shelf.database.now(), "2")}


def test_states_change_only_what_changed(shelf: Shelf, scope_id: int) -> None:
    (frame,) = shelf.snapshot().frames
    assert states.apply(shelf.database, scope_id, {frame.id: ("done", "grade A")}) == 1
    assert states.apply(shelf.database, scope_id, {frame.id: ("done", "grade A"), 999: ("done", "")}) == 0
    assert (shelf.file("a.fit").state, shelf.file("a.fit").reason) == ("done", "grade A")


def test_a_file_that_is_read_again_keeps_saying_so(shelf: Shelf, scope_id: int) -> None:
    (frame,) = shelf.snapshot().frames
    shelf.see([Made("a.fit", header(), mtime_ns=99)])
    assert states.apply(shelf.database, scope_id, {frame.id: ("done", "grade A")}) == 0
    assert shelf.file("a.fit").state == "waiting"


def test_an_older_checkout_does_not_build_on_a_newer_ledger(shelf: Shelf) -> None:
    versions.check(shelf.database, {"bias_master": 1, "stack": 3})
    versions.check(shelf.database, {"bias_master": 2, "stack": 3})
    with pytest.raises(Refused, match="bias_master version 2, this Nightcrew makes version 1"):
        versions.check(shelf.database, {"bias_master": 1, "stack": 4})
    versions.check(shelf.database, {"bias_master": 2, "a_new_recipe": 1})
