"""The dispatcher: a row per attempt, asked until accepted, a new one once the last run ended."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployments.dispatch import Dispatcher
from deployments.pauses import Pauses, Silence
from deployments.runs import WAITS, UnknownToPrefectError
from nightcrew.errors import TransientError
from nightcrew.ledger import arrivals, claims, dispatches, messages, run_signs, scopes
from nightcrew.ledger.database import Database, iso, utc_now
from nightcrew.ledger.dispatches import DispatchRow
from nightcrew.ledger.rows import ScopeRow
from nightcrew.settings import FolderSettings, NightSettings, Settings
from tasks.workspace import Workspace
from tests.support.ledgers import lay_tables


class FakeRuns:
    """Prefect as the dispatcher sees it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, str]] = []
        self.outcomes: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.fault: TransientError | None = None

    @property
    def down(self) -> bool:
        return self.fault is not None

    @down.setter
    def down(self, is_down: bool) -> None:
        self.fault = TransientError("Prefect's server cannot be asked now") if is_down else None

    def start(self, row: DispatchRow, scope: ScopeRow | None) -> str:
        if self.fault is not None:
            raise self.fault
        self.asked.append((row.id, row.flow, scope.title if scope else ""))
        return f"run-{row.id}"

    def outcome(self, run_id: str) -> str | None:
        if self.fault is not None:
            raise self.fault
        return self.outcomes.get(run_id) or (WAITS if run_id in self.waiting else None)

    def crash(self, run_id: str, message: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.outcomes[run_id] = f"Crashed: {message}"


class World:
    """A ledger, a fake Prefect and a clock."""

    def __init__(self, root: Path) -> None:
        (root / "raw").mkdir()
        settings = Settings(folders=(FolderSettings(path=Path("raw")),), night=NightSettings(quiet_s=0.0)).anchored(root)
        lay_tables(settings.ledger_url)
        self.space = Workspace.open(settings, make_tables=True)
        self.database = self.space.database
        self.runs = FakeRuns()
        self.now_s = 0.0
        self.boss = Dispatcher(self.space, self.runs, clock=lambda: self.now_s)

    def step(self, seconds: float = 1.0) -> None:
        self.now_s += seconds
        self.boss.step()

    def scope(self, name: str = "2026-03-14", kind: str = "night") -> int:
        with self.database.write() as connection:
            made = scopes.ensure(connection, kind, name, "CAM" if kind == "night" else "", self.database.now())
            scopes.arrived(connection, [made], self.database.now())
        return made

    def planned(self, scope_id: int) -> None:
        with self.database.write() as connection:
            scopes.planned(connection, scope_id, read_mark=scopes.get(connection, scope_id).mark, wake_at="")

    def arrival(self, name: bytes) -> None:
        arrivals.record(self.database, [arrivals.Seen(path=name, folder=str(self.space.settings.folders[0].path), size=1, mtime_ns=1)])

    @property
    def rows(self) -> list[DispatchRow]:
        with self.database.read() as connection:
            return dispatches.recent(connection)[::-1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def tell_of_service(settings: Settings, word: str) -> None:
    """As the supervisor does at its start and at the end of an orderly stop; moments that differ, as those of a clock do."""
    time.sleep(0.002)
    messages.happened(Database(settings.ledger_url), "service", "info", word)
    time.sleep(0.002)


def test_a_due_scope_is_dispatched_once(world: World) -> None:
    world.scope()
    for _ in range(5):
        world.step()
    assert world.runs.asked == [(1, "night", "2026-03-14/CAM")]
    assert [(row.state, row.run_id) for row in world.rows] == [("accepted", "run-1")]


def test_a_scope_that_is_planned_is_left_alone(world: World) -> None:
    world.planned(world.scope())
    world.step()
    assert world.runs.asked == []


def test_a_failed_run_is_dispatched_anew_under_another_key_and_told(world: World) -> None:
    world.scope()
    world.step()
    world.runs.outcomes["run-1"] = "Failed: the disk burned"
    world.step()
    world.step(5)
    assert [row for row, _, _ in world.runs.asked] == [1, 2]
    assert world.rows[0].outcome == "Failed: the disk burned"
    with world.database.read() as connection:
        assert any("the disk burned" in text for _, _, _, text in messages.happenings(connection, ""))


def test_a_run_that_changes_nothing_is_repeated_ever_more_rarely(world: World) -> None:
    world.scope()
    for _ in range(200):
        world.step()
        for row in world.rows:
            world.runs.outcomes[f"run-{row.id}"] = "Crashed: out of memory"
    assert 5 <= len(world.runs.asked) <= 9


def test_a_closed_night_whose_run_died_before_its_report_is_run_again(world: World) -> None:
    scope = world.scope()
    with world.database.write() as connection:
        scopes.close(connection, scope, world.database.now())
    world.planned(scope)
    world.step()
    world.runs.outcomes["run-1"] = "Crashed: its process was gone"
    world.step()
    world.step(5)
    assert len(world.runs.asked) == 2
    with world.database.write() as connection:
        scopes.reported(connection, scope, scopes.get(connection, scope).mark)
    world.runs.outcomes["run-2"] = "Completed"
    world.step()
    world.step(600)
    assert len(world.runs.asked) == 2


def test_new_marks_after_a_plan_are_dispatched_at_once(world: World) -> None:
    scope = world.scope()
    world.step()
    world.planned(scope)
    world.runs.outcomes["run-1"] = "Completed"
    world.step()
    with world.database.write() as connection:
        scopes.mark(connection, [scope], world.database.now())
    world.step(0.1)
    assert len(world.runs.asked) == 2


def test_the_newest_night_goes_first_and_one_at_a_time(world: World) -> None:
    old, new = world.scope("2026-03-13"), world.scope("2026-03-14")
    world.step()
    world.step()
    assert [title for _, _, title in world.runs.asked] == ["2026-03-14/CAM"]
    world.planned(new)
    world.runs.outcomes["run-1"] = "Completed"
    world.step()
    world.step()
    assert [title for _, _, title in world.runs.asked] == ["2026-03-14/CAM", "2026-03-13/CAM"]
    del old


def test_a_set_that_always_grows_holds_up_no_other(world: World) -> None:
    live = world.scope("zeta", "sensor")
    world.scope("alpha", "sensor")
    for _ in range(6):
        world.step(5)
        world.scope("zeta", "sensor")  # one more file
        for row in world.rows:
            if row.run_id and row.state != "ended":
                world.runs.outcomes[row.run_id] = "Completed"
                with world.database.write() as connection:  # a run that read the mark before the last file
                    mark = scopes.get(connection, row.scope_id or live).mark
                    scopes.planned(connection, row.scope_id or live, read_mark=mark - (row.scope_id == live), wake_at="")
    assert "sensor/alpha" in [title for _, _, title in world.runs.asked[:3]]


def test_sets_run_one_at_a_time_and_never_hold_up_a_night(world: World) -> None:
    world.scope("zeta", "sensor")
    world.scope("alpha", "mkid")
    world.step()
    assert [(flow, title) for _, flow, title in world.runs.asked] == [("sensor", "sensor/zeta")]
    world.scope("2026-03-14")
    world.step()
    assert [flow for _, flow, _ in world.runs.asked] == ["sensor", "night"]
    world.runs.outcomes["run-1"] = "Completed"
    with world.database.read() as connection:
        done = scopes.find(connection, kind="sensor")[0].id
    world.planned(done)
    world.step()
    assert [title for _, _, title in world.runs.asked] == ["sensor/zeta", "2026-03-14/CAM", "mkid/alpha"]


def test_a_server_that_is_down_is_asked_again_for_the_same_row(world: World) -> None:
    world.scope()
    world.runs.down = True
    for _ in range(5):
        world.step()
    assert [row.state for row in world.rows] == ["new"]
    world.runs.down = False
    world.step(60)
    assert [(row.id, row.state) for row in world.rows] == [(1, "accepted")]


def test_a_server_that_is_silent_is_told_once_and_so_is_its_return(world: World) -> None:
    def told() -> list[tuple[str, str]]:
        return of_server(world)

    world.scope()
    world.runs.down = True
    for _ in range(20):
        world.step(5)
    assert told() == []  # it may be starting
    world.runs.down = False
    world.step(60)
    for outage in (1, 2):
        world.runs.down = True
        world.step(5)
        assert len(told()) == 2 * (outage - 1)  # a moment's silence is none
        for _ in range(20):
            world.step(5)
        assert len(told()) == 2 * outage - 1
        assert told()[-1] == ("warning", "Prefect's server does not answer: what arrives is recorded, and reduced when it answers")
        world.runs.down = False
        world.step(60)
        level, text = told()[-1]
        assert level == "info"
        assert text.startswith("Prefect's server answers again, after ")


def of_server(world: World) -> list[tuple[str, str]]:
    """What is told of Prefect's server: (level, text)."""
    with world.database.read() as connection:
        return [(level, text) for _, _, level, text in messages.happenings(connection, "") if "Prefect's server" in text]


def test_slow_answers_are_no_silence() -> None:
    silence, now_s = Silence(), 0.0
    for _ in range(300):
        now_s += 12.0  # so long each question took
        assert silence.answered(now_s) == ""


@pytest.mark.parametrize("later_s", [1.0, 3600.0])
def test_a_server_that_answers_that_it_does_not_know_is_not_silent(world: World, later_s: float) -> None:
    world.scope()
    world.step()
    world.runs.fault = TransientError("Prefect's server cannot be asked now")
    world.step(8)
    world.runs.fault = UnknownToPrefectError("Prefect does not know /deployments/name/night (yet)")
    world.step(later_s)
    world.step(later_s)
    world.runs.fault = TransientError("Prefect's server cannot be asked now")
    world.step(60)
    assert of_server(world) == []  # this silence has just begun
    world.step(60)
    assert [level for level, _ in of_server(world)] == ["warning"]
    world.runs.fault = UnknownToPrefectError("Prefect does not know /deployments/name/night (yet)")
    world.step(60)
    assert [level for level, _ in of_server(world)] == ["warning", "info"]


def test_a_locked_ledger_is_not_the_servers_silence_and_what_was_to_be_told_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.scope()
    world.step()
    for _ in range(3):
        world.runs.down = True
        world.step(60)
    real = messages.happened

    def locked(*_: object) -> None:
        raise TransientError("the ledger cannot be written for now: database is locked")

    monkeypatch.setattr(messages, "happened", locked)
    world.runs.down = False
    world.runs.outcomes["run-1"] = "Completed"
    world.step(60)
    assert [level for level, _ in of_server(world)] == ["warning"]
    assert world.rows[0].state == "ended"  # what the server answered was heard
    monkeypatch.setattr(messages, "happened", real)
    world.step()
    assert [level for level, _ in of_server(world)] == ["warning", "info"]


def test_a_burst_of_arrivals_makes_one_ingest(world: World) -> None:
    for number in range(50):
        world.arrival(b"/raw/%d.fits" % number)
        world.step(0.1)
    assert [flow for _, flow, _ in world.runs.asked] == ["ingest"]


def test_arrivals_that_cannot_be_read_yet_do_not_make_a_storm(world: World) -> None:
    world.arrival(b"/raw/busy.fits")
    for _ in range(100):
        world.step()
        for row in world.rows:
            world.runs.outcomes[f"run-{row.id}"] = "Completed"
    assert 4 <= len(world.runs.asked) <= 8


def test_a_wish_for_a_scope_waits_for_its_running_plan(world: World) -> None:
    scope = world.scope()
    world.step()
    dispatches.request(world.database, "night", scope, {"from_step": "lights"})
    world.step()
    assert len(world.runs.asked) == 1
    world.planned(scope)
    world.runs.outcomes["run-1"] = "Completed"
    world.step()
    assert [row.wish for row in world.rows if row.state == "accepted"] == [{"from_step": "lights"}]


def test_a_run_whose_process_is_gone_is_ended_and_a_healthy_one_is_not(world: World) -> None:
    scope = world.scope()
    world.step()
    run_signs.begin(world.database, "run-1")
    for _ in range(5):
        world.step(3000)
    assert [(row.id, row.state) for row in world.rows] == [(1, "accepted")]  # hours, and it lives

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        text = f"{claims.host()} {other.pid} {claims.start_time(other.pid)}"
        messages.alive(world.database, "run run-1", text)
        world.step(100)
        other.kill()
    world.step(1)
    assert world.rows[0].state == "accepted"  # Prefect may notice by itself
    world.runs.down = True
    world.step(100)
    world.runs.down = False
    world.step(100)
    assert world.rows[0].outcome == world.runs.outcomes["run-1"] == "Crashed: its process is gone, and nobody told"
    world.step(5)
    assert [row for row, _, _ in world.runs.asked] == [1, 2]
    with world.database.read() as connection:
        assert run_signs.worker(connection, "run-1") is run_signs.Worker.NONE  # the sign went with its run
        assert any("nobody told" in text for _, _, _, text in messages.happenings(connection, ""))
    del scope


def test_a_run_that_never_signed_in_is_given_half_an_hour(world: World) -> None:
    world.scope()
    world.step()
    world.step()
    world.step(1700)
    assert world.rows[0].state == "accepted"
    world.step(200)
    assert world.rows[0].outcome == "Crashed: it never signed in, and nobody told"


def test_a_run_that_waits_for_its_turn_is_never_ended(world: World) -> None:
    world.scope()
    world.arrival(b"/raw/a.fit")
    world.step()
    assert [row.flow for row in world.rows] == ["ingest", "night"]
    run_signs.begin(world.database, "run-1")  # the runner is at work, on the other one
    world.runs.waiting.add("run-2")
    for _ in range(5):
        world.step(3000)
    assert world.rows[1].state == "accepted"
    world.runs.waiting.clear()  # its turn has come, and half an hour counts from now
    world.step(1700)
    world.step(1700)
    assert world.rows[1].state == "accepted"
    world.step(200)
    assert world.rows[1].outcome == "Crashed: it never signed in, and nobody told"


def test_a_run_that_no_runner_takes_is_told_and_asked_for_anew(world: World) -> None:
    """After a quarter of an hour without any run at work, then ever more rarely; the first one that is taken ends it."""
    scope = world.scope()
    world.planned(scope)
    wish = {"retry_failed": True}
    dispatches.request(world.database, "night", scope, wish)
    world.runs.waiting |= {f"run-{number}" for number in range(1, 6)}
    world.step()
    world.step()
    world.step(800)
    assert [row.state for row in world.rows] == ["accepted"]
    world.runs.down = True
    world.step(200)
    assert [row.state for row in world.rows] == ["accepted"]
    world.runs.down = False
    world.step(100)
    assert world.rows[0].outcome.startswith("Lost: no runner took it for 1")
    assert world.runs.outcomes["run-1"].startswith("Crashed: no runner took it")  # a runner that comes back does not take it, too
    assert world.runs.asked[-1][0] == 2
    with world.database.read() as connection:
        assert any("no runner took it" in text for _, _, level, text in messages.happenings(connection, "") if level == "problem")
    for _ in range(3):
        world.step(500)
    assert len(world.rows) == 2  # half an hour now
    for _ in range(40):
        world.step(500)
    assert len(world.rows) == 5  # then one hour, and two at the most
    assert {row.wish["retry_failed"] for row in world.rows} == {True}  # a person's wish is never forgotten over it
    world.runs.waiting.clear()
    run_signs.begin(world.database, "run-5")
    world.step(5000)
    world.step(5000)
    assert world.rows[-1].state == "accepted"


def test_who_waits_without_a_runner_is_listed_and_who_waits_for_a_turn_is_not(world: World) -> None:
    world.scope()
    world.arrival(b"/raw/a.fit")
    world.step()
    now = world.database.clock()

    def untaken(seconds: float) -> list[str]:
        with world.database.read() as connection:
            return [row.flow for row in run_signs.untaken(connection, now + timedelta(seconds=seconds))]

    assert untaken(600) == []
    assert untaken(1000) == ["ingest", "night"]
    run_signs.begin(world.database, "run-1")
    assert untaken(1000) == []


def test_a_run_that_could_not_sign_in_lives_while_its_plan_does(world: World) -> None:
    scope = world.scope()
    world.step()
    held = claims.take(world.database, scope, claims.PLAN, "", "")
    assert held is not None
    for _ in range(5):
        world.step(3000)
    assert world.rows[0].state == "accepted"
    claims.end(world.database, held, "done")
    world.step(1)
    world.step(1900)
    assert world.rows[0].state == "ended"


def test_a_sign_that_seems_old_stays_while_its_process_lives(world: World) -> None:
    run_signs.begin(world.database, "alive")
    messages.alive(world.database, "run gone", f"{claims.host()} {os.getpid()} 1.0")
    messages.alive(world.database, "run elsewhere", "another#12345678 1 1.0")
    world.database.clock = lambda: utc_now() + timedelta(days=400)  # a clock that was wrong is put right
    run_signs.end(world.database, "any")
    with world.database.read() as connection:
        assert run_signs.worker(connection, "alive") is run_signs.Worker.LIVES
        assert run_signs.worker(connection, "elsewhere") is run_signs.Worker.LIVES
        assert run_signs.worker(connection, "gone") is run_signs.Worker.NONE


def test_processes_of_another_host_are_left_alone_and_those_of_an_earlier_boot_are_not() -> None:
    assert claims.may_live("elsewhere#12345678", 1, 0.0)
    assert not claims.may_live(f"{claims.host().partition('#')[0]}#another", os.getpid(), claims.start_time(os.getpid()))
    assert claims.may_live(claims.host(), os.getpid(), claims.start_time(os.getpid()))


def test_a_wish_whose_run_died_is_asked_for_again_but_not_for_ever(world: World) -> None:
    scope = world.scope()
    world.planned(scope)
    wish = {"retry_failed": True}
    dispatches.request(world.database, "night", scope, wish)
    for number in range(1, 6):
        world.step()
        world.runs.outcomes[f"run-{number}"] = "Crashed: killed"
        world.step()
    assert [row.wish for row in world.rows] == [wish] * 3
    dispatches.request(world.database, "night", scope, {"only": ["stack"]})
    world.step()
    world.runs.outcomes["run-4"] = "Failed: a fault that the next run has, too"
    world.step()
    assert len(world.rows) == 4


def told_of_runs(world: World) -> list[tuple[str, str]]:
    with world.database.read() as connection:
        return [(level, text) for _, _, level, text in messages.happenings(connection, "") if text.startswith("the run of")]


def test_a_run_that_a_deliberate_stop_took_along_is_no_problem_and_costs_a_wish_nothing(world: World) -> None:
    settings, scope = world.space.settings, world.scope()
    world.planned(scope)
    dispatches.request(world.database, "night", scope, {"retry_failed": True})
    for number in range(1, 6):
        world.step()
        tell_of_service(settings, "stopped")
        tell_of_service(settings, "started")
        world.runs.outcomes[f"run-{number}"] = f"Crashed: {dispatches.GONE_AT_START}"
        world.step()
    assert [row.wish for row in world.rows] == [{"retry_failed": True}] * 6
    assert all(dispatches.was_stopped(row) for row in world.rows[:5])
    assert (
        told_of_runs(world)
        == [("info", "the run of 2026-03-14/CAM was stopped with the service, and goes on since it was started again")] * 5
    )


def test_a_run_that_a_person_cancelled_is_no_problem(world: World) -> None:
    world.planned(world.scope())
    dispatches.request(world.database, "night", world.scope())
    world.step()
    world.runs.outcomes["run-1"] = "Cancelled"
    world.step()
    assert told_of_runs(world)[:1] == [("info", "the run of 2026-03-14/CAM ended Cancelled")]


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        (("started",), f"Crashed: {dispatches.GONE_AT_START}"),  # power was lost: no stop was written down
        (("started", "stopped", "started"), f"Crashed: {dispatches.GONE_AT_START}"),  # lost first, stopped later
        ((), f"Crashed: {dispatches.GONE_AT_START}"),  # the runner alone was killed
        (("stopped", "started"), "Crashed: Flow run process exited with code -9"),  # killed before the stop
    ],
)
def test_a_run_that_was_killed_stays_a_problem(world: World, before: tuple[str, ...], outcome: str) -> None:
    tell_of_service(world.space.settings, "started")
    tell_of_service(world.space.settings, "stopped")  # of an earlier life
    world.scope()
    world.step()
    for word in before:
        tell_of_service(world.space.settings, word)
    world.runs.outcomes["run-1"] = outcome
    world.step()
    assert told_of_runs(world) == [("problem", f"the run of 2026-03-14/CAM ended {outcome}")]
    assert world.rows[0].outcome == outcome


