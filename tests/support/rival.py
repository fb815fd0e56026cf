"""A process that makes one product when it is told to: two of them claim the same at the same moment."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tasks.executor import look
from tasks.run import run_unit
from tests.support.small_nights import Bench


def main(folder: str, root: str, go: str) -> None:
    """Plan, say that we are ready, wait for the file ``go``, make the first product, say what became of it."""
    bench = Bench(Path(folder), Path(root))
    space = bench.space
    _, plan = look(space.context, bench.scopes()[0].id, space.parameters, space.rules_for)
    unit = plan.with_status("ready")[0]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not Path(go).exists():
        time.sleep(0.001)
    sys.stdout.write(run_unit(space.context, unit).state + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
