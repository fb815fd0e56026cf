"""Too little memory: a unit is tried again alone and smaller, then given up with its reason; its siblings go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nightcrew.ledger import history
from nightcrew.ledger.history import Attempt
from nightcrew.ledger.rows import NewProduct
from nightcrew.planning.model import PlannedProduct
from tasks import pool as pool_module
from tasks import registry
from tasks import run as run_module
from tasks.context import UnitContext
from tasks.executor import Wish
from tasks.pool import pooled
from tests.support import starved
from tests.support.small_nights import Bench, make_raw, small_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("small-night")
    make_raw(out, small_plan(pixels=64))
    return out / "raw"


def taken_in(raw: Path, root: Path, *words: str) -> Bench:
    """The frames of a night whose names begin so, taken in and closed, nothing made."""
    bench = Bench(raw, root)
    bench.see(path for path in sorted(raw.iterdir()) if path.name.startswith(words))
    bench.ingest()
    bench.close()
    return bench


@pytest.fixture
def bench(raw: Path, tmp_path: Path) -> Bench:
    """Biases and darks."""
    return taken_in(raw, tmp_path / "out", "bias", "dark")


@pytest.fixture
def lights(raw: Path, tmp_path: Path) -> Bench:
    """Biases, darks, and two lights that do without a flat."""
    return taken_in(raw, tmp_path / "out", "bias", "dark", "crew-1-B")


def attempts(bench: Bench, recipe: str) -> list[Attempt]:
    """Every start of making the one product of a recipe."""
    (row,) = [row for row in bench.products() if row.recipe == recipe]
    with bench.space.database.read() as connection:
        return history.attempts(connection, row.fingerprint)


def hungry(monkeypatch: pytest.MonkeyPatch, needs: dict[str, int]) -> list[tuple[str, int, int]]:
    """Units that are out of memory when they are given more than ``needs`` says; (recipe, bytes, threads) of every try."""
    tried: list[tuple[str, int, int]] = []

    def unit_for(recipe: str) -> Callable[[UnitContext, PlannedProduct], NewProduct]:
        unit = registry.unit_for(recipe)

        def make(context: UnitContext, planned: PlannedProduct) -> NewProduct:
            tried.append((recipe, context.memory_bytes, context.threads))
            if context.memory_bytes > needs.get(recipe, 1 << 60):
                raise MemoryError
            return unit(context, planned)

        return make

    monkeypatch.setattr(run_module, "unit_for", unit_for)
    return tried


def test_out_of_memory_is_tried_again_with_a_quarter_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit that is out of memory twice."""
    tried = hungry(monkeypatch, {"bias_master": 50_000_000})
    (run,) = bench.run()
    assert [(memory, threads) for recipe, memory, threads in tried if recipe == "bias_master"] == [
        (600_000_000, 2),
        (150_000_000, 1),
        (37_500_000, 1),
    ]
    assert {memory for recipe, memory, _ in tried if recipe != "bias_master"} == {600_000_000}
    assert [attempt.state for attempt in attempts(bench, "bias_master")] == ["died", "died", "done"]
    assert {row.state for row in bench.files()} == {"done"}
    assert run.failed == 0


def test_what_never_fits_is_given_up_by_name_and_a_person_can_ask_again(lights: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lights that never fit into memory."""
    with pytest.MonkeyPatch.context() as poor:
        hungry(poor, {"reduce_light": 0})  # each has three tries
        lights.run()
    assert {(row.state, row.reason) for row in lights.files() if row.kind == "light"} == {
        ("rejected", "reduce light: gave up after 3 tries: not enough memory (38 MB for its buffers)")
    }
    assert {row.state for row in lights.files() if row.kind != "light"} == {"done"}
    hungry(monkeypatch, {})
    lights.run(Wish(retry=True))
    assert {row.state for row in lights.files()} == {"done", "degraded"}


def test_any_number_of_units_without_memory_is_given_up_in_one_run(lights: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More units without memory than a plan has rounds."""
    monkeypatch.setattr("tasks.executor._ROUNDS", 7)  # a night has more units than a plan has rounds
    hungry(monkeypatch, {"reduce_light": 0})
    lights.run()
    assert {row.state for row in lights.files()} == {"done", "rejected"}


def test_a_real_limit_of_address_space(bench: Bench, raw: Path) -> None:
    """A process with a limit of address space."""
    command = [sys.executable, "-m", "tests.support.starved", str(raw), str(bench.settings.products.root.parent)]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [attempt.state for attempt in attempts(bench, "bias_master")] == ["died", "done"]
    bench.run()
    assert {row.state for row in bench.files()} == {"done"}


def made_by_workers(bench: Bench, *tries: str) -> None:
    """Made by a pool of two; how the tries at the bias master ended."""
    (scope,) = bench.scopes()
    with pooled(bench.space.context, 2, start=True) as make:
        bench.space.run(scope.id, make=make)
    assert [attempt.state for attempt in attempts(bench, "bias_master")] == list(tries)
    assert {row.state for row in bench.files()} == {"done"}


@pytest.mark.slow
def test_a_worker_killed_for_memory_is_replaced_and_the_unit_made_smaller(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of a pool that the kernel kills."""
    monkeypatch.setattr(pool_module, "_start_worker", starved.start_killed)
    made_by_workers(bench, "died", "done")


@pytest.mark.slow
def test_workers_that_cannot_start_are_done_without(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes that cannot start."""
    monkeypatch.setattr(pool_module, "_start_worker", starved.start_never)
    made_by_workers(bench, "done")