def test_a_run_that_never_began_costs_a_wish_nothing(world: World) -> None:
    scope = world.scope()
    world.planned(scope)
    dispatches.request(world.database, "night", scope, {"retry_failed": True})
    for _ in range(5):
        world.step()
        world.step()
        world.step(1900)
    assert [row.outcome[:25] for row in world.rows[:5]] == ["Crashed: it never signed "] * 5
    assert world.rows[5].wish == {"retry_failed": True}


def test_an_end_is_written_with_its_notice_and_its_new_wish_or_not_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = world.scope()
    world.planned(scope)
    dispatches.request(world.database, "night", scope, {"retry_failed": True})
    world.step()
    world.runs.outcomes["run-1"] = "Crashed: killed"

    def busy(*_: object) -> None:
        raise TransientError("the ledger cannot be written for now")

    def told() -> int:
        with world.database.read() as connection:
            return sum("Crashed: killed" in text for _, _, _, text in messages.happenings(connection, ""))

    monkeypatch.setattr(dispatches, "_request", busy)
    world.step()
    assert ([row.state for row in world.rows], told()) == (["accepted"], 0)
    monkeypatch.undo()
    world.step()
    assert ([row.wish for row in world.rows], told()) == ([{"retry_failed": True}] * 2, 1)


def test_a_page_that_cannot_be_written_is_tried_ever_more_rarely_though_its_plan_waits(world: World) -> None:
    scope = world.scope()
    with world.database.write() as connection:
        scopes.close(connection, scope, world.database.now())
    for second in range(200):
        with world.database.write() as connection:  # each run puts off what is stuck
            mark = scopes.get(connection, scope).mark
            scopes.planned(connection, scope, read_mark=mark, wake_at=iso(utc_now() + timedelta(seconds=600 + second)))
        world.step()
        for row in world.rows:
            world.runs.outcomes[f"run-{row.id}"] = "Failed: the report folder cannot be written"
    assert 5 <= len(world.runs.asked) <= 9


