"""Only the unit that kills its process is given up, not what ran beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from nightcrew.ledger import claims
from nightcrew.planning.model import PlannedProduct
from tasks.executor import make_locally
from tasks.run import Outcome
from tests.support.small_nights import Bench, make_raw, small_plan


class KilledError(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A night that is taken in and closed."""
    make_raw(tmp_path / "night", small_plan())
    made = Bench(tmp_path / "night" / "raw", tmp_path / "out")
    made.see()
    made.ingest()
    made.close()
    return made


def test_what_ran_beside_a_deadly_unit_is_made(bench: Bench) -> None:
    real = make_locally(bench.space.context)
    alone: list[str] = []

    def make(units: Sequence[PlannedProduct]) -> list[Outcome]:
        """Four workers at a time, killed together when one of them takes the deadly light."""
        alone.extend(unit.key for unit in units if len(units) == 1 and unit.recipe == "reduce_light")
        deadly = [unit for unit in units[:4] if unit.recipe == "reduce_light" and "00-05-37" in unit.key]
        if not deadly:
            return list(real(units))
        for unit in units[:4]:
            held = claims.take(bench.space.database, unit.scope_id, unit.recipe, unit.key, unit.fingerprint)
            assert held is not None
            claims.end(bench.space.database, held, "died")
        raise KilledError

    (scope,) = bench.scopes()
    for _ in range(3):
        with pytest.raises(KilledError):
            bench.space.run(scope.id, make=make)
    bench.space.run(scope.id, make=make)
    lights = {row.path.rpartition(b"/")[2]: row for row in bench.files() if row.kind == "light"}
    assert lights[b"crew-1-B-001.fit"].state == "rejected"
    assert "died 3 times" in lights[b"crew-1-B-001.fit"].reason
    assert [row.state for name, row in sorted(lights.items()) if name != b"crew-1-B-001.fit"] == ["done"] * 3
    assert len(alone) >= 4


def test_what_is_lost_as_often_as_it_is_made_alone_comes_to_an_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.executor._ROUNDS", 5)
    sizes: list[int] = []
    real = make_locally(bench.space.context)

    def make(units: Sequence[PlannedProduct]) -> list[Outcome]:
        """From the first two on: they are said to be made, and never are; at first a process dies over one."""
        if not sizes and len(units) == 1:
            return list(real(units))
        sizes.append(len(units))
        assert len(sizes) < 20
        if len(sizes) == 1:
            held = claims.take(bench.space.database, units[0].scope_id, units[0].recipe, units[0].key, units[0].fingerprint)
            assert held is not None
            claims.end(bench.space.database, held, "died")
        return [Outcome(unit.recipe, unit.key, unit.fingerprint, "made") for unit in units]

    (scope,) = bench.scopes()
    bench.space.run(scope.id, make=make)
    assert sizes[0] > 1
    assert sizes[1:] == [1] * (len(sizes) - 1) != []
