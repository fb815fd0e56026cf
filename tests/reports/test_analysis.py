"""The report of an analysis: complete in itself, hostile texts harmless, the same bytes each time, numbers beside it."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nightcrew.quality.intervals import Interval
from reports.analysis import AnalysisFigure, AnalysisPage, AnalysisSection, AnalysisTable, BadPageError, read_analysis, write_analysis
from reports.analysis_html import WORDS, Standing
from reports.analysis_words import conditions, key_words, measured, needs_of
from reports.check import html_faults
from reports.render import content_security_policy
from reports.set_pages import SetPage, publish_set
from reports.stretch import encode
from reports.summary import Quantity, Summary, determined
from reports.values import Column, NumberTable

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202egnp"


def png(levels: tuple[int, ...] = (0, 255)) -> bytes:
    image = Image.new("L", (40, 20), levels[0])
    image.paste(levels[-1], (0, 0, 20, 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def page_of(text: str = "plain", figure: bytes | None = None) -> AnalysisPage:
    curve = AnalysisFigure(name="curve", title=f"Curve {text}", alt=f"alt {text}", png=figure or png(), numbers="curve.csv", caption=text)
    table = AnalysisTable(
        title=f"Levels {text}", columns=("exposure / s", "mean / adu", "note"), rows=((0.5, 1234567.0, text), (1.0, None, None)), note=text
    )
    quantities = (
        determined("gain", 2.51234, "", error=0.0123, unit="e-/ADU"),
        determined("dark_current", float("nan"), f"no darks {text}", unit="e-/s"),
        determined("prnu", 0.5, "", unit="%", where={"temperature_c": -10, "channel": text}),
    )
    return AnalysisPage(
        kind="sensor",
        title=f"Sensor {text}",
        verdict=f"Good gain {text}",
        status="good",
        needs_person=(f"look {text}",),
        summary=Summary(recipe="photon_transfer", inputs=(), grade="B", quantities=quantities, warnings=(text,)),
        key_quantities=("dark_current", "gain"),
        sections=(AnalysisSection(title=f"Part {text}", text=(text,), tables=(table,), figures=(curve,)),),
        files=((f"{text}.csv", text), ("curve.csv", "the curve")),
        commands=(f"nightcrew why '{text}'",),
    )


def written(page: AnalysisPage, out: Path) -> str:
    out.mkdir(exist_ok=True)
    (out / "curve.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    write_analysis(page, out)
    return (out / "report.html").read_text(encoding="utf-8")


def test_the_page_is_complete_in_itself(tmp_path: Path) -> None:
    html = written(page_of(), tmp_path / "out")
    assert html_faults(html) == ()
    assert content_security_policy().replace("'", "&#39;") in html or content_security_policy() in html
    assert 'src="data:image/png;base64,' in html
    assert "width=device-width" in html


def test_hostile_texts_are_shown_and_harmless(tmp_path: Path) -> None:
    html = written(page_of(HOSTILE), tmp_path / "out")
    assert html_faults(html) == ()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "&lt;script&gt;" in html


def test_the_same_page_gives_the_same_bytes_and_comes_back_whole(tmp_path: Path) -> None:
    page = page_of(HOSTILE)
    first = written(page, tmp_path / "one")
    again = read_analysis(tmp_path / "one")
    assert written(again, tmp_path / "two") == first
    names = sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_page_with_a_figure_that_png_cannot_pack_comes_back_whole(tmp_path: Path) -> None:
    """A map of 20,000 hot pixels: the page shows a JPEG of it, the file beside it stays the PNG that it is called."""
    noise = np.random.default_rng(1).integers(0, 255, (400, 700, 3)).astype(np.uint8)
    drawn = encode(noise, "map", lossy=False).data
    first = written(page_of(figure=drawn), tmp_path / "one")
    assert (tmp_path / "one" / "figures" / "curve.png").read_bytes() == drawn
    assert 'src="data:image/jpeg;base64,' in first
    assert written(read_analysis(tmp_path / "one"), tmp_path / "two") == first


def test_numbers_keep_their_precision_and_the_unknown_is_a_dash(tmp_path: Path) -> None:
    html = written(page_of(), tmp_path / "out")
    table = next((tmp_path / "out" / "numbers").glob("*.csv")).read_text(encoding="utf-8")
    assert "1234567.0" in table
    assert "no darks plain" in html
    body = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert body["quantities"][1]["value"] is None
    assert (tmp_path / "out" / "figures" / "curve.png").read_bytes() == png()


def test_a_table_without_rows_is_no_row_of_headings(tmp_path: Path) -> None:
    page = page_of()
    (section,) = page.sections
    bare = replace(section, tables=(replace(section.tables[0], rows=()),))
    html = written(replace(page, sections=(bare,)), tmp_path / "out")
    assert "Nothing to show: no row." in html
    assert "<th>exposure / s</th>" not in html
    assert html_faults(html) == ()


def test_tables_of_one_title_are_saved_apart(tmp_path: Path) -> None:
    page = page_of()
    section = page.sections[0]
    twice = dataclasses.replace(section, tables=section.tables * 2)
    html = written(dataclasses.replace(page, sections=(twice, dataclasses.replace(section, figures=()))), tmp_path / "out")
    saved = sorted(path.name for path in (tmp_path / "out" / "numbers").iterdir())
    assert saved == ["part-plain-levels-plain-table-2.csv", "part-plain-levels-plain-table-3.csv", "part-plain-levels-plain.csv"]
    assert all(f'href="numbers/{name}"' in html for name in saved)


def test_a_blank_figure_and_absent_numbers_are_told(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_analysis(page_of(figure=png((7, 7))), tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "is blank" in html
    assert "are not there (curve.csv)" in html
    assert "Needs a look" in html


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"status": "fine"}, "none of good"),
        ({"verdict": " "}, "no verdict"),
        ({"key_quantities": ("nothing",)}, "not in the summary"),
        (
            {"sections": (AnalysisSection(title="x", tables=(AnalysisTable(title="t", columns=("a",), rows=((1, 2),)),)),)},
            "2 cells under 1",
        ),
        (
            {"sections": (AnalysisSection(title="x", figures=(AnalysisFigure(name="a", title="", alt="", png=b"no"),)),)},
            "figure 'a': no PNG",
        ),
        (
            {"sections": (AnalysisSection(title="x", figures=(AnalysisFigure(name="a", title="", alt="", png=png()),) * 2),)},
            "stands twice",
        ),
    ],
)
def test_a_page_that_breaks_its_form_is_refused(change: dict[str, object], rule: str, tmp_path: Path) -> None:
    with pytest.raises(BadPageError, match=rule):
        write_analysis(dataclasses.replace(page_of(), **change), tmp_path)  # type: ignore[arg-type]  # any field of a page


def test_an_absent_or_foreign_model_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(BadPageError):
        read_analysis(tmp_path)
    (tmp_path / "page.json").write_text('{"format": 7}', encoding="utf-8")
    with pytest.raises(BadPageError, match="format 7"):
        read_analysis(tmp_path)


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [(2.51234, 0.0123, "2.512 ± 0.012"), (52345.0, 321.0, "52\u202f345 ± 321"), (3, None, "3"), (1e-7, 1e-8, "1.00·10⁻⁷ ± 1.00·10⁻⁸")],
)
def test_a_value_has_the_digits_that_its_error_gives_a_meaning_to(value: float, error: float | None, shown: str) -> None:
    assert measured(Quantity(name="q", value=value, error=error)) == shown


@pytest.mark.parametrize(
    ("value", "interval", "shown"),
    [
        (79_271.4, Interval(77_730.2, 80_812.4), "79 271 e- (77 730 to 80 812, 95 %)"),
        (0.00303, Interval(0.0, 0.00401), "0.0030 e- (0.0000 to 0.0040, 95 %)"),
        (17, Interval(15, 21), "17 e- (15 to 21, 95 %)"),
        (17.5, Interval(17.5, 17.5, 0.9), "17.50 e- (17.50 to 17.50, 90 %)"),
    ],
)
def test_an_interval_stands_behind_value_and_unit(value: float, interval: Interval, shown: str) -> None:
    found = measured(Quantity(name="q", value=value, unit="e-", error=1.0, interval=interval))
    assert found.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{NO-BREAK SPACE}", " ") == shown


def test_conditions_are_words_with_units() -> None:
    where: dict[str, str | int | float | bool | None] = {"temperature_c": -10.0, "channel": "red", "paired": True, "exposure_s": 0.25}
    shown = conditions(Quantity(name="q", value=1.0, where=where))
    assert shown == "channel red, exposure 0.250\u00a0s, paired yes, temperature −10\u00a0°C"


def test_a_page_that_needs_a_look_says_at_its_top_why(tmp_path: Path) -> None:
    quiet = replace(page_of(), needs_person=())
    assert needs_of(quiet) == ()
    told = tuple(f"remark {n}" for n in range(7))
    page = replace(quiet, status="attention", summary=replace(quiet.summary, warnings=told))
    assert needs_of(page) == (*told[:5], "2 more warnings stand below.")
    html = written(page, tmp_path / "out")
    assert html.index("remark 0") < html.index("<h2>Part plain")


def test_what_is_unknown_is_told_with_conditions_and_reason() -> None:
    quantities = (determined("prnu", None, "no flats", unit="%", where={"temperature_c": -10.0}),)
    page = replace(page_of(), summary=replace(page_of().summary, quantities=quantities), key_quantities=("prnu",))
    assert key_words(page) == (("PRNU (temperature \u221210\u00a0°C: no flats)", "\u2013"),)


def test_a_fault_of_the_finished_page_is_told_by_the_page_itself(tmp_path: Path) -> None:
    """A figure without a word for those who do not see it, found only when the page is written; both ways to publish tell it."""
    page = page_of()
    (section,) = page.sections
    page = replace(page, needs_person=(), sections=(replace(section, figures=(replace(section.figures[0], alt=" "),)),))
    fault = "an image has no alternative text"
    assert html_faults(written(page, tmp_path / "out")) == (fault,)
    standing = Standing(site="x", made_at="now", closed=True, balance=(), causes=())
    source = SetPage(page=page, source=tmp_path / "out")
    done = publish_set(
        "sensor", "set1", source, standing, tmp_path / "pages", files=NumberTable(name="files", columns=(Column(name="file"),), rows=())
    )
    assert done.faults == (fault,)
    assert done.status == "attention"
    for path in (tmp_path / "out" / "report.html", done.path):
        html = path.read_text(encoding="utf-8")
        assert f"The report&#39;s own check found: {fault}." in html
        assert WORDS["attention"] in html
        assert html_faults(html) == (fault,)