def test_a_night_closes_only_after_a_sweep(world: World) -> None:
    scope = world.scope("2020-01-01")
    world.planned(scope)
    world.step(5)
    with world.database.read() as connection:
        assert scopes.get(connection, scope).state == "open"
    messages.alive(world.database, messages.sweep_sign(str(world.space.settings.folders[0].path)))
    world.step(5)
    with world.database.read() as connection:
        assert scopes.get(connection, scope).state == "closed"


def test_a_night_does_not_close_while_arrivals_wait(world: World) -> None:
    scope = world.scope("2020-01-01")
    messages.alive(world.database, messages.sweep_sign(str(world.space.settings.folders[0].path)))
    world.arrival(b"/raw/late.fits")
    world.step(5)
    with world.database.read() as connection:
        assert scopes.get(connection, scope).state == "open"


@pytest.mark.parametrize("full", ["products", "state", "reports"])
def test_any_disk_that_is_written_to_pauses(world: World, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    """The ledger of a full disk would fail in the middle of a write as the products of one do."""
    root = getattr(world.space.settings, full).root
    root.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr("nightcrew.io.room.shutil.disk_usage", lambda place: SimpleNamespace(free=0 if Path(place) == root else 10**13))
    world.scope()
    world.step()
    assert world.runs.asked == []
    with world.database.read() as connection:
        (told,) = [text for _, source, _, text in messages.happenings(connection, "") if source == "disk"]
    assert str(root) in told


@pytest.mark.parametrize("away", ["products", "reports"])
def test_a_disk_that_cannot_be_asked_pauses_the_nights_and_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    root = getattr(world.space.settings, away).root
    root.mkdir(parents=True, exist_ok=True)
    stale = [True]

    def usage(place: Path) -> SimpleNamespace:
        if Path(place) == root and stale[0]:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(place))
        return SimpleNamespace(free=10**13)

    monkeypatch.setattr("nightcrew.io.room.shutil.disk_usage", usage)
    world.scope()
    world.arrival(b"/raw/a.fit")
    world.step()
    assert [flow for _, flow, _ in world.runs.asked] == ["ingest"]
    with world.database.read() as connection:
        (told,) = [text for _, source, _, text in messages.happenings(connection, "") if source == "disk"]
    assert told.startswith("paused, a disk cannot be asked")
    assert str(root) in told
    stale[0] = False
    world.step(61)
    assert "night" in [flow for _, flow, _ in world.runs.asked]


