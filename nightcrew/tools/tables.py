"""Small tables for people and programs: aligned text, CSV, ECSV and JSON from one typed form."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.errors import Refused
from nightcrew.io.cells import inert

Value = bool | int | float | str | None
FORMS = ("text", "csv", "ecsv", "json")
MISSING = "...."
_ENDINGS = {".csv": "csv", ".ecsv": "ecsv", ".json": "json"}


@dataclass(frozen=True, slots=True)
class SmallTable:
    """Named columns of plain values; ``None`` is a missing value."""

    names: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def column(self, index: int) -> list[Value]:
        """The values of one column."""
        return [row[index] for row in self.rows]


def form_of(output: str, wanted: str = "") -> str:
    """The form asked for, else what the ending of ``output`` says, else text; :class:`Refused` for an unknown one."""
    if wanted:
        if wanted not in FORMS:
            raise Refused(f"there is no table format '{wanted}': choose from {', '.join(FORMS)}")
        return wanted
    return next((form for ending, form in _ENDINGS.items() if output.lower().endswith(ending)), "text")


def render(table: SmallTable, form: str, *, numbered: bool = False, digits: int | None = None) -> str:
    """``table`` as text in ``form``, ending with a line end.

    ``numbered`` (text) writes two header lines, ``#1`` with names and ``#1N`` with column numbers, and indents each
    row, so that ``awk '{print $3}'`` takes the third column.  ``digits`` (text) shortens floats; other forms keep all digits.
    """
    if form == "csv":
        return _csv(table)
    if form == "json":
        return json.dumps([dict(zip(table.names, map(_plain, row), strict=True)) for row in table.rows], indent=1, allow_nan=False) + "\n"
    if form == "ecsv":
        return _ecsv(table)
    return _text(table, numbered=numbered, digits=digits)


def printable(text: str) -> str:
    """``text`` with everything that could steer a terminal escaped."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text.encode("utf-8", "backslashreplace").decode())


def column_type(values: Sequence[Value]) -> type[bool] | type[int] | type[float] | type[str]:
    """The narrowest type that holds every value: bool, int, float (ints among floats), else str."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return bool
    if kinds == {int} and all(abs(int(value)) < 2**63 for value in values if isinstance(value, int)):
        return int
    return float if kinds and kinds <= {int, float} else str


def _text(table: SmallTable, *, numbered: bool, digits: int | None) -> str:
    cells = [[_cell(value, digits) for value in row] for row in table.rows]
    right = [column_type(table.column(i)) in (int, float) for i in range(len(table.names))]
    heads = [[printable(name).replace(" ", "_") for name in table.names]]
    if numbered:
        heads.append([str(number) for number in range(1, len(table.names) + 1)])
    widths = [max(len(line[i]) for line in [*heads, *cells]) for i in range(len(table.names))]
    starts = ["#1  ", "#1N "] if numbered else ["#"]
    lines = [_line(start, head, widths, right) for start, head in zip(starts, heads, strict=True)]
    lines += [_line("    " if numbered else " ", line, widths, right) for line in cells]
    return "\n".join(lines) + "\n"


def _line(start: str, cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(cells, widths, right, strict=True)]
    return (start + " ".join(padded)).rstrip()


def _cell(value: Value, digits: int | None) -> str:
    """A value without blanks inside, so that columns can be counted."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return MISSING
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        return repr(value) if digits is None else f"{value:.{digits}g}"
    return str(value) if isinstance(value, int) else "_".join(printable(value).split())


def _csv(table: SmallTable) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.names)
    writer.writerows([["" if value is None else inert(value) if isinstance(value, str) else value for value in row] for row in table.rows])
    return stream.getvalue()


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ecsv(table: SmallTable) -> str:
    from astropy.table import MaskedColumn, Table

    made = Table()
    for index, name in enumerate(table.names):
        values = table.column(index)
        kind = column_type(values)
        filled = [kind() if value is None else kind(value) for value in values]
        made[name] = MaskedColumn(filled, mask=[value is None for value in values], dtype=kind)
    stream = io.StringIO()
    made.write(stream, format="ascii.ecsv")
    return stream.getvalue().rstrip("\n") + "\n"
