"""The demonstration's verdict: it fails by name when something planted is not told."""

from __future__ import annotations

from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest

from deployments.demo import MARK, Result, _mail_faults, _page_faults, _stage, prepare
from nightcrew.errors import Refused
from nightcrew.simulate.comparison import Comparison, Item
from nightcrew.simulate.truth import Truth, load_truth
from tests.support.small_nights import Bench, make_raw, small_plan


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    out = tmp_path_factory.mktemp("night")
    return make_raw(out, small_plan(troubles=("truncated", "text_file")))


def test_a_troublemaker_that_the_report_does_not_name_is_a_fault(truth: Truth, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    assert "there is no page" in _page_faults(page, truth)[0]
    names = [trouble.path for trouble in truth.troubles]
    page.write_text(f"<p>{names[0]}</p>", encoding="utf-8")
    assert _page_faults(page, truth) == [f"the report does not name {name}" for name in names[1:]]
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "files.csv").write_text("\n".join(names), encoding="utf-8")
    assert _page_faults(page, truth) == []


def test_a_mail_without_its_parts_is_a_fault(tmp_path: Path) -> None:
    mail = tmp_path / "a.eml"
    assert "there is no mail" in _mail_faults(mail)[0]
    message = EmailMessage()
    message.set_content("plain")
    mail.write_bytes(message.as_bytes())
    assert _mail_faults(mail) == ["the mail has no image/png part", "the mail has no text/html part"]


def test_the_verdict_asks_for_everything(tmp_path: Path) -> None:
    good = Item(name="gain", recovered=1.3, truth=1.3, unit="e-/ADU", rule="within 1 %", passed=True)
    result = Result(page=tmp_path, page_link="", mail=tmp_path, subject="", comparison=Comparison((good,)), faults=())
    assert result.passed
    assert not replace(result, faults=("the report does not name x",)).passed
    assert not replace(result, comparison=Comparison((good, replace(good, passed=False)))).passed
    assert not replace(result, comparison=Comparison(())).passed


def test_the_folder_is_its_own(tmp_path: Path) -> None:
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(Refused, match="holds other files"):
        prepare(foreign)
    settings, truth = prepare(tmp_path / "night")
    assert settings.reports.truth is not None
    assert load_truth(settings.reports.truth) == truth
    assert (tmp_path / "night" / MARK).exists()


def test_progress_counts_files_and_products(truth: Truth, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    del truth
    raw = tmp_path_factory.mktemp("few")
    make_raw(raw)
    bench = Bench(raw / "raw", tmp_path)
    bench.see()
    bench.ingest()
    assert _stage(bench.space, "reducing", 1, 2).files["waiting"] == len(list((raw / "raw").iterdir()))
