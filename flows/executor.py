"""The Prefect executor: units of work as tasks, with readable names, tags, retries, time limits and logs.

It gives the same ledger as the local executor: what a unit does is in ``tasks.run``, and a unit's failure is a ledger row.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.opened import workspace
from flows.policy import our_task
from nightcrew.errors import Refused, TransientError
from nightcrew.planning.model import PlannedProduct
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.settings import Settings
from tasks.context import UnitContext
from tasks.executor import Make
from tasks.run import Outcome, run_unit
from tasks.workspace import Workspace

_LOG = logging.getLogger("nightcrew.executor")
_TASKS_A_STEP = 100  # beyond so many units of a step, a task runs several
_BATCH = 10
_running: dict[int, tuple[str, float]] = {}  # thread -> unit and when it began, for the time limit


def title_of(units: Sequence[PlannedProduct]) -> str:
    """A task's name for people: ``dark master 60 s -20.0 C``, or ``reduced light: 10 of them, from ...``."""
    first = f"{RECIPES[units[0].recipe].title} {units[0].key.replace('_', ' ')}"
    return first if len(units) == 1 else f"{len(units)} x {RECIPES[units[0].recipe].title}, from {units[0].key.replace('_', ' ')}"


def batches_of(units: Sequence[PlannedProduct]) -> list[tuple[PlannedProduct, ...]]:
    """One unit a task, or several of one recipe when there are hundreds."""
    size = 1 if len(units) <= _TASKS_A_STEP else max(_BATCH, math.ceil(len(units) / _TASKS_A_STEP))
    by_recipe: dict[str, list[PlannedProduct]] = {}
    for unit in units:
        by_recipe.setdefault(unit.recipe, []).append(unit)
    return [tuple(group[start : start + size]) for group in by_recipe.values() for start in range(0, len(group), size)]


def run_batch(title: str, units: tuple[PlannedProduct, ...]) -> list[Outcome]:
    """Run units one after the other; what a task does.

    A single unit raises its TransientError (Prefect tries again) and its bugs (the task fails, with the trace).  In a batch
    they become outcomes, so that no sibling is stopped: the next plan tries again what failed for a passing reason.
    """
    context = _shared(workspace())
    outcomes: list[Outcome] = []
    for unit in units:
        with _timed(unit.name):
            if len(units) == 1:
                outcomes.append(run_unit(context, unit))
            else:
                outcomes.append(_guarded(context, unit))
    if len(units) > 1:
        _LOG.info("%s: %s", title, ", ".join(sorted({outcome.state for outcome in outcomes})))
    return outcomes


def _guarded(context: UnitContext, unit: PlannedProduct) -> Outcome:
    try:
        return run_unit(context, unit)
    except TransientError as error:
        return Outcome(unit.recipe, unit.key, unit.fingerprint, "again", str(error))
    except Exception as error:  # noqa: BLE001  # the edge of the batch: a bug in one unit must not stop its siblings
        _LOG.exception("%s", unit.name)
        return Outcome(unit.recipe, unit.key, unit.fingerprint, "failed", f"a fault in Nightcrew: {error}")


def _shared(space: Workspace) -> UnitContext:
    """The context of one of several workers: they share the memory between them."""
    workers = _workers(space.settings)
    return dataclasses.replace(space.context, memory_bytes=max(50_000_000, space.context.memory_bytes // workers))


def _workers(settings: Settings) -> int:
    return settings.limits.threads if settings.runner.task_runner == "threads" else settings.limits.processes


def dask_cluster(settings: Settings) -> dict[str, Any]:
    """A local cluster of so many processes.  Its own pages would be open to every machine without a log-in: they stay on this one."""
    mine = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    return {"n_workers": settings.limits.processes, "threads_per_worker": 1, **mine}


def runner_of(settings: Settings) -> TaskRunner[Any]:
    """The task runner of the configuration: threads, processes or Dask."""
    if settings.runner.task_runner == "threads":
        return ThreadPoolTaskRunner(max_workers=settings.limits.threads)
    if settings.runner.task_runner == "processes":
        return ProcessPoolTaskRunner(max_workers=settings.limits.processes)
    try:
        from prefect_dask import DaskTaskRunner  # type: ignore[attr-defined, import-not-found, unused-ignore]  # an extra: there or not
    except ImportError as error:
        raise Refused('runner.task_runner = "dask" needs the extra: pip install nightcrew[dask]') from error
    runner: TaskRunner[Any] = DaskTaskRunner(cluster_kwargs=dask_cluster(settings))
    return runner


@contextmanager
def make_with_prefect(settings: Settings) -> Iterator[Make]:
    """A ``make`` for ``tasks.executor.run_scope`` that runs units as tasks of the flow that calls it."""
    limit_s = settings.runner.task_timeout_s
    task = our_task(
        run_batch, name="unit of work", retries=settings.runner.attempts - 1, delay_s=max(settings.runner.retry_delay_s, 0.1)
    ).with_options(timeout_seconds=limit_s if settings.runner.task_runner == "processes" else None)
    with runner_of(settings) as runner, _time_limit(limit_s):

        def make(units: Sequence[PlannedProduct]) -> list[Outcome]:
            asked = [
                (batch, runner.submit(task.with_options(tags={batch[0].recipe}), {"title": title_of(batch), "units": batch}))
                for batch in batches_of(units)
            ]
            return [outcome for batch, future in asked for outcome in _outcomes(batch, future)]

        yield make


def _outcomes(batch: tuple[PlannedProduct, ...], future: PrefectFuture[Any]) -> list[Outcome]:
    result = future.result(raise_on_failure=False)
    if isinstance(result, list):
        return result
    state = "again" if isinstance(result, TransientError) else "failed"
    reason = str(result) if state == "again" else f"a fault in Nightcrew: {result!r}"
    return [Outcome(unit.recipe, unit.key, unit.fingerprint, state, reason) for unit in batch]


@contextmanager
def _timed(name: str) -> Iterator[None]:
    _running[threading.get_ident()] = (name, time.monotonic())
    try:
        yield
    finally:
        _running.pop(threading.get_ident(), None)


def overdue(limit_s: float, now_s: float) -> list[str]:
    """Units of this process that run for longer than ``limit_s``."""
    return [
        f"{name} runs for {now_s - since:.0f} s, the limit is {limit_s:.0f} s"
        for name, since in _running.values()
        if now_s - since > limit_s
    ]


@contextmanager
def _time_limit(limit_s: float, end: Callable[[int], None] = os._exit) -> Iterator[None]:
    """End the process when a unit hangs: a thread cannot be stopped otherwise.

    The run is then "Crashed", the unit's claim "died"; the scope is dispatched anew, and after three deaths the unit is
    failed for good, with its name.
    """
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(min(limit_s, 1.0)):
            late = overdue(limit_s, time.monotonic())
            if late:
                _LOG.critical("stopping this run: %s", "; ".join(late))
                end(1)

    thread = threading.Thread(target=watch, name="time limit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
