"""The Prefect executor's own rules, without a server: names, batches, retries, time limits."""

from __future__ import annotations

import re
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType, TaskRun

from flows import artifacts, executor
from flows.artifacts import artifact_key, as_markdown
from flows.executor import batches_of, overdue, runner_of, title_of
from flows.policy import is_passing, our_task
from nightcrew.errors import MissingCalibration, RejectedInput, TransientError
from nightcrew.planning.model import PlannedProduct
from nightcrew.settings import LimitsSettings, RunnerSettings, Settings


def planned(number: int, recipe: str = "reduce_light") -> PlannedProduct:
    return PlannedProduct(
        recipe=recipe,
        version=1,
        scope_id=1,
        night="2026-05-16",
        instrument="CAM",
        key=f"{number:03d}_60s_-20.0C",
        fingerprint=f"{number:064d}",
        inputs=(),
        parameters={},
        facts={},
        grade="A",
        grade_reasons=(),
        status="ready",
    )


def test_a_task_is_named_for_people() -> None:
    assert title_of([planned(1, "dark_master")]) == "dark master 001 60s -20.0C"
    assert title_of([planned(1), planned(2)]) == "2 x reduced light, from 001 60s -20.0C"


def test_every_unit_has_its_task_until_there_are_hundreds() -> None:
    assert [len(batch) for batch in batches_of([planned(n) for n in range(100)])] == [1] * 100
    sizes = [len(batch) for batch in batches_of([planned(n) for n in range(500)])]
    assert sum(sizes) == 500
    assert len(sizes) <= 50


def test_a_batch_holds_one_recipe_only() -> None:
    units = [planned(n, ("reduce_light", "stack")[n % 2]) for n in range(300)]
    batches = batches_of(units)
    assert sorted(unit.key for batch in batches for unit in batch) == sorted(unit.key for unit in units)
    assert {len({unit.recipe for unit in batch}) for batch in batches} == {1}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TransientError("disk full"), True),
        (RejectedInput("cut short"), False),
        (MissingCalibration("no dark"), False),
        (ValueError("bug"), False),
    ],
)
def test_only_what_passes_is_retried(error: Exception, again: bool) -> None:
    task: Any = our_task(lambda title: title, name="unit")
    run = TaskRun(task_key="unit", dynamic_key="0")
    state: State[Any] = State(type=StateType.FAILED, data=error)
    assert is_passing(task, run, state) is again


def test_a_cluster_of_dask_opens_no_door_to_other_machines() -> None:
    """Dask's own default is 0.0.0.0:8787, without a log-in."""
    made = executor.dask_cluster(Settings(limits=LimitsSettings(processes=3)))
    assert made["n_workers"] == 3
    doors = {name: value.partition(":")[0] for name, value in made.items() if name == "host" or name.endswith("address")}
    assert doors == dict.fromkeys(("host", "dashboard_address", "worker_dashboard_address"), "127.0.0.1")


def test_tasks_are_never_cached_and_keep_no_results() -> None:
    task = our_task(lambda title: title, name="unit")
    assert task.persist_result is False
    assert type(task.cache_policy).__name__ == "_None"


def test_a_unit_over_its_time_limit_is_named() -> None:
    with executor._timed("dark_master 60s"):
        assert overdue(10.0, time.monotonic() + 11.0) == ["dark_master 60s runs for 11 s, the limit is 10 s"]
        assert overdue(10.0, time.monotonic() + 9.0) == []
    assert overdue(0.0, time.monotonic() + 1.0) == []


def test_a_hanging_unit_ends_the_process() -> None:
    ended = threading.Event()
    with executor._time_limit(0.05, lambda code: ended.set() if code == 1 else None), executor._timed("stuck"):
        assert ended.wait(5)


def test_the_task_runner_is_the_configurations() -> None:
    base = Settings()
    threads = base.model_copy(update={"limits": LimitsSettings(threads=3)})
    assert type(runner_of(threads)).__name__ == "ThreadPoolTaskRunner"
    processes = base.model_copy(update={"runner": RunnerSettings(task_runner="processes")})
    assert type(runner_of(processes)).__name__ == "ProcessPoolTaskRunner"


def test_a_batch_goes_on_after_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.run import Outcome

    def run_unit(_context: object, unit: PlannedProduct) -> Outcome:
        if unit.key.startswith("001"):
            raise ZeroDivisionError("a bug")
        if unit.key.startswith("002"):
            raise TransientError("disk full")
        return Outcome(unit.recipe, unit.key, unit.fingerprint, "made")

    class Space:
        settings = Settings()

        class context:  # noqa: N801  stands for an attribute
            memory_bytes = 600_000_000

    monkeypatch.setattr(executor, "run_unit", run_unit)
    monkeypatch.setattr(executor, "workspace", Space)
    monkeypatch.setattr(executor, "_shared", lambda space: None)
    states = [outcome.state for outcome in executor.run_batch("3 x light", tuple(planned(n) for n in range(3)))]
    assert states == ["made", "failed", "again"]
    with pytest.raises(ZeroDivisionError):
        executor.run_batch("light", (planned(1),))


def test_names_are_plain_words_in_prefects_pages() -> None:
    assert as_markdown("2026-05-16/NCSIM") == "2026-05-16/NCSIM"
    assert as_markdown("a_b [x](http://y) <img>") == "a\\_b \\[x\\]\\(http:&#47;&#47;y\\) &lt;img&gt;"


def test_artifact_keys_are_what_prefect_takes() -> None:
    assert artifact_key("masters", "2026-05-16", "NC SIM/ü") == "masters-2026-05-16-nc-sim"


def test_no_cell_of_an_artifact_is_a_link_or_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's pages take the cells of tables for Markdown: the name of a file would load a picture from elsewhere, or be a trap."""
    evil = "![x](http://evil.example/p.png) [y](javascript:z) <img src=q> www.evil.example a@evil.example _n_\n.fits"
    kept: list[dict[str, Any]] = []
    row = SimpleNamespace(path=evil.encode(), kind="foreign", reason=f"unknown type '{evil}'", state="rejected")
    monkeypatch.setattr("flows.artifacts.arrivals.of_scope", lambda *_: [row])
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda **named: kept.append(named))
    space: Any = SimpleNamespace(database=SimpleNamespace(read=lambda: nullcontext(None)))
    scope: Any = SimpleNamespace(id=1, name="2026-05-16", instrument="CAM", title="2026-05-16/CAM")
    artifacts.tell_of_rejected(space, scope)
    (cells,) = kept[0]["table"]
    for text in (cells["file"], cells["reason"]):
        assert not re.search(r"(?<!\\)[\[\]()!_<>]|://|www\.|@|\n", text)
        assert "evil.example" in text  # what it says can be read
