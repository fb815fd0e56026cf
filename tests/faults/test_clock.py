"""Clocks that jump, and days of 23 and 25 hours: nights close, mails go out once, nothing waits for a wrong time to come."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from deployments.dispatch import Dispatcher
from flows.reporting import queue_morning
from nightcrew.ledger import dispatches, messages, scopes
from nightcrew.ledger.clock_back import mend_future
from nightcrew.settings import FolderSettings, NightSettings, ReportsSettings, Settings, SiteSettings
from tasks.workspace import Workspace
from tests.support.no_runs import NoRuns
from tests.support.small_nights import MORNING, Bench, make_raw, small_plan

QUIET = NightSettings(group_quiet_s=600.0, quiet_s=600.0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some biases and lights, and a second folder with more of them."""
    out = tmp_path_factory.mktemp("night")
    make_raw(out, small_plan(pixels=64))
    for path in (out / "raw").iterdir():
        if not path.name.startswith(("bias", "dark")):
            path.unlink()
    return out / "raw"


def _seconds(now: list[datetime], began: datetime) -> float:
    """The dispatcher's own clock, which nobody sets."""
    return (now[0] - began).total_seconds()


def told(bench: Bench) -> list[str]:
    with bench.space.database.read() as connection:
        return [text for _, _, _, text in messages.happenings(connection, "") if "clock was set back" in text]


def test_a_clock_a_day_ahead_holds_nothing_up_when_it_is_right_again(raw: Path, tmp_path: Path) -> None:
    """A clock that ran a day ahead and is put right."""
    copy = shutil.copytree(raw, tmp_path / "raw")
    bench = Bench(copy, tmp_path / "out", night=QUIET)
    late = copy / "bias-003.fit"
    bench.now = MORNING + timedelta(days=1)  # the machine's clock is wrong, and is put right
    bench.see(path for path in sorted(copy.iterdir()) if path != late)
    bench.ingest()
    bench.run()
    wrong = queue_morning(bench.space)
    bench.now = MORNING
    assert bench.space.close_what_is_over() == []
    now = [bench.now]
    boss = Dispatcher(bench.space, NoRuns(), clock=partial(_seconds, now, MORNING))
    boss.step()
    assert len(told(bench)) == 1
    assert bench.scopes()[0].last_arrival_at == bench.space.database.now()
    bench.now += timedelta(minutes=11)
    now[0] = bench.now
    boss.step()
    assert len(told(bench)) == 1
    assert [scope.state for scope in bench.scopes()] == ["closed"]
    bench.see([late])
    bench.ingest()
    bench.close()
    bench.run()
    assert {row.state for row in bench.files()} == {"done"}
    with bench.space.database.read() as connection:
        assert len(scopes.touched_since_mail(connection)) == 1  # the mail of the wrong tomorrow does not silence today's news
    row = queue_morning(bench.space)
    assert b"2026-05-16" in row.message
    bench.now = MORNING + timedelta(days=1)
    real = queue_morning(bench.space)  # the real tomorrow has a mail of its own, which no server takes for the wrong one
    assert real.morning == wrong.morning == "2026-05-18"
    assert real.id != wrong.id
    assert real.message_id.encode() in real.message
    assert wrong.message_id.encode() not in real.message
    assert queue_morning(bench.space, "2026-05-18 clock").id == wrong.id


def test_mails_that_wait_for_a_wrong_time_are_tried_now(raw: Path, tmp_path: Path) -> None:
    """A clock that ran a year ahead while a mail waited."""
    bench = Bench(raw, tmp_path / "out")
    bench.now = MORNING + timedelta(days=365)
    bench.see()
    bench.ingest()
    database = bench.space.database
    row = messages.queue_mail(database, morning="2027-05-17", message_id="<x>", subject="s", message=b"m")
    messages.end_sending(database, row.id, "queued", error="no answer", next_try_at="2027-05-17T18:02:00.000000Z")
    bench.now = MORNING
    assert mend_future(database)
    assert not mend_future(database)
    with database.read() as connection:
        assert [mail.next_try_at for mail in messages.mails(connection)] == [""]


