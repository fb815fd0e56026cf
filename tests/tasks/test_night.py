"""A night through the local executor: what is made, remade, and left alone."""

from __future__ import annotations

import hashlib
import html
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.housekeeping import sweep_leftovers
from flows.pages import write_page
from nightcrew.errors import TransientError
from nightcrew.io.products import read_image_product
from nightcrew.ledger import arrivals, claims, comparisons, history, messages, products, scopes
from nightcrew.ledger.products import Recorded
from nightcrew.ledger.rows import NewProduct
from nightcrew.planning.model import PlannedProduct
from nightcrew.settings import NightSettings
from nightcrew.tools.combine_request import Request
from nightcrew.tools.combine_tool import combine_files
from reports.keep import Keep
from reports.pictures import Gallery
from tasks import run as unit_runner
from tasks.context import UnitContext
from tasks.executor import ScopeRun, look, make_locally
from tasks.registry import Unit, unit_for
from tasks.run import Outcome, run_unit
from tests.support.small_nights import Bench, make_raw, shuffled, small_plan
from tests.support.undrawn import undrawn

pytestmark = pytest.mark.usefixtures("undrawn_figures")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small night's raw frames, with troublemakers."""
    out = tmp_path_factory.mktemp("small-night")
    make_raw(out, small_plan(troubles=("truncated", "duplicate", "text_file", "bright_flat")))
    return out / "raw"


