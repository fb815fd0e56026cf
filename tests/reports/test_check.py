from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from reports import check
from reports.figures import trend_figure
from reports.render import judged_html
from reports.stretch import thumbnail
from reports.tables import columns
from reports.values import NumberTable
from tests.reports import samples

BLANK = thumbnail(np.zeros((20, 20), dtype=np.float32), "black")


def test_a_sound_night_has_no_faults() -> None:
    assert check.page_faults(samples.good_night()) == ()
    assert check.page_faults(samples.troubled_night()) == ()
    assert check.page_faults(samples.empty_night()) == ()


def test_missing_and_empty_pictures_are_faults() -> None:
    page = samples.good_night()
    first, second, *rest = page.lights
    lights = (dataclasses.replace(first, thumbnail=None), dataclasses.replace(second, thumbnail=BLANK), *rest)
    masters = tuple(dataclasses.replace(master, picture=None) for master in page.masters)
    faults = check.page_faults(dataclasses.replace(page, lights=lights, masters=masters))
    assert faults[0] == "1 light without a picture (m67-B-000.fits)"
    assert faults[1] == "1 light with an empty picture (m67-B-001.fits)"
    assert faults[2] == "8 masters without a picture (bias, dark 1 s, dark 10 s and 5 more)"


def test_lights_that_the_page_does_not_list_are_a_fault() -> None:
    page = samples.good_night()
    faults = check.page_faults(dataclasses.replace(page, lights=page.lights[:-1]))
    assert faults == ("the balance counts 1 light as rejected, the page lists 0",)


def test_files_without_a_cause_are_a_fault() -> None:
    page = samples.good_night()
    assert check.page_faults(dataclasses.replace(page, causes=page.causes[:-1])) == ("3 files are set aside, the causes name 2",)


def test_a_night_without_any_measured_light_is_a_fault() -> None:
    page = samples.good_night()
    blind = tuple(dataclasses.replace(light, fwhm_px=None) for light in page.lights)
    assert "none of 40 reduced lights has a measured FWHM" in check.page_faults(dataclasses.replace(page, lights=blind))


def test_blank_figures_and_figures_without_numbers_are_faults() -> None:
    figure = trend_figure(samples.trends()[0], "t")
    assert check.figure_faults((figure,)) == ()
    blank = dataclasses.replace(figure, picture=dataclasses.replace(figure.picture, blank=True))
    hollow = dataclasses.replace(figure, numbers=NumberTable(name="t", columns=columns("a"), rows=((float("nan"),),)))
    assert check.figure_faults((blank, hollow)) == (
        "figure 'Bias level (ADU)' is blank",
        "figure 'Bias level (ADU)' has no numbers behind it",
    )


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<p>x", "<p> is never closed"),
        ("</p>", "</p> closes nothing"),
        ("<script>1</script>", "the page holds a <script>"),
        ('<img src="data:,x">', "an image has no alternative text"),
        ('<img src="http://a/b.png" alt="x">', "<img> loads 'http://a/b.png' from elsewhere"),
        ('<a href="#x">x</a>', "the link '#x' leads nowhere"),
        ('<p id="a"></p><p id="a"></p>', "the id 'a' stands twice"),
        ('<p onclick="x"></p>', "<p> has an event handler"),
    ],
)
def test_what_a_page_must_not_have(html: str, fault: str) -> None:
    assert fault in check.html_faults(html)


def test_too_large_a_page_is_a_fault() -> None:
    assert check.html_faults("<p>" + "x" * 200 + "</p>", max_bytes=100) == ("the page is 0.0 MB, more than 0 MB",)


SPOILT = (
    ("<main", "<MAIN"),
    ("<main", "<script>if (1<2) alert('<b>')</script><main"),
    ("</main>", ""),
    ("</body>", "</p></body>"),
    ("<main", '<p onclick="x">&lt;</p><main'),
    ("<main", '<img src="http://example.org/a.png"><main'),
    ("<main", "<a href='#nowhere'>a</a><main"),
    ("<main", '<br/><a href="#&amp;">a</a><main'),
    ("<main", "1 < 2 <main"),
    ("<!doctype html>", ""),
)


@pytest.mark.parametrize("place", range(len(SPOILT)))
def test_the_quick_look_at_tags_sees_what_the_parser_sees(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    page = judged_html(samples.troubled_night())
    assert SPOILT[place][0] in page
    spoilt = page.replace(*SPOILT[place], 1)
    quick = check.html_faults(spoilt)
    monkeypatch.setattr(check, "_DOCTYPE", "no page begins so")
    assert check.html_faults(spoilt) == quick
    assert check.html_faults(page) == ()


def test_a_sound_page_needs_the_quick_look_only(monkeypatch: pytest.MonkeyPatch) -> None:
    page = judged_html(samples.troubled_night())
    monkeypatch.setattr(check._Page, "feed", None)
    assert check.html_faults(page) == ()
