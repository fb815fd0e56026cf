"""Tables of hot and warm pixels: those of a result, and those of an earlier one read back."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nightcrew.errors import Refused
from nightcrew.sensor.dark_signal import DarkSeries
from nightcrew.sensor.frames import Window
from nightcrew.sensor.hot_counts import rate_errors
from nightcrew.sensor.hot_growth import HotList, Place

Key = tuple[str, str, float | None]
WARM_COLUMNS = (
    "set-up",
    "region",
    "temperature / C",
    "y",
    "x",
    "rate / (adu/s)",
    "error / (adu/s)",
    "threshold / (adu/s)",
    "mean of the others / (adu/s)",
    "windows / px",
)
_WINDOW = re.compile(r"(\d+):(\d+),(\d+):(\d+)(?:/(\d+))?")
_NEEDED = WARM_COLUMNS[:6]
NO_ERRORS = "the earlier result holds no errors of the pixels' rates"


def windows_text(windows: Sequence[Window]) -> str:
    """``0:100,0:50`` (columns, then rows, half-open), with ``/2`` where every second pixel counts; several with a space between."""
    return " ".join(f"{w.x0}:{w.x1},{w.y0}:{w.y1}" + (f"/{w.step}" if w.step != 1 else "") for w in windows)


def windows_of(text: str) -> tuple[Window, ...]:
    """The windows of such a text; ``ValueError`` when it is none."""
    found = []
    for one in text.split():
        match = _WINDOW.fullmatch(one)
        if match is None:
            raise ValueError(f"{one!r} is no window")
        x0, x1, y0, y1, step = (int(part or 1) for part in match.groups())
        found.append(Window(x0, x1, y0, y1, max(step, 1)))
    return tuple(found)


def hot_list(series: DarkSeries, gain_e_per_adu: float | None, windows: tuple[Window, ...]) -> HotList | None:
    """Hot pixels of a series in ``windows``, and those nearer to the threshold than to the others' mean; None without a dark rate."""
    hot = series.hot
    if hot is None:
        return None
    rates = np.concatenate([hot.rate_adu_per_s, hot.below_adu_per_s])
    ys, xs = np.concatenate([hot.y, hot.below_y]).tolist(), np.concatenate([hot.x, hot.below_x]).tolist()
    errors = rate_errors(series, gain_e_per_adu, rates)
    places: list[Place] = list(zip(ys, xs, strict=True))
    return HotList(
        rate_adu_per_s=dict(zip(places, rates.tolist(), strict=True)),
        error_adu_per_s={} if isinstance(errors, str) else dict(zip(places, errors.tolist(), strict=True)),
        threshold_adu_per_s=hot.threshold_adu_per_s,
        typical_adu_per_s=hot.typical_adu_per_s,
        temperature_c=series.temperature_c,
        why=errors if isinstance(errors, str) else "",
        windows=windows,
    )


def read_hot_lists(folder: Path) -> dict[Key, HotList]:
    """The lists of an earlier result by (set-up, region, temperature); :class:`Refused` when its tables are none.

    ``warm_pixels.csv`` holds errors and thresholds; an older result has ``hot_pixels.csv`` alone.
    """
    path = folder / "warm_pixels.csv"
    path = path if path.is_file() else folder / "hot_pixels.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return _lists(rows, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise Refused(f"{path} is no table of hot pixels: {error}") from error


def _lists(rows: Sequence[dict[str, str | None]], path: Path) -> dict[Key, HotList]:
    if rows and not set(_NEEDED) <= rows[0].keys():
        raise Refused(f"{path} is no table of hot pixels: it lacks {', '.join(sorted(set(_NEEDED) - rows[0].keys()))}")
    rates: dict[Key, dict[Place, float]] = {}
    errors: dict[Key, dict[Place, float]] = {}
    bars: dict[Key, tuple[float | None, float, tuple[Window, ...]]] = {}
    for number, row in enumerate(rows, start=2):
        if any(row[name] is None for name in _NEEDED):
            raise Refused(f"{path} is no table of hot pixels: line {number} is cut short")
        key = (str(row["set-up"]), str(row["region"]), _number(row, "temperature / C"))
        if key not in bars:
            typical = _number(row, "mean of the others / (adu/s)") or 0.0
            bars[key] = (_number(row, "threshold / (adu/s)"), typical, windows_of(row.get("windows / px") or ""))
        mine = rates.setdefault(key, {})
        rate, error = _number(row, "rate / (adu/s)"), _number(row, "error / (adu/s)")
        if rate is not None:
            place = int(row["y"] or ""), int(row["x"] or "")
            mine[place] = rate
            if error is not None:
                errors.setdefault(key, {})[place] = error
    return {
        key: HotList(
            rate_adu_per_s=found,
            error_adu_per_s=errors.get(key, {}),
            threshold_adu_per_s=bars[key][0],
            typical_adu_per_s=bars[key][1],
            windows=bars[key][2],
            temperature_c=key[2],
            why="" if len(errors.get(key, {})) == len(found) and bars[key][0] is not None else NO_ERRORS,
        )
        for key, found in rates.items()
    }


def _number(row: dict[str, str | None], name: str) -> float | None:
    """A finite number of the row, else None; ``ValueError`` when the text is none."""
    text = row.get(name)
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None