@pytest.fixture(scope="module")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ledger and products of the night, taken in at once, closed and made."""
    root = tmp_path_factory.mktemp("finished")
    bench = Bench(raw, root)
    with undrawn():
        bench.night()
    bench.space.database.close()
    return root


@pytest.fixture(scope="module")
def reference(raw: Path, finished: Path) -> dict[str, str]:
    """What the night gives when it is taken in at once."""
    return Bench(raw, finished).content()


@pytest.fixture
def bench(raw: Path, tmp_path: Path) -> Bench:
    """A workspace over the raw frames."""
    return Bench(raw, tmp_path / "out")


@pytest.fixture
def done(raw: Path, finished: Path, tmp_path: Path) -> Bench:
    """A workspace over the raw frames in which the night is made already."""
    return Bench(raw, shutil.copytree(finished, tmp_path / "out", symlinks=True))


def made(runs: list[ScopeRun]) -> int:
    return sum(run.made for run in runs)


def test_a_night_makes_what_it_should(bench: Bench) -> None:
    runs = bench.night()
    assert [outcome for run in runs for outcome in run.outcomes if outcome.state != "made"] == []
    count = Counter(row.recipe for row in bench.products())
    assert count == {
        "bias_master": 1,
        "dark_master": 2,
        "thermal_master": 1,
        "bad_pixel_mask": 1,
        "flat_master": 2,
        "camera_numbers": 1,
        "reduce_light": 4,
        "photometry": 4,
        "stack": 2,
        "stack_photometry": 2,
    }
    assert {row.grade for row in bench.products()} == {"A"}


def test_masters_inherit_what_association_compares(done: Bench) -> None:
    """The temperature, exposure, gain setting and filter of their frames, in the ledger and in the file that another site may get."""
    masters = [row for row in done.products() if row.recipe in ("bias_master", "dark_master", "flat_master")]
    assert len(masters) == 5
    for row in masters:
        cards = read_image_product(done.space.context.file(row, "image")).cards
        assert row.facts["temperature_c"] == pytest.approx(-20.0, abs=0.5)  # as simulated: the set point and its drift
        assert cards["CCD-TEMP"] == row.facts["temperature_c"]
        assert (cards.get("EXPTIME"), cards["GAINSET"]) == (row.facts.get("exposure_s"), "100")
        assert cards.get("FILTER") == row.facts.get("filter")
        assert cards.get("NCBIAS") == row.facts.get("bias") == ("kept" if row.recipe == "dark_master" else None)
    assert sorted(row.facts["exposure_s"] for row in masters if row.recipe == "dark_master") == [4.0, 30.0]


def test_the_pictures_of_lights_are_made_with_them(done: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.pictures.picture_of_image", lambda *_args, **_how: None)
    gallery = Gallery(done.space.context.products_root, Keep(done.space.context.pictures))
    lights = [row for row in done.products() if row.recipe == "reduce_light"]
    assert lights
    assert all(gallery.image(row.file("image"), row.key) is not None for row in lights)


def test_the_balance_closes_and_every_troublemaker_is_named(done: Bench, raw: Path) -> None:
    rows = done.files()
    assert len(rows) == sum(1 for path in raw.iterdir())
    assert {row.state for row in rows} == {"done", "rejected", "set_aside"}
    reasons = " | ".join(row.reason for row in rows if row.state in ("rejected", "set_aside"))
    for words in ("data cut short", "duplicate: the same bytes", "not a FITS file", "too bright"):
        assert words in reasons


def test_a_second_run_makes_nothing(done: Bench) -> None:
    done.see()
    done.ingest()
    assert made(done.run()) == 0


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.integers(0, 10_000), burst=st.integers(1, 40), between=st.integers(1, 3))
def test_order_and_bursts_do_not_matter(
    raw: Path, reference: dict[str, str], tmp_path_factory: pytest.TempPathFactory, order: int, burst: int, between: int
) -> None:
    bench = Bench(raw, tmp_path_factory.mktemp("order"))
    paths = shuffled(raw.iterdir(), order)
    for number, start in enumerate(range(0, len(paths), burst)):
        bench.see(paths[start : start + burst])
        bench.ingest(limit=7)
        if number % between == 0 and burst > 8:
            bench.run()
    bench.close()
    bench.run()
    assert bench.content() == reference


def test_masters_that_lie_among_the_frames_enter_no_master(done: Bench, raw: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    """A master of ours (any name, its plain type), and one that a hand tool left beside its frames."""
    watched = tmp_path / "watched"
    watched.mkdir()
    kinds = ("bias_master", "dark_master", "thermal_master", "flat_master")
    for row in done.products():
        if row.recipe in kinds:
            shutil.copy(done.space.context.file(row, "image"), watched / f"{row.recipe}-{row.id}.fit")
    names = len(list(watched.iterdir()))
    combine_files(sorted(raw.glob("bias-*")), Request(), watched / "bias-median.fit")
    done.see(watched.iterdir())
    done.ingest()
    done.close()
    assert made(done.run()) == 0
    assert done.content() == reference
    states = [(row.state, row.reason) for row in done.files() if b"/watched/" in row.path]
    assert len(states) == names + 1 > 5
    assert {state for state, _ in states} == {"set_aside"}
    assert {reason.partition(":")[0] for _, reason in states} == {"a product of Nightcrew itself, not a raw frame"}


def test_a_deleted_master_comes_back(done: Bench, reference: dict[str, str]) -> None:
    victim = next(row for row in done.products() if row.recipe == "flat_master")
    (done.settings.products.root / victim.files[0].path).unlink()
    assert made(done.run()) == 1
    assert done.content() == reference


def test_the_service_notices_a_deleted_product(done: Bench) -> None:
    before = done.scopes()[0].mark
    assert done.space.notice_lost_products() == []
    victim = next(row for row in done.products() if row.recipe == "stack")
    (done.settings.products.root / victim.files[0].path).unlink()
    assert done.space.notice_lost_products() == ["2026-05-16/NCSIM"]
    assert done.scopes()[0].mark > before


def test_a_light_waits_for_its_late_flat_and_is_reduced_with_it(raw: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    bench = Bench(raw, tmp_path)
    late = sorted(raw.glob("flat-V-*"))
    bench.see(path for path in sorted(raw.iterdir()) if path not in late)
    bench.ingest()
    bench.run()
    state, reason = bench.state_of("crew-1-V-001.fit")
    assert state == "waiting"
    assert "flat master V" in reason
    assert bench.state_of("crew-1-B-001.fit")[0] == "done"
    before = {path for path in bench.content() if "_B_" in path}
    bench.see(late)
    bench.ingest()
    bench.run()
    assert bench.state_of("crew-1-V-001.fit")[0] == "done"
    bench.close()
    bench.run()
    assert bench.content() == reference
    assert before <= set(bench.content())


def test_a_light_without_flat_is_graded_d_when_the_night_closes(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.night([path for path in sorted(raw.iterdir()) if not path.name.startswith("flat-V")])
    state, reason = bench.state_of("crew-1-V-001.fit")
    assert state == "degraded"
    assert "no flat in V" in reason
    lights = [row for row in bench.products() if row.recipe == "reduce_light"]
    assert {(row.facts["filter"], row.grade) for row in lights} == {("B", "A"), ("V", "D")}
    for row in lights:
        cards = read_image_product(bench.space.context.file(row, "image")).cards
        expected = ("A", None) if row.facts["filter"] == "B" else ("D", "no flat in V: the step was skipped")
        assert (cards["NCGRADE"], cards.get("NCWHY1")) == expected
    page = html.unescape(write_page(bench.space, "2026-05-16").path.read_text(encoding="utf-8"))
    assert "No flat for V" in page
    assert "2 lights had to do without" in page


def test_a_single_flat_stops_nothing_but_its_own_use(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    wanted = ("bias-", "dark-", "flat-V-001", "flat-B-", "crew-1-V-001", "crew-1-B-001")
    bench.night([path for path in sorted(raw.iterdir()) if path.name.startswith(wanted)])
    assert bench.state_of("crew-1-B-001.fit") == ("done", "grade A")
    state, reason = bench.state_of("crew-1-V-001.fit")
    assert state == "degraded"
    assert "no flat in V" in reason
    (flat,) = (row for row in bench.products() if row.recipe == "flat_master" and row.facts["filter"] == "V")
    assert flat.barred_because == "failed certification: too few frames: 1 usable, 3 are needed"
    assert "too few frames" in bench.state_of("flat-V-001.fit")[1]


def test_the_rule_block_holds_a_light_back_until_its_flat_comes(raw: Path, tmp_path: Path) -> None:
    own = tmp_path / "instruments"
    own.mkdir()
    (own / "nightcrew_simulated.toml").write_text('[rules]\nflat_missing = "block"\n')
    bench = Bench(raw, tmp_path)
    late = sorted(raw.glob("flat-V-*"))
    bench.night([path for path in sorted(raw.iterdir()) if path not in late])
    reason = "blocked: the instrument's rules allow no light without its flat"
    assert bench.state_of("crew-1-V-001.fit") == ("waiting", reason)
    lights = [row for row in bench.products() if row.recipe == "reduce_light"]
    assert {row.facts["filter"] for row in lights} == {"B"}
    from flows.pages import write_page

    assert reason in html.unescape(write_page(bench.space, bench.scopes()[0].name).path.read_text(encoding="utf-8"))
    bench.night(late)
    assert bench.state_of("crew-1-V-001.fit")[0] == "done"


def test_a_dark_of_another_exposure_is_scaled_and_graded_c(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.night([path for path in sorted(raw.iterdir()) if not path.name.startswith("dark-30")])
    lights = [row for row in bench.products() if row.recipe == "reduce_light"]
    assert {row.grade for row in lights} == {"C"}
    assert "scaled from the thermal rate" in bench.state_of("crew-1-B-001.fit")[1]


def test_a_mended_profile_remakes_exactly_what_it_touches(done: Bench) -> None:
    before = done.content()
    own = done.settings.instruments.folder
    own.mkdir(parents=True)
    (own / "nightcrew_simulated.toml").write_text('[keywords]\nexposure = [{ keyword = "EXPTIME", unit = "ms" }]\n')
    mended = Bench(done.folder, own.parent)
    mended.ingest()
    mended.run()
    lights = [row for row in mended.products() if row.recipe == "reduce_light"]
    assert {row.facts["exposure_s"] for row in lights} == {0.03}
    assert {row.grade for row in lights} == {"A"}
    untouched = {path for path in before if "bias_master" in path}
    assert {path for path in mended.content() if path in before} == untouched
    (own / "nightcrew_simulated.toml").unlink()
    back = Bench(done.folder, own.parent)
    back.ingest()
    assert made(back.run()) == 0
    assert back.content() == before


def test_two_workers_on_one_product_make_it_once(bench: Bench) -> None:
    bench.see()
    bench.ingest()
    bench.close()
    scope = bench.scopes()[0]
    _, plan = look(bench.space.context, scope.id, bench.space.parameters, bench.space.rules_for)
    unit = plan.with_status("ready")[0]
    outcomes: list[str] = []
    workers = [threading.Thread(target=lambda: outcomes.append(run_unit(bench.space.context, unit).state)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) in (["made", "taken"], ["made", "made"])
    with bench.space.database.read() as connection:
        rows = [row for row in products.of_scope(connection, scope.id) if row.fingerprint == unit.fingerprint]
    assert len(rows) == 1


def test_two_processes_claiming_one_product_make_it_once(bench: Bench, raw: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    bench.see()
    bench.ingest()
    bench.close()
    go = tmp_path / "go"
    command = [sys.executable, "-m", "tests.support.rival", str(raw), str(tmp_path / "out"), str(go)]
    rivals = [subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    go.touch()
    outcomes = sorted(rival.communicate(timeout=60)[0].strip() for rival in rivals)
    assert outcomes in (["made", "taken"], ["made", "made"])
    with bench.space.database.read() as connection:
        (row,) = products.of_scope(connection, bench.scopes()[0].id)
    assert {file.path: file.sha256 for file in row.files}.items() <= reference.items()


def test_a_worker_that_wakes_late_cannot_overwrite(bench: Bench) -> None:
    bench.see()
    bench.ingest()
    bench.close()
    scope = bench.scopes()[0]
    database = bench.space.database
    _, plan = look(bench.space.context, scope.id, bench.space.parameters, bench.space.rules_for)
    unit = plan.with_status("ready")[0]
    late = claims.take(database, scope.id, unit.recipe, unit.key, unit.fingerprint)
    assert late is not None
    claims.end(database, late, "died")
    assert run_unit(bench.space.context, unit).state == "made"
    recorded: Recorded = unit_runner.recorded(unit)
    with database.read() as connection:
        made_first = products.by_fingerprint(connection, unit.fingerprint)
    assert made_first is not None
    assert made_first.files
    whole = bench.content()
    stale = NewProduct(files=(), metrics={}, grade="D", grade_reasons=("late",))
    assert products.commit(database, late, recorded, stale, remake_scopes=0) is None
    with database.read() as connection:
        assert products.by_fingerprint(connection, unit.fingerprint) == made_first
    assert bench.content() == whole
    assert whole


def first_unit(bench: Bench) -> PlannedProduct:
    """The night taken in, and its first unit planned."""
    bench.see()
    bench.ingest()
    bench.close()
    _, plan = look(bench.space.context, bench.scopes()[0].id, bench.space.parameters, bench.space.rules_for)
    return plan.with_status("ready")[0]


def below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_unit_below_the_reserve_is_not_begun(bench: Bench) -> None:
    unit, database = first_unit(bench), bench.space.database
    poor = replace(bench.space.context, disk_reserve_bytes=1 << 62)
    with pytest.raises(TransientError, match="the reserve is"):
        run_unit(poor, unit)
    with database.read() as connection:
        assert history.attempts(connection, unit.fingerprint) == []
    assert below(poor.products_root) == []


def test_a_late_worker_takes_away_nothing_of_the_one_that_followed(bench: Bench) -> None:
    unit, context = first_unit(bench), bench.space.context
    late = claims.take(context.database, unit.scope_id, unit.recipe, unit.key, unit.fingerprint)
    assert late is not None
    claims.end(context.database, late, "died")
    newer = claims.take(context.database, unit.scope_id, unit.recipe, unit.key, unit.fingerprint)
    assert newer is not None
    unit_for(unit.recipe)(context, unit)  # the newer one has written its file, and not recorded it yet
    written = below(context.products_root)
    assert written
    assert not unit_runner._clear(context, unit, late)
    assert below(context.products_root) == written
    assert unit_runner._clear(context, unit, newer)
    assert below(context.products_root) == []


def test_a_raw_file_that_is_rewritten_while_a_unit_works_on_it_leaves_no_product(
    bench: Bench, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header was read before, its pixels perhaps after: the product does not count, and is made of the file as it is now."""
    copy = shutil.copytree(raw, tmp_path / "raw")
    bench.folder = copy
    unit = first_unit(bench)
    frame = next(item.frame for item in unit.inputs if item.frame is not None)
    victim = Path(os.fsdecode(frame.path))

    def rewritten(recipe: str) -> Unit:
        def make(context: UnitContext, planned: PlannedProduct) -> NewProduct:
            made = unit_for(recipe)(context, planned)
            os.utime(victim, ns=(frame.mtime_ns + 1, frame.mtime_ns + 1))
            return made

        return make

    monkeypatch.setattr(unit_runner, "unit_for", rewritten)
    with pytest.raises(TransientError, match="changed since it was ingested"):
        run_unit(bench.space.context, unit)
    assert below(bench.space.context.products_root) == []
    with bench.space.database.read() as connection:
        assert [attempt.state for attempt in history.attempts(connection, unit.fingerprint)] == ["again"]


