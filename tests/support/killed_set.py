"""A process that analyses a toy set and is killed with SIGKILL while a unit writes."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

from tasks.set_units import SetResult, SetUnit
from tests.support import toy_kind
from tests.support.set_bench import SetBench


def _deadly(unit: SetUnit) -> SetResult:
    (unit.out / "half.txt").write_text("half", encoding="utf-8")
    os.kill(os.getpid(), signal.SIGKILL)
    return SetResult()


def main(root: str) -> None:
    """Convert, then die in the sum."""
    toy_kind.register()
    toy_kind.units["toy_sum"] = _deadly
    bench = SetBench(Path(root))
    bench.now += timedelta(minutes=1)
    bench.settle()
