from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from reports import render
from reports.check import html_faults
from reports.model import (
    AnalysisSection,
    BalanceRow,
    CalibrationCell,
    Cause,
    FolderFact,
    IndexEntry,
    IndexPage,
    LightEntry,
    Link,
    MasterEntry,
    NightPage,
    Notice,
    StackEntry,
    TrendPoint,
    TruthRow,
)
from reports.trends import trend
from reports.values import KeyNumber, Picture
from tests.reports import samples

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egpj.exe\x00\x1b[31m",
    "\udce4\udcff",  # bytes that were not UTF-8
    "</style><script>alert(1)</script>",
    "--><svg/onload=alert(1)>",
    "&lt;b&gt;",
)


def hostile_page(bad: str) -> NightPage:
    """A page where every text that can come from a file is ``bad``."""
    return NightPage(
        night=bad,
        kind="campaign",
        site=bad,
        made_at=bad,
        revision=2,
        revision_notes=(bad,),
        balance=(BalanceRow(instrument=bad, kind=bad, seen=3, done=1, set_aside=1, rejected=1),),
        causes=(
            Cause(state="rejected", cause=bad, count=1, files=(bad,), command=bad, kind=bad, mend=bad),
            Cause(state="degraded", cause=bad, count=1, files=(bad,) * 20, command=bad),
            Cause(state="set_aside", cause=bad, count=99, files=(bad,), command=bad),
        ),
        calibrations=(CalibrationCell(instrument=bad, kind=bad, label=bad, state="borrowed", origin=bad, reason=bad, grade="B", users=1),),
        masters=(hostile_master(bad),),
        lights=hostile_lights(bad),
        stacks=(hostile_stack(bad),),
        trends=(trend(bad, bad, bad, bad, [TrendPoint(night=bad, value=1.0)], bad),),
        truth=(TruthRow(name=bad, recovered=1.0, truth=1.0, unit=bad, allowed=bad),),
        sections=(
            AnalysisSection(title=bad, status="good", verdict=bad, key_numbers=(KeyNumber(name=bad, value=None, note=bad),), link=bad),
        ),
        folders=(FolderFact(path=bad, reachable=True, note=bad, last_sweep_at=bad),),
        notices=(Notice(level="info", text=bad, at=bad, command=bad), Notice(level="warning", text=bad, command=bad)),
        provenance=dataclasses.replace(
            samples.PROVENANCE, software=((bad, bad),), parameters=((bad, bad),), commands=(bad,), inputs_digest=bad
        ),
        links=(Link(label=bad, target=bad),),
    )


def hostile_picture(bad: str) -> Picture:
    return dataclasses.replace(samples.field_picture(1, "x"), alt=bad)


def hostile_master(bad: str) -> MasterEntry:
    words = ("name", "instrument", "kind", "label", "level_unit", "compared_with", "reason", "certification")
    texts: dict[str, Any] = dict.fromkeys(words, bad)
    extras = (KeyNumber(name=bad, value=bad, unit=bad, note=bad),)
    picture = hostile_picture(bad)
    return dataclasses.replace(samples.masters()[0], certified=False, left_out=((bad, bad),), picture=picture, extras=extras, **texts)


def hostile_lights(bad: str) -> tuple[LightEntry, ...]:
    texts: dict[str, Any] = dict.fromkeys(("name", "instrument", "target", "filter", "reason", "time_utc", "background_unit"), bad)
    made = dataclasses.replace(samples.lights(1)[0], thumbnail=hostile_picture(bad), **texts)
    lost = LightEntry(name=bad, instrument=bad, target=bad, filter=bad, exposure_s=None, time_utc="", state="rejected", reason=bad)
    return made, lost


def hostile_stack(bad: str) -> StackEntry:
    picture = hostile_picture(bad)
    texts: dict[str, Any] = dict.fromkeys(("name", "instrument", "target", "filter", "reason"), bad)
    return StackEntry(frames=2, left_out=((bad, bad),), picture=picture, finder=picture, star_figures=(picture,), **texts)


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_values_stay_text(bad: str) -> None:
    html = render.judged_html(hostile_page(bad))
    html.encode("utf-8")
    assert html_faults(html) == ()
    assert "<script" not in html.lower()
    assert 'href="javascript' not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert html.count("<style>") == 1


def test_template_syntax_in_a_file_name_is_not_run() -> None:
    assert "{{ 7*7 }}" in render.judged_html(hostile_page("{{ 7*7 }}"))


def test_a_page_forbids_everything_but_its_own_style_and_pictures() -> None:
    policy = render.content_security_policy()
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    html = render.judged_html(samples.good_night())
    assert f'content="{policy}"'.replace("'", "&#39;") in html
    assert " style=" not in html  # the hash admits no style attributes


