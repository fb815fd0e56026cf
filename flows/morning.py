"""The flow of the morning: reports of all nights touched since the last mail, and one mail over them."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parent import die_with_parent


@flow(name="morning", persist_result=False)
def morning_report(morning: str = "") -> dict[str, Any]:
    """Write the reports and send the mail of a morning; for a morning that has its mail nothing is sent again.

    Parameters
    ----------
    morning
        Local calendar date such as ``2026-03-15``; empty: today's.
    """
    die_with_parent()
    return {"morning": morning}
