"""Reading back a catalogue product: the few columns that registration and the reports need, without a table library."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Stars:
    """Positions ([n, 2]: x, y in px) and flux of the sources without flags (of all, when fewer than five have none)."""

    positions: NDArray[np.float64]
    flux: NDArray[np.float64]


def columns(path: Path) -> dict[str, list[str]]:
    """The columns of an ECSV file as text (its values hold no line breaks)."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=" "))
    head, body = rows[0], rows[1:]
    return {name: [row[place] for row in body] for place, name in enumerate(head)}


def stars_of(path: Path) -> Stars:
    """The stars of a catalogue."""
    table = columns(path)
    x, y = (np.array([float(v) if v else np.nan for v in table[name]]) for name in ("x_px", "y_px"))
    flux = np.array([float(v) if v else np.nan for v in table["sum"]])
    flags = np.array([int(v) if v else 0 for v in table["flags"]])
    clean = flags == 0
    keep = clean if np.count_nonzero(clean) >= 5 else np.ones(len(x), np.bool_)
    return Stars(np.column_stack([x, y])[keep], flux[keep])
