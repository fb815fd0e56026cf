"""The morning: pages of the nights that were touched, one mail over them, nothing twice."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import os
import shutil
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from flows import housekeeping, pages
from flows.housekeeping import tidy
from flows.pages import report_when_closed, write_page
from flows.reporting import queue_morning
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io.atomic import PART_PREFIX, PART_SUFFIX
from nightcrew.ledger import dispatches, messages, products, scopes
from nightcrew.planning.model import PlannedProduct
from nightcrew.recipes.catalogue import RECIPES, STEPS
from nightcrew.settings import LightsSettings, LimitsSettings, NightSettings, PhotometrySettings, ReportsSettings, RetentionSettings
from tasks import run
from tasks.executor import Wish, make_locally
from tasks.run import Outcome
from tests.support.small_nights import Bench, make_raw
from tests.support.undrawn import PIXEL, drawn

pytestmark = pytest.mark.usefixtures("undrawn_figures")

NIGHT, MORNING = "2026-05-16", "2026-05-17"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("night")
    make_raw(out)
    return out / "raw"


@pytest.fixture(scope="module")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ledger and products of the night, closed and made."""
    root = tmp_path_factory.mktemp("finished")
    bench = Bench(raw, root)
    bench.night()
    bench.space.database.close()
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A copy of them for one test."""
    return shutil.copytree(finished, tmp_path / "root", symlinks=True)


def text_of(message: bytes) -> str:
    body = email.message_from_bytes(message, policy=email.policy.default).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_a_closed_nights_page_is_written_once_and_again_after_a_change(raw: Path, root: Path) -> None:
    bench = Bench(raw, root)
    scope = bench.scopes()[0]
    assert report_when_closed(bench.space, scope.id) == f"night/{NIGHT}/index.html"
    assert report_when_closed(bench.space, scope.id) == ""
    with bench.space.database.write() as connection:
        scopes.mark(connection, [scope.id], bench.space.database.now())
    assert report_when_closed(bench.space, scope.id) != ""
    assert (root / "reports" / "index.html").exists()


def test_an_open_nights_page_waits(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.see()
    bench.ingest()
    assert report_when_closed(bench.space, bench.scopes()[0].id) == ""


def test_one_mail_a_morning_and_news_only_in_the_next(raw: Path, root: Path) -> None:
    bench = Bench(raw, root)
    first = queue_morning(bench.space, MORNING)
    assert f"night/{NIGHT}/" in text_of(first.message)
    assert queue_morning(bench.space, MORNING) == first
    bench.now += timedelta(days=1)
    second = queue_morning(bench.space, "2026-05-18")
    assert second.message_id != first.message_id
    assert f"night/{MORNING}/" in text_of(second.message)
    assert f"night/{NIGHT}/" not in text_of(second.message)


def test_an_empty_night_has_its_page_and_its_mail(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    bench = Bench(tmp_path / "raw", tmp_path)
    row = queue_morning(bench.space, MORNING)
    assert NIGHT in text_of(row.message)
    for text in (text_of(row.message), (tmp_path / "reports" / "night" / NIGHT / "index.html").read_text(encoding="utf-8")):
        assert "was not walked during this night" in " ".join(text.split())  # why nothing came stands in both


@pytest.mark.parametrize(
    ("reports", "start"),
    [
        (ReportsSettings(), "http://127.0.0.1:8765/"),
        (ReportsSettings(link="https://hill.example/crew/", port=0), "https://hill.example/crew/"),
        (ReportsSettings(port=0), ""),  # any free port: without the service nobody knows it
    ],
)
def test_a_mail_links_the_pages_only_where_they_are(tmp_path: Path, reports: ReportsSettings, start: str) -> None:
    bench = Bench(tmp_path, tmp_path / "root", reports=reports)
    assert queue_morning(bench.space, MORNING)
    with bench.space.database.read() as connection:
        text = text_of(messages.mails(connection)[-1].message)
    assert ("Report: " in text) == ("All nights: " in text) == bool(start)
    assert text.count(f"{start}night/{NIGHT}/index.html") == bool(start)


def test_a_page_that_fails_is_told_and_stops_no_mail(raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(raw, root)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug in the page")

    monkeypatch.setattr(pages, "gather_night", broken)
    row = queue_morning(bench.space, MORNING)
    assert "a bug in the page" in text_of(row.message)
    with bench.space.database.read() as connection:
        assert [scope.title for scope in scopes.touched_since_mail(connection)] == [f"{NIGHT}/NCSIM"]


def test_a_night_whose_run_failed_says_so_in_page_and_mail_until_it_is_finished(raw: Path, root: Path) -> None:
    bench = Bench(raw, root)
    (scope,) = bench.scopes()
    row = dispatches.request(bench.space.database, "night", scope.id)
    dispatches.change(bench.space.database, row.id, "ended", outcome="Crashed: out of memory")
    assert write_page(bench.space, NIGHT).page.failed == ""  # its plan was finished before that
    with bench.space.database.write() as connection:
        scopes.mark(connection, [scope.id], bench.space.database.now())
    mail = text_of(queue_morning(bench.space, MORNING).message)
    assert "THE NIGHT FAILED" in mail
    assert f"the run of {NIGHT}/NCSIM ended Crashed: out of memory" in mail
    page = (root / "reports" / "night" / NIGHT / "index.html").read_text(encoding="utf-8")
    assert "The night failed" in page
    bench.run()
    assert write_page(bench.space, NIGHT).page.failed == ""


def test_what_fails_last_is_told_although_a_page_was_written_meanwhile(raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The morning's page comes while the night is being reduced; its last unit then fails, and nothing else changes."""
    bench = Bench(raw, root)
    (scope,) = bench.scopes()
    lost = max(bench.products(), key=lambda row: (STEPS.index(RECIPES[row.recipe].step), len(row.files)))
    for file in lost.files:
        (bench.settings.products.root / file.path).unlink()
    assert bench.space.notice_lost_products()
    usual, written = make_locally(bench.space.context), []

    def refuse(*_: object) -> NoReturn:
        raise RejectedInput("its stars are <all> gone")

    def make(units: Sequence[PlannedProduct]) -> list[Outcome]:
        written.append(write_page(bench.space, NIGHT).path)
        return list(usual(units))

    monkeypatch.setattr(run, "unit_for", lambda _: refuse)
    assert bench.space.run(scope.id, make=make).failed == len(written) == 1
    assert "its stars are" not in written[0].read_text(encoding="utf-8")
    page = bench.settings.reports.root / report_when_closed(bench.space, scope.id)
    assert "its stars are &lt;all&gt; gone" in page.read_text(encoding="utf-8")


