"""One place that turns our errors into Prefect's retry rule, and our ``task`` that obeys it.

``TransientError`` is tried again with growing pauses; anything else is not: a file's fault stays a fault, a missing
calibration waits in the plan, and a bug must be seen.  Nothing is cached and no result is kept: the ledger is the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from nightcrew.errors import TransientError

R = TypeVar("R")
RETRIES = 2


def is_passing(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what failed for a passing reason."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


def our_task(
    function: Callable[..., R], *, name: str, run_name: str = "{title}", retries: int = RETRIES, delay_s: float = 10.0
) -> Task[..., R]:
    """``function`` as a Prefect task under the project's rule; ``run_name`` is filled from its parameters."""
    return Task(
        function,
        name=name,
        task_run_name=run_name,
        retries=retries,
        retry_delay_seconds=exponential_backoff(delay_s),
        retry_condition_fn=is_passing,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
