"""Running many units in a pool of processes: for a folder reduced at once, where two cores should both work.

Each worker opens the ledger for itself; the claims keep two of them from making the same product.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, Self

from nightcrew.ledger import claims
from nightcrew.ledger.database import Database
from nightcrew.planning.model import PlannedProduct
from tasks.context import UnitContext
from tasks.executor import Make, make_locally
from tasks.registry import unit_for
from tasks.run import Outcome

# Starting a worker and importing what it needs costs about a second; a handful of units is made faster here, unless workers run.
_WORTH_A_POOL = 8
_WORTH_STARTED_WORKERS = 2
_worker_context: UnitContext | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A context without its open database: what can be sent to another process."""

    url: str
    rest: dict[str, Any]  # every other field of the context: one that were left out would be missing in workers only

    @classmethod
    def of(cls, context: UnitContext, workers: int) -> Self:
        """The settings of one of so many ``workers``: its share of the memory, and one thread."""
        rest = {field.name: getattr(context, field.name) for field in dataclasses.fields(context) if field.name != "database"}
        return cls(context.database.url, {**rest, "memory_bytes": context.memory_bytes // workers, "threads": 1})

    def open(self) -> UnitContext:
        """The context of a worker."""
        return UnitContext(database=Database(self.url), **self.rest)


def _start_worker(settings: WorkerSettings) -> None:
    global _worker_context  # noqa: PLW0603 -- a worker's one context, set once when the process starts
    _worker_context = settings.open()


def _warm_up() -> None:
    """Import what units of work need, while the first files are still being read."""
    for recipe in ("dark_master", "reduce_light", "photometry"):
        unit_for(recipe)


def _make_one(unit: PlannedProduct) -> list[Outcome]:
    if _worker_context is None:
        raise RuntimeError("the worker was not started")
    return list(make_locally(_worker_context)([unit]))


def _begun(context: UnitContext, units: Sequence[PlannedProduct]) -> bool:
    """Had a worker begun one of these units?"""
    with context.database.read() as connection:
        return bool(claims.running(connection) & {unit.fingerprint for unit in units})


Tell = Callable[[str, int, int], None]
"""(recipe in words, how many units are done, of how many): progress for people."""


def _silent(_what: str, _done: int, _of: int) -> None:
    """No progress."""


@contextmanager
def pooled(context: UnitContext, workers: int, tell: Tell = _silent, *, start: bool = False) -> Iterator[Make]:
    """A ``make`` that runs large sets of units in ``workers`` processes and small ones here.

    ``start`` starts the workers at once, for a folder that is known to be large; then every set of two units goes to them.
    A worker that dies (memory, a signal) breaks the pool: what it was making is tried again by the next plan, alone and with
    less memory, and after three deaths its claim says so.  From then on every unit is made in a worker, never here - unless
    it was no unit that broke the pool: where workers cannot even start, everything is made here.
    """
    here = make_locally(context)
    pools: list[ProcessPoolExecutor] = []
    worth = [_WORTH_A_POOL]

    def pool() -> ProcessPoolExecutor:
        if not pools:
            spawn = multiprocessing.get_context("spawn")
            pools.append(
                ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(WorkerSettings.of(context, workers),))
            )
        return pools[0]

    def make(units: Sequence[PlannedProduct]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        title = units[0].recipe.replace("_", " ") if units else ""
        tell(title, 0, len(units))
        if workers < 2 or len(units) < (min(worth[0], _WORTH_STARTED_WORKERS) if pools else worth[0]):
            for unit in units:
                outcomes += here([unit])
                tell(title, len(outcomes), len(units))
            return outcomes
        try:
            for done in as_completed([pool().submit(_make_one, unit) for unit in units]):
                outcomes += done.result()
                tell(title, len(outcomes), len(units))
        except BrokenProcessPool:
            pools.clear()
            worth[0] = 1 if _begun(context, units) else sys.maxsize
        return outcomes

    if start and workers > 1:
        with suppress(BrokenProcessPool):  # the first units will find out
            for _ in range(workers):
                pool().submit(_warm_up)
    try:
        yield make
    finally:
        for running in pools:
            running.shutdown()