def test_sections_stand_in_the_order_of_the_design() -> None:
    html = render.judged_html(samples.troubled_night())
    places = [
        html.index(f'id="{name}"')
        for name in ("verdict", "needs", "balance", "calibration", "masters", "lights", "failures", "truth", "provenance")
    ]
    assert places == sorted(places)


def test_every_troublemaker_is_named_with_its_reason() -> None:
    html = render.judged_html(samples.good_night())
    for cause in samples.CAUSES:
        assert cause.cause in html
        for name in cause.files:
            assert name in html


@pytest.mark.parametrize("make", [samples.good_night, samples.troubled_night, samples.empty_night, samples.failed_night])
def test_every_kind_of_night_is_a_sound_page(make: Callable[[], NightPage]) -> None:
    assert html_faults(render.judged_html(make())) == ()


def test_an_empty_night_says_why() -> None:
    html = render.judged_html(samples.empty_night())
    assert "No files arrived for this night." in html
    assert "Why there is nothing to show" in html
    assert "most likely nothing was taken" in html


def test_the_same_model_gives_the_same_page() -> None:
    assert render.judged_html(samples.good_night()) == render.judged_html(samples.good_night())


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("../../lab/s-7/index.html", True),
        ("revision-1.html", True),
        ("index.html#lights", True),
        ("https://pages.example/night", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.example/x", False),
        ("/etc/passwd", False),
        ('x" onclick="y', False),
        (" javascript:x", False),
        ("http://a b", False),
    ],
)
def test_links_lead_only_where_they_may(target: str, kept: bool) -> None:
    assert render.safe_link(target) == (target if kept else "#")


def test_a_mask_counts_pixels_and_other_masters_have_a_level_and_the_noise_of_a_frame_once() -> None:
    bias = MasterEntry(name="b", instrument="X", kind="bias", label="-20 C", frames=5, level_adu=1000.0, noise_adu=5.4)
    mask = MasterEntry(name="m", instrument="X", kind="bad pixels", label="", frames=5, level_adu=299.0, level_unit="pixels")
    html = render.judged_html(dataclasses.replace(samples.good_night(), masters=(bias, mask)))
    assert html.count("<dt>Level</dt>") == 1
    assert "<dt>Flagged</dt><dd>299 pixels</dd>" in html
    assert html.count("<dt>Frame noise</dt>") == 1


def test_none_is_never_printed() -> None:
    with pytest.raises(render.UnprintableValueError):
        render._finalize(None)
    with pytest.raises(render.UnprintableValueError):
        render._finalize(float("nan"))
    page = dataclasses.replace(
        samples.good_night(), lights=tuple(dataclasses.replace(e, fwhm_px=None, depth_mag=None, sources=None) for e in samples.lights(3))
    )
    html = render.judged_html(page)
    assert ">None<" not in html
    assert not re.search(r">[^<]*\bnan\b", html)


def entry(night: str, **changes: object) -> IndexEntry:
    values: dict[str, object] = {
        "night": night, "kind": "night", "link": f"night/{night}/index.html", "status": "good", "word": "Good night", "sentence": "Done.",
        "revision": 1, "instruments": ("cam",), "seen": 5, "lights": 3, "reduced": 3, "grades": (3, 0, 0, 0), "needs": 0, "made_at": "x",
    }  # fmt: skip  # read as a table
    return IndexEntry(**(values | changes))  # type: ignore[arg-type]  # any field of an entry


def test_the_index_is_newest_first_by_month() -> None:
    page = IndexPage(
        site="Hill",
        made_at="2026-03-15T08:00:00",
        entries=tuple(entry(night) for night in ("2026-02-27", "undated", "2026-03-14", "2026-03-02")),
    )
    html = render.index_html(page)
    places = [html.index(f'href="night/{night}/index.html">{night}') for night in ("2026-03-14", "2026-03-02", "2026-02-27", "undated")]
    assert places == sorted(places)
    assert html.index("March 2026") < html.index("February 2026")
    assert "Latest: night 2026-03-14" in html
    assert html_faults(html) == ()


def test_the_index_without_nights_and_with_hostile_ones() -> None:
    assert "No report yet" in render.index_html(IndexPage(site="", made_at="", entries=()))
    for bad in HOSTILE:
        html = render.index_html(
            IndexPage(site=bad, made_at=bad, entries=(entry(bad, sentence=bad, link=bad, word=bad, instruments=(bad,)),))
        )
        assert html_faults(html) == ()
        assert "<script" not in html.lower()
