"""The outbox: out once, tried again when the server says later, never again when nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import post
from nightcrew.errors import TransientError
from nightcrew.ledger import messages, migrate
from nightcrew.ledger.database import Database
from nightcrew.settings import MailSettings
from reports.smtp import Account, Delivery, Outcome


class World:
    """A ledger with a clock of ours."""

    def __init__(self, root: Path) -> None:
        self.now = datetime(2026, 5, 17, 8, 0, tzinfo=UTC)
        self.database = Database(f"sqlite:///{root / 'ledger.sqlite'}", clock=lambda: self.now)
        migrate.upgrade(self.database)
        self.mail = MailSettings(transport="smtp")

    def queue(self, morning: str) -> None:
        messages.queue_mail(self.database, morning=morning, message_id=f"<{morning}@x>", subject="night", message=b"From: a\r\n\r\nhello")

    @property
    def states(self) -> list[tuple[str, str, int]]:
        with self.database.read() as connection:
            return [(row.morning, row.state, row.attempts) for row in messages.mails(connection)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def answers(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> list[bytes]:
    sent: list[bytes] = []
    left = list(outcomes)

    def send(message: bytes, sender: str, recipients: tuple[str, ...], account: Account) -> Delivery:
        assert (sender, recipients, account.port) == ("nightcrew@localhost", ("observer@localhost",), 587)
        sent.append(message)
        return Delivery(outcome=left.pop(0), detail="said the server")

    monkeypatch.setattr(post, "send", send)
    return sent


def test_a_mail_goes_out_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answers(monkeypatch, Outcome.DELIVERED)
    world.queue("2026-05-17")
    world.queue("2026-05-17")
    assert post.deliver_queued(world.database, world.mail) == [("2026-05-17", "delivered")]
    assert post.deliver_queued(world.database, world.mail) == []
    assert len(sent) == 1


def test_later_means_again_after_a_growing_pause(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, Outcome.RETRY, Outcome.RETRY, Outcome.DELIVERED)
    world.queue("2026-05-17")
    assert post.deliver_queued(world.database, world.mail) == [("2026-05-17", "queued")]
    assert post.deliver_queued(world.database, world.mail) == []
    world.now += timedelta(minutes=3)
    assert post.deliver_queued(world.database, world.mail) == [("2026-05-17", "queued")]
    world.now += timedelta(minutes=3)
    assert post.deliver_queued(world.database, world.mail) == []
    world.now += timedelta(minutes=3)
    assert post.deliver_queued(world.database, world.mail) == [("2026-05-17", "delivered")]


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REFUSED])
def test_unknown_and_refused_are_not_sent_again_and_are_told(world: World, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    sent = answers(monkeypatch, outcome)
    world.queue("2026-05-17")
    post.deliver_queued(world.database, world.mail)
    world.now += timedelta(days=2)
    post.deliver_queued(world.database, world.mail)
    assert len(sent) == 1
    assert world.states == [("2026-05-17", outcome.value, 1)]
    with world.database.read() as connection:
        assert any("said the server" in text for _, _, _, text in messages.happenings(connection, ""))


def test_a_sender_that_died_leaves_an_unknown_fate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answers(monkeypatch)
    world.queue("2026-05-16")
    with world.database.read() as connection:
        messages.mails(connection)
    messages.begin_sending(world.database, 1)
    post.own_up(world.database, "2026-05-16")
    assert world.states == [("2026-05-16", "sending", 1)]
    post.own_up(world.database, "2026-05-17")
    assert world.states == [("2026-05-16", "unknown", 1)]
    assert sent == []


def test_a_mailbox_folder_takes_the_mail(world: World, tmp_path: Path) -> None:
    world.queue("2026-05-17")
    box = MailSettings(transport="mailbox", mailbox=tmp_path / "box")
    assert post.deliver_queued(world.database, box) == [("2026-05-17", "delivered")]
    assert (tmp_path / "box" / "2026-05-17.eml").read_bytes().endswith(b"hello")


def test_a_full_disk_keeps_the_mail_for_later(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise TransientError("no space left")

    monkeypatch.setattr(post, "deliver", full)
    world.queue("2026-05-17")
    assert post.deliver_queued(world.database, MailSettings(mailbox=tmp_path)) == [("2026-05-17", "queued")]


def test_a_wrong_address_is_refused_and_told(world: World) -> None:
    world.queue("2026-05-17")
    assert post.deliver_queued(world.database, MailSettings(transport="smtp", to=("no address",))) == [("2026-05-17", "refused")]