def test_a_disk_that_does_not_answer_pauses_the_nights_and_keeps_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root, back, asked = world.space.settings.reports.root, threading.Event(), []
    root.mkdir(parents=True, exist_ok=True)

    def usage(place: Path) -> SimpleNamespace:
        asked.append(Path(place))
        if Path(place) == root:
            back.wait(30)
        return SimpleNamespace(free=10**13)

    monkeypatch.setattr("nightcrew.io.room.ANSWER_S", 0.1)
    monkeypatch.setattr("nightcrew.io.room.shutil.disk_usage", usage)
    world.scope()
    world.arrival(b"/raw/a.fit")
    for _ in range(5):
        world.step()
    assert [flow for _, flow, _ in world.runs.asked] == ["ingest"]
    assert asked.count(root) == 1  # not at every step
    with world.database.read() as connection:
        (told,) = [text for _, source, _, text in messages.happenings(connection, "") if source == "disk"]
    assert "does not answer" in told
    back.set()
    world.step(61)
    assert "night" in [flow for _, flow, _ in world.runs.asked]


def test_a_full_disk_pauses_and_room_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [0]
    usage = type("usage", (), {"free": property(lambda _: free[0])})()
    monkeypatch.setattr("nightcrew.io.room.shutil.disk_usage", lambda _: usage)
    world.scope()
    for _ in range(3):
        world.step()
    assert world.runs.asked == []
    free[0] = 10**13
    world.step()
    assert len(world.runs.asked) == 1
    with world.database.read() as connection:
        told = [text for _, source, _, text in messages.happenings(connection, "") if source == "disk"]
    assert [text.partition(",")[0] for text in told] == ["paused", "goes on"]


