"""Dispatch over a real Prefect: a row an attempt, a failing scope started again, a failing unit stopped by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.runs import PrefectRuns
from nightcrew.errors import TransientError
from tests.service.running import Running

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("service")]
CAMERA = "EVENING"


@pytest.fixture(autouse=True)
def _mended(service: Running) -> Iterator[None]:
    yield
    service.plant()


def test_a_night_is_reduced_in_few_runs_and_its_troublemakers_are_named(night: Running, raw: dict[str, Path]) -> None:
    rows = night.files("evening")
    assert len(rows) == len(list(raw["evening"].iterdir()))
    assert {row.state for row in rows} == {"done", "rejected", "set_aside"}
    assert 1 <= len(night.dispatched(CAMERA)) <= 4
    assert {row.outcome for row in night.dispatched(CAMERA)} == {"Completed"}


def test_a_run_that_fails_is_planned_and_started_again_under_a_new_row(night: Running) -> None:
    before = len(night.dispatched(CAMERA))
    token = night.last_claim(CAMERA)
    lost = night.lose(CAMERA, "flat_master")
    night.plant({"at": "scope", "of": CAMERA, "do": "raise"})
    night.look_again(CAMERA)
    night.wait(lambda: any(row.state == "ended" for row in night.dispatched(CAMERA)[before:]), "a run failed")
    night.plant()
    night.wait(lambda: night.idle(CAMERA), "the scope is planned")
    rows = night.dispatched(CAMERA)[before:]
    assert len({row.run_id for row in rows}) == len(rows) >= 2
    assert "Failed" in rows[0].outcome
    assert "planted" in rows[0].outcome
    assert rows[-1].outcome == "Completed"
    assert night.made_since(CAMERA, token) == {(lost.recipe, lost.key): 1}

    # The reason for the new row: its key, repeated, gives the same failed run and starts nothing.
    runs = PrefectRuns(night.api)

    def asked_again() -> str | None:
        try:
            return runs.start(rows[0], night.scope(CAMERA))
        except TransientError:  # a busy server answers 503
            return None

    assert night.wait(asked_again, "the server answers") == rows[0].run_id
    assert "planted" in str(runs.outcome(rows[0].run_id))
    run = night.flow_run(rows[0].run_id)
    assert (run["run_count"], run["state_type"]) == (1, "FAILED")


def test_a_unit_that_fails_for_good_stops_at_once_and_its_siblings_are_made(night: Running) -> None:
    before, token = len(night.dispatched(CAMERA)), night.last_claim(CAMERA)
    bad, good = night.lose(CAMERA, "reduce_light", 0), night.lose(CAMERA, "reduce_light", 1)
    night.plant({"at": "unit", "of": CAMERA, "recipe": "reduce_light", "key": bad.key, "do": "raise"})
    night.look_again(CAMERA)
    night.wait(lambda: len(night.dispatched(CAMERA)) > before and night.idle(CAMERA), "the scope is planned")
    (row,) = night.dispatched(CAMERA)[before:]
    assert "1 units failed by faults of the program" in row.outcome
    assert [claim.key for claim in night.claims(CAMERA, "failed") if claim.id > token] == [bad.key]
    assert ("reduce_light", good.key) in night.made_since(CAMERA, token)
    (rejected,) = [one for one in night.files("evening") if "a fault in Nightcrew: ZeroDivisionError: planted" in one.reason]
    assert (rejected.kind, rejected.state) == ("light", "rejected")

    night.plant()
    night.ended(night.ask(CAMERA, retry_failed=True))
    night.wait(lambda: night.idle(CAMERA), "the scope is planned")
    assert [one.reason for one in night.files("evening") if "planted" in one.reason] == []
