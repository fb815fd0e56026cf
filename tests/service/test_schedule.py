"""The morning's report: its schedule really fires, at the configured local time, and its mail is sent once."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from nightcrew.ledger import dispatches, messages
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service")]


def scheduled_runs(service: Running) -> list[dict[str, object]]:
    """Runs of the morning's flow that its schedule made and that have ended."""
    query = {"flows": {"name": {"any_": ["morning"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    runs: list[dict[str, object]] = httpx.post(f"{service.api}/flow_runs/filter", json=query, timeout=10).json()
    return [run for run in runs if run["auto_scheduled"]]


def test_the_report_comes_at_its_time_and_its_mail_once(service: Running) -> None:
    zone = ZoneInfo(service.settings.site.timezone)
    (run, *_) = service.wait(lambda: scheduled_runs(service), "the schedule fired", 200)
    due = datetime.fromisoformat(str(run["expected_start_time"])).astimezone(zone)
    began = datetime.fromisoformat(str(run["start_time"])).astimezone(zone)
    assert run["state_name"] == "Completed"
    assert f"{due:%H:%M:%S}" == f"{service.settings.reports.time}:00"
    # Prefect's runner may wake a fraction of a second before the appointed time.
    assert timedelta(seconds=-1) < began - due < timedelta(seconds=60)

    morning = f"{due:%Y-%m-%d}"
    path = service.settings.mail.mailbox / f"{morning}.eml"
    sent = path.read_bytes()
    mail = email.message_from_bytes(sent, policy=email.policy.default)
    body = mail.get_body(("html",))
    assert body is not None
    assert "observer@localhost" in str(mail["To"])
    with service.space.database.read() as connection:
        (row,) = messages.mails(connection)
    assert (row.morning, row.state, row.attempts) == (morning, "delivered", 1)

    again = dispatches.request(service.space.database, "morning", None, {"morning": morning})
    assert service.ended(again).outcome == "Completed"
    with service.space.database.read() as connection:
        assert [(one.morning, one.attempts) for one in messages.mails(connection)] == [(morning, 1)]
    assert path.read_bytes() == sent