def test_a_mail_of_unknown_fate_is_told_in_the_next(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    bench = Bench(tmp_path / "raw", tmp_path)
    row = queue_morning(bench.space, MORNING)
    messages.begin_sending(bench.space.database, row.id)
    messages.end_sending(bench.space.database, row.id, "unknown", error="lost after the last dot")
    assert "lost after the last dot" in text_of(queue_morning(bench.space, "2026-05-18").message)


def test_a_mail_whose_sender_died_is_told_in_the_very_next(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    bench = Bench(tmp_path / "raw", tmp_path)
    first = queue_morning(bench.space, "2026-05-17")
    assert messages.begin_sending(bench.space.database, first.id)
    second = queue_morning(bench.space, "2026-05-18")
    with bench.space.database.read() as connection:
        assert messages.mail_of(connection, "2026-05-17") == ("unknown", 1)
    assert "not known whether the mail of 2026-05-17 was delivered" in " ".join(text_of(second.message).split())


def test_what_is_outdated_in_an_old_night_is_told_with_the_command_that_remakes_it(raw: Path, root: Path) -> None:
    bench = Bench(raw, root, night=NightSettings(group_quiet_s=0.0, quiet_s=0.0, remake_nights=0))
    assert not any("outdated" in notice.text for notice in write_page(bench.space, NIGHT).page.notices)
    flat = next(row for row in bench.products() if row.recipe == "flat_master")
    products.mark_bad(bench.space.database, flat.id, "a cloud", remake_scopes=0)
    published = write_page(bench.space, NIGHT)
    (action,) = [action for action in published.verdict.actions if "outdated" in action.text]
    assert (action.level, action.command) == ("notice", f"nightcrew rerun {NIGHT}")
    assert "outdated" in published.path.read_text(encoding="utf-8")
    text = text_of(queue_morning(bench.space, "2026-06-20").message)
    assert "products of 1 older night are outdated" in text
    assert f"nightcrew rerun {NIGHT}" in text
    bench.run(Wish())
    assert not any("outdated" in notice.text for notice in write_page(bench.space, NIGHT).page.notices)
    assert "outdated" not in text_of(queue_morning(bench.space, "2026-06-21").message)


def test_a_wrong_date_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(Refused, match="no date"):
        queue_morning(Bench(tmp_path / "raw", tmp_path).space, "yesterday")


def test_the_page_of_a_simulated_night_compares_with_its_truth(raw: Path, root: Path) -> None:
    bench = Bench(raw, root)
    reports = bench.settings.reports.model_copy(update={"truth": raw.parent / "truth.json"})
    settings = bench.settings.model_copy(update={"reports": reports})
    published = write_page(dataclasses.replace(bench.space, settings=settings), NIGHT)
    assert any(row.name == "gain" for row in published.page.truth)
    assert write_page(bench.space, NIGHT).page.truth == ()


def test_superseded_products_go_and_parents_of_living_ones_stay(raw: Path, root: Path) -> None:
    bench = Bench(raw, root, retention=RetentionSettings(superseded_days=1, backups=2))
    before = {row.fingerprint for row in bench.products()}
    later = Bench(
        raw,
        root,
        retention=RetentionSettings(superseded_days=1, backups=2),
        lights=LightsSettings(cosmic_rays=False, stack_method="median"),
        photometry=PhotometrySettings(radius_px=5.0),
    )
    later.run()
    later.now += timedelta(days=3)
    stale = before - {row.fingerprint for row in later.products()}
    assert stale
    assert tidy(later.space, date(2026, 5, 20)).retired == len(stale)
    with later.space.database.read() as connection:
        rows = products.of_scope(connection, 1)
    folder = later.settings.products.root
    for row in rows:
        there = [(folder / file.path).exists() for file in row.files]
        assert all(there) if row.state == "made" else not any(there)
    assert {row.fingerprint for row in rows if row.state == "retired"} == stale
    assert later.run()[0].made == 0


def test_copies_of_the_ledger_are_kept_for_some_mornings(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    bench = Bench(tmp_path / "raw", tmp_path, retention=RetentionSettings(backups=2))
    for day in (17, 18, 19):
        tidy(bench.space, date(2026, 5, day))
    copies = sorted(path.name for path in (tmp_path / "state").glob("*.bak"))
    assert copies == ["ledger.sqlite.2026-05-18.bak", "ledger.sqlite.2026-05-19.bak"]


def test_what_interrupted_writers_left_is_swept_and_nothing_else(raw: Path, root: Path) -> None:
    import os

    bench = Bench(raw, root)
    folder = bench.settings.products.root
    begun = bench.products()[0].fingerprint[:12]
    young = f"young.{begun}.fits"
    for name in (".nightcrew-0123.part", f"lost.{begun}.fits", "mine.fits", "of-another-ledger.0123456789ab.fits"):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (1, 1))
    (folder / young).write_bytes(b"x")
    for path in folder.rglob("*.fits"):
        if path.name != young:
            os.utime(path, (1, 1), follow_symlinks=False)
    assert tidy(bench.space, date(2026, 5, 17)).orphans == 2
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(
        ["mine.fits", "of-another-ledger.0123456789ab.fits", young]
    )
    assert bench.run()[0].made == 0


def test_a_page_is_the_same_whatever_was_kept(raw: Path, root: Path) -> None:
    bench = Bench(raw, root)
    pictures = root / "state" / "pictures"

    def bytes_of_page() -> dict[str, bytes]:
        folder = write_page(bench.space, NIGHT).path.parent
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    with drawn():
        first = bytes_of_page()
        kept = [path for path in pictures.rglob("*") if path.is_file()]
        assert len(kept) > 10
        assert not any(PIXEL in path.read_bytes() for path in kept)  # all show something
        assert bytes_of_page() == first
        for place, path in enumerate(kept):
            path.write_bytes(b"" if place % 2 else path.read_bytes()[:-1] + b"?")
        assert bytes_of_page() == first
        shutil.rmtree(pictures)
        assert bytes_of_page() == first


def test_old_logs_and_pictures_go_and_young_ones_stay(raw: Path, root: Path) -> None:
    bench = Bench(raw, root, retention=RetentionSettings(logs_days=3))
    logs, pictures = root / "state" / "logs", root / "state" / "pictures" / "zz"  # no hash begins so: other tests keep pictures beside
    for folder in (logs, pictures):
        folder.mkdir(parents=True, exist_ok=True)
        for name, days in (("old.log", 8), ("young.log", 1)):
            (folder / name).write_bytes(b"x")
            os.utime(folder / name, (time.time() - days * 86_400, time.time() - days * 86_400))
    assert tidy(bench.space, date(2026, 5, 17)).logs == 1
    for folder in (logs, pictures):
        assert [path.name for path in folder.iterdir()] == ["young.log"]


def test_what_goes_while_the_morning_looks_is_no_fault(raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process gives its files their final names."""
    bench = Bench(raw, root, retention=RetentionSettings(logs_days=3))
    name = f"{PART_PREFIX}x{PART_SUFFIX}"
    places = [root / "state" / "pictures" / "ab" / name, root / "state" / "logs" / "a.log", bench.space.settings.products.root / name]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
    real = Path.stat
    looked: list[Path] = []
    gone_before: list[Path] = []

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path in gone_before:
            path.unlink(missing_ok=True)
        found = real(path, follow_symlinks=follow_symlinks)
        if path in places:
            looked.append(path)
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "stat", stat)
    for gone_before[:] in (places, []):
        for path in places:
            path.write_bytes(b"x")
        tidy(bench.space, date(2026, 5, 17))
    assert sorted(looked) == sorted(places)


def test_kept_pictures_are_no_more_than_their_share_of_the_disk(tmp_path: Path) -> None:
    for age in range(5):
        path = tmp_path / "ab" / f"{age}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (time.time() - 60 * age, time.time() - 60 * age))
    housekeeping._drop_pictures(tmp_path, 350)
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == ["0", "1", "2"]


def test_a_page_keeps_no_picture_below_the_reserve(raw: Path, root: Path) -> None:
    shutil.rmtree(root / "state" / "pictures")
    bench = Bench(raw, root, limits=LimitsSettings(disk_reserve_bytes=10**18))
    write_page(bench.space, NIGHT)
    assert [path for path in (root / "state" / "pictures").rglob("*") if path.is_file()] == []


def test_what_happens_to_an_old_night_stands_on_its_page_and_names_it(raw: Path, root: Path) -> None:
    """Weeks after the night: a product is deleted, and the run that remakes it crashes."""
    bench = Bench(raw, root)
    (scope,) = bench.scopes()
    bench.now += timedelta(days=30)
    (bench.settings.products.root / bench.products()[0].files[0].path).unlink()
    assert bench.space.notice_lost_products() == [scope.title]
    row = dispatches.request(bench.space.database, "night", scope.id)
    dispatches.end(bench.space.database, row, "Crashed: out of memory")
    messages.happened(bench.space.database, "disk", "problem", "paused, the disk is nearly full")
    bench.run()
    page = write_page(bench.space, NIGHT).path.read_text(encoding="utf-8")
    assert f"files of a product of {NIGHT}/NCSIM were deleted or damaged, they are made again" in page
    assert f"the run of {NIGHT}/NCSIM ended Crashed: out of memory" in page
    assert "paused" not in page  # that is told by the page of its own night
    index = (root / "reports" / "index.html").read_text(encoding="utf-8")
    assert "paused, the disk is nearly full" in index
    bench.now += timedelta(days=2)
    write_page(bench.space, NIGHT)
    assert "paused" not in (root / "reports" / "index.html").read_text(encoding="utf-8")


def test_a_deliberate_stop_of_the_service_in_a_night_does_not_make_it_need_a_look(raw: Path, root: Path) -> None:
    bench = Bench(raw, root)
    (scope,) = bench.scopes()
    database = bench.space.database
    before = write_page(bench.space, NIGHT)
    row = dispatches.request(database, "night", scope.id)
    for word in (messages.STOPPED, messages.STARTED):
        bench.now += timedelta(seconds=5)
        messages.happened(database, "service", "info", word)
    with database.write() as connection:
        scopes.mark(connection, [scope.id], database.now())  # the plan is not finished
    dispatches.end(database, row, f"Crashed: {dispatches.GONE_AT_START}")
    after = write_page(bench.space, NIGHT)
    assert after.verdict == before.verdict
    page = after.path.read_text(encoding="utf-8")
    assert f"the run of {NIGHT}/NCSIM was stopped with the service, and goes on since it was started again" in page
    assert "Crashed" not in page


def test_folders_that_a_plate_solver_worked_in_go_after_a_day(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in ("nightcrew-plate-a", "nightcrew-plate-b", "another-plate"))
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "stars.xyls").touch()
    for folder in (old, other):
        os.utime(folder, (time.time() - 90_000,) * 2)
    assert housekeeping._sweep_scratch(tmp_path, 86_400.0) == 1
    assert sorted(tmp_path.iterdir()) == [other, young]
