"""Tables for people and programs."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from astropy.table import Table

from nightcrew.errors import Refused
from nightcrew.tools.tables import SmallTable, form_of, printable, render

TABLE = SmallTable(
    ("Filename", "SIMPLE", "NAXIS", "EXPTIME", "OBJECT"),
    (("a.fit", True, 2, 0.1, "M 31"), ("long name.fit", None, 2, 1200.123456789012, None), ("b.fit", False, 2, 3, 'say "x", y')),
)


def test_text_is_aligned_over_all_rows_and_counts_like_awk() -> None:
    lines = render(TABLE, "text", numbered=True).splitlines()
    assert lines[0].split() == ["#1", "Filename", "SIMPLE", "NAXIS", "EXPTIME", "OBJECT"]
    assert lines[1].split() == ["#1N", "1", "2", "3", "4", "5"]
    assert all(line.startswith("   ") for line in lines[2:])
    assert lines[2].split() == ["a.fit", "T", "2", "0.1", "M_31"]
    assert lines[3].split() == ["long_name.fit", "....", "2", "1200.123456789012", "...."]
    ends = [line.index(word) + len(word) for line, word in zip(lines[2:], ("0.1", "1200.123456789012", " 3 "), strict=True)]
    assert ends == [ends[0], ends[0], ends[0] + 1]  # numbers end in one column
    assert lines[2].index("T") == lines[3].index("....") == lines[4].index("F")


def test_csv_keeps_values_and_quotes() -> None:
    rows = list(csv.reader(io.StringIO(render(TABLE, "csv"))))
    assert rows[0] == list(TABLE.names)
    assert rows[2] == ["long name.fit", "", "2", "1200.123456789012", ""]
    assert rows[3][4] == 'say "x", y'


def test_no_cell_of_a_csv_is_a_formula() -> None:
    rows = (("=HYPERLINK(1)", "-30:10:11.5", -1.5), ("@SUM(1)", "+41", 2.0), ("-2+cmd|' /C calc'!A0", "", 0.0))
    table = SmallTable(("OBJECT", "DEC", "X"), rows)
    read = list(csv.reader(io.StringIO(render(table, "csv"))))[1:]
    assert [row[0][:2] for row in read] == ["'=", "'@", "'-"]
    assert [row[1:] for row in read] == [["-30:10:11.5", "-1.5"], ["+41", "2.0"], ["", "0.0"]]
    assert json.loads(render(table, "json"))[0]["OBJECT"] == "=HYPERLINK(1)"


def test_json_keeps_types_and_has_no_nan() -> None:
    rows = json.loads(render(TABLE, "json"))
    assert rows[0] == {"Filename": "a.fit", "SIMPLE": True, "NAXIS": 2, "EXPTIME": 0.1, "OBJECT": "M 31"}
    assert rows[1]["OBJECT"] is None
    assert json.loads(render(SmallTable(("x",), ((float("nan"),),)), "json")) == [{"x": None}]


def test_ecsv_has_typed_columns() -> None:
    table = Table.read(render(TABLE, "ecsv"), format="ascii.ecsv")
    assert [table[name].dtype.kind for name in TABLE.names] == ["U", "b", "i", "f", "U"]
    assert table["EXPTIME"][1] == 1200.123456789012
    assert np.ma.is_masked(table["OBJECT"][1])


def test_an_empty_table_has_a_header_in_every_form() -> None:
    empty = SmallTable(("a", "b"), ())
    assert render(empty, "text") == "#a b\n"
    assert render(empty, "csv") == "a,b\n"
    assert render(empty, "json") == "[]\n"


def test_short_floats() -> None:
    assert render(SmallTable(("x",), ((1 / 3,), (2e9,))), "text", digits=10) == "#           x\n 0.3333333333\n   2000000000\n"


def test_form_from_ending_or_wish() -> None:
    assert [form_of(name) for name in ("a.csv", "A.ECSV", "x.json", "x.log", "")] == ["csv", "ecsv", "json", "text", "text"]
    assert form_of("a.csv", "json") == "json"
    with pytest.raises(Refused, match="no table format 'xml'"):
        form_of("", "xml")


def test_nothing_steers_the_terminal() -> None:
    assert printable("a\x1b[31m\udcff b") == "a\\x1b[31m\\udcff b"
