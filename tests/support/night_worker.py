"""A process that reduces one night of a ledger when it is told to, until nothing is due: two of them share masters at the same moment."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from nightcrew.ledger import scopes
from tests.support.small_nights import Bench


def main(folder: str, root: str, night: str, go: str) -> None:
    """Open everything, say that we are ready, wait for the file ``go``, run the night until it is no longer due."""
    bench = Bench(Path(folder), Path(root))
    space = bench.space
    (mine,) = [scope.id for scope in bench.scopes() if scope.name == night]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not Path(go).exists():
        time.sleep(0.001)
    for _ in range(200):
        space.run(mine)
        with space.database.read() as connection:
            if mine not in {scope.id for scope in scopes.due(connection, space.database.now())}:
                break
        time.sleep(0.02)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(*sys.argv[1:5])
