"""The dead man's switch: one mail a silence and day, none while the service lives."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from deployments import doctor
from deployments.watchdog import Memory, watch
from nightcrew.errors import Refused, TransientError
from nightcrew.ledger import messages, migrate
from nightcrew.ledger.database import Database
from nightcrew.settings import Settings
from reports import smtp

HOUR = timedelta(hours=1)


def settings_in(root: Path, **mail: str) -> Settings:
    values = "".join(f'{key} = "{value}"\n' for key, value in mail.items())
    (root / "nightcrew.toml").write_text(f"[[folders]]\npath = 'raw'\n[mail]\n{values}", encoding="utf-8")
    return Settings.load(root / "nightcrew.toml")


def sign(settings: Settings) -> datetime:
    """The dispatcher says that it lives; when."""
    database = Database(settings.ledger_url)
    migrate.upgrade(database)
    messages.alive(database, "dispatcher")
    with database.read() as connection:
        at = messages.signs_of_life(connection)["dispatcher"][0]
    database.close()
    return datetime.fromisoformat(at).replace(tzinfo=UTC)


def mails(settings: Settings) -> list[EmailMessage]:
    found = []
    for path in sorted(settings.mail.mailbox.glob("*.eml")):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        found.append(message)
    return found


def test_nothing_is_sent_while_the_service_lives(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    found = watch(settings, sign(settings) + timedelta(minutes=5), HOUR)
    assert (found.silence, found.mailed) == ("", False)
    assert mails(settings) == []


def test_a_silence_is_mailed_once_a_day_with_its_last_sign_of_life(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    at = sign(settings)
    noon = at.replace(hour=12, minute=0) + timedelta(days=1)
    assert watch(settings, noon, HOUR).mailed
    assert not watch(settings, noon + HOUR, HOUR).mailed
    (mail,) = mails(settings)
    assert "did not run" in str(mail["Subject"])
    assert f"{at:%Y-%m-%d %H:%M} UTC" in mail.get_content()
    assert watch(settings, noon + timedelta(days=1), HOUR).mailed
    assert len(mails(settings)) == 2


def test_a_ledger_that_is_absent_or_damaged_is_a_silence(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    now = datetime(2026, 3, 15, 12, tzinfo=UTC)
    assert "there is no ledger" in watch(settings, now, HOUR).silence
    assert not (settings.state.root / "ledger.sqlite").exists()
    (settings.state.root / "ledger.sqlite").write_bytes(b"no database" * 500)
    assert "cannot be read" in watch(settings, now + timedelta(days=1), HOUR).silence


def test_a_mail_that_could_not_go_out_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path, transport="smtp", security="none", host="127.0.0.1")
    answers = [smtp.Outcome.RETRY, smtp.Outcome.UNKNOWN]
    sent: list[bytes] = []

    def send(message: bytes, *_: object) -> smtp.Delivery:
        sent.append(message)
        return smtp.Delivery(outcome=answers[len(sent) - 1], detail="")

    monkeypatch.setattr("flows.post.send", send)
    now = datetime(2026, 3, 15, 12, tzinfo=UTC)
    looks = [watch(settings, now + timedelta(minutes=30 * n), HOUR) for n in range(3)]
    assert [look.mailed for look in looks] == [False, True, False]
    assert len(sent) == 2  # one whose delivery is unknown is not sent again
    identities = {email.message_from_bytes(message)["Message-ID"] for message in sent}
    assert len(identities) == 1


def test_where_nothing_can_be_remembered_it_mails_at_the_time_of_the_report_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path)  # the report comes at 08:00, UTC

    def full(*_: object) -> None:
        raise TransientError("the disk is full")

    monkeypatch.setattr(Memory, "write", full)
    start = datetime(2026, 3, 15, 0, 5, tzinfo=UTC)
    looks = [watch(settings, start + timedelta(minutes=30 * n), HOUR) for n in range(48)]
    assert [n for n, look in enumerate(looks) if look.mailed] == [16]
    assert all(look.silence for look in looks)


def test_a_sign_in_the_future_is_a_silence(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert "clock was set back" in watch(settings, sign(settings) - timedelta(days=2), HOUR).silence


def test_without_a_mail_the_silence_is_an_error(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, transport="none")
    with pytest.raises(Refused, match="nobody can be told"):
        watch(settings, datetime(2026, 3, 15, 12, tzinfo=UTC), HOUR)


def test_doctor_says_whether_it_is_armed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    now = datetime.now(UTC)
    assert doctor.watchdog in doctor.CHECKS
    (finding,) = doctor.watchdog(settings)
    assert (finding.level, "watchdog.timer" in finding.mend) == ("warning", True)
    watch(settings, now, HOUR)
    assert [finding.level for finding in doctor.watchdog(settings)] == ["good"]
    Memory(looked_at="2026-01-01T00:00:00").write(settings.state.root)
    assert [finding.level for finding in doctor.watchdog(settings)] == ["problem"]
