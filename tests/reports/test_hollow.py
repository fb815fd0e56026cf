"""Figures of analyses whose axes are there and nothing between them: a picture is not blank for that, its numbers tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reports.analysis import write_analysis
from reports.check import is_hollow
from tests.reports.test_analysis import page_of, png


@pytest.mark.parametrize(
    ("text", "hollow"),
    [
        ("exposure_s,signal\n1.0,20.5\n", False),
        ("exposure_s,signal\n1.0,nan\n2.0,\n", True),
        ("exposure_s,signal\n1.0,inf\n2.0,3\n", False),
        ("exposure_s,signal\n", True),
        ("", True),
        ("rate\n2.0\n", False),
        ("# %ECSV 1.0\n# 3.0 4.0\nx y\n1 nan\n", True),
        ("# %ECSV 1.0\nx y\n1 2\n", False),
    ],
)
def test_numbers_of_a_table(tmp_path: Path, text: str, hollow: bool) -> None:
    path = tmp_path / ("t.ecsv" if text.startswith("#") else "t.csv")
    path.write_text(text, encoding="utf-8")
    assert is_hollow(path) is hollow


def test_numbers_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "full.npz", x=np.arange(3), label=np.array(["a"]))
    np.savez(tmp_path / "hollow.npz", x=np.full(3, np.nan), label=np.array(["a"]))
    assert [is_hollow(tmp_path / name) for name in ("full.npz", "hollow.npz", "absent.png")] == [False, True, False]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"garbage", lambda data: data[:300], lambda data: data[:80] + bytes(9) + data[89:]]
)
def test_a_damaged_file_of_arrays_holds_no_numbers_and_hinders_no_page(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "curve.npz"
    np.savez_compressed(path, x=np.arange(300))
    path.write_bytes(damage(path.read_bytes()))
    assert is_hollow(path)


def test_a_figure_without_a_point_is_told_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("exposure_s,signal\n1.0,nan\n", encoding="utf-8")
    write_analysis(page_of(figure=png()), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "has no numbers behind it (curve.csv)" in html
    assert "Needs a look" in html
    (tmp_path / "curve.csv").write_text("exposure_s,signal\n1.0,2.0\n", encoding="utf-8")
    write_analysis(page_of(figure=png()), tmp_path)
    assert "has no numbers behind it" not in (tmp_path / "report.html").read_text(encoding="utf-8")
