"""A real mail server that fails in every way: the mail is kept, tried again when that is safe, told, and never sent twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr

from deployments import doctor
from flows import post
from flows.reporting import queue_morning
from nightcrew.ledger import messages
from nightcrew.settings import MailSettings
from reports import smtp
from tests.reports.test_smtp import Inbox, check_password, serving
from tests.support.small_nights import Bench

MORNING = "2026-05-17"
QUOTA = "552 5.2.2 mailbox full, over quota"


class World:
    """A ledger with an empty night, and a mail server on loopback that a test may break."""

    def __init__(self, root: Path) -> None:
        (root / "raw").mkdir()
        self.bench = Bench(root / "raw", root / "out")
        self.bench.now = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
        self.database = self.bench.space.database
        self.port = 1

    def settings(self, **changes: object) -> MailSettings:
        values: dict[str, object] = {
            "transport": "smtp",
            "host": "127.0.0.1",
            "port": self.port,
            "security": "none",
            "to": ("a@y.example",),
        }
        return MailSettings(**{**values, **changes})

    def send(self, **changes: object) -> str:
        """What became of the mails of the outbox now; "" when none was due."""
        done = post.deliver_queued(self.database, self.settings(**changes))
        return ", ".join(state for _, state in done)

    def later(self, **pause: float) -> None:
        self.bench.now += timedelta(**pause)

    @property
    def row(self) -> messages.MailRow:
        with self.database.read() as connection:
            (row,) = messages.mails(connection)
        return row

    @property
    def told(self) -> list[str]:
        with self.database.read() as connection:
            return [text for _, source, _, text in messages.happenings(connection, "") if source == "mail"]


class HangsUp(Inbox):
    """Takes the mail, and is gone before it says so."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        del session
        self.mails.append(envelope)
        transport = server.transport
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
        return "250 OK"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    queue_morning(made.bench.space, MORNING)
    yield made
    made.database.close()


def test_a_server_that_is_down_gets_the_mail_when_it_is_back(world: World) -> None:
    """A mail server that is down for hours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        world.port = free.getsockname()[1]
    assert world.send() == "queued"
    assert world.send() == ""  # not before its pause is over
    for pause_min in (5, 10, 20):
        world.later(minutes=pause_min)
        assert world.send() == "queued"
    assert len(world.told) == 4
    assert "no connection" in world.told[0]
    inbox = Inbox()
    with serving(inbox) as world.port:
        world.later(hours=1)
        assert world.send() == "delivered"
        world.later(hours=1)
        assert world.send() == ""
    assert len(inbox.mails) == 1
    assert world.row.message_id.encode() in (inbox.mails[0].original_content or b"")


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ({"MAIL": "451 4.7.1 try again later"}, "queued"),
        ({"RCPT": "450 4.2.1 greylisted"}, "queued"),
        ({"DATA": "452 4.2.2 over quota for now"}, "queued"),
        ({"DATA": QUOTA}, "queued"),
        ({"RCPT": QUOTA}, "queued"),
        ({"DATA": "554 5.7.1 looks like spam"}, "refused"),
    ],
)
def test_a_server_that_refuses_keeps_the_mail_and_is_told(world: World, answers: dict[str, str], state: str) -> None:
    """For now: tried again by itself.  For good: kept, told, and sent when a person asks."""
    inbox = Inbox(**answers)
    with serving(inbox) as world.port:
        assert world.send() == state
        world.later(hours=2)
        assert world.send() == ("queued" if state == "queued" else "")
    assert any(next(iter(answers.values())) in text for text in world.told)
    mended = Inbox()
    with serving(mended) as world.port:
        world.later(hours=2)
        post.requeue(world.database, MORNING)
        assert world.send() == "delivered"
        post.requeue(world.database, MORNING)
        assert world.send() == ""  # a delivered mail is not asked for again
    assert len(mended.mails) == 1


def test_a_server_that_hangs_up_after_the_mail_may_have_it(world: World) -> None:
    """Its fate is unknown: not sent again by itself, in ``doctor``, in the next mail, and under the same Message-ID when asked for."""
    inbox = HangsUp()
    with serving(inbox) as world.port:
        assert world.send() == "unknown"
        for _ in range(3):
            world.later(hours=7)
            assert world.send() == ""
    assert len(inbox.mails) == 1  # it had it
    settings = world.bench.settings.model_copy(update={"mail": world.settings()})
    world.bench.space.database.close()
    found = [finding for finding in doctor.look(settings) if finding.subject == "mail" and MORNING in finding.text]
    assert [finding.level for finding in found] != []
    assert all(finding.level in ("problem", "warning") for finding in found)
    second = queue_morning(world.bench.space, "2026-05-18")
    assert b"not known whether the mail of 2026-05-17" in second.message.replace(b"=\r\n", b"")
    healthy = Inbox()
    with serving(healthy) as world.port:
        world.later(hours=7)
        post.requeue(world.database, MORNING)
        assert world.send() == "delivered, delivered"
    sent = [mail.original_content or b"" for mail in (*inbox.mails, *healthy.mails)]
    numbers = [next(line for line in text.splitlines() if line.lower().startswith(b"message-id")) for text in sent]
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.parametrize(
    ("answer", "state"),
    [("banana", "unknown"), ("354 go on", "unknown"), ("999 none", "unknown"), ("x" * 20_000, "unknown"), ("200 fine", "delivered")],
    ids=["no number", "go on", "no code", "a line without end", "another yes"],
)
def test_a_server_that_takes_the_mail_and_answers_nonsense(world: World, answer: str, state: str) -> None:
    """It has the mail, whatever it babbles: never sent again by itself."""
    inbox = Inbox(DATA=answer)
    with serving(inbox) as world.port:
        assert world.send() == state
        for _ in range(3):
            world.later(hours=7)
            assert world.send() == ""
    assert bool(world.told) is (state == "unknown")


def test_a_slow_server_is_waited_for_only_so_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail server that takes the connection and says nothing."""
    monkeypatch.setattr(post, "Account", partial(smtp.Account, timeout_s=0.2, reply_timeout_s=0.2))
    with socket.socket() as silent:  # takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        world.port = silent.getsockname()[1]
        assert world.send() == "queued"
    assert "timed out" in world.row.last_error


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
def test_a_wrong_password_is_told_without_the_password_and_the_mail_goes_out_when_it_is_mended(world: World) -> None:
    login = {"authenticator": check_password, "auth_required": True, "auth_require_tls": False}
    inbox = Inbox()
    with serving(inbox, **login) as world.port:
        assert world.send(user="crew", password=SecretStr("planted-secret")) == "queued"
        assert "wrong user or password" in world.told[0]
        assert "planted-secret" not in "".join([*world.told, world.row.last_error])
        world.later(hours=1)
        assert world.send(user="crew", password=SecretStr("right")) == "delivered"
    assert len(inbox.mails) == 1
