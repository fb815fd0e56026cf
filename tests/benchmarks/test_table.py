"""The benchmark's table: what fails, what only is missing, and how it reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.table import Line, absent, as_text, failed, ratio


def test_limits_are_held_from_both_sides() -> None:
    assert ratio("w", "x", 6.0, 1.0, at_least=5).verdict == "ok"
    assert ratio("w", "x", 4.0, 1.0, at_least=5).verdict == "SHORT"
    assert ratio("w", "x", 4.0, 1.0, at_most=5).verdict == "ok"
    assert ratio("w", "x", 6.0, 1.0, at_most=5).verdict == "SHORT"
    assert ratio("w", "x", 6.0, 1.0).verdict == "reported"


def test_a_missing_anchor_fails_unless_allowed() -> None:
    lines = [ratio("w", "x", 6.0, 1.0, at_least=5), absent("w", "faster than siril", "siril")]
    assert lines[1].verdict == "NOT SHOWN"
    assert failed(lines, allow_absent=False)
    assert not failed(lines, allow_absent=True)
    assert failed([Line(work="w", what="x", value=1.0, at_least=2)], allow_absent=True)
    assert "siril is absent" in as_text(lines)


def test_the_table_is_markdown() -> None:
    rows = as_text([ratio("w", "x", 6.0, 4.0, at_least=1)]).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert "1.50 x" in rows[2]


@pytest.mark.parametrize(("value", "code"), [(3.0, 0), (1.0, 1), (None, 1)])
def test_the_run_exits_by_its_lines(
    value: float | None, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "measure_apart", lambda _name, _data, _repeats: [Line(work="w", what="x", value=value, at_least=2)])
    monkeypatch.setattr(run, "make_data", lambda _folder: None)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "start", "--data", str(tmp_path)])
    assert run.main() == code
    assert "| w " in capsys.readouterr().out


def test_a_part_writes_its_lines_for_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = Line(work="w", what="x", value=1.5, at_most=2, note="n")
    monkeypatch.setattr(run, "PARTS", {"start": lambda _data, _work, _repeats: [line]})
    monkeypatch.setattr("sys.argv", ["bench", "--only", "start", "--data", str(tmp_path), "--rows", str(tmp_path / "rows.json")])
    assert run.main() == 0
    assert [Line(**row) for row in json.loads((tmp_path / "rows.json").read_text())] == [line]


def test_a_part_that_fails_falls_short_and_takes_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "python", lambda *_words: [sys.executable, "-c", "raise SystemExit('no such thing')"])
    (line,) = run.measure_apart("start", tmp_path, 1)
    assert line.verdict == "SHORT"
    assert failed([line], allow_absent=True)
