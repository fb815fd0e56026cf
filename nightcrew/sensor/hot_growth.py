"""Hot pixels of one result against those of an earlier one: what is new, what has grown, what is gone."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import Refused

Place = tuple[int, int]
GROWN = 1.5
"""A pixel whose rate is this many times the earlier one has grown; one that is 1/1.5 of it has shrunk."""
_NEEDED = ("set-up", "region", "temperature / C", "y", "x", "rate / (adu/s)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HotGrowth:
    """Counts of hot pixels at one temperature; ``median_ratio`` of the rates now and then, of those hot both times (None without any)."""

    set_up: str
    region: str
    temperature_c: float | None
    before: int
    now: int
    new: int
    gone: int
    grown: int
    shrunk: int
    median_ratio: float | None


def growth(set_up: str, region: str, temperature_c: float | None, before: Mapping[Place, float], now: Mapping[Place, float]) -> HotGrowth:
    """Compare rates (ADU/s, by (y, x)) of two results of equal settings."""
    both = sorted(before.keys() & now.keys())
    ratios = sorted(now[place] / before[place] for place in both if before[place] > 0)
    middle = None if not ratios else ratios[len(ratios) // 2] if len(ratios) % 2 else sum(ratios[len(ratios) // 2 - 1 :][:2]) / 2
    return HotGrowth(
        set_up=set_up,
        region=region,
        temperature_c=temperature_c,
        before=len(before),
        now=len(now),
        new=len(now.keys() - before.keys()),
        gone=len(before.keys() - now.keys()),
        grown=sum(ratio > GROWN for ratio in ratios),
        shrunk=sum(ratio < 1 / GROWN for ratio in ratios),
        median_ratio=middle,
    )


def read_hot_pixels(path: Path) -> dict[tuple[str, str, float | None], dict[Place, float]]:
    """``hot_pixels.csv`` of an earlier result: (set-up, region, temperature) -> place -> rate; :class:`Refused` when it is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
            if rows and not set(_NEEDED) <= rows[0].keys():
                raise Refused(f"{path} is no table of hot pixels: it lacks {', '.join(sorted(set(_NEEDED) - rows[0].keys()))}")
            found: dict[tuple[str, str, float | None], dict[Place, float]] = {}
            for number, row in enumerate(rows, start=2):
                if any(row[name] is None for name in _NEEDED):
                    raise Refused(f"{path} is no table of hot pixels: line {number} is cut short")
                warm = float(row["temperature / C"]) if row["temperature / C"] else None
                rate = float(row["rate / (adu/s)"])
                if math.isfinite(rate):
                    found.setdefault((row["set-up"], row["region"], warm), {})[int(row["y"]), int(row["x"])] = rate
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise Refused(f"{path} is no table of hot pixels: {error}") from error
