"""Pages gathered from a real ledger over small simulated nights."""

from __future__ import annotations

import dataclasses
import os
import shutil
import zlib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sep

from nightcrew.ledger import claims, messages
from nightcrew.photometry import detect
from nightcrew.photometry.measure import NOT_DEBLENDED, Photometry
from nightcrew.planning.lights import NO_BIAS
from nightcrew.planning.model import PlannedProduct
from nightcrew.settings import FolderSettings, Settings
from nightcrew.simulate import camera_file
from reports import check, gather_lights, gather_service, gather_trends, views
from reports.gather import gather_night
from reports.gather_files import likeness
from reports.gather_queries import Catalogued
from reports.gather_service import MOST_NOTICES, told_once
from reports.model import CalibrationCell, NightPage
from reports.night_data import Archive, readable
from reports.pictures import picture_of_png
from reports.publish import Published, publish_night
from reports.verdict import judge
from tasks import photometry
from tasks.executor import Wish, look
from tests.support.silent import asked_in_vain
from tests.support.small_nights import Bench, make_raw, small_plan

FIRST, SECOND = "2026-05-16", "2026-05-17"
TROUBLES = ("truncated", "duplicate", "text_file", "bright_flat")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw frames of two nights; the second has no flats of its own."""
    out = tmp_path_factory.mktemp("raw")
    make_raw(out / FIRST, small_plan(FIRST, troubles=TROUBLES))
    make_raw(out / SECOND, small_plan(SECOND))
    for flat in (out / SECOND / "raw").glob("flat-*"):
        flat.unlink()
    return out


NO_STACKS = Wish(only=("bias_master", "dark_master", "thermal_master", "flat_master", "bad_pixel_mask", "reduce_light", "photometry"))


def night_without_stacks(bench: Bench, paths: Iterable[Path]) -> None:
    """See, ingest, close, run; stacks and their charts take the longest and most tests look at none."""
    bench.see(paths)
    bench.ingest()
    bench.close()
    bench.run(NO_STACKS)


def archive_of(bench: Bench) -> Archive:
    space = bench.space
    return Archive(database=space.database, settings=space.settings, rules_for=space.rules_for, parameters=space.parameters)


def gathered(bench: Bench, night: str = FIRST) -> NightPage:
    return gather_night(archive_of(bench), night, made_at=bench.now)


@pytest.fixture(scope="module")
def two_nights(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Both nights reduced; the flats in V of the first came after its lights."""
    bench = Bench(raw, tmp_path_factory.mktemp("out"))
    first, second = sorted((raw / FIRST / "raw").iterdir()), sorted((raw / SECOND / "raw").iterdir())
    bench.see(path for path in first if not path.name.startswith("flat-V"))
    bench.ingest()
    bench.now += timedelta(seconds=5)
    bench.see(first)
    bench.ingest()
    bench.close()
    bench.run()
    bench.now += timedelta(days=1)
    bench.see(second)
    bench.ingest()
    bench.close()
    bench.run()
    return bench


@pytest.fixture(scope="module")
def page(two_nights: Bench) -> NightPage:
    """The page of the first night."""
    return gathered(two_nights)


