"""The benchmark's table: what fails, what only is missing, and how it reads."""

from __future__ import annotations

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
    monkeypatch.setattr(run, "PARTS", {"start": lambda _data, _work, _repeats: [Line(work="w", what="x", value=value, at_least=2)]})
    monkeypatch.setattr(run, "make_data", lambda _folder: None)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "start", "--data", str(tmp_path)])
    assert run.main() == code
    assert "| w " in capsys.readouterr().out
