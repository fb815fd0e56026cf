"""A process that runs a night and kills itself with SIGKILL after a number of units."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from nightcrew.planning.model import PlannedProduct
from tasks.executor import make_locally
from tasks.run import Outcome
from tests.support.small_nights import Bench


def main(folder: str, root: str, units: int) -> None:
    """Run, and die in the middle of a unit's claim."""
    bench = Bench(Path(folder), Path(root))
    make = make_locally(bench.space.context)
    left = [units]

    def deadly(batch: Sequence[PlannedProduct]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for unit in batch:
            if left[0] == 0:
                from nightcrew.ledger import claims

                claims.take(bench.space.database, unit.scope_id, unit.recipe, unit.key, unit.fingerprint)
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            outcomes += make([unit])
        return outcomes

    for scope in bench.scopes():
        bench.space.run(scope.id, make=deadly)
