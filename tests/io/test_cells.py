from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.io.cells import as_it_was, inert
from nightcrew.lab.tables import read_table, write_table


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "-A1",
        "'=1",
        "''@x",
        "\uff1d1",
        "-1+A1",
        "+",
        "-1 A1!B2",
        "-1 cmd|x",
        "-1 SUM(A1)",
        "+cmd",
        "-cmd|' /C calc'!A0",
        "-1cmd|' /C calc'!A0",
        "-20.0C_60s|x",
        "-20.0C_60s!A1",
        "-1e5-A1",
        "-1E5/A1",
        "-1-A1",
        "-1/A1",
        "-1%-A1",
        "-1 A1-B2",
        "-1 2 A1-B2",
        "-1C SUM(A1)",
        "-1C (A1",
        "-1C,A1",
        "-0.3\u00b10.1+A1",
        "-12.5 e-+A1",
        "-inf+A1",
        "-infra",
        "-A1 B2",
    ],
)
def test_what_a_spreadsheet_would_compute_is_text(text: str) -> None:
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "M 31",
        "-30:10:11.5",
        "+41 16 09",
        "+41\u00b016'09.5\"",
        "-1.5e-7",
        "-20.0C 60s",
        "-.5",
        "'quoted'",
        "a=b",
        "2026-11-21",
        "it's",
        "-12.5 %",
        "-12.5%",
        "-0.3\u00b10.1",
        "-0.3 \u00b1 0.1 ADU/s",
        "-12.5 e-/s",
        "-3 \u00b5m",
        "-inf",
        "+inf",
        "-nan",
        "-INF",
        "-20.0C_60s_2x2_gHDR-1_ab",
        "-20.0C_60s_96x96_g100_0ef98e",
        "-19.9C 120s (H-alpha)",
        "-10.0C/60s",
        "-5 to 5",
        "\u22123",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert inert(text) == text


@given(st.text(alphabet="'=+-@1a:. \t%/_e(\u00b1"))
def test_every_text_can_be_had_back(text: str) -> None:
    assert as_it_was(inert(text)) == text


def test_tables_of_the_laboratory_give_back_the_names_of_files(tmp_path: Path) -> None:
    names = ["=HYPERLINK(1).fits", "'-5C.fits", "-5.0", "plain.fits"]
    path = write_table(tmp_path / "index.csv", ("PATH", "X"), [{"PATH": name, "X": -1.5} for name in names])
    assert [row["PATH"] for row in read_table(path)] == names
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    assert [line[:2] for line in lines] == ["'=", "''", "-5", "pl"]
    assert {line.rpartition(",")[2] for line in lines} == {"-1.5"}
