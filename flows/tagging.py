"""The tags of a run, by which people find it: also of one that was started from the form of Prefect's pages."""

from __future__ import annotations

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

_LOG = logging.getLogger("nightcrew.runner")


def tag_run(*names: str) -> None:
    """Give this run the tags beside those that it has; outside of a run nothing happens.

    Tags are a help for people: a server that does not answer just now costs them and not the run.
    """
    run_id, known = flow_run.id, set(flow_run.tags or ())
    if not run_id or known >= set(names):
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run_id), tags=sorted(known | set(names)))
    except httpx.HTTPError as error:
        _LOG.warning("the run could not be tagged with %s: %s", ", ".join(names), error)