def put_in_place(path: Path, content: bytes) -> None:
    """Other content under the same name, size and modification time, as ``cp -p`` and ``rsync -t`` may leave it."""
    before = path.stat()
    assert len(content) == before.st_size
    time.sleep(0.02)  # the kernel's clock of files ticks a hundred times a second at the least
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_raw_file_of_the_same_size_and_time_that_is_not_the_same_goes_into_nothing(bench: Bench, raw: Path, tmp_path: Path) -> None:
    """Nobody has told of it yet: the unit that needs the file finds out, and it is read again."""
    bench.folder = shutil.copytree(raw, tmp_path / "raw")
    unit = first_unit(bench)
    frame = next(item.frame for item in unit.inputs if item.frame is not None)
    victim = Path(os.fsdecode(frame.path))
    data = bytearray(victim.read_bytes())
    data[-3000] ^= 0x01
    put_in_place(victim, bytes(data))
    with pytest.raises(TransientError, match="changed since it was ingested"):
        run_unit(bench.space.context, unit)
    assert below(bench.space.context.products_root) == []
    bench.ingest()
    with bench.space.database.read() as connection:
        (row,) = arrivals.find(connection, frame.path)
        told = [text for _, _, level, text in messages.happenings(connection, "") if level == "warning"]
    assert row.sha256 == hashlib.sha256(data).hexdigest() != frame.sha256
    assert told == [f"{victim.name} holds other content than was read, under the same size and modification time: read again"]


