"""CSV tables of the laboratory: written with their columns in a stated order, read back with numbers as numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nightcrew.errors import RejectedInput
from nightcrew.io.atomic import write_text
from nightcrew.io.cells import as_it_was, inert
from nightcrew.io.source import shown


def cell(value: object) -> str:
    """A value as it stands in a table: nothing for None and for numbers that are not finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    # Undecodable bytes of a path stay what they were (surrogateescape).
    return inert(value) if isinstance(value, str) else str(value)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, durable: bool = False) -> Path:
    """Write rows under ``columns``; what a row does not have is an empty cell.  An older table of the name is replaced."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(name)) for name in columns])
    return write_text(path, text.getvalue().encode("utf-8", "backslashreplace").decode(), durable=durable, overwrite=True)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV with a header line; RejectedInput when it is no text or has no header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{str(key): as_it_was(value or "") for key, value in row.items()} for row in reader]
            names = reader.fieldnames
    except (UnicodeDecodeError, csv.Error) as error:
        raise RejectedInput(f"{shown(path)}: is no CSV table ({error})") from error
    if not names:
        raise RejectedInput(f"{shown(path)}: is empty")
    return rows


def number(text: str) -> float | None:
    """The finite number in a cell; None for an empty one and for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
