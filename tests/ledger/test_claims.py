"""Claims: one worker a product, dead ones are replaced, late ones cannot commit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, update

from nightcrew.errors import TransientError
from nightcrew.ledger import claims, history, messages, scopes
from nightcrew.ledger.claims import Claimed, Watch
from nightcrew.ledger.database import Database, iso
from nightcrew.ledger.schema import claim
from tests.support.made_nights import Shelf


@pytest.fixture
def scope_id(shelf: Shelf) -> int:
    with shelf.database.write() as connection:
        return scopes.ensure(connection, "night", "2026-03-14", "NCSIM", shelf.database.now())


def take(shelf: Shelf, scope_id: int, fingerprint: str = "f" * 64, **values: Watch) -> Claimed | None:
    return claims.take(shelf.database, scope_id, "bias_master", "key", fingerprint, **values)


def taken(shelf: Shelf, scope_id: int, fingerprint: str = "f" * 64) -> Claimed:
    claimed = take(shelf, scope_id, fingerprint)
    assert claimed is not None
    return claimed


def change(database: Database, token: int, **values: object) -> None:
    with database.write() as connection:
        connection.execute(update(claim).where(claim.c.id == token).values(**values))


def state_of(database: Database, token: int) -> str:
    with database.read() as connection:
        return str(connection.execute(select(claim.c.state).where(claim.c.id == token)).scalar_one())


def dead_process() -> tuple[int, float]:
    """Pid and start time of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = claims.start_time(process.pid)
    process.communicate(b"\n")
    return process.pid, started


def test_one_living_process_holds_a_product(shelf: Shelf, scope_id: int) -> None:
    first = taken(shelf, scope_id)
    assert take(shelf, scope_id) is None
    assert claims.end(shelf.database, first, "done")
    assert taken(shelf, scope_id).token > first.token


def test_other_keys_are_free(shelf: Shelf, scope_id: int) -> None:
    taken(shelf, scope_id)
    assert claims.take(shelf.database, scope_id, "bias_master", "other key", "0") is not None
    assert claims.take(shelf.database, scope_id, claims.PLAN, "", "") is not None


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ((messages.STOPPED, messages.STARTED), "again"),
        ((messages.STARTED,), "died"),  # the power was lost: nobody said a word
        ((messages.STARTED, messages.STOPPED), "died"),  # lost first, stopped later
        ((), "died"),
    ],
)
def test_what_a_deliberate_stop_took_along_is_no_death(shelf: Shelf, scope_id: int, said: tuple[str, ...], state: str) -> None:
    for word in (messages.STARTED, messages.STOPPED, messages.STARTED):  # of an earlier life
        messages.happened(shelf.database, "service", "info", word)
    shelf.now += timedelta(seconds=1)
    first = taken(shelf, scope_id)
    pid, started = dead_process()
    change(shelf.database, first.token, pid=pid, pid_started=started)
    for word in said:
        shelf.now += timedelta(seconds=1)
        messages.happened(shelf.database, "service", "info", word)
    assert claims.bury_the_dead(shelf.database) == 1
    assert state_of(shelf.database, first.token) == state


def test_a_dead_process_is_replaced_and_counted(shelf: Shelf, scope_id: int) -> None:
    first = taken(shelf, scope_id)
    pid, started = dead_process()
    change(shelf.database, first.token, pid=pid, pid_started=started)
    second = taken(shelf, scope_id)
    assert state_of(shelf.database, first.token) == "died"
    with shelf.database.read() as connection:
        assert not claims.holds(connection, first)
        assert claims.holds(connection, second)


def test_a_living_process_with_a_recycled_pid_is_another_one(shelf: Shelf, scope_id: int) -> None:
    first = taken(shelf, scope_id)
    change(shelf.database, first.token, pid=os.getppid(), pid_started=claims.start_time(os.getppid()) - 5.0)
    assert take(shelf, scope_id) is not None


def test_a_process_of_another_boot_is_dead_whatever_its_number(shelf: Shelf, scope_id: int) -> None:
    first = taken(shelf, scope_id)
    name = claims.host().partition("#")[0]
    change(shelf.database, first.token, host=f"{name}#before")
    assert take(shelf, scope_id) is not None


def test_start_times_do_not_follow_the_wall_clock() -> None:
    own = claims.start_time(os.getpid())
    assert claims.process_is_alive(os.getpid(), own)
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 0 < own <= since_boot
    with pytest.raises(psutil.NoSuchProcess):
        claims.start_time(2**22 + 1)


def test_a_process_that_may_not_be_looked_at_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: object, **__: object) -> str:
        raise PermissionError("hidepid")

    own = claims.start_time(os.getpid())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", hidden)
        alive = claims.process_is_alive(os.getpid(), own)
    assert not alive


