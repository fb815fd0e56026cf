"""Tables of numbers are written with the bytes that astropy would write."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.io.ecsv import ecsv_bytes

NUMBERS = {"f8": st.floats(width=64), "f4": st.floats(width=32), "i8": st.integers(-(2**62), 2**62), "u2": st.integers(0, 65535)}


def by_astropy(table: Table) -> bytes:
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    return text.getvalue().encode("utf-8")


@st.composite
def tables(draw: st.DrawFn) -> Table:
    rows = draw(st.integers(0, 6))
    table = Table(masked=draw(st.booleans()))
    for number, code in enumerate(draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=4))):
        values = np.array(draw(st.lists(NUMBERS[code], min_size=rows, max_size=rows)), code)
        mask = draw(st.lists(st.booleans(), min_size=rows, max_size=rows)) if draw(st.booleans()) else None
        column: Any = MaskedColumn(values, mask=mask) if mask is not None else values
        table[f"c{number}"] = column
        table[f"c{number}"].unit = draw(st.sampled_from([None, "adu", "pix"]))
    table.meta["note"] = draw(st.text(max_size=8))
    return table


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_the_bytes_are_those_of_astropy(table: Table) -> None:
    assert ecsv_bytes(table) == by_astropy(table)


@pytest.mark.parametrize("values", [["a b", ""], [[1.0, 2.0], [3.0, 4.0]], [True, False]])
def test_other_columns_are_left_to_astropy(values: list[Any]) -> None:
    table = Table({"n": [1, 2], "other": values})
    assert ecsv_bytes(table) == by_astropy(table)


def test_a_format_of_a_column_does_not_round_its_values() -> None:
    table = Table({"x": MaskedColumn([1.23456789, 2.0], format="%.2f", mask=[False, True])})
    assert ecsv_bytes(table) == by_astropy(table)
    assert Table.read(ecsv_bytes(table).decode(), format="ascii.ecsv")["x"][0] == 1.23456789
