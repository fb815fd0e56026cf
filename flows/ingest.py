"""The flow that reads what arrived: one run a burst, a task for each bounded batch."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.opened import workspace
from flows.parent import die_with_parent
from flows.policy import our_task
from flows.signing import sign_run
from nightcrew.ingest import Ingested
from nightcrew.ledger import comparisons

_BATCHES = 20  # of one run; what is left is the next run's


def read_batch(title: str, limit: int) -> Ingested:
    """Ingest up to ``limit`` arrivals."""
    del title
    space = workspace()
    return space.ingest(limit)


def run_name() -> str:
    """The run's name for people: how many files wait for it."""
    with workspace().database.read() as connection:
        return f"ingest of {comparisons.count_waiting(connection)} files"


@flow(name="ingest", flow_run_name=run_name, persist_result=False)
def ingest() -> dict[str, Any]:
    """Read the files that arrived: each becomes a frame, a rejection or a file set aside, with its reason."""
    die_with_parent()
    space = workspace()
    sign_run(space.database)
    limit = space.settings.limits.burst_files
    task = our_task(read_batch, name="read files")
    files = frames = rejected = set_aside = 0
    for _ in range(_BATCHES):
        with space.database.read() as connection:
            waiting = comparisons.count_waiting(connection)
        if not waiting:
            break
        done: Ingested = task(f"read {min(waiting, limit)} files", limit)
        files, frames = files + done.files + done.compared - done.again, frames + done.frames
        rejected, set_aside = rejected + done.rejected, set_aside + done.set_aside
        if done.again == done.files + done.compared:  # they change or cannot be opened just now: later
            break
    return {"files": files, "frames": frames, "rejected": rejected, "set_aside": set_aside}