@pytest.fixture(scope="module")
def published(two_nights: Bench, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The first night's page on disk."""
    return publish_night(gathered(two_nights), tmp_path_factory.mktemp("reports"))


def cell(page: NightPage, kind: str, label: str = "") -> CalibrationCell:
    return next(one for one in page.calibrations if one.kind == kind and label in one.label)


def test_a_real_night_is_a_page_without_faults(published: Published) -> None:
    assert published.faults == ()
    assert published.verdict.status == "good"
    assert published.verdict.sentence.startswith("4 of 5 lights reduced, all with grade A; nothing needs a person")


def test_a_damaged_picture_is_not_shown_and_told(two_nights: Bench, page: NightPage) -> None:
    """A chart with other words in it, and a master that was cut short; nothing but a look at all bytes tells the first."""
    root = two_nights.settings.products.root
    charts = [file for row in two_nights.products() for file in row.files if file.role == "finder"]
    chart = next(file for file in charts if FIRST in file.path)
    master = next(row.files[0] for row in two_nights.products() if row.recipe == "bias_master" and FIRST in row.files[0].path)
    sound = {file: (root / file.path).read_bytes() for file in (chart, master)}
    assert not any("damaged" in notice.text for notice in page.notices)
    try:
        other = _with_another_comment(sound[chart])
        (root / chart.path).write_bytes(other)
        (root / master.path).write_bytes(sound[master][:-2880])
        assert picture_of_png(root / chart.path, "") is not None  # a picture all the same
        spoiled = gathered(two_nights)
    finally:
        for file, data in sound.items():
            (root / file.path).write_bytes(data)
    assert sum(stack.finder is None for stack in spoiled.stacks) == 1
    assert sum(one.picture is None for one in spoiled.masters) == 1
    (told,) = [action for action in judge(spoiled).actions if "damaged" in action.text]
    assert (told.level, told.command) == ("warning", "nightcrew doctor --products")
    assert all(file.path in told.text for file in sound)


def _with_another_comment(png: bytes) -> bytes:
    """The same picture in other bytes, as many of them: the last bit of its resolution."""
    place = png.index(b"pHYs")
    body = png[place : place + 12] + bytes([png[place + 12] ^ 1])
    return png[:place] + body + zlib.crc32(body).to_bytes(4, "big") + png[place + 17 :]


def test_products_are_told_as_folders_and_every_link_leads_somewhere(published: Published, two_nights: Bench) -> None:
    html = published.path.read_text(encoding="utf-8")
    (folder,) = published.page.provenance.products
    assert Path(folder) == two_nights.settings.products.root / FIRST / "NCSIM"
    assert Path(folder).is_dir()
    assert f"<code>{folder}</code>" in html
    links = {part.split('"')[0] for part in html.split('href="')[1:]} - {"../../index.html"}
    files = {link for link in links if not link.startswith(("#", "data:"))}
    assert files
    assert [link for link in files if ".." in link or not (published.path.parent / link).is_file()] == []


def test_a_light_that_was_cut_short_is_not_said_to_have_no_header(published: Published) -> None:
    groups = {group.title: group for group in views.light_groups(published.page.lights)}
    assert [light.name for light in groups["rejected when read"].lights] == [f"{FIRST}/raw/crew-1-B-003.fit"]


def test_lights_are_known_before_the_page_and_are_those_of_the_page(two_nights: Bench, page: NightPage) -> None:
    known: list[object] = []
    gather_night(archive_of(two_nights), FIRST, made_at=two_nights.now, lights_known=lambda *found: known.append(found))
    assert known == [(page.lights, page.instruments)]
    assert len(page.lights) > 1


def test_the_balance_counts_every_file(page: NightPage, raw: Path) -> None:
    assert page.seen == len(list((raw / FIRST / "raw").iterdir()))
    assert all(row.missing == 0 for row in page.balance)
    by_kind = {row.kind: (row.seen, row.done, row.rejected, row.set_aside) for row in page.balance}
    assert by_kind == {"bias": (3, 3, 0, 0), "dark": (6, 6, 0, 0), "flat": (7, 6, 0, 1), "light": (6, 4, 1, 1), "foreign": (1, 0, 1, 0)}


def test_every_troublemaker_is_named_with_its_reason(published: Published) -> None:
    html = published.path.read_text(encoding="utf-8")
    for name, words in (
        ("crew-1-B-003.fit", "data cut short"),
        ("copy of crew-1-B-002.fit", "duplicate: the same bytes"),
        ("observing-notes.fits", "is not a FITS file"),
        ("flat-V-004.fit", "too bright"),
    ):
        cause = next(cause for cause in published.page.causes if any(file.endswith(name) for file in cause.files))
        assert words in cause.cause
        assert name in cause.command
        assert name in html
        assert words in html


def test_the_late_flat_is_told_from_the_others(page: NightPage) -> None:
    late, fine = cell(page, "flat", "V"), cell(page, "flat", "B")
    assert (late.state, late.grade, late.users) == ("late", "A", 2)
    assert "came after 2 lights, which waited for it" in late.reason
    assert (fine.state, fine.grade, fine.users) == ("existed", "A", 2)
    assert cell(page, "dark", "30 s").users == 4
    assert cell(page, "dark", "4 s").reason == "used for: thermal and flat"


def test_masters_have_picture_level_and_noise(page: NightPage) -> None:
    names = [(master.kind, master.label) for master in page.masters]
    assert [kind for kind, _ in names] == ["bias", "dark", "dark", "thermal", "flat", "flat", "bad pixels"]
    bias = page.masters[0]
    assert bias.level_adu == pytest.approx(1000, abs=5)
    assert bias.frames == 3
    assert bias.picture is not None
    assert not bias.picture.blank
    flat = next(master for master in page.masters if (master.kind, master.label) == ("flat", "V"))
    assert flat.left_out == (("flat-V-004.fit", flat.left_out[0][1]),)
    assert "too bright" in flat.left_out[0][1]
    assert {number.name for number in bias.extras} >= {"Gain", "Read noise"}


def test_lights_have_their_numbers_and_pictures(page: NightPage) -> None:
    done = [light for light in page.lights if light.state == "done"]
    assert len(done) == 4
    for light in done:
        assert light.thumbnail is not None
        assert light.fwhm_px == pytest.approx(3.3, abs=0.8)
        assert light.background_unit == "e-/s"
        assert light.background is not None
        assert light.background > 0.5
        assert light.depth_mag is not None
        assert light.sources
    lost = next(light for light in page.lights if light.state == "rejected")
    assert "data cut short" in lost.reason
    assert [stack.frames + len(stack.left_out) for stack in page.stacks] == [2, 2]
    assert [stack.filter for stack in page.stacks] == ["B", "V"]


def test_of_very_many_lights_some_are_pictured(two_nights: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_lights, "MOST_PICTURES", 2)
    page = gathered(two_nights)
    made = [light for light in page.lights if light.state in ("done", "degraded")]
    assert [light.thumbnail is not None for light in made] == [light.pictured for light in made] == [True, False, True, False]
    assert all(light.fwhm_px for light in made)
    assert all(light.pictured for light in page.lights if light.state == "rejected")


def test_a_night_without_flats_borrows_them_and_compares_its_masters(two_nights: Bench) -> None:
    page = gathered(two_nights, SECOND)
    borrowed = cell(page, "flat", "B")
    assert (borrowed.state, borrowed.origin, borrowed.users) == ("borrowed", FIRST, 2)
    assert borrowed.age_days == pytest.approx(1, abs=0.5)
    bias = page.masters[0]
    assert bias.compared_with == FIRST
    assert bias.change == pytest.approx(0, abs=1)
    assert bias.change_sigma is not None
    assert not bias.changed
    assert check.page_faults(page) == ()


def test_trends_begin_with_the_second_night(two_nights: Bench, page: NightPage) -> None:
    assert page.trends == ()
    trends = {trend.label: trend for trend in gathered(two_nights, SECOND).trends}
    assert {"Bias level", "FWHM", "Sky background in B", "Depth in V", "Dark rate", "Noise of a bias frame"} <= set(trends)
    for trend in trends.values():
        assert [point.night for point in trend.points] == [FIRST, SECOND]
        assert trend.limits is None


def test_later_nights_do_not_change_an_earlier_page(two_nights: Bench, raw: Path, page: NightPage, tmp_path: Path) -> None:
    alone = Bench(raw / FIRST / "raw", tmp_path)
    night_without_stacks(alone, sorted((raw / FIRST / "raw").iterdir()))
    assert [point.night for trend in page.trends for point in trend.points] == []
    own = gathered(alone)
    assert [(m.kind, m.label, m.level_adu) for m in own.masters] == [(m.kind, m.label, m.level_adu) for m in page.masters]


def test_lights_alone_say_what_is_missing_and_what_mends_it(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    night_without_stacks(bench, sorted((raw / FIRST / "raw").glob("crew-1-V-*")))
    page = gathered(bench)
    missing = {(one.kind, one.state) for one in page.calibrations}
    assert missing == {("dark", "missing"), ("bias", "missing"), ("flat", "missing")}
    flat = cell(page, "flat", "V")
    assert flat.users == 2
    assert "no master of this kind is known; to mend it, take flats in this filter" in flat.reason
    assert flat.command == "nightcrew why crew-1-V-001.fit"
    verdict = judge(page)
    assert verdict.status == "attention"
    assert "both with grade D" in verdict.sentence
    assert {cause.state for cause in page.causes} == {"degraded"}
    assert [light.background for light in page.lights] == [None, None]  # the camera's offset is still in it
    assert not any("Sky background" in trend.label for trend in page.trends)
    assert check.page_faults(page) == ()


def test_a_flat_after_the_close_makes_the_cell_late_and_the_page_a_revision(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path / "out")
    files = sorted((raw / FIRST / "raw").iterdir())
    night_without_stacks(bench, [path for path in files if not path.name.startswith("flat-V")])
    before = publish_night(gathered(bench), tmp_path / "reports")
    assert cell(before.page, "flat", "V").state == "missing"
    bench.now += timedelta(hours=1)
    night_without_stacks(bench, files)
    after = publish_night(gathered(bench), tmp_path / "reports")
    assert "had been reduced, which were done again" in cell(after.page, "flat", "V").reason
    assert after.revision == 2
    note = after.page.revision_notes[0]
    assert "flat files of NCSIM 3 → 7" in note
    assert "lights of grade D 2 → 0" in note
    assert "calibrations missing 1 → 0" in note


def test_the_same_night_gathered_twice_is_no_revision(two_nights: Bench, published: Published) -> None:
    again = publish_night(gathered(two_nights), published.path.parents[2])
    assert (again.revision, again.changed) == (1, False)


def test_a_product_that_failed_is_named(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.see(sorted((raw / FIRST / "raw").iterdir()))
    bench.ingest()
    bench.close()
    scope = bench.scopes()[0]
    _, plan = look(bench.space.context, scope.id, bench.space.parameters, bench.space.rules_for)
    stack = next(product for product in plan.products if product.recipe == "stack")
    held = claims.take(bench.space.database, scope.id, "stack", stack.key, stack.fingerprint)
    assert held is not None
    claims.end(bench.space.database, held, "failed", reason="2 stars match, 3 are needed")
    bench.run(NO_STACKS)
    page = gathered(bench)
    failed = next(cause for cause in page.causes if cause.state == "failed")
    assert "stack: 2 stars match, 3 are needed" in failed.cause
    assert failed.command == f"nightcrew why {stack.fingerprint[:12]}"
    assert judge(page).actions[0].level == "problem"


def test_a_product_whose_file_is_gone_is_a_fault_of_the_report(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path / "out")
    night_without_stacks(bench, sorted((raw / FIRST / "raw").glob("[!f]*")))
    victim = next(row for row in bench.products() if row.recipe == "reduce_light")
    (bench.settings.products.root / victim.files[0].path).unlink()
    page = gathered(bench)
    assert any("1 light without a picture" in fault for fault in check.page_faults(page))


def test_an_open_night_is_preliminary(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.see(sorted((raw / FIRST / "raw").glob("crew-1-B-00[12]*")))
    bench.ingest()
    bench.run()
    page = gathered(bench)
    assert not page.closed
    assert page.total("waiting", "light") == 2
    assert judge(page).status != "bad"
    assert {cause.state for cause in page.causes} == {"waiting"}
    assert cell(page, "flat", "B").state == "missing"


def test_a_night_that_nobody_knows_is_empty_and_says_why(two_nights: Bench, tmp_path: Path) -> None:
    page = gathered(two_nights, "2026-05-20")
    verdict = judge(page)
    assert verdict.status == "empty"
    assert any(f"last night with files was {SECOND}" in reason for reason in verdict.reasons)
    gone = Bench(tmp_path / "not-mounted", tmp_path / "out")
    assert any("could not be reached" in reason for reason in judge(gathered(gone)).reasons)
    assert publish_night(gathered(gone), tmp_path / "reports").faults == ()


def test_what_happened_to_the_service_is_told_once(raw: Path, tmp_path: Path) -> None:
    bench = Bench(raw, tmp_path)
    bench.night(sorted((raw / FIRST / "raw").glob("bias-*")))
    for _ in range(3):
        messages.happened(bench.space.database, "disk", "warning", "the disk is nearly full")
    messages.happened(bench.space.database, "service", "info", "started")
    page = gathered(bench)
    assert [(notice.level, notice.text.partition(" (")[0]) for notice in page.notices] == [
        ("warning", "the disk is nearly full"),
        ("info", "started"),
    ]
    assert "3 times" in page.notices[0].text
    assert judge(page).status == "attention"


def test_happenings_that_differ_in_numbers_are_one_and_very_many_are_bounded() -> None:
    at = [f"2026-03-14T{hour:02}:00:00.000000Z" for hour in range(24)]
    hindered = [(at[n], "service", "warning", f"no room ({n}.5 MB free)") for n in range(3)]
    hindered.append((at[4], "service", "warning", f"no room (9 MB free) (so far 5 times, the last at {at[5]})"))
    (one,) = told_once(hindered)
    assert one.text == "no room (9 MB free) (8 times, the last at 2026-03-14 05:00 UTC)"
    assert one.at == "2026-03-14 00:00 UTC"
    names = [f"light-{n:03}.fit" for n in range(200)]
    many = [(at[0], "service", "problem", "the disk burned"), *((at[1], "service", "warning", f"{name} waits") for name in names)]
    told = told_once(many)
    assert len(told) == MOST_NOTICES + 1
    assert told[0].text == "the disk burned"
    assert told[-2].text == "light-199.fit waits"
    assert (told[-1].level, told[-1].text) == ("warning", f"{201 - MOST_NOTICES} more such sentences are in the ledger")


def test_raw_files_that_vanished_are_remarked(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    shutil.copytree(raw / FIRST / "raw", folder)
    bench = Bench(folder, tmp_path / "out")
    bench.night(sorted(folder.glob("bias-*")))
    from nightcrew.ledger import arrivals

    arrivals.mark_vanished(bench.space.database, [os.fsencode(folder / "bias-001.fit")])
    assert any("1 raw file vanished" in notice.text for notice in gathered(bench).notices)


HOSTILE_NAMES = (
    b"<script>alert(1)<script>.fit",
    b"a\x1b[31mred\n.fit",
    b"\xff\xfe.fit",
    b"$(touch x);.fit",
    b"-rf.fit",
    "\u202etif.fit".encode(),
)


@pytest.mark.parametrize(("before_h", "taken"), [(0.1, True), (1.0, False), (60.0, False)])
def test_an_empty_night_is_no_cloudy_one_where_nobody_looked(tmp_path: Path, before_h: float, taken: bool) -> None:
    """The last walk of the folder decides: only after one that the whole night came before, nothing was taken."""
    (tmp_path / "frames").mkdir()
    bench = Bench(tmp_path / "frames", tmp_path / "out")
    made_at = bench.now
    bench.now = made_at.replace(hour=16) - timedelta(hours=before_h)  # noon in Chile, two hours before the page is made
    messages.alive(bench.space.database, messages.sweep_sign(str(bench.folder)), str(bench.folder))
    bench.now = made_at
    reasons = judge(gathered(bench, FIRST)).reasons
    assert any("most likely nothing was taken" in reason for reason in reasons) == taken
    assert any("was last walked at" in reason for reason in reasons) != taken


def test_foreign_files_are_one_line_and_ask_nothing_of_anybody(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for path in (raw / SECOND / "raw").glob("bias-*"):
        shutil.copy(path, folder / path.name)
    for number in range(40):
        (folder / f"preview-{number:03d}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes([number]) * 400)
        (folder / f"weather {number}.txt").write_text(f"clear at {number} h", encoding="utf-8")
    found = _gathered_of(bench := Bench(folder, tmp_path / "out"))
    assert [(cause.kind, cause.count) for cause in found.causes] == [("foreign", 80)]
    verdict = judge(found)
    assert (verdict.status, verdict.actions) == ("good", ())
    with bench.space.database.read() as connection:
        assert messages.happenings(connection, "") == []


def test_one_start_with_several_pixels_is_told(raw: Path, tmp_path: Path) -> None:
    """A changed copy of a light would count twice without a word: its pixels are no longer those of the exposure."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for path in (raw / SECOND / "raw").iterdir():
        if path.name.startswith(("bias-", "crew-1-B")):
            shutil.copy(path, folder / path.name)
    content = (folder / "crew-1-B-001.fit").read_bytes()
    bench = Bench(folder, tmp_path / "out")
    night_without_stacks(bench, sorted(folder.iterdir()))
    assert [notice for notice in gathered(bench, SECOND).notices if "share camera" in notice.text] == []
    pixels = camera_file.pixels(content)  # what was done to it changed more than its noise: no copy for certain, and none for certain not
    other = pixels + np.random.default_rng(1).normal(0, 30, pixels.shape).astype(np.int64)
    (folder / "crew-1-B-001-corrected.fit").write_bytes(camera_file.replace_pixels(content, np.clip(other, 0, 65535).astype(np.uint16)))
    shutil.copy(folder / "crew-1-B-002.fit", folder / "crew-1-B-002-1.fit")  # the very same exposure: a duplicate, and none of these
    night_without_stacks(bench, sorted(folder.iterdir()))
    found = gathered(bench, SECOND)
    (notice,) = (notice for notice in found.notices if "share camera" in notice.text)
    assert notice.level == "warning"
    assert "2 frames in use" in notice.text
    assert "crew-1-B-001-corrected.fit and crew-1-B-001.fit." in notice.text
    assert any("share camera" in action.text for action in judge(found).actions)


def test_frames_that_began_after_they_arrived_are_told(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for path in sorted((raw / SECOND / "raw").glob("crew-1-B-*"))[:3]:
        shutil.copy(path, folder / path.name)
    assert [notice for notice in _gathered_of(Bench(folder, tmp_path / "out")).notices if "after arriving" in notice.text] == []
    ahead = folder / "crew-1-B-001.fit"
    moved = camera_file.format_card("DATE-OBS", "2090-01-02T01:00:00.000", "")
    ahead.write_bytes(camera_file.replace_card(ahead.read_bytes(), "DATE-OBS", moved))
    found = _gathered_of(Bench(folder, tmp_path / "other"), "2090-01-01")
    (notice,) = (notice for notice in found.notices if "after arriving" in notice.text)
    assert notice.level == "warning"
    assert notice.text.startswith("1 frame began, by its header, after arriving here, up to ")
    assert "crew-1-B-001.fit" in notice.text


def test_a_catalogue_whose_sources_could_not_be_told_apart_says_so_with_its_light(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    shutil.copy(raw / SECOND / "raw" / "crew-1-B-001.fit", folder)
    bench, room = Bench(folder, tmp_path / "out"), sep.get_sub_object_limit()
    monkeypatch.setattr(detect, "_SUB_OBJECTS", 1)
    sep.set_sub_object_limit(1)
    try:
        (light,) = _gathered_of(bench).lights
    finally:
        sep.set_sub_object_limit(room)
    assert light.reason.endswith(NOT_DEBLENDED)
    (catalogue,) = (row for row in bench.products() if row.recipe == "photometry")
    assert (catalogue.grade, catalogue.grade_reasons[-1]) == ("D", NOT_DEBLENDED)  # no better than its light
    planned = PlannedProduct("photometry", 2, 1, SECOND, "", "", "", (), {}, {}, "A", (), "ready")
    assert photometry._judged(planned, Photometry(None, {"notes": [NOT_DEBLENDED]})).grade == "C"


def _gathered_of(bench: Bench, night: str = SECOND) -> NightPage:
    bench.now += timedelta(days=1)  # the second night is over
    night_without_stacks(bench, sorted(bench.folder.iterdir()))
    return gathered(bench, night)


def test_numbers_that_never_came_are_remarked(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    bias = next((raw / FIRST / "raw").glob("bias-*"))
    names = [f"test-{number:04d}.fit" for number in range(95, 120)]
    for name in names:
        shutil.copy(bias, folder / name)
    (folder / "test-0103.fit").write_bytes(b"")  # came, though nothing can be made of it
    (folder / "test-0101.fit").rename(tmp_path / "lost")
    another = camera_file.replace_card(bias.read_bytes(), "DATE-OBS", camera_file.format_card("DATE-OBS", "2026-05-01T03:00:00.000", ""))
    (folder / "test-0105.fit").write_bytes(another)  # of another night
    bench = Bench(folder, tmp_path / "out")
    night_without_stacks(bench, sorted(folder.iterdir()))
    notices = [notice.text for notice in gathered(bench).notices if "by the numbers" in notice.text]
    assert notices == ["by the numbers in the names 1 file may be absent (not written, or not copied): test-0101.fit"]


def test_hostile_file_names_reach_no_shell_and_no_markup(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    source = (raw / FIRST / "raw" / "crew-1-B-001.fit").read_bytes()
    for place, name in enumerate(HOSTILE_NAMES):
        path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118  bytes paths
        with open(path, "wb") as file:  # noqa: PTH123  bytes paths
            file.write(source[:-2880] + bytes([place]) * 2880)
    card = b"OBJECT  = '<img src=x onerror=alert(1)>'".ljust(80)
    light = (raw / FIRST / "raw" / "crew-1-V-001.fit").read_bytes()
    at = light.index(b"OBJECT  =")
    (folder / "good.fit").write_bytes(light[:at] + card + light[at + 80 :])
    bench = Bench(folder, tmp_path / "out")
    night_without_stacks(bench, sorted(folder.iterdir()))
    made = publish_night(gathered(bench), tmp_path / "reports")
    html = made.path.read_text(encoding="utf-8")
    assert [fault for fault in made.faults if "picture" not in fault] == []
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror" in html
    assert "\x1b" not in html
    assert all(command.isprintable() for command in (cause.command for cause in made.page.causes))
    commands = " ".join(cause.command for cause in made.page.causes)
    assert "$(touch" not in commands.replace("'$(touch x);.fit'", "").replace("'./-rf", "")


def test_masters_are_named_for_people() -> None:
    raw = "left out of flat master B_512x512_g100_0ef98e: too bright; dark_master 120s_-18.7C_1542x1024_f60ff8: 3.8 C away"
    assert readable(raw) == "left out of flat master B: too bright; dark master 120s -18.7C: 3.8 C away"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data cut short: 100 of 200 bytes", "data cut short: 7 of 9 bytes"),
        ("a.fit: no header", "b.FITS: no header"),
        ("left out of 'x': too bright", "left out of 'y': too bright"),
        ("hash 0123456789abcdef", "hash fedcba9876543210"),
    ],
)
def test_reasons_that_differ_in_details_only_are_alike(one: str, other: str) -> None:
    assert likeness(one) == likeness(other)
    assert likeness(one) != likeness("quite another reason")


def test_a_watched_folder_that_does_not_answer_holds_no_page_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a share is gone: whoever looks at the folder waits until it is back, and the morning's mail with it."""
    (tmp_path / "good").mkdir()
    settings = Settings(folders=tuple(FolderSettings(path=tmp_path / name) for name in ("good", "silent", "absent")))
    with asked_in_vain(monkeypatch, gather_service) as answering:
        told = [(fact.reachable, fact.note) for fact in gather_service.folders(settings, {}, {})]
        assert not answering.is_set()
    assert told == [(True, ""), (False, "It does not answer."), (False, "It does not exist or is not mounted.")]


def test_a_sky_with_the_cameras_offset_in_it_is_no_point_of_a_trend() -> None:
    one = Catalogued("2026-05-16", "V", 10.0, {"background": 500.0, "unit": "electron"}, ())
    assert gather_trends._value(one, "background") == 50.0
    assert gather_trends._value(dataclasses.replace(one, reasons=(NO_BIAS,)), "background") is None