def test_a_clock_that_is_right_is_left_alone(raw: Path, tmp_path: Path) -> None:
    """No fault: times that may lie in the future."""
    bench = Bench(raw, tmp_path / "out", night=QUIET)
    bench.see()
    bench.ingest()
    bench.run()
    wake_at = bench.scopes()[0].wake_at
    assert wake_at > bench.space.database.now()
    assert not mend_future(bench.space.database)
    assert bench.scopes()[0].wake_at == wake_at


# Zone, the hour of the report, a day on which that hour is left out or comes twice, and what a wall clock says to it.
DAYS = [
    ("Europe/Berlin", "02:30", datetime(2026, 3, 28, 22, tzinfo=UTC), ["2026-03-29", "2026-03-30"]),  # 02:00 -> 03:00
    ("Europe/Berlin", "02:30", datetime(2026, 10, 24, 21, tzinfo=UTC), ["2026-10-25", "2026-10-26"]),  # 03:00 -> 02:00
    ("America/Santiago", "00:00", datetime(2026, 9, 6, 3, tzinfo=UTC), ["2026-09-06", "2026-09-07"]),  # midnight -> 01:00
    ("America/Santiago", "23:30", datetime(2026, 4, 4, 22, tzinfo=UTC), ["2026-04-04", "2026-04-05"]),  # midnight -> 23:00
]


def _minutes_late(now: datetime, zone: str, time: str, morning: str) -> float:
    """How long after the report's hour of that morning, by the wall clock of the site."""
    wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    late = (wall - datetime.fromisoformat(f"{morning}T{time}")).total_seconds() / 60.0
    assert late >= 0
    return late


@pytest.mark.parametrize(("zone", "time", "began", "mornings"), DAYS, ids=[f"{zone} {time} {began:%b}" for zone, time, began, _ in DAYS])
def test_every_morning_has_one_mail_whatever_the_clocks_do(
    tmp_path: Path, zone: str, time: str, began: datetime, mornings: list[str]
) -> None:
    """The schedule may fire never or twice on such a day: the ledger knows which morning has its mail."""
    (tmp_path / "raw").mkdir()
    settings = Settings(
        folders=(FolderSettings(path=Path("raw")),), site=SiteSettings(timezone=zone), reports=ReportsSettings(time=time)
    ).anchored(tmp_path)
    now = [began - timedelta(days=1)]
    space = Workspace.open(settings, clock=lambda: now[0], make_tables=True)
    messages.happened(space.database, "service", "info", "started")
    now[0] = began
    boss = Dispatcher(space, NoRuns(), clock=partial(_seconds, now, began))
    while now[0] < began + timedelta(hours=33):
        now[0] += timedelta(minutes=20)
        boss.step()
        with space.database.read() as connection:
            asked = [row for row in dispatches.all_living(connection) if row.flow == "morning"]
        for row in asked:
            if row.wish["morning"] in mornings:
                assert _minutes_late(now[0], zone, time, row.wish["morning"]) <= 100  # of the wall clock: an hour more where it was set on
            assert queue_morning(space, row.wish["morning"]).state == "queued"
            assert queue_morning(space, row.wish["morning"]).morning == row.wish["morning"]  # asked twice: still one
            dispatches.change(space.database, row.id, "ended", outcome="Completed")
        with space.database.read() as connection:
            for mail in messages.mails(connection, "queued"):
                messages.begin_sending(space.database, mail.id)
                messages.end_sending(space.database, mail.id, "delivered")
    with space.database.read() as connection:
        sent = messages.mails(connection)
    assert [mail.morning for mail in sent][-2:] == mornings  # before them at most that of the day on which the test begins
    assert len({mail.morning for mail in sent}) == len(sent) <= 3
    assert {mail.attempts for mail in sent} == {1}
