from __future__ import annotations

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

from nightcrew.errors import TransientError
from nightcrew.io import atomic
from reports import figures, summary
from reports.model import BalanceRow, NightPage
from reports.names import page_path, slug
from reports.publish import publish_index, publish_night
from reports.tables import columns
from reports.values import NumberTable, Picture
from tests.reports import samples


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not drawn: for tests that look at files and revisions only."""
    made = samples.field_picture(1, "a figure")

    def paint(painter: object, size_in: object, alt: str) -> tuple[Picture, Picture]:
        return dataclasses.replace(made, alt=alt), dataclasses.replace(made, alt=alt)

    monkeypatch.setattr(figures, "_paint_both", paint)


def small_night(**changes: Any) -> NightPage:
    page = samples.good_night()
    few = tuple(light for light in page.lights if light.filter == "B")[:3]
    balance = (BalanceRow(instrument=samples.CAMERA, kind="light", seen=3, done=3),)
    values: dict[str, Any] = {"lights": few, "balance": balance, "causes": (), "stacks": (), "trends": page.trends[:1]}
    return dataclasses.replace(page, **(values | {"masters": page.masters[:1], "files": None} | changes))


def test_everything_lies_beside_the_page(tmp_path: Path) -> None:
    made = publish_night(small_night(), tmp_path)
    assert made.faults == ()
    assert made.path == tmp_path / page_path("night", samples.NIGHT)
    found = sorted(str(path.relative_to(made.path.parent)) for path in made.path.parent.rglob("*") if path.is_file())
    assert found == [
        "entry.json",
        *(f"figures/course-{name}-STL-1001.png" for name in ("background", "depth_mag", "fwhm_px")),
        "figures/trend-STL-1001-bias_level.png",
        "index.html",
        *(f"numbers/{name}.csv" for name in (
            "balance", "calibrations", "course-background-STL-1001", "course-depth_mag-STL-1001", "course-fwhm_px-STL-1001", "lights",
            "masters", "trend-STL-1001-bias_level", "trends", "truth",
        )),
        "summary.json",
    ]  # fmt: skip  # read as a table
    summary.parse((made.path.parent / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("quick")
def test_every_numbers_link_of_the_page_exists(tmp_path: Path) -> None:
    made = publish_night(samples.troubled_night(), tmp_path)
    html = made.path.read_text(encoding="utf-8")
    links = {part.split('"')[0] for part in html.split('href="')[1:]}
    beside = {link for link in links if link.startswith("numbers/") or link == "summary.json"}
    assert len(beside) > 12
    assert all((made.path.parent / link).is_file() for link in beside)


@pytest.mark.usefixtures("quick")
def test_saved_numbers_are_the_shown_ones(tmp_path: Path) -> None:
    page = small_night()
    made = publish_night(page, tmp_path)
    with (made.path.parent / "numbers" / "lights.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["fwhm [px]"]) for row in rows] == [light.fwhm_px for light in page.lights]


@pytest.mark.usefixtures("quick")
def test_the_same_night_again_is_no_new_revision(tmp_path: Path) -> None:
    first = publish_night(small_night(), tmp_path)
    again = publish_night(small_night(made_at="2026-03-16T08:00:00", folders=(), trends=samples.trends()[:2]), tmp_path)
    assert (first.changed, again.changed) == (True, False)
    assert again.revision == 1
    assert not list(first.path.parent.glob("revision-*"))


@pytest.mark.usefixtures("quick")
def test_late_files_make_a_revision_that_says_what_changed(tmp_path: Path) -> None:
    publish_night(small_night(), tmp_path)
    page = samples.good_night()
    more = tuple(light for light in page.lights if light.filter == "B")[:5]
    late = small_night(
        lights=more, balance=(BalanceRow(instrument=samples.CAMERA, kind="light", seen=5, done=5),), made_at="2026-03-16T09:30:00"
    )
    made = publish_night(late, tmp_path)
    assert made.revision == 2
    assert made.changed
    expected = "Revision 2, 2026-03-16 09:30: light files of STL-1001 3 → 5, files done 3 → 5 and lights of grade B 3 → 5."
    assert made.page.revision_notes == (expected,)
    html = made.path.read_text(encoding="utf-8")
    assert expected in html
    assert 'href="revision-1.html"' in html
    old = (made.path.parent / "revision-1.html").read_text(encoding="utf-8")
    assert "3 of 3 lights reduced" in old
    third = publish_night(small_night(made_at="2026-03-17T09:30:00"), tmp_path)
    assert third.revision == 3
    assert len(third.page.revision_notes) == 2


@pytest.mark.usefixtures("quick")
def test_figures_that_are_no_longer_drawn_vanish(tmp_path: Path) -> None:
    made = publish_night(small_night(), tmp_path)
    publish_night(small_night(trends=()), tmp_path)
    assert not list((made.path.parent / "figures").glob("trend*"))
    assert not list((made.path.parent / "numbers").glob("trend*"))


def test_an_empty_picture_is_a_fault_that_the_page_states(tmp_path: Path) -> None:
    page = small_night()
    lights = tuple(dataclasses.replace(light, fwhm_px=None) for light in page.lights)
    made = publish_night(dataclasses.replace(page, lights=lights), tmp_path)
    assert any("Sharpness" in fault for fault in made.faults)
    assert made.verdict.status == "attention"
    assert "The report itself is incomplete" in made.path.read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick")
def test_a_fault_that_only_the_drawing_finds_stands_in_the_numbers_for_programs_too(tmp_path: Path) -> None:
    trend = samples.trends()[0]
    hollow = dataclasses.replace(
        trend, points=tuple(dataclasses.replace(point, value=float("nan")) for point in trend.points), tonight=False
    )
    made = publish_night(small_night(trends=(hollow,)), tmp_path)
    told = summary.parse((made.path.parent / "summary.json").read_text(encoding="utf-8")).warnings
    assert [text for text in told if f"trend of {trend.label}" in text] == [
        action.text for action in made.verdict.actions if "trend of" in action.text
    ]
    assert any("trend of" in text for text in told)


@pytest.mark.usefixtures("quick")
def test_names_from_outside_stay_in_the_folder(tmp_path: Path) -> None:
    evil = NumberTable(name="../../../evil", columns=columns("a"), rows=((1,),))
    figure = dataclasses.replace(figures.trend_figure(samples.trends()[0], "t"), name="../../../../evil", numbers=evil)
    section = dataclasses.replace(samples.troubled_night().sections[0], figures=(figure,))
    root = tmp_path / "a" / "b" / "c"
    publish_night(small_night(kind="campaign", night="../../evil", sections=(section,)), root)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c"]
    assert len(list(root.glob("campaign/*evil/index.html"))) == 1


@pytest.mark.parametrize("name", ["2026-03-14", "plain_name.v2"])
def test_plain_names_stay_plain(name: str) -> None:
    assert slug(name) == name


def test_altered_names_never_collide() -> None:
    names = ["a b", "a/b", "a.b", "..", "", "ä", ".hidden", "x" * 100, "x" * 101]
    assert len({slug(name) for name in names}) == len(names)
    assert all(slug(name) and not slug(name).startswith(".") and "/" not in slug(name) for name in names)


@pytest.mark.usefixtures("quick")
def test_the_index_lists_what_was_published(tmp_path: Path) -> None:
    publish_night(small_night(), tmp_path)
    publish_night(samples.empty_night(), tmp_path / "elsewhere")
    publish_night(dataclasses.replace(samples.empty_night(), night="2026-03-13"), tmp_path)
    (tmp_path / "night" / "broken").mkdir()
    (tmp_path / "night" / "broken" / "entry.json").write_text("{", encoding="utf-8")
    index = publish_index(tmp_path, "Hill", "2026-03-15T08:00:00", "America/Santiago").read_text(encoding="utf-8")
    assert index.count('href="night/') == 3  # two lines and the link of the latest
    assert "Empty night" in index
    assert "<footer>Made 2026-03-15 08:00 America/Santiago.</footer>" in index


@pytest.mark.usefixtures("quick")
def test_a_damaged_entry_starts_anew(tmp_path: Path) -> None:
    made = publish_night(small_night(), tmp_path)
    (made.path.parent / "entry.json").write_text(json.dumps({"format": 99}), encoding="utf-8")
    assert publish_night(small_night(), tmp_path).revision == 1


@pytest.mark.usefixtures("quick")
def test_a_full_disk_passes_and_leaves_the_old_page(tmp_path: Path) -> None:
    made = publish_night(small_night(), tmp_path)
    before = made.path.read_bytes()

    def full(stage: str, final: Path) -> None:
        if stage == "write" and final.name == "index.html":
            raise OSError(28, "No space left on device")

    with atomic.injected_faults(full), pytest.raises(TransientError, match="No space left"):
        publish_night(small_night(site="Elsewhere"), tmp_path)
    assert made.path.read_bytes() == before


def test_a_night_of_500_lights_is_quick_and_small(tmp_path: Path) -> None:
    page = samples.big_night(500)
    start = time.perf_counter()
    made = publish_night(page, tmp_path)
    assert time.perf_counter() - start < 20
    assert made.faults == ()
    assert made.path.stat().st_size < 15_000_000
