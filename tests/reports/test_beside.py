"""Figures that a process beside ours draws are those that we draw, and a process that fails costs nothing but time."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reports.beside import Beside
from reports.figures import course_figure, trend_figure
from reports.keep import DRAWN_WITH, Keep
from reports.publish import CoursesAhead, publish_night
from reports.values import Figure
from tests.reports import samples

ODD = ("V", "", "Hα \N{GREEK SMALL LETTER LAMDA} <b>", "\udcff$x_")
"""Names of filters; the last has a byte that was not UTF-8."""


def figures(keep: Keep) -> tuple[Figure, ...]:
    lights = [replace(light, filter=ODD[number % len(ODD)]) for number, light in enumerate(samples.lights())]
    first, second, *_ = samples.trends(bad=True)
    return (
        course_figure(lights, "fwhm_px", "Sharpness", "px", "c", keep),
        trend_figure(first, "t", keep),
        trend_figure(replace(second, limits=None), "u", keep),
    )


@pytest.fixture(scope="module")
def ours() -> tuple[Figure, ...]:
    return figures(Keep())


def test_what_is_drawn_beside_is_what_we_draw(ours: tuple[Figure, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.figures._paint", None)  # nothing is drawn here
    with Beside() as beside:
        assert figures(Keep(tmp_path, beside=beside)) == ours
    assert figures(Keep(tmp_path)) == ours


GREETS = f"import sys, time; print({DRAWN_WITH!r}, end='', flush=True); "


@pytest.mark.parametrize(
    ("program", "patience_s", "greeted"),
    [
        ("", 10.0, False),
        ("import time; time.sleep(600)", 0.2, False),
        (f"{GREETS} time.sleep(600)", 3.0, True),
        (f"{GREETS} sys.stdin.readline(); print('x' * 1000)", 10.0, True),
        (f"import sys; print({DRAWN_WITH[::-1]!r}, end='', flush=True); sys.stdin.read()", 10.0, False),
        (f"{GREETS} [print('\\0' * 7 + '\\x64' + 'x' * 100, end='', flush=True) for line in sys.stdin]", 10.0, True),
    ],
    ids=["ends", "hangs", "hangs when asked", "talks nonsense", "other code", "damaged pictures"],
)
def test_a_process_that_does_not_draw_is_done_without(program: str, patience_s: float, greeted: bool, ours: tuple[Figure, ...]) -> None:
    beside = Beside(patience_s, (sys.executable, "-c", program))
    process = beside._process
    assert process is not None
    with beside:
        assert figures(Keep(beside=beside)) == ours
    assert process.returncode is not None
    assert beside._greeted is greeted


def test_no_process_at_all(ours: tuple[Figure, ...]) -> None:
    with Beside(0.5, ("/nowhere/python",)) as beside:
        assert figures(Keep(beside=beside)) == ours


def test_courses_drawn_ahead_are_those_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun while the page is gathered, with the name of a second instrument in their titles; nothing is drawn again, or here."""
    first = samples.good_night()
    lights = (*first.lights, *(replace(light, instrument="B", fwhm_px=None) for light in first.lights[:2]))
    page = replace(first, lights=lights, balance=(*first.balance, replace(first.balance[0], instrument="B")))
    plain = publish_night(page, tmp_path / "plain", Keep(tmp_path / "kept"))
    monkeypatch.setattr("reports.figures._paint", None)
    with Beside() as beside:
        keep = Keep(tmp_path / "new", beside=beside)
        with CoursesAhead(keep) as ahead:
            ahead.begin(page.lights, page.instruments)
            monkeypatch.setattr("reports.publish.draw_courses", None)
            asked = publish_night(page, tmp_path / "asked", keep, ahead)
    assert asked.path.read_bytes() == plain.path.read_bytes()
    assert asked.figures == plain.figures
    assert asked.faults == plain.faults
    assert "none of 2 lights has a value" in asked.faults[-1]


def test_nothing_is_drawn_ahead_by_ourselves(tmp_path: Path) -> None:
    """matplotlib must not draw in two threads."""
    with CoursesAhead(Keep(tmp_path)) as ahead:
        ahead.begin(samples.lights(), ("A",))
        assert ahead.drawn() is None


def test_what_goes_wrong_ahead_is_raised_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Beside(0.5, ("/nowhere/python",)) as beside, CoursesAhead(Keep(beside=beside)) as ahead:
        monkeypatch.setattr("reports.publish.draw_courses", lambda *_: 1 / 0)
        ahead.begin(samples.lights(), ("A",))
        with pytest.raises(ZeroDivisionError):
            ahead.drawn()
