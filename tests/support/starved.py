"""Units of work that need more memory than they are given: killed for it, or refused it.  For workers in other processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nightcrew.ledger.rows import NewProduct
from nightcrew.planning.model import PlannedProduct
from tasks import pool as pool_module
from tasks import run as run_module
from tasks.context import UnitContext
from tasks.executor import Wish
from tasks.pool import WorkerSettings
from tasks.registry import unit_for
from tests.support.small_nights import Bench

Unit = Callable[[UnitContext, PlannedProduct], NewProduct]
MORE_THAN_BYTES = 100_000_000  # a unit that is given more than this takes too much
GREEDY = "bias_master"
start_worker = pool_module._start_worker


def hungry(recipe: str) -> Unit:
    """The unit of a recipe; a greedy one uses all the memory that it is given."""
    unit = unit_for(recipe)

    def make(context: UnitContext, planned: PlannedProduct) -> NewProduct:
        buffer = np.ones(context.memory_bytes, np.uint8) if recipe == GREEDY else None
        made = unit(context, planned)
        del buffer
        return made

    return make


def killed(recipe: str) -> Unit:
    """The unit of a recipe; the kernel kills a greedy one that takes too much."""
    unit = unit_for(recipe)

    def make(context: UnitContext, planned: PlannedProduct) -> NewProduct:
        if recipe == GREEDY and context.memory_bytes > MORE_THAN_BYTES:
            os.kill(os.getpid(), signal.SIGKILL)
        return unit(context, planned)

    return make


def start_killed(settings: WorkerSettings) -> None:
    """What a pool's worker does first, for workers that are killed."""
    run_module.unit_for = killed  # type: ignore[attr-defined]  # tasks.run looks it up there
    start_worker(settings)


def start_never(_settings: WorkerSettings) -> None:
    """A worker that cannot start."""
    os._exit(3)


def _used_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")


def main(folder: str, root: str) -> None:
    """Run a night under a limit of address space that the greedy unit breaks with its first try."""
    bench = Bench(Path(folder), Path(root))
    unit_for(GREEDY)  # libraries map much when they are imported
    limit = _used_bytes() + 4 * MORE_THAN_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    run_module.unit_for = hungry  # type: ignore[attr-defined]  # tasks.run looks it up there
    bench.run(Wish(only=(GREEDY,)))  # the libraries of other units cannot even be loaded within the limit


if __name__ == "__main__":
    main(*sys.argv[1:3])