def test_a_file_over_which_reading_broke_down_is_read_again_when_its_change_time_moved(
    bench: Bench, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no hash that its bytes could be compared with; a sound copy with the old size and time may lie there now."""
    bench.folder = shutil.copytree(raw, tmp_path / "raw")
    bench.see()
    with monkeypatch.context() as patch:
        patch.setattr("nightcrew.ingest.check", None)
        bench.ingest()
    victim = bench.files()[0]
    assert (victim.state, victim.sha256) == ("rejected", "")
    path = Path(os.fsdecode(victim.path))
    bench.see()
    assert bench.space.ingest().files == 0  # nothing moved
    put_in_place(path, path.read_bytes())
    bench.see()
    assert (bench.space.ingest().files, next(row for row in bench.files() if row.id == victim.id).state) == (1, "waiting")


def test_files_whose_change_time_moved_are_used_and_nothing_is_made_again(done: Bench, tmp_path: Path) -> None:
    """Permissions, links and names change the time, not the content: each is compared once, and closed nights stay closed."""
    bench = done
    before = bench.products()
    time.sleep(0.02)
    for path in bench.folder.glob("*.fit"):
        (tmp_path / path.name).hardlink_to(path)
    bench.see()
    with bench.space.database.read() as connection:
        waiting = comparisons.count_waiting(connection)
        states = [(row.state, row.reason) for row in bench.files()]
    assert waiting == len(list(bench.folder.glob("*.fit")))
    first = bench.space.ingest()
    second = bench.space.ingest()
    assert (first.compared, first.files, second.compared) == (waiting, 0, 0)
    assert [(row.state, row.reason) for row in bench.files()] == states
    assert {scope.state for scope in bench.scopes()} == {"closed"}
    bench.run()
    assert bench.products() == before
    bench.see()
    assert bench.space.ingest().compared == 0


def test_a_file_that_was_doubted_before_the_clock_was_set_back_is_compared_once(bench: Bench, raw: Path, tmp_path: Path) -> None:
    bench.folder = shutil.copytree(raw, tmp_path / "raw")
    bench.see()
    bench.ingest()
    database = bench.space.database
    clock = database.clock
    database.clock = lambda: clock() + timedelta(minutes=20)
    comparisons.doubt(database, [bench.files()[0].path])
    database.clock = clock
    assert [bench.space.ingest().compared for _ in range(2)] == [1, 0]


def test_a_file_that_cannot_be_compared_now_is_compared_when_its_disk_is_back(bench: Bench, raw: Path, tmp_path: Path) -> None:
    bench.folder = shutil.copytree(raw, tmp_path / "raw")
    bench.see()
    bench.ingest()
    victim = next(row for row in bench.files() if row.kind == "light")
    path = Path(os.fsdecode(victim.path))
    data = bytearray(path.read_bytes())
    data[-3000] ^= 0x01
    put_in_place(path, bytes(data))
    bench.see()
    away = bench.folder.rename(tmp_path / "away")
    first = bench.space.ingest()
    assert (first.compared, first.again) == (1, 1)
    away.rename(bench.folder)
    assert bench.space.ingest().again == 0
    bench.ingest()
    assert next(row for row in bench.files() if row.id == victim.id).sha256 == hashlib.sha256(data).hexdigest()


def test_a_master_that_a_disk_damaged_goes_into_nothing(done: Bench, reference: dict[str, str]) -> None:
    """One byte of a master changes, its size does not; what is made again with it waits until it is sound."""
    bench = done
    root = bench.settings.products.root
    bias = next(row for row in bench.products() if row.recipe == "bias_master")
    path = root / bias.files[0].path
    for row in bench.products():
        for file in row.files if row.id != bias.id else ():
            (root / file.path).unlink()
    data = bytearray(path.read_bytes())
    data[-3000] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    bench.run()
    bench.run()
    assert {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in reference} == reference
    assert bench.content() == reference
    assert hashlib.sha256(path.read_bytes()).hexdigest() == bias.files[0].sha256
    with bench.space.database.read() as connection:
        told = [text for _, _, level, text in messages.happenings(connection, "") if level == "problem"]
    assert [text for text in told if "damaged" in text and bias.key in text]


@pytest.mark.parametrize(("damaged", "users"), [("reduce_light", ("photometry", "stack")), ("stack", ("stack_photometry",))])
def test_a_product_that_a_disk_damaged_goes_into_no_other(
    done: Bench, reference: dict[str, str], damaged: str, users: tuple[str, ...]
) -> None:
    """As a master: bytes of the same number that are not those that were written are made again before anything is made of them."""
    bench = done
    root = bench.settings.products.root
    victim = next(row for row in bench.products() if row.recipe == damaged)
    path = root / victim.files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    for row in bench.products():
        for file in row.files if row.recipe in users else ():
            (root / file.path).unlink()
    bench.run()
    bench.run()
    assert {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in reference} == reference
    with bench.space.database.read() as connection:
        told = [text for _, _, level, text in messages.happenings(connection, "") if level == "problem"]
    assert [text for text in told if "damaged" in text and victim.key in text]


def test_one_running_plan_a_scope(bench: Bench) -> None:
    bench.see()
    bench.ingest()
    bench.close()
    scope = bench.scopes()[0]
    held = claims.take(bench.space.database, scope.id, claims.PLAN, "", "")
    assert held is not None
    assert bench.space.run(scope.id).busy
    claims.end(bench.space.database, held, "done")
    assert not bench.space.run(scope.id).busy


def closed_with_a_deadly_bias(bench: Bench) -> int:
    """The night is taken in and closed, and its bias master has died three times; the number of the scope."""
    bench.see()
    bench.ingest()
    bench.close()
    scope = bench.scopes()[0]
    _, plan = look(bench.space.context, scope.id, bench.space.parameters, bench.space.rules_for)
    unit = next(p for p in plan.products if p.recipe == "bias_master")
    for _ in range(3):
        claimed = claims.take(bench.space.database, scope.id, unit.recipe, unit.key, unit.fingerprint)
        assert claimed is not None
        claims.end(bench.space.database, claimed, "died")
    return scope.id


def test_a_unit_that_dies_three_times_is_failed_and_named(bench: Bench) -> None:
    closed_with_a_deadly_bias(bench)
    bench.run()
    assert bench.state_of("bias-001.fit") == ("rejected", "bias master: gave up: the process died 3 times while making it")
    from tasks.executor import Wish

    bench.run(Wish(retry=True))
    assert bench.state_of("bias-001.fit")[0] == "done"


def test_a_person_who_asks_again_is_not_forgotten_when_that_dies_too(bench: Bench) -> None:
    from tasks.executor import Wish

    scope_id = closed_with_a_deadly_bias(bench)
    with bench.space.database.write() as connection:
        scopes.planned(connection, scope_id, read_mark=bench.scopes()[0].mark, wake_at="")

    def deadly(_units: Sequence[PlannedProduct]) -> list[Outcome]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.space.run(scope_id, wish=Wish(retry=True), make=deadly)
    after = bench.scopes()[0]
    assert after.mark > after.planned_mark


def test_killed_in_the_middle_and_started_again(raw: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    bench = Bench(raw, tmp_path)
    bench.see()
    bench.ingest()
    bench.close()
    script = "import sys\nfrom tests.support.killed import main\nmain(sys.argv[1], sys.argv[2], int(sys.argv[3]))\n"
    for units in (2, 5):
        done = subprocess.run(
            [sys.executable, "-c", script, str(raw), str(tmp_path), str(units)], cwd=Path(__file__).parents[2], check=False, timeout=120
        )
        assert done.returncode == -9
    bench.run()
    assert bench.content() == reference
    sweep_leftovers(bench.space, older_than_s=-1e9)
    assert list(bench.settings.products.root.rglob(".nightcrew-*")) == []


def test_a_frame_that_vanishes_is_left_out_of_its_master(raw: Path, tmp_path: Path) -> None:
    copy = tmp_path / "raw"
    shutil.copytree(raw, copy)
    bench = Bench(copy, tmp_path / "out")
    bench.see()
    bench.ingest()
    (copy / "bias-002.fit").unlink()
    bench.close()
    bench.run()
    state, reason = bench.state_of("bias-002.fit")
    assert state == "set_aside"
    assert "gone" in reason


@pytest.mark.parametrize("leaves_a_mount_point", [False, True])
def test_frames_of_a_folder_that_is_away_are_not_said_to_be_gone(raw: Path, tmp_path: Path, *, leaves_a_mount_point: bool) -> None:
    copy, away = tmp_path / "raw", tmp_path / "away"
    copy.mkdir()
    for path in raw.glob("bias-*"):
        shutil.copy2(path, copy)
    bench = Bench(copy, tmp_path / "out")
    bench.see()
    bench.ingest()
    bench.close()
    copy.rename(away)
    if leaves_a_mount_point:
        copy.mkdir()
    bench.run()
    assert {bench.state_of(path.name)[0] for path in away.iterdir()} == {"waiting"}
    if leaves_a_mount_point:
        copy.rmdir()
    away.rename(copy)
    bench.run()
    assert {bench.state_of(path.name)[0] for path in copy.iterdir()} == {"done"}


def test_raw_frames_are_never_touched(raw: Path, tmp_path: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in raw.iterdir()}
    Bench(raw, tmp_path).night()
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in raw.iterdir()} == before


def test_products_hold_no_path_and_no_time_of_making(done: Bench) -> None:
    light = next(row for row in done.products() if row.recipe == "reduce_light")
    head = (done.settings.products.root / light.files[0].path).read_bytes()[:28_800]
    assert os.fsencode(done.folder) not in head
    assert b"2026-05-17T18" not in head


def test_plain_names_are_links_to_the_current_product(done: Bench) -> None:
    root = done.settings.products.root
    for row in done.products():
        for file in row.files:
            links = [
                link for link in (root / file.path).parent.iterdir() if link.is_symlink() and link.readlink().name == Path(file.path).name
            ]
            assert len(links) == 1


def test_plain_names_that_a_dead_process_left_behind_are_mended(done: Bench) -> None:
    root = done.settings.products.root
    links = {path: path.readlink() for path in root.rglob("*") if path.is_symlink()}
    first, second = sorted(links)[:2]
    first.unlink()  # died between the ledger's row and the name
    second.unlink()
    second.symlink_to("an-older-one.fits")
    row = next(row for row in done.products() if row.recipe == "stack")
    with done.space.database.write() as connection:
        products.dismiss(connection, row.scope_id, [(row.recipe, row.key)])  # as above: the name still leads to it
    done.run()
    assert {path: path.readlink() for path in root.rglob("*") if path.is_symlink()} == links


def test_groups_that_still_grow_wait(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path, night=NightSettings(group_quiet_s=600.0, quiet_s=0.0))
    bench.see()
    bench.ingest()
    runs = bench.run()
    assert made(runs) == 0
    assert "still coming in" in bench.state_of("bias-001.fit")[1]
    assert bench.scopes()[0].wake_at != ""
    bench.close()
    assert made(bench.run()) > 0


def test_a_bug_in_one_unit_does_not_stop_its_siblings(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.lights

    real = tasks.lights.reduce
    seen: list[str] = []

    def broken(context: UnitContext, planned: PlannedProduct) -> NewProduct:
        seen.append(planned.key)
        if len(seen) == 1:
            raise ZeroDivisionError("planted")
        return real(context, planned)

    monkeypatch.setattr(tasks.lights, "reduce", broken)
    bench.night()
    states = Counter(row.state for row in bench.files() if row.kind == "light" and row.state != "set_aside")
    assert states["rejected"] == 2  # the truncated one and the one with the bug
    assert states["done"] == 3
    assert make_locally(bench.space.context)([]) == []
