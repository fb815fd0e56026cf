"""Sets from files to products: waiting, quiet, states that add up, copies, changes, losses, failures, kills and resumption."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.housekeeping import sweep_leftovers
from nightcrew import ingest
from nightcrew.errors import TransientError
from nightcrew.io import sameness
from nightcrew.io.structure import Fingerprinted, sha256_file
from nightcrew.ledger import arrivals, claims, messages, products, scopes
from nightcrew.ledger.rows import FILE_STATES
from nightcrew.planning import set_snapshot
from nightcrew.planning.model import PlannedProduct
from tasks import kinds
from tasks.executor import Wish, make_locally
from tasks.kinds import Kind
from tasks.run import Outcome
from tests.support import toy_kind as toy
from tests.support.set_bench import SetBench
from tests.support.toy_kind import toy_kind

FILES: dict[str, str | bytes] = {"set1/a.num": "1", "set1/sub/b.num": "2.5", "set1/notes.log": "hi", "set1/odd.bad": "?"}


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_kind():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> SetBench:
    return SetBench(tmp_path)


def test_single_files_are_converted_at_once_and_the_joint_analysis_waits_for_quiet(bench: SetBench) -> None:
    bench.drop(FILES)
    bench.see()
    assert bench.run().made == 2
    assert bench.sum() is None
    assert bench.scope().wake_at == bench.scope().last_arrival_at.replace("06:00:04", "06:10:04")
    assert bench.settle().made == 1
    assert bench.sum() == 3.5
    assert bench.scope().state == "closed"


def test_every_file_has_one_state_and_the_balance_closes(bench: SetBench) -> None:
    bench.whole(
        {**FILES, "set1/.hidden": "x", "set1/part.num.part": "x", "set1/x.num": "broken", "set1/copy.num": "1", "set1/cut.fits": "SIMPLE"}
    )
    states = bench.states()
    assert states["set1/a.num"] == ("done", "in toy number")
    assert states["set1/sub/b.num"][0] == "done"
    assert states["set1/notes.log"] == ("set_aside", "a log")
    assert states["set1/odd.bad"] == ("rejected", "bad by name")
    assert states["set1/x.num"] == ("rejected", "toy number: it holds no number")
    assert states["set1/copy.num"] == ("set_aside", "duplicate: the same bytes as a.num")
    assert states["set1/cut.fits"][0] == "rejected"
    assert "ends inside" in states["set1/cut.fits"][1]
    assert states["set1/.hidden"] == ("set_aside", "ignored: a hidden file")
    with bench.space.database.read() as connection:
        counted = arrivals.balance(connection)
        assert arrivals.without_scope(connection) == []
    assert sum(counted.values()) == 9 == len(states)
    assert {state for _, state in counted} <= set(FILE_STATES)
    assert bench.sum() == 3.5  # what failed is left out of the sum, and the plan knows it


def test_ignored_files_that_come_last_are_counted_too(bench: SetBench) -> None:
    bench.whole(FILES)
    bench.drop({"set1/.DS_Store": "x", "elsewhere/.hidden": "y"})
    bench.see()
    bench.run()
    assert bench.states()["set1/.DS_Store"][0] == "set_aside"
    with bench.space.database.read() as connection:
        assert [row.path.rpartition(b"/")[2] for row in arrivals.without_scope(connection)] == [b".hidden"]


def test_files_of_the_watched_folder_itself_form_a_set_named_like_it(bench: SetBench) -> None:
    bench.drop({"loose.num": "4", "in/inner.num": "5", "other/c.num": "6"})
    bench.see()
    assert bench.settle("in").made == 3
    assert bench.sum("in") == 9
    assert sorted(bench.products("in")) == ["toy_convert in~2finner.num", "toy_convert loose.num", "toy_sum all"]


def test_products_are_folders_with_every_file_in_the_ledger_and_a_plain_name(bench: SetBench) -> None:
    bench.whole(FILES)
    row = bench.products()["toy_sum all"]
    root = bench.settings.products.root
    folder = root / "sensor" / "set1" / f"toy_sum_all-{row.fingerprint[:12]}"
    on_disk = sorted(str(path.relative_to(root)) for path in folder.rglob("*") if path.is_file())
    assert sorted(file.path for file in row.files) == on_disk
    assert {"report.html", "summary.json", "page.json", "sum.csv", "figures/curve.png"} <= {file.role for file in row.files}
    assert (root / "sensor" / "set1" / "toy_sum_all").resolve() == folder
    assert not list(root.rglob(".nightcrew-*"))


def test_inputs_are_recorded_by_content_and_name(bench: SetBench) -> None:
    bench.whole(FILES)
    made = bench.products()
    with bench.space.database.read() as connection:
        convert = products.inputs_of(connection, made["toy_convert a.num"].id)
        total = products.inputs_of(connection, made["toy_sum all"].id)
        below = products.dependants(connection, made["toy_convert a.num"].fingerprint)
    assert [(row.role, row.frame_id, len(row.fingerprint)) for row, _ in convert] == [("a.num", None, 64)]
    assert [row.role for row, _ in total] == ["toy_convert_a.num", "toy_convert_sub~2fb.num"]
    assert [row.recipe for row in below] == ["toy_sum"]


def test_a_late_file_reopens_the_set_and_only_what_it_touches_is_made_anew(bench: SetBench) -> None:
    bench.whole(FILES)
    before = bench.products()
    bench.drop({"set1/late.num": "10"})
    bench.see()
    assert bench.scope().state == "open"
    assert bench.run().made == 1
    assert bench.products()["toy_sum all"].fingerprint == before["toy_sum all"].fingerprint  # it stands meanwhile
    assert bench.settle().made == 1
    assert bench.sum() == 13.5
    assert bench.products()["toy_convert a.num"].fingerprint == before["toy_convert a.num"].fingerprint


def test_a_changed_file_is_read_again_and_what_was_made_of_it_is_made_anew(bench: SetBench) -> None:
    bench.whole(FILES)
    bench.drop({"set1/a.num": "7.25"})
    bench.see()
    assert bench.settle().made == 2
    assert bench.sum() == 9.75


def test_a_raw_file_that_vanished_makes_nothing_stale(bench: SetBench) -> None:
    bench.whole(FILES)
    (bench.folder / "set1" / "a.num").unlink()
    bench.see()
    assert bench.settle().made == 0
    assert bench.sum() == 3.5
    assert bench.states()["set1/a.num"] == ("done", "in toy number")
    bench.drop({"set1/c.num": "4"})
    bench.see()
    bench.settle()
    assert bench.sum() == 7.5  # the conversion of the vanished file still counts


def test_a_file_that_vanished_before_it_was_used_is_set_aside(bench: SetBench) -> None:
    bench.drop(FILES)
    bench.see()
    (bench.folder / "set1" / "a.num").unlink()
    bench.see()
    bench.settle()
    assert bench.sum() == 2.5
    assert bench.states()["set1/a.num"] == ("set_aside", "gone from its folder before it was used")


def test_a_file_that_changed_and_was_away_before_it_was_read_is_read_when_it_is_back(bench: SetBench) -> None:
    bench.whole({"set1/a.num": "1", "set1/b.num": "2"})
    file, away = bench.folder / "set1" / "b.num", bench.root / "away"
    file.write_text("40000", encoding="utf-8")
    stat = file.stat()
    changed = arrivals.Seen(path=os.fsencode(file), folder=str(bench.folder), size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    arrivals.record(bench.space.database, [changed])
    file.rename(away)
    bench.see()
    bench.settle()
    assert bench.sum() == 3.0  # what was made of it stands
    away.rename(file)
    bench.see()
    bench.settle()
    assert bench.sum() == 40001.0


def test_everything_gone_takes_nothing_away(bench: SetBench) -> None:
    bench.whole({**FILES, "set1/scale.toml": "scale = 2"})
    assert bench.sum() == 7
    kept = bench.products().keys()
    shutil.rmtree(bench.folder / "set1")
    bench.see()
    with bench.space.database.write() as connection:
        from nightcrew.ledger import scopes

        scopes.mark(connection, [bench.scope().id], bench.space.database.now())
    bench.run()
    assert bench.sum() == 7
    assert bench.products().keys() == kept


def test_a_parameter_of_a_text_file_counts(bench: SetBench) -> None:
    bench.whole({**FILES, "set1/scale.toml": "scale = 2"})
    assert bench.sum() == 7
    bench.drop({"set1/scale.toml": "scale = 3"})
    bench.see()
    assert bench.settle().made == 3
    assert bench.sum() == 10.5


def test_nights_look_again_when_an_earlier_model_fits_again(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SERVE_NIGHTS", frozenset({"toy_sum"}))
    bench.whole({"set1/a.num": "1"})
    bench.whole({"set1/a.num": "22"})
    with bench.space.database.write() as connection:
        night = scopes.ensure(connection, "night", "2026-05-17", "CAM", bench.space.database.now())
    assert bench.space.scope(night).mark == 0
    run = bench.whole({"set1/a.num": "1"})
    assert (run.made, bench.sum()) == (0, 1.0)
    assert bench.space.scope(night).mark > 0


def test_a_product_of_a_set_that_a_disk_damaged_goes_into_no_other(bench: SetBench) -> None:
    """The number that the sum is made of is another one, of as many bytes: it is made again first."""
    bench.whole(FILES)
    row = bench.products()["toy_convert sub~2fb.num"]
    value = next(bench.settings.products.root / file.path for file in row.files if file.role == "deep/value.txt")
    value.write_text("9.5", encoding="utf-8")
    bench.drop({"set1/late.num": "10"})
    bench.see()
    bench.settle()
    bench.run()
    assert bench.sum() == 13.5
    assert value.read_text(encoding="utf-8") == "2.5"


def test_an_earlier_product_that_was_damaged_meanwhile_does_not_stand_again(bench: SetBench) -> None:
    """The file is again what it was, and so would be what was made of it: were its bytes still those that were written."""
    bench.whole(FILES)
    row = bench.products()["toy_sum all"]
    sum_csv = bench.settings.products.root / row.file("sum.csv").path
    bench.drop({"set1/a.num": "7.25"})
    bench.see()
    bench.settle()
    sum_csv.write_text("sum\n9.9\n", encoding="utf-8")
    bench.drop({"set1/a.num": "1"})
    bench.see()
    bench.settle()
    assert bench.products()["toy_sum all"].fingerprint == row.fingerprint
    assert sum_csv.read_text(encoding="utf-8") == "sum\n3.5\n"


def test_an_earlier_product_that_cannot_be_read_now_keeps_its_set_from_nothing(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.whole(FILES)
    row = bench.products()["toy_sum all"]
    sum_csv = bench.settings.products.root / row.file("sum.csv").path
    bench.drop({"set1/a.num": "7.25"})
    bench.see()
    bench.settle()
    os.utime(sum_csv, ns=(1, 1))

    def bad_block(path: Path, status: os.stat_result) -> Fingerprinted:
        if path == sum_csv:
            raise TransientError("sum.csv: cannot be read now (Input/output error)")
        return sha256_file(path, status)

    monkeypatch.setattr(sameness, "sha256_file", bad_block)
    bench.drop({"set1/a.num": "1"})
    bench.see()
    bench.settle()
    assert bench.products()["toy_sum all"].fingerprint == row.fingerprint
    assert bench.scope().state == "closed"


def test_a_lost_or_damaged_product_comes_back_the_same(bench: SetBench) -> None:
    bench.whole(FILES)
    before = bench.content()
    row = bench.products()["toy_sum all"]
    (bench.settings.products.root / row.file("report.html").path).unlink()
    (bench.settings.products.root / bench.products()["toy_convert a.num"].files[0].path).write_text("much longer than it was")
    assert bench.space.notice_lost_products() == ["sensor/set1"]
    assert bench.run().made == 2
    assert bench.content() == before


def test_a_fault_of_the_program_is_recorded_and_tried_again_only_when_asked(bench: SetBench) -> None:
    bench.whole({**FILES, "set1/z.num": "crash"})
    assert bench.states()["set1/z.num"] == ("rejected", "toy number: a fault in Nightcrew: KeyError: 'crash'")
    assert bench.run().failed == 0
    assert bench.run(wish=Wish(retry=True)).failed == 1
    assert not list(bench.settings.products.root.rglob(".nightcrew-*"))


def test_a_fault_while_a_file_is_read_is_told_with_its_set(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(ingest, "set_reading", fails)
    bench.drop({"set1/only.num": "1"})
    bench.see()
    assert bench.states() == {"set1/only.num": ("rejected", "a fault in Nightcrew while it was read: KeyError: 'x'")}


def test_what_fails_for_all_files_is_no_fault_of_any(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_unit: object) -> None:
        raise ArithmeticError("it does not converge")

    monkeypatch.setitem(toy.units, "toy_sum", broken)
    bench.whole({**FILES, "set1/scale.toml": "scale = 2"})
    state, reason = bench.states()["set1/scale.toml"]
    assert state == "waiting"
    assert reason == "toy sum all could not be made: a fault in Nightcrew: ArithmeticError: it does not converge"
    assert bench.states()["set1/a.num"][0] == "done"


def test_three_deaths_are_failed_for_good(bench: SetBench) -> None:
    bench.drop({"set1/a.num": "1"})
    bench.see()
    plan = bench.run(make=_dying).plan
    assert plan is not None
    unit = plan.products[0]
    for _ in range(3):
        held = claims.take(bench.space.database, unit.scope_id, unit.recipe, unit.key, unit.fingerprint)
        assert held is not None
        claims.end(bench.space.database, held, "died", reason="killed")
    bench.settle()
    assert bench.states()["set1/a.num"] == ("rejected", "toy number: gave up: the process died 3 times while making it")


def _dying(units: Sequence[PlannedProduct]) -> list[Outcome]:
    return [Outcome(unit.recipe, unit.key, unit.fingerprint, "again", "not now") for unit in units]


def test_what_hinders_at_every_retry_is_told_once_with_a_count(bench: SetBench) -> None:
    """A full disk for hours: each try says another number of megabytes; the ledger, and so the pages, tell one sentence."""
    free = iter((1.6, 0.4, 12.0))

    def hindered(units: Sequence[PlannedProduct]) -> list[Outcome]:
        room = next(free)
        return [Outcome(unit.recipe, unit.key, unit.fingerprint, "again", f"the disk is full ({room} MB free)") for unit in units]

    bench.drop(FILES)
    bench.see()
    bench.now += timedelta(hours=1)
    for _ in range(3):
        assert bench.run(make=hindered).again
        bench.now += timedelta(hours=1)
    with bench.space.database.read() as connection:
        told = [text for _, _, level, text in messages.happenings(connection, "") if level == "warning"]
    ((said, times, _),) = [messages.counted(text) for text in told]
    assert times == 3
    assert "12.0 MB free" in said


def test_a_kind_whose_modules_are_not_there_harms_nothing(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "sensor", Kind("sensor", "sensor", "nightcrew.planning.set_nowhere", "tasks.set_nowhere"))
    bench.whole(FILES)
    assert Counter(state for state, _ in bench.states().values()) == {"waiting": 4}
    assert bench.states()["set1/a.num"][1] == "the analysis of sensor sets is not part of this Nightcrew"


def test_a_fault_in_a_kinds_rules_loses_nothing_and_is_told(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.whole(FILES)
    made = bench.products()

    def broken(_builder: object) -> None:
        raise IndexError("no such thing")

    monkeypatch.setattr(toy, "plan", broken)
    bench.drop({"set1/c.num": "9"})
    bench.see()
    run = bench.settle()
    assert run.plan is not None
    assert run.plan.fault == "IndexError: no such thing"
    assert bench.products() == made
    assert bench.states()["set1/c.num"] == ("waiting", "a fault in Nightcrew while the set was planned: IndexError: no such thing")


def test_mended_rules_look_again_at_a_set_whose_plan_failed(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.space.renormalise()

    def broken(_builder: object) -> None:
        raise IndexError("no such thing")

    with monkeypatch.context() as fault:
        fault.setattr(toy, "plan", broken)
        bench.drop(FILES)
        bench.see()
        bench.settle()
    assert bench.space.renormalise() == 0
    monkeypatch.setattr(kinds, "rules_digest", lambda: "the rules of a newer version")
    assert bench.space.renormalise() == 1
    bench.settle()
    assert bench.sum() == 3.5


def test_the_folders_own_set_does_not_wait_for_the_files_of_other_sets(bench: SetBench) -> None:
    bench.drop({"loose.num": "4"})
    bench.see()
    bench.drop({"other/c.num": "6"})
    bench.sweep()
    with bench.space.database.read() as connection:
        snapshots = {scope.name: set_snapshot.load(connection, scope.id, bench.space.options) for scope in scopes.find(connection)}
    assert snapshots["in"].unread == 0


def test_a_set_looks_again_when_one_of_its_files_becomes_a_link_and_says_so(bench: SetBench) -> None:
    bench.whole(FILES)
    mark = bench.scope().mark
    place = bench.folder / "set1" / "a.num"
    place.rename(bench.root / "elsewhere.num")
    place.symlink_to(bench.root / "elsewhere.num")
    bench.now += timedelta(seconds=1)
    bench.see()
    assert bench.scope().mark > mark
    bench.settle()
    assert bench.sum() == 2.5
    state, reason = bench.states()["set1/a.num"]
    assert state == "set_aside"
    assert "a symbolic link" in reason


def test_what_a_person_marks_bad_goes_into_nothing_new(bench: SetBench) -> None:
    bench.whole(FILES)
    row = bench.products()["toy_convert a.num"]
    products.mark_bad(bench.space.database, row.id, "a cloud", remake_scopes=3)
    plan = bench.run().plan
    assert plan is not None
    total = next(p for p in plan.products if p.recipe == "toy_sum")
    assert total.status == "pending"
    assert "marked bad by a person: a cloud" in total.reason


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_products_do_not_depend_on_the_order_of_arrival(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    files: dict[str, str | bytes] = {
        **FILES,
        "set1/copy.num": "1",
        "set1/scale.toml": "scale = 2",
        "set1/x.num": "broken",
        "set1/c.num": "-3",
    }
    order = data.draw(st.permutations(sorted(files)))
    cuts = data.draw(st.lists(st.sampled_from(range(1, len(order))), max_size=3))
    bench = SetBench(tmp_path_factory.mktemp("order"))
    start = 0
    for end in [*sorted(set(cuts)), len(order)]:
        bench.drop({name: files[name] for name in order[start:end]})
        bench.see()
        bench.run()
        start = end
    bench.settle()
    current = {file.path: file.sha256 for row in bench.products().values() for file in row.files}
    bench.space.database.close()
    assert (current, bench.states()) == _straight(tmp_path_factory, files)


_known: dict[str, tuple[dict[str, str], dict[str, tuple[str, str]]]] = {}


def _straight(factory: pytest.TempPathFactory, files: dict[str, str | bytes]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    if "all" not in _known:
        bench = SetBench(factory.mktemp("straight"))
        bench.whole(files)
        _known["all"] = ({file.path: file.sha256 for row in bench.products().values() for file in row.files}, bench.states())
    return _known["all"]


def test_a_kill_in_the_middle_of_a_unit_is_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    bench = SetBench(whole)
    bench.whole(FILES)
    half = SetBench(killed)
    half.drop(FILES)
    half.see()
    half.space.database.close()
    code = f"from tests.support.killed_set import main; main({str(killed)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == -9
    left = list((killed / "products").rglob(".nightcrew-*.part"))
    assert len(left) == 1
    again = SetBench(killed)
    again.now += timedelta(minutes=2)
    again.settle()
    assert again.sum() == 3.5
    assert {n: b for n, b in again.content().items() if ".nightcrew-" not in n} == bench.content()
    os.utime(left[0], (0, 0))
    sweep_leftovers(again.space)
    assert again.content() == bench.content()


def test_a_finished_folder_that_no_row_owns_is_taken_away_and_made_again(bench: SetBench) -> None:
    bench.drop(FILES)
    bench.see()
    plan = bench.run(make=_dying).plan
    assert plan is not None
    unit = next(p for p in plan.products if p.key == "a.num")
    from tasks.naming import set_folder

    orphan = bench.settings.products.root / set_folder(unit)
    orphan.mkdir(parents=True)
    (orphan / "half.txt").write_text("of a worker that died")
    make = make_locally(bench.space.context)
    assert [outcome.state for outcome in make([unit])] == ["made"]
    assert not (orphan / "half.txt").exists()
