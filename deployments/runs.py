"""Runs in Prefect, as the dispatcher and the service's start see them."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Crashed

from flows.catalogue import DEPLOYMENT
from nightcrew.errors import TransientError
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow

_UNREACHABLE = (httpx.HTTPError, PrefectHTTPStatusError, OSError, RuntimeError)


class PrefectRuns:
    """See ``deployments.dispatch.Runs``."""

    def start(self, row: DispatchRow, scope: ScopeRow | None) -> str:
        """Ask for a run of the served deployment; repeated for the same row it gives the same run."""
        parameters: dict[str, Any] = dict(row.wish)
        tags = ["nightcrew"]
        if scope is not None:
            parameters["scope"] = scope.title
            tags += [scope.name, scope.instrument]
        try:
            run = run_deployment(
                f"{row.flow}/{DEPLOYMENT}",
                parameters=parameters,
                timeout=0,
                tags=tags,
                # the time keeps a ledger that was begun anew apart from an older Prefect database
                idempotency_key=f"{row.created_at}-{row.id}",
                as_subflow=False,
            )
        except ObjectNotFound as error:
            raise TransientError(f"the flow {row.flow} is not served yet") from error
        except _UNREACHABLE as error:
            raise TransientError(f"Prefect's server cannot be asked now: {error}") from error
        return str(cast(FlowRun, run).id)  # a coroutine only inside of an event loop

    def outcome(self, run_id: str) -> str | None:
        """How the run ended; a run that the server does not know (its database was removed) is "Lost"."""
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(UUID(run_id)).state
        except ObjectNotFound:
            return "Lost: Prefect does not know the run any more"
        except _UNREACHABLE as error:
            raise TransientError(f"Prefect's server cannot be asked now: {error}") from error
        if state is None or not state.is_final():
            return None
        return state.name if state.is_completed() else f"{state.name}: {state.message or 'no message'}"


def crash_orphans(client: SyncPrefectClient) -> int:
    """Mark runs that no process can be working on any more as Crashed; how many.

    Called by the one runner of the served deployments before it begins: whatever is "Running" was left by a power loss
    or a killed runner.  Prefect itself would show such runs as running for ever.
    """
    lost = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]))
        ),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[DEPLOYMENT])),
    )
    for run in lost:
        client.set_flow_run_state(run.id, Crashed(message="its process was gone when the service started"), force=True)
    return len(lost)
