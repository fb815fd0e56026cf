"""A morning whose run was killed gets its mail all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.dispatch import Dispatcher
from nightcrew.ledger import dispatches, messages
from nightcrew.ledger.database import iso
from nightcrew.settings import FolderSettings, MailSettings, ReportsSettings, Settings, SiteSettings
from tasks.workspace import Workspace
from tests.support.ledgers import lay_tables
from tests.support.no_runs import NoRuns

DUE = datetime(2026, 3, 15, 15, 0, tzinfo=UTC)  # 08:00 in Arizona


class World:
    """A dispatcher whose clocks a test sets."""

    def __init__(self, root: Path, began: datetime, mail: MailSettings | None = None) -> None:
        (root / "raw").mkdir()
        settings = Settings(
            folders=(FolderSettings(path=Path("raw")),),
            site=SiteSettings(timezone="America/Phoenix"),
            reports=ReportsSettings(time="08:00"),
            mail=mail or MailSettings(),
        ).anchored(root)
        self.now = began
        lay_tables(settings.ledger_url)
        self.space = Workspace.open(settings, clock=lambda: self.now, make_tables=True)
        self.database = self.space.database
        messages.happened(self.database, "service", "info", "started")
        self.boss = Dispatcher(self.space, NoRuns(), clock=self.seconds)

    def seconds(self) -> float:
        """The dispatcher's clock."""
        return self.now.timestamp()

    def at(self, moment: datetime) -> list[dict[str, str]]:
        """What was asked of the morning's flow until then."""
        while self.now < moment:
            self.now = min(self.now + timedelta(seconds=50), moment)
            self.boss.step()
        with self.database.read() as connection:
            return [row.wish for row in dispatches.recent(connection) if row.flow == "morning"]

    def mail(self) -> messages.MailRow:
        return messages.queue_mail(self.database, morning="2026-03-15", message_id="<x>", subject="s", message=b"m")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, DUE - timedelta(minutes=30))


def test_a_morning_without_mail_is_asked_for_ten_minutes_late(world: World) -> None:
    assert world.at(DUE + timedelta(minutes=9)) == []
    assert world.at(DUE + timedelta(minutes=12)) == [{"morning": "2026-03-15"}]


def test_a_mail_that_nobody_began_to_send_is_sent(world: World) -> None:
    world.at(DUE)
    world.mail()
    assert world.at(DUE + timedelta(minutes=12)) == [{"morning": "2026-03-15"}]


def test_where_no_mail_goes_out_a_morning_is_made_once(tmp_path: Path) -> None:
    world = World(tmp_path, DUE - timedelta(minutes=30), MailSettings(transport="none"))
    assert len(world.at(DUE + timedelta(minutes=12))) == 1
    world.mail()  # it stays queued
    with world.database.read() as connection:
        (row,) = dispatches.all_living(connection)
    dispatches.change(world.database, row.id, "ended", outcome="Completed")
    assert len(world.at(DUE + timedelta(hours=2))) == 1


def test_a_morning_that_has_its_mail_is_left_alone(world: World) -> None:
    world.at(DUE)
    row = world.mail()
    messages.begin_sending(world.database, row.id)
    messages.end_sending(world.database, row.id, "delivered")
    assert world.at(DUE + timedelta(minutes=30)) == []


def test_a_service_that_comes_late_waits_for_its_own_schedule_first(tmp_path: Path) -> None:
    world = World(tmp_path, DUE - timedelta(hours=1))
    world.now = DUE + timedelta(hours=2)
    world.boss = Dispatcher(world.space, NoRuns(), clock=world.seconds)
    assert world.at(DUE + timedelta(hours=2, minutes=9)) == []
    assert world.at(DUE + timedelta(hours=2, minutes=12)) == [{"morning": "2026-03-15"}]


def test_a_service_that_was_installed_after_the_time_waits_for_its_first_morning(tmp_path: Path) -> None:
    world = World(tmp_path, DUE + timedelta(hours=1))
    assert world.at(DUE + timedelta(hours=3)) == []


def test_a_mail_that_a_server_put_off_is_asked_for_when_its_pause_is_over(tmp_path: Path) -> None:
    """Not only the next morning: the server may be back in minutes."""
    world = World(tmp_path, DUE, MailSettings(transport="mailbox", to=["observer@localhost"]))
    row = world.mail()
    assert messages.begin_sending(world.database, row.id)
    retry_at = DUE + timedelta(minutes=5)
    messages.end_sending(world.database, row.id, "queued", error="no connection", next_try_at=iso(retry_at))
    assert world.at(retry_at - timedelta(seconds=10)) == []
    assert world.at(retry_at + timedelta(minutes=1)) == [{"morning": "2026-03-15"}]