def test_from_another_host_a_claim_lives_while_its_counter_moves(shelf: Shelf, scope_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    first = taken(shelf, scope_id)
    change(shelf.database, first.token, host="elsewhere#1")
    watch = Watch(stillness_s=120.0)
    assert take(shelf, scope_id, watch=watch) is None  # the first look only begins to watch
    clock[0] += 119.0
    assert take(shelf, scope_id, watch=watch) is None
    assert claims.beat(shelf.database, first)
    clock[0] += 119.0
    assert take(shelf, scope_id, watch=watch) is None  # it moved since: the stillness is counted anew
    clock[0] += 121.0
    assert take(shelf, scope_id, watch=watch) is not None
    assert not claims.beat(shelf.database, first)


def test_a_process_watches_other_hosts_without_being_told_to(shelf: Shelf, scope_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [5000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    first = taken(shelf, scope_id)
    change(shelf.database, first.token, host="elsewhere#1")
    assert take(shelf, scope_id) is None
    clock[0] += claims.WATCH.stillness_s + 1
    assert take(shelf, scope_id) is not None


def test_the_counter_moves_while_the_work_goes_on(shelf: Shelf, scope_id: int) -> None:
    claimed = taken(shelf, scope_id)
    with claims.beating(shelf.database, claimed, every_s=0.01):
        end_s = time.monotonic() + 10.0
        while time.monotonic() < end_s:
            with shelf.database.read() as connection:
                if connection.execute(select(claim.c.heartbeat).where(claim.c.id == claimed.token)).scalar_one() >= 2:
                    return
            time.sleep(0.01)
    pytest.fail("no heartbeat")


def test_a_claim_whose_end_could_not_be_written_blocks_nobody(shelf: Shelf, scope_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken(shelf, scope_id)

    def locked() -> None:
        raise TransientError("the ledger is locked")

    with monkeypatch.context() as patch:
        patch.setattr(shelf.database, "write", locked)
        with pytest.raises(TransientError):
            claims.end(shelf.database, first, "done")
    second = taken(shelf, scope_id)
    assert state_of(shelf.database, first.token) == "again"  # not a death: the product is not to blame
    assert second.token > first.token


def test_a_heartbeat_goes_on_after_one_that_could_not_be_written(shelf: Shelf, scope_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    beats, went_on = [0], threading.Event()

    def beat(_database: Database, _claimed: Claimed) -> bool:
        beats[0] += 1
        if beats[0] == 1:
            raise TransientError("the ledger is locked")
        went_on.set()
        return True

    monkeypatch.setattr(claims, "beat", beat)
    with claims.beating(shelf.database, taken(shelf, scope_id), every_s=0.001):
        assert went_on.wait(10.0)


def test_a_process_that_ended_and_that_nobody_waited_for_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = claims.start_time(process.pid)
        assert claims.process_is_alive(process.pid, started)
        assert process.stdin is not None
        process.stdin.close()
        until = time.monotonic() + 10.0
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
            time.sleep(0.005)
        assert not claims.process_is_alive(process.pid, started)


def bury(shelf: Shelf, claimed: Claimed) -> int:
    """The number of claims of its scope that were buried when its process had died."""
    pid, started = dead_process()
    change(shelf.database, claimed.token, pid=pid, pid_started=started)
    return claims.bury_the_dead(shelf.database, claimed.scope_id)


def mark_of(shelf: Shelf, scope_id: int) -> int:
    with shelf.database.read() as connection:
        return scopes.get(connection, scope_id).mark


def test_a_death_is_told_on_the_page_of_its_scope_and_a_passing_failure_is_not(shelf: Shelf, scope_id: int) -> None:
    before = mark_of(shelf, scope_id)
    claims.end(shelf.database, taken(shelf, scope_id), "again", reason="disk full")
    plan = claims.take(shelf.database, scope_id, claims.PLAN, "", "")
    assert plan is not None
    assert bury(shelf, plan) == 1
    assert mark_of(shelf, scope_id) == before
    assert bury(shelf, taken(shelf, scope_id)) == 1
    assert mark_of(shelf, scope_id) == before + 1


def test_only_the_dead_of_one_scope_are_buried_where_one_is_named(shelf: Shelf, scope_id: int) -> None:
    with shelf.database.write() as connection:
        other = scopes.ensure(connection, "night", "2026-03-15", "NCSIM", shelf.database.now())
    elsewhere = taken(shelf, other)
    pid, started = dead_process()
    change(shelf.database, elsewhere.token, pid=pid, pid_started=started)
    assert bury(shelf, taken(shelf, scope_id)) == 1
    assert state_of(shelf.database, elsewhere.token) == "running"


def test_a_plan_is_no_product_that_is_made(shelf: Shelf, scope_id: int) -> None:
    taken(shelf, scope_id)
    with shelf.database.read() as connection:
        assert not claims.somebody_plans(connection, scope_id)
    assert claims.take(shelf.database, scope_id, claims.PLAN, "", "a plan") is not None
    with shelf.database.read() as connection:
        assert claims.somebody_plans(connection, scope_id)
        assert claims.running(connection) == {"f" * 64}


def test_only_of_this_start_of_this_host_can_a_death_be_told() -> None:
    name, own = claims.host().partition("#")[0], claims.start_time(os.getpid())
    assert claims.may_live(claims.host(), os.getpid(), own)
    assert not claims.may_live(f"{name}#before", os.getpid(), own)
    assert not claims.may_live(claims.host(), os.getpid(), own - 5.0)
    assert claims.may_live("elsewhere#before", os.getpid(), own - 5.0)


def test_of_two_threads_one_gets_the_claim(shelf: Shelf, scope_id: int) -> None:
    got: list[Claimed | None] = []
    workers = [threading.Thread(target=lambda: got.append(take(shelf, scope_id))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(one is not None for one in got) == 1


def test_of_two_databases_on_one_ledger_one_gets_the_claim(shelf: Shelf, scope_id: int) -> None:
    other = Database(shelf.database.url)
    first = taken(shelf, scope_id)
    assert claims.take(other, scope_id, first.recipe, first.key, first.fingerprint) is None
    other.close()


def test_failed_for_good_until_a_person_forgives(shelf: Shelf, scope_id: int) -> None:
    claims.end(shelf.database, taken(shelf, scope_id, "a" * 64), "failed", reason="cut short", trace="line 1")
    claims.end(shelf.database, taken(shelf, scope_id, "b" * 64), "again", reason="disk full")
    with shelf.database.write() as connection:
        found = history.failures(connection, scope_id)
        assert {print_: failure.reason for print_, failure in found.items()} == {"a" * 64: "cut short"}
        assert history.forgive(connection, scope_id) == 2
        assert history.failures(connection, scope_id) == {}


def test_what_was_tried_and_put_off_waits_for_what_was_not_tried(shelf: Shelf, scope_id: int) -> None:
    """An hour each, but the few that always fail must not come before those that nobody asked about."""
    ends = {"a": f"{history.PUT_OFF}no memory", "b": f"{history.NOT_TRIED}it hung", "c": "disk full", "d": f"{history.PUT_OFF}busy"}
    times = {}
    for key, reason in ends.items():
        shelf.now += timedelta(minutes=20)
        claimed = claims.take(shelf.database, scope_id, "plate_solution", key, key * 64)
        assert claimed is not None
        claims.end(shelf.database, claimed, "again", reason=reason)
        times[key] = iso(shelf.now + history.PUT_OFF_FOR)
    with shelf.database.read() as connection:
        found = history.put_off(connection, scope_id)
    assert {print_[0]: later.until for print_, later in found.items()} == {"a": times["b"], "b": times["b"], "d": times["d"]}
    with shelf.database.write() as connection:
        history.forgive(connection, scope_id)
        assert history.put_off(connection, scope_id) == {}


def test_three_deaths_are_a_failure(shelf: Shelf, scope_id: int) -> None:
    for number in range(history.DEATHS_UNTIL_FAILED):
        claimed = taken(shelf, scope_id)
        pid, started = dead_process()
        change(shelf.database, claimed.token, pid=pid, pid_started=started)
        assert claims.bury_the_dead(shelf.database, scope_id) == 1
        with shelf.database.read() as connection:
            assert bool(history.failures(connection, scope_id)) == (number == history.DEATHS_UNTIL_FAILED - 1)


def test_a_plan_that_died_bars_nothing(shelf: Shelf, scope_id: int) -> None:
    for _ in range(4):
        held = claims.take(shelf.database, scope_id, claims.PLAN, "", "")
        assert held is not None
        claims.end(shelf.database, held, "died")
    with shelf.database.read() as connection:
        assert history.failures(connection, scope_id) == {}


def test_the_living_are_not_buried(shelf: Shelf, scope_id: int) -> None:
    taken(shelf, scope_id)
    assert claims.bury_the_dead(shelf.database) == 0


def test_tries_grow_with_each_passing_failure(shelf: Shelf, scope_id: int) -> None:
    for count in (1, 2, 3):
        claims.end(shelf.database, taken(shelf, scope_id), "again", reason="disk full")
        with shelf.database.read() as connection:
            assert history.most_tries(connection, scope_id, {"f" * 64}) == count
            assert history.most_tries(connection, scope_id, {"e" * 64}) == 0


def test_an_ended_claim_cannot_be_ended_again(shelf: Shelf, scope_id: int) -> None:
    claimed = taken(shelf, scope_id)
    assert claims.end(shelf.database, claimed, "died")
    assert not claims.end(shelf.database, claimed, "done")
    assert state_of(shelf.database, claimed.token) == "died"
