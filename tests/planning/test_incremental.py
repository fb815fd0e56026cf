"""Incremental = full: whatever the order, the bursts and the runs in between, the same products stand in the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightcrew.planning.night import plan_night
from tests.planning.test_changes import metrics_unit
from tests.support.made_nights import Crew, Made, header, series, small_night

TONIGHT, BEFORE = "2026-03-14", "2026-03-12"
POOL = [
    *small_night(TONIGHT),
    *series("bias", 2, 900.0, name="warm", night=TONIGHT, temperature_c=-17.5),
    *(one for one in small_night(BEFORE, filters=("V",)) if "flat" not in one.name),
    *series("flat", 3, 3000.0, night=BEFORE, filter="R"),
    *series("light", 1, 30_000.0, name="red", night=TONIGHT, filter="R"),
    Made("copy-of-a-bias.fit", header("bias", night=TONIGHT), "bias-2026-03-14-0000.fit"),
    Made("spectrum.fit", header("other", 9.0, night=TONIGHT)),
]
SETTINGS = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def picture(crew: Crew) -> object:
    return crew.picture(), {name: state for name, (state, _) in crew.states().items()}


@pytest.fixture
def full(new_crew: Callable[..., Crew]) -> object:
    """What a fresh ledger gives when everything is there at once."""
    crew = new_crew()
    crew.put(POOL)
    crew.close()
    crew.run_all()
    return picture(crew)


@SETTINGS
@given(order=st.randoms(use_true_random=False), burst=st.integers(1, 12), every=st.integers(1, 4))
def test_running_after_every_burst_gives_what_a_fresh_ledger_gives(
    new_crew: Callable[..., Crew], full: object, order: random.Random, burst: int, every: int
) -> None:
    crew = new_crew()
    frames = list(POOL)
    order.shuffle(frames)
    for number, start in enumerate(range(0, len(frames), burst)):
        crew.put(frames[start : start + burst])
        if number % every == 0:
            crew.run_all()
    crew.close()
    crew.run_all()
    assert picture(crew) == full


@SETTINGS
@given(order=st.randoms(use_true_random=False), late=st.integers(1, 6))
def test_late_files_for_closed_nights_give_the_same(new_crew: Callable[..., Crew], full: object, order: random.Random, late: int) -> None:
    crew = new_crew()
    crew.parameters = replace(crew.parameters, group_quiet_s=60.0)
    frames = list(POOL)
    order.shuffle(frames)
    for some in (frames[:-late], frames[-late:]):
        crew.put(some)
        crew.close()
        crew.run_all()
        crew.now += timedelta(seconds=600)
    assert picture(crew)[0] == full[0]  # type: ignore[index]  # two pairs


def test_a_plan_does_not_depend_on_the_order_of_the_frames(crew: Crew) -> None:
    crew.put(POOL)
    snapshot = crew.snapshot(TONIGHT)
    usual = plan_night(snapshot, crew.database.now())
    for seed in range(5):
        frames = list(snapshot.frames)
        random.Random(seed).shuffle(frames)
        again = plan_night(replace(snapshot, frames=frames), crew.database.now())
        assert {p.fingerprint: (p.key, p.status, p.grade) for p in again.products} == {
            p.fingerprint: (p.key, p.status, p.grade) for p in usual.products
        }
        assert (again.waiting, again.excluded, again.wake_at) == (usual.waiting, usual.excluded, usual.wake_at)


def test_a_second_run_makes_nothing(crew: Crew) -> None:
    crew.put(POOL)
    crew.close()
    crew.run_all()
    made = list(crew.made)
    with crew.database.write() as connection:
        from nightcrew.ledger import scopes

        scopes.look_again(connection, [scope.id for scope in scopes.find(connection)])
    crew.run_all()
    assert crew.made == made


def test_a_late_flat_remakes_only_its_lights(crew: Crew) -> None:
    crew.put([one for one in small_night() if not one.name.startswith("flat-V")])
    crew.close()
    crew.run_all()
    assert {state for name, (state, _) in crew.states().items() if name.startswith("light-V")} == {"degraded"}
    before = set(crew.made)
    crew.put([one for one in small_night() if one.name.startswith("flat-V")])
    crew.close()
    crew.run_all()
    after = crew.made[len(before) :]
    assert {name.split()[0] for name in after} == {
        "flat_master",
        "camera_numbers",
        "reduce_light",
        "photometry",
        "stack",
        "stack_photometry",
    }
    assert all("_V_" in name or "camera" in name or "flat_master V" in name for name in after)
    assert {state for state, _ in crew.states().values()} == {"done"}


def test_degraded_lights_stand_while_a_late_file_opens_the_night(crew: Crew) -> None:
    crew.put([one for one in small_night() if not one.name.startswith("flat-V")])
    crew.close()
    crew.run_all()
    before = crew.picture()
    crew.put([Made("late-spectrum.fit", header("other", 99.0))])
    assert crew.scope().state == "open"
    crew.run_all()
    assert crew.picture() == before
    assert crew.states()["light-V2026-03-14-0000.fit"][0] == "degraded"


def test_masters_stand_while_more_of_their_frames_come_in(crew: Crew) -> None:
    crew.put(small_night())
    crew.close()
    crew.run_all()
    before = crew.picture()
    crew.parameters = replace(crew.parameters, group_quiet_s=60.0)
    crew.now += timedelta(seconds=600)
    crew.put(series("bias", 1, 100.0, name="late") + series("dark", 1, 100.0, name="late-dark"))
    crew.run_all()
    assert crew.picture() == before
    assert crew.states()["late-0000.fit"] == ("waiting", "bias frames of this set are still coming in")
    crew.now += timedelta(seconds=61)
    crew.run_all()
    after = crew.picture()
    assert after.keys() == before.keys()
    assert {recipe for (_, recipe, key), print_ in after.items() if print_ != before[_, recipe, key]} >= {"bias_master", "dark_master"}
    assert {state for state, _ in crew.states().values()} == {"done"}


def test_masters_of_another_night_are_borrowed_until_own_ones_come(crew: Crew) -> None:
    crew.put([one for one in small_night(BEFORE) if not one.name.startswith("light")])
    crew.close()
    crew.run_all()
    crew.put(series("light", 2, 9000.0, filter="B"))
    crew.run_all()
    assert {state for name, (state, _) in crew.states().items() if name.startswith("light")} == {"done"}
    assert "reduce_light" in {recipe for night, recipe, _ in crew.picture() if night == TONIGHT}
    light = next(p for p in crew.plan().products if p.recipe == "reduce_light")
    names = {c.name.split(" of ")[-1] for choice in light.choices for c in choice.considered if not c.verdict}
    assert names == {BEFORE}
    made = len(crew.made)
    crew.put([one for one in small_night() if not one.name.startswith("light")])
    crew.close()
    crew.run_all()
    light = next(p for p in crew.plan().products if p.recipe == "reduce_light")
    assert all(" of " not in c.name for choice in light.choices for c in choice.considered if not c.verdict)
    assert sum(name.startswith("reduce_light") for name in crew.made[made:]) == 2


def test_an_old_flat_is_worth_waiting_for_a_better_one(crew: Crew) -> None:
    crew.put([one for one in small_night("2026-02-01") if one.name.startswith("flat")])
    crew.close()
    crew.run_all()
    crew.put([one for one in small_night() if not one.name.startswith("flat")])
    crew.run_all()
    assert crew.states()["light-B2026-03-14-0000.fit"] == ("waiting", "waits for: flat master B (until the night closes)")
    crew.close()
    crew.run_all()
    light = next(row for row in crew.current() if row.recipe == "reduce_light")
    assert light.grade == "C"
    assert "41 days from the frame" in " ".join(light.grade_reasons)


def test_a_changed_number_of_a_master_converges(crew: Crew) -> None:
    crew.units = {"dark_master": metrics_unit(level_adu=500.0)}
    crew.put(small_night(BEFORE))
    crew.close()
    crew.run_all()
    crew.units = {"dark_master": metrics_unit(level_adu=900.0)}
    crew.put(small_night(TONIGHT))
    crew.close()
    crew.run_all()
    grades = {
        night: {grade for (n, recipe, _), (_, grade) in crew.picture().items() if n == night and recipe == "reduce_light"}
        for night in (BEFORE, TONIGHT)
    }
    assert grades == {BEFORE: {"A"}, TONIGHT: {"B"}}
