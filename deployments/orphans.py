"""Runs that a power loss or a killed runner left "Running"."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from flows.catalogue import DEPLOYMENT
from nightcrew.ledger.dispatches import GONE_AT_START


def crash_orphans(client: SyncPrefectClient) -> int:
    """Mark runs that no process can be working on any more as Crashed; how many.

    Called by the one runner of the served deployments before it begins.  Prefect itself would show such runs as running
    for ever.
    """
    lost = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]))
        ),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[DEPLOYMENT])),
    )
    for run in lost:
        client.set_flow_run_state(run.id, Crashed(message=GONE_AT_START), force=True)
    return len(lost)
