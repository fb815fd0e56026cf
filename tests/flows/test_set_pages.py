"""Pages of sets: what the analysis found, what came in, what failed; the index, the night's page and the mail tell of them."""

from __future__ import annotations

import email
import email.policy
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flows import set_pages
from flows.housekeeping import tidy
from flows.pages import local_now, report_when_closed, write_page, write_set_page
from flows.reporting import queue_morning
from nightcrew.errors import TransientError
from nightcrew.ledger import dispatches, messages, products
from nightcrew.settings import FolderSettings, RetentionSettings
from reports.check import html_faults
from tasks.set_units import SetResult, SetUnit
from tests.support import toy_kind as toy
from tests.support.set_bench import SetBench
from tests.support.toy_kind import toy_kind

FILES: dict[str, str | bytes] = {"set1/a.num": "1", "set1/b.num": "2.5", "set1/notes.log": "hi"}
MORNING = "2026-05-17"


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_kind():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> SetBench:
    return SetBench(tmp_path)


def text_of(message: bytes) -> str:
    body = email.message_from_bytes(message, policy=email.policy.default).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def subject_of(message: bytes) -> str:
    return str(email.message_from_bytes(message, policy=email.policy.default)["Subject"])


def page_of(bench: SetBench, name: str = "set1") -> str:
    return (bench.root / "reports" / "sensor" / name / "index.html").read_text(encoding="utf-8")


def test_a_closed_sets_page_is_the_analysis_with_the_balance_of_its_files(bench: SetBench) -> None:
    bench.whole(FILES)
    assert report_when_closed(bench.space, bench.scope().id) == "sensor/set1/index.html"
    assert report_when_closed(bench.space, bench.scope().id) == ""
    html = page_of(bench)
    assert html_faults(html) == ()
    for words in ("The sum is 3.5", "the balance closes", "a log", "3.500", "nightcrew rerun sensor/set1", "Curve"):
        assert words in html
    folder = bench.root / "reports" / "sensor" / "set1"
    for name in ("summary.json", "sum.csv", "figures/curve.png", "numbers/files.csv", "numbers/values-numbers.csv"):
        assert (folder / name).is_file(), name
    assert 'href="sum.csv"' in html
    assert "set1" in (bench.root / "reports" / "index.html").read_text(encoding="utf-8")


