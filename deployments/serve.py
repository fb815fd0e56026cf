"""Serving the flows: one process that starts a process for each run."""

from __future__ import annotations

import importlib
import logging
from typing import Any, cast

from prefect import Flow, serve
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from deployments.orphans import crash_orphans
from flows.catalogue import DEPLOYMENT, FLOWS
from nightcrew.settings import Settings

_LOG = logging.getLogger("nightcrew.runner")
_RUNS_AT_ONCE = 4  # a night, a set, an ingest and the morning's report


def flow_of(name: str) -> Flow[..., Any]:
    """The flow of that name."""
    module, _, attribute = FLOWS[name].partition(":")
    found: Flow[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def morning_schedule(settings: Settings) -> Schedule:
    """Every morning at the local time of the configuration."""
    hour, _, minute = settings.reports.time.partition(":")
    return Cron(f"{int(minute)} {int(hour)} * * *", timezone=settings.site.timezone)


def deployment_of(name: str, settings: Settings, *, pool: str = "") -> RunnerDeployment:
    """A deployment of one flow, by module path: a file path would put ``flows/`` itself on the import path, for good."""
    made = flow_of(name).to_deployment(
        name="pool" if pool else DEPLOYMENT,
        schedule=morning_schedule(settings) if name == "morning" and not pool else None,
        tags=["nightcrew"],
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=pool or None,
    )
    return cast(RunnerDeployment, made)  # a coroutine only inside of an event loop


def serve_flows(settings: Settings) -> None:
    """Serve until stopped; runs that a killed predecessor left "Running" are marked Crashed first."""
    with get_client(sync_client=True) as client:
        lost = crash_orphans(client)
    if lost:
        _LOG.warning("%d runs were left running by a process that is gone; marked Crashed", lost)
    if settings.prefect.pool:
        for name in FLOWS:
            deployment_of(name, settings, pool=settings.prefect.pool).apply()
    # Schedules stay on when we stop: a morning that was missed is caught up with at the next start.
    serve(*(deployment_of(name, settings) for name in FLOWS), pause_on_shutdown=False, print_starting_message=False, limit=_RUNS_AT_ONCE)