def test_a_ledger_on_the_full_disk_is_told_of_it_when_there_is_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = messages.happened
    world.scope()

    def full(*_: object) -> None:
        raise TransientError("the ledger cannot be written for now: database or disk is full")

    monkeypatch.setattr("nightcrew.io.room.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(messages, "happened", full)
    world.step()
    world.step()
    assert world.runs.asked == []
    monkeypatch.setattr("nightcrew.io.room.shutil.disk_usage", lambda _: SimpleNamespace(free=10**13))
    monkeypatch.setattr(messages, "happened", real)
    world.step(400)
    with world.database.read() as connection:
        told = [text for _, source, _, text in messages.happenings(connection, "") if source == "disk"]
    assert [text.partition(",")[0] for text in told] == ["paused", "goes on"]
    assert len(world.runs.asked) == 1


def test_pauses_grow_and_end_with_progress() -> None:
    pauses = Pauses(first_s=1, longest_s=4)
    assert pauses.may("a", 1, 0)
    pauses.tried("a", 1, 0)
    assert (pauses.may("a", 1, 0.9), pauses.may("a", 1, 1.0), pauses.may("a", 2, 0)) == (False, True, True)
    for start in (1, 3, 7, 11):
        pauses.tried("a", 1, start)
    assert not pauses.may("a", 1, 14.9)
    assert pauses.may("a", 1, 15)