def test_a_figure_with_nothing_behind_it_is_told_on_the_page_and_to_the_morning(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy.units["toy_sum"]

    def hollow(unit: SetUnit) -> SetResult:
        result = made(unit)
        (unit.out / "sum.csv").write_text("values\nnan\n", encoding="utf-8")
        return result

    monkeypatch.setitem(toy.units, "toy_sum", hollow)
    bench.whole(FILES)
    published = write_set_page(bench.space, bench.scope().id)
    assert published.faults == ("figure 'Curve' has no numbers behind it (sum.csv)",)
    assert (published.status, published.word) == ("attention", "Needs a look")
    assert any("has no numbers behind it" in need for need in published.needs)
    assert "has no numbers behind it (sum.csv)" in html.unescape(page_of(bench))


def test_an_open_set_says_that_its_files_are_coming_in(bench: SetBench) -> None:
    bench.drop(FILES)
    bench.see()
    bench.run()
    assert report_when_closed(bench.space, bench.scope().id) == ""
    published = write_set_page(bench.space, bench.scope().id)
    assert (published.status, published.word) == ("empty", "In progress")
    assert "3 files came so far" in page_of(bench)


def test_the_earlier_analysis_stands_while_files_are_coming_in(bench: SetBench) -> None:
    bench.whole(FILES)
    bench.drop({"set1/c.num": "4"})
    bench.see()
    bench.run()
    published = write_set_page(bench.space, bench.scope().id)
    assert published.status == "good"
    assert "The sum is 3.5" in page_of(bench)
    assert "files have come since this analysis" in page_of(bench)


def test_a_late_file_gives_a_new_page_in_the_place_of_the_old(bench: SetBench) -> None:
    bench.whole(FILES)
    assert write_set_page(bench.space, bench.scope().id).revision == 1
    assert not write_set_page(bench.space, bench.scope().id).changed
    bench.whole({"set1/c.num": "4"})
    published = write_set_page(bench.space, bench.scope().id)
    assert (published.changed, published.revision) == (True, 2)
    assert "The sum is 7.5" in page_of(bench)
    assert [path.name for path in (bench.root / "reports" / "sensor" / "set1" / "numbers").iterdir()].count("files.csv") == 1


def test_an_analysis_that_failed_is_told_with_its_reason_and_a_command(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_unit: object) -> None:
        raise ArithmeticError("it does not converge")

    monkeypatch.setitem(toy.units, "toy_sum", broken)
    bench.whole(FILES)
    published = write_set_page(bench.space, bench.scope().id)
    assert published.status == "bad"
    text = text_of(queue_morning(bench.space, MORNING).message)
    assert "it does not converge" in text
    assert "nightcrew why" in text
    assert "nightcrew rerun sensor/set1" in text
    assert "http://127.0.0.1:8765/sensor/set1/index.html" in text


def test_commands_of_a_set_by_itself_name_its_configuration_on_the_page_and_in_the_mail(bench: SetBench) -> None:
    config = bench.root / "state" / "nightcrew.toml"
    config.write_text("", encoding="utf-8")
    bench.whole({**FILES, "set1/--x;touch PWNED;#.num": "broken"})
    messages.happened(bench.space.database, "disk", "problem", "paused, the disk is nearly full")
    write_set_page(bench.space, bench.scope().id)
    mailed = re.sub(r"\s+", " ", text_of(queue_morning(bench.space, MORNING).message))
    for said in (html.unescape(page_of(bench)), mailed):
        offered = re.split(r"nightcrew (?=(?:why|status|rerun|doctor)\b)", said)[1:]
        assert offered
        assert all(f" --config {config}" in one for one in offered), offered
    assert f"nightcrew why 'set1/--x;touch PWNED;#.num' --config {config}" in html.unescape(page_of(bench))


def test_commands_of_a_set_of_the_service_name_its_configuration_file_and_that_is_no_change(bench: SetBench) -> None:
    bench.whole({**FILES, "set1/x.num": "broken"})
    assert write_set_page(bench.space, bench.scope().id).revision == 1
    file = bench.root / "its nightcrew.toml"
    settings = bench.space.settings.anchored(bench.root, file)
    space = replace(bench.space, settings=settings)
    published = write_set_page(space, bench.scope().id)
    assert (published.changed, published.revision) == (False, 1)
    offered = re.split(r"nightcrew (?=(?:why|status|rerun|doctor)\b)", html.unescape(page_of(bench)))[1:]
    assert len(offered) > 3
    assert all(f" --config '{file}'" in one for one in offered), offered


@pytest.mark.parametrize("role", ["page.json", "summary.json"])
def test_an_analysis_whose_bytes_were_changed_is_not_shown_and_made_again(bench: SetBench, role: str) -> None:
    """Another number in the page's own file: it would be shown as if it had been measured."""
    bench.whole(FILES)
    write_set_page(bench.space, bench.scope().id)
    assert "The sum is 3.5" in page_of(bench)
    row = next(row for row in bench.products().values() if any(file.role == role for file in row.files))
    path = bench.root / "products" / row.file(role).path
    changed = path.read_bytes().replace(b"3.5", b"7.7123")
    assert changed != path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(changed)
    write_set_page(bench.space, bench.scope().id)
    assert "7.7123" not in page_of(bench)
    assert "is damaged, its bytes are not those that were written: it is made again" in page_of(bench)
    bench.run()
    write_set_page(bench.space, bench.scope().id)
    assert "The sum is 3.5" in page_of(bench)


def test_the_earlier_analysis_stands_while_the_new_one_fails(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.whole(FILES)

    def broken(_unit: object) -> None:
        raise ArithmeticError("it does not converge")

    monkeypatch.setitem(toy.units, "toy_sum", broken)
    bench.whole({"set1/c.num": "4"})
    published = write_set_page(bench.space, bench.scope().id)
    assert published.status == "attention"
    assert "The sum is 3.5" in page_of(bench)
    assert "This is the earlier analysis; the new one is not made" in page_of(bench)


def test_the_morning_tells_every_set_that_changed_once(bench: SetBench) -> None:
    bench.whole(FILES)
    bench.whole({"set2/x.num": "-4"}, "set2")
    first = queue_morning(bench.space, MORNING)
    text = text_of(first.message)
    assert "Toy set1: GOOD" in text
    assert "Total: 3.500\u00a0ADU" in text
    assert "Toy set2: NEEDS A LOOK" in text
    assert "The sum is negative." in text
    assert "2 sets: Needs a look and Good" in subject_of(first.message)
    bench.now += timedelta(days=1)
    assert "Nothing new" in text_of(queue_morning(bench.space, "2026-05-18").message)
    bench.whole({"set1/c.num": "4"})
    bench.now += timedelta(days=1)
    third = text_of(queue_morning(bench.space, "2026-05-19").message)
    assert "The sum is 7.5" in third
    assert "set2" not in third


def test_a_page_that_fails_is_told_and_stops_no_mail(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.whole(FILES)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug in the page")

    monkeypatch.setattr(set_pages, "publish_page_of", broken)
    text = text_of(queue_morning(bench.space, MORNING).message)
    assert "a bug in the page" in text
    assert "nightcrew report sensor/set1" in text


def test_a_page_that_cannot_be_written_for_now_is_tried_again_and_then_told(bench: SetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.whole(FILES)

    def busy(*_: object, **__: object) -> None:
        raise TransientError("a share is away")

    monkeypatch.setattr(set_pages, "publish_page_of", busy)
    with pytest.raises(TransientError):
        queue_morning(bench.space, MORNING)
    assert "a share is away" in text_of(queue_morning(bench.space, MORNING, last_try=True).message)
    monkeypatch.undo()
    bench.now += timedelta(days=1)
    assert "The sum is 3.5" in text_of(queue_morning(bench.space, "2026-05-18").message)


def test_the_nights_page_shows_the_sets_of_its_day_and_is_no_worse_for_them(tmp_path: Path) -> None:
    (tmp_path / "nights").mkdir()
    folders = (FolderSettings(path=tmp_path / "in", kind="sensor"), FolderSettings(path=tmp_path / "nights"))
    bench = SetBench(tmp_path, folders=folders)
    bench.whole({"set2/x.num": "-4"}, "set2")
    row = queue_morning(bench.space, MORNING)
    published = write_page(bench.space, "2026-05-16")
    html = published.path.read_text(encoding="utf-8")
    assert published.verdict.status == "empty"
    assert 'href="../../sensor/set2/index.html"' in html
    assert "The sum is -4" in html
    assert "EMPTY NIGHT" in text_of(row.message)
    assert published.revision == 1


@pytest.mark.parametrize("name", ["a <b>x", "50 % & more", "-rf", "x" * 200, "\u202egnp", "last"])
def test_hostile_names_reach_no_page_path_or_mail_unescaped(bench: SetBench, name: str) -> None:
    bench.drop({f"{name}/a.num": "1", f"{name}/<i>.num": "broken"})
    bench.see()
    with bench.space.database.read() as connection:
        from nightcrew.ledger import scopes

        scope = scopes.find(connection, kind="sensor")[0]
    bench.settle(scope.name)
    published = write_set_page(bench.space, scope.id)
    html = published.path.read_text(encoding="utf-8")
    assert html_faults(html) == ()
    assert "<b>x" not in html
    assert "<i>" not in html
    assert "\u202e" not in html
    assert published.path.is_relative_to(bench.root / "reports" / "sensor")
    assert len(published.path.relative_to(bench.root / "reports").parts) == 3
    index = (bench.root / "reports" / "index.html").read_text(encoding="utf-8")
    assert f'href="{published.relative}"' in index
    assert "<b>x" not in index
    message = queue_morning(bench.space, MORNING).message
    assert "\u202e" not in text_of(message)


def test_entry_and_summary_are_for_programs(bench: SetBench) -> None:
    bench.whole(FILES)
    write_set_page(bench.space, bench.scope().id)
    folder = bench.root / "reports" / "sensor" / "set1"
    entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))["entry"]
    assert entry["numbers"] == [["Total", "3.500\u00a0ADU"]]
    assert entry["seen"] == 3
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["quantities"][0]["value"] == 3.5
    with bench.space.database.read() as connection:
        report = messages.last_report(connection, bench.scope().id)
    assert report is not None
    assert report.verdict == "The sum is 3.5."


def test_superseded_folders_are_retired_whole_and_parents_of_living_ones_stay(tmp_path: Path) -> None:
    bench = SetBench(tmp_path, retention=RetentionSettings(superseded_days=1))
    bench.whole(FILES)
    old = bench.products()
    bench.whole({"set1/c.num": "4"})
    bench.now += timedelta(days=3)
    done = tidy(bench.space, local_now(bench.space).date())
    assert done.retired == 1
    root = bench.settings.products.root
    gone = root / old["toy_sum all"].files[0].path
    assert not gone.parents[0].exists()
    assert all((root / file.path).is_file() for row in bench.products().values() for file in row.files)
    with bench.space.database.read() as connection:
        row = products.by_fingerprint(connection, old["toy_sum all"].fingerprint)
    assert row is not None
    assert row.state == "retired"
    assert bench.run().made == 0


def test_faults_of_the_service_are_told_where_no_nights_are_watched(bench: SetBench) -> None:
    """A run of the set that crashed, on its page; a full disk in the mail and on the index: there is no night's page to tell them."""
    bench.whole(FILES)
    database = bench.space.database
    row = dispatches.request(database, "set", bench.scope().id)
    dispatches.end(database, row, "Crashed: its process is gone")
    messages.happened(database, "disk", "problem", "paused, the disk is nearly full")
    write_set_page(bench.space, bench.scope().id)
    html = page_of(bench)
    assert html_faults(html) == ()
    assert f"the run of {bench.scope().title} ended Crashed: its process is gone" in html
    assert "paused" not in html
    assert "paused, the disk is nearly full" in (bench.root / "reports" / "index.html").read_text(encoding="utf-8")
    said = text_of(queue_morning(bench.space, MORNING).message)
    for words in ("paused, the disk is nearly full", "ended Crashed: its process is gone"):
        assert words in " ".join(said.split())


def test_a_quiet_day_with_a_trouble_is_no_failed_report_and_each_trouble_is_in_one_mail(bench: SetBench) -> None:
    bench.whole(FILES)
    queue_morning(bench.space, "2026-03-15")
    database = bench.space.database
    bench.now += timedelta(hours=1)
    messages.happened(database, "disk", "problem", "paused, the disk is nearly full")
    bench.now += timedelta(hours=1)
    messages.happened(database, "disk", "info", "goes on, there is room again")
    bench.now += timedelta(hours=23, minutes=30)  # a day of 25 hours and more
    mail = queue_morning(bench.space, "2026-03-16")
    said = " ".join(text_of(mail.message).split())
    assert mail.subject == "Nightcrew 2026-03-16: nothing new, but 1 trouble of the service"
    assert "FAILED" not in said
    assert said.index("paused, the disk is nearly full") < said.index("goes on, there is room again")
    bench.now += timedelta(hours=22)
    assert "paused" not in text_of(queue_morning(bench.space, "2026-03-17").message)
