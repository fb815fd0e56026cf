"""The flow of the morning: reports of all nights touched since the last mail, and one mail over them."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run, task_run

from flows.artifacts import link_to_report
from flows.housekeeping import Tidied, tidy
from flows.opened import workspace
from flows.pages import local_now
from flows.parent import die_with_parent
from flows.policy import RETRIES, our_task
from flows.post import deliver_queued
from flows.reporting import queue_morning
from flows.signing import sign_run
from nightcrew.ledger.messages import MailRow


def write_reports(title: str, morning: str) -> MailRow:
    """Write the pages and queue the mail."""
    del title
    return queue_morning(workspace(), morning, last_try=(task_run.run_count or 1) > RETRIES)


def send_mails(title: str, morning: str) -> list[tuple[str, str]]:
    """Send what is queued."""
    del title
    space = workspace()
    if space.settings.mail.transport == "none":
        return []
    return deliver_queued(space.database, space.settings.mail)


def keep_house(title: str) -> Tidied:
    """Copy the ledger and take old things away."""
    del title
    space = workspace()
    return tidy(space, local_now(space).date())


def run_name() -> str:
    """The run's name for people: the morning that it is for."""
    return f"morning {flow_run.parameters.get('morning') or local_now(workspace()).date().isoformat()}"


@flow(name="morning", flow_run_name=run_name, persist_result=False)
def morning_report(morning: str = "") -> dict[str, Any]:
    """Write the reports and send the mail of a morning; for a morning that has its mail nothing is sent again.

    Args:
        morning: Local calendar date such as 2026-03-15; empty: today's.
    """
    die_with_parent()
    sign_run(workspace().database)
    row = our_task(write_reports, name="write reports")(f"reports of {morning or 'this morning'}", morning)
    link_to_report(workspace(), "", f"morning {row.morning}")
    sent = our_task(send_mails, name="send mails")(f"mail of {row.morning}", row.morning)
    tidied = our_task(keep_house, name="keep house")("ledger copy and retention")
    return {"morning": row.morning, "subject": row.subject, "mails": [list(one) for one in sent], "retired": tidied.retired}
