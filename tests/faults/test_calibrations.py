"""Calibrations in any order, absent, late, bad, or made by two processes at once: in the end the same products with the same grades."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightcrew.ledger import products
from tests.support.made_nights import Crew, small_night
from tests.support.small_nights import Bench, make_raw, small_plan

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("bias", "dark", "flat")
NIGHTS = ("2026-05-16", "2026-05-17")


def end_of(crew: Crew) -> tuple[object, dict[str, tuple[str, str]]]:
    """What stands in the end: products and grades, states and reasons."""
    return crew.picture(), crew.states()


def at_once(folder: Path, absent: frozenset[str]) -> tuple[object, dict[str, tuple[str, str]]]:
    crew = Crew.in_folder(folder)
    crew.put([one for one in small_night() if not one.name.startswith(tuple(absent))])
    crew.close()
    crew.run_all()
    found = end_of(crew)
    crew.database.close()
    return found


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False), absent=st.frozensets(st.sampled_from(KINDS)), runs=st.integers(0, 6))
def test_any_order_with_any_kind_absent(
    tmp_path_factory: pytest.TempPathFactory, order: random.Random, absent: frozenset[str], runs: int
) -> None:
    """A small night in any order, any kinds of calibrations absent, planned and closed at any moment in between."""
    folder = tmp_path_factory.mktemp("order")
    frames = [one for one in small_night() if not one.name.startswith(tuple(absent))]
    order.shuffle(frames)
    stops = {order.randrange(len(frames)) for _ in range(runs)}
    crew = Crew.in_folder(folder)
    for place, one in enumerate(frames):
        crew.put([one])
        if place in stops:
            if order.random() < 0.3:
                crew.close()
            crew.run_all()
    crew.close()
    crew.run_all()
    found = end_of(crew)
    crew.database.close()
    assert found == at_once(tmp_path_factory.mktemp("once"), absent)
    grades = {grade for (_, recipe, _), (_, grade) in found[0].items() if recipe == "reduce_light"}  # type: ignore[attr-defined]  # a dictionary: the end of a crew
    assert grades == {"A"} if not absent else "A" not in grades


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(late=st.permutations(KINDS))
def test_better_masters_that_come_late_mend_every_grade(tmp_path_factory: pytest.TempPathFactory, late: list[str]) -> None:
    """The lights alone, then a kind of calibration after the other, long after the night was closed."""
    crew = Crew.in_folder(tmp_path_factory.mktemp("late"))
    crew.put([one for one in small_night() if one.name.startswith("light")])
    crew.close()
    crew.run_all()
    assert {state for state, _ in crew.states().values()} == {"degraded"}
    for kind in late:
        crew.now += timedelta(hours=5)
        crew.put([one for one in small_night() if one.name.startswith(kind)])
        crew.close()
        crew.run_all()
    found = end_of(crew)
    crew.database.close()
    assert found == at_once(tmp_path_factory.mktemp("once"), frozenset())


def test_a_master_marked_bad_takes_all_that_was_made_with_it_along(tmp_path: Path) -> None:
    """A person marks a flat bad: what was made with it is listed and made anew without it, and the states say why."""
    crew = Crew.in_folder(tmp_path)
    crew.put(small_night())
    crew.close()
    crew.run_all()
    before = end_of(crew)
    flat = next(row for row in crew.current() if row.recipe == "flat_master" and row.facts["filter"] == "V")
    with crew.database.read() as connection:
        listed = {row.fingerprint: row.recipe for row in products.affected(connection, flat.fingerprint)}
    assert {"reduce_light", "stack"} <= set(listed.values())
    products.mark_bad(crew.database, flat.id, "dome lights were on", remake_scopes=3)
    crew.run_all()
    with crew.database.read() as connection:
        used = {one.fingerprint for row in crew.current() for one, _ in products.inputs_of(connection, row.id)}
    assert not {flat.fingerprint, *listed} & used
    assert not set(listed) & {row.fingerprint for row in crew.current()}  # all that was listed was made anew, and nothing of it stands
    assert "dome lights were on" in crew.states()["flat-V2026-03-14-0000.fit"][1]
    products.mark_bad(crew.database, flat.id, "", remake_scopes=3)
    crew.run_all()
    assert end_of(crew) == before
    crew.database.close()


@pytest.mark.slow
def test_two_nights_that_share_masters_are_reduced_by_two_processes(tmp_path: Path) -> None:
    """Two processes on two nights at the same moment, the second with the masters of the first."""
    for number, night in enumerate(NIGHTS):
        make_raw(tmp_path / night, small_plan(night, pixels=64), seed=3 + number)
    raw = tmp_path / "raw"
    shutil.copytree(tmp_path / NIGHTS[0] / "raw", raw)
    for path in (tmp_path / NIGHTS[1] / "raw").iterdir():
        if path.name.startswith("crew"):
            shutil.copy(path, raw / f"second-{path.name}")
    one_by_one = taken_in(raw, tmp_path / "one")
    for _ in range(4):
        one_by_one.run()
    both = taken_in(raw, tmp_path / "both")
    go = tmp_path / "go"
    command = [sys.executable, "-m", "tests.support.night_worker", str(raw), str(tmp_path / "both")]
    workers = [subprocess.Popen([*command, night, str(go)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for night in NIGHTS]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    go.touch()
    assert [worker.communicate(timeout=120)[0] for worker in workers] == ["done\n", "done\n"]
    for _ in range(3):
        both.run()  # what the service does when a new master made a neighbour due
    assert both.content() == one_by_one.content()
    assert Counter(row.state for row in both.files()) == Counter(row.state for row in one_by_one.files())


def taken_in(raw: Path, root: Path) -> Bench:
    bench = Bench(raw, root)
    bench.see()
    bench.ingest()
    bench.close()
    return bench
