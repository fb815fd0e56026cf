"""Logs of the beam: tables with frame number, time and dose, in whatever delimiter, unit and state they come."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.source import shown
from nightcrew.lab.dates import looks_like_moments, read_moments

F8 = NDArray[np.float64]
_BASE = {"rad": 1e-3, "rads": 1e-3, "gy": 0.1}  # kRad
_PREFIX = {"": 1.0, "u": 1e-6, "\N{MICRO SIGN}": 1e-6, "m": 1e-3, "c": 1e-2, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_SECONDS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SECONDS |= {"min": 60.0, "mins": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hours": 3600.0, "d": 86400.0, "days": 86400.0}
_SECONDS |= {"unix": 1.0, "utc": 1.0, "epoch": 1.0, "iso": 1.0}
LARGEST_BYTES = 64 << 20
CONSTANT = 1e-9  # relative spread below which all doses of a log are the same number

_DOSE = re.compile(r"(dose|radiationlevel|radiation_level)[\s_]*[\[(]?\s*([a-z\N{MICRO SIGN}]*)\s*[\])]?", re.IGNORECASE)
_TIME = re.compile(r"(time_?stamp|time)[\s_]*[\[(]?\s*([a-z\N{MICRO SIGN}]*)\s*[\])]?", re.IGNORECASE)
_MOMENT = re.compile(r"(date[\s_-]?time|date[\s_-]?obs|utc|date)(?:[\s_]*[\[(]?\s*(?:utc|iso)\s*[\])]?)?", re.IGNORECASE)
_FRAME = ("framenum", "frame")
_OTHERS = {
    "current_a": re.compile(r"amperage.*|current.*", re.IGNORECASE),
    "voltage_v": re.compile(r"voltage.*", re.IGNORECASE),
    "temperature_c": re.compile(r"temperature|ccd_?temp(erature)?|chiptemp", re.IGNORECASE),
    "power_w": re.compile(r"powercons|power(_w)?", re.IGNORECASE),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class DoseLog:
    """Rows of a log in their order; NaN where a cell is empty or no number, -1 for a frame number that is none.

    ``dose_krad``: column Dose, else RadiationLevel, in kRad; ``level_krad`` the RadiationLevel where there are both.
    ``remarks``: what was wrong with the file.
    """

    name: str
    frame: NDArray[np.int64]
    time_s: F8
    dose_krad: F8
    level_krad: F8
    others: Mapping[str, F8] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.dose_krad)

    @property
    def constant(self) -> bool:
        """All doses the same number: such a log tells nothing and counts as missing."""
        dose = self.dose_krad[np.isfinite(self.dose_krad)]
        return bool(dose.size > 1 and np.ptp(dose) <= CONSTANT * max(1.0, float(np.abs(dose).max())))

    @property
    def has_times(self) -> bool:
        """At least two rows with a time and a dose."""
        return int(np.sum(np.isfinite(self.time_s) & np.isfinite(self.dose_krad))) >= 2

    @property
    def has_frames(self) -> bool:
        """Some row has a frame number and a dose."""
        return bool(np.any((self.frame >= 0) & np.isfinite(self.dose_krad)))

    @property
    def clock_restarts(self) -> bool:
        """The times fall in the order of the rows while the dose goes on: by time the rows would be mixed."""
        good = np.isfinite(self.time_s) & np.isfinite(self.dose_krad)
        time, dose = self.time_s[good], self.dose_krad[good]
        if not np.any(np.diff(time) < 0):
            return False
        by_time = dose[np.argsort(time, kind="stable")]
        return bool(np.sum(np.diff(by_time) < 0) > np.sum(np.diff(dose) < 0))

    def segments(self) -> list[NDArray[np.intp]]:
        """Rows with a frame number, cut where the numbers stop growing: a new folder begins there."""
        rows = np.nonzero((self.frame >= 0) & np.isfinite(self.dose_krad))[0]
        if not rows.size:
            return []
        breaks = np.nonzero(np.diff(self.frame[rows]) < 0)[0] + 1
        return list(np.split(rows, breaks))

    def groups(self) -> list[NDArray[np.intp]]:
        """Rows cut where the frame number does not grow or the dose changes (the older suite's groups)."""
        if not len(self):
            return []
        same = np.isclose(self.dose_krad[1:], self.dose_krad[:-1], rtol=1e-12, atol=0, equal_nan=True)
        grows = np.diff(self.frame) > 0 if np.any(self.frame >= 0) else np.ones(len(self) - 1, dtype=bool)
        return list(np.split(np.arange(len(self)), np.nonzero(~(same & grows))[0] + 1))


def read_dose_log(path: Path | str) -> DoseLog:
    """Read a log; RejectedInput where it has neither a dose nor an electric column, is no text, or is too large."""
    place = Path(path)
    try:
        if place.stat().st_size > LARGEST_BYTES:
            raise RejectedInput(f"{shown(place)}: is larger than {LARGEST_BYTES >> 20} MB, no log of a beam")
        text = place.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = place.read_bytes().decode("latin-1")
    except OSError as error:
        raise RejectedInput(f"{shown(place)}: cannot be read ({error.strerror})") from error
    return parse_dose_log(text, place.name)


def parse_dose_log(text: str, name: str) -> DoseLog:
    """A log from its text; ``name`` for messages."""
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=_delimiter(text)) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise RejectedInput(f"{shown(name)}: is no table ({error})") from error
    if not rows:
        raise RejectedInput(f"{shown(name)}: is empty")
    head, body = [cell.strip().lstrip("\ufeff") for cell in rows[0]], rows[1:]
    remarks: list[str] = []
    doses = _dose_columns(head, remarks)
    others = {key: place for key, pattern in _OTHERS.items() if (place := _find(head, pattern)) is not None}
    if not doses and not others:
        raise RejectedInput(f"{shown(name)}: has no column Dose, RadiationLevel, current or voltage (it has {', '.join(head[:8])})")
    number = next((place for want in _FRAME for place, cell in enumerate(head) if cell.lower() == want), None)
    time_place, seconds = _time_column(head, remarks)
    date_place = next((place for place, cell in enumerate(head) if _MOMENT.fullmatch(cell)), None)

    def cells(place: int | None) -> list[str]:
        return [row[place].strip() if place is not None and place < len(row) else "" for row in body]

    def column(place: int | None) -> F8:
        return np.array([_number(cell) for cell in cells(place)], dtype=np.float64)

    frames, times = column(number), column(time_place) * seconds
    if date_place is not None and time_place is None:
        times = _moments(cells(date_place), head[date_place], remarks)
    elif time_place is not None and looks_like_moments(cells(time_place)):
        texts, label = cells(time_place), head[time_place]
        if date_place is not None and not any("-" in text or "/" in text for text in texts):
            texts, label = [f"{a} {b}" for a, b in zip(cells(date_place), texts, strict=True)], f"{head[date_place]} and {label}"
        times = _moments(texts, label, remarks)
    elif time_place is not None and not np.isfinite(times).any():
        remarks.append(f"column {head[time_place]}: holds no number of seconds, so its times were not used")
    made = {key: column(place) * factor for key, (place, factor) in doses.items()}
    dose = made.get("dose", made.get("level", np.full(len(body), math.nan)))
    bad = int(np.sum(~np.isfinite(dose))) if doses else 0
    if bad:
        remarks.append(f"{bad} of {len(body)} rows have no dose that is a number")
    return DoseLog(
        name=name,
        frame=np.where(np.isfinite(frames) & (frames >= 0) & (frames == np.round(frames)), frames, -1).astype(np.int64),
        time_s=times,
        dose_krad=dose,
        level_krad=made.get("level", np.full(len(body), math.nan)),
        others={key: column(place) for key, place in others.items()},
        remarks=tuple(remarks),
    )


def _moments(cells: Sequence[str], label: str, remarks: list[str]) -> F8:
    """Seconds since 1970 of a column of dates; NaN with a remark where it cannot be read."""
    found = read_moments(cells)
    lacking = sum(bool(cell) and math.isnan(seconds) for cell, seconds in zip(cells, found.seconds, strict=True))
    if found.refused:
        remarks.append(f"column {label}: {found.refused}, so its times were not used")
    elif lacking:
        remarks.append(f"column {label}: {lacking} of {len(cells)} cells are no moment")
    if not found.refused and not found.zoned:
        remarks.append(f"column {label}: its dates have no time zone and are taken as UTC")
    return np.array(found.seconds, dtype=np.float64)


def _find(head: Sequence[str], pattern: re.Pattern[str]) -> int | None:
    return next((place for place, cell in enumerate(head) if pattern.fullmatch(re.sub(r"\s*[\[(].*", "", cell))), None)


def krad_per(unit: str) -> float | None:
    """kRad of a unit of dose; the prefix as the SI writes it: ``m`` is milli and ``M`` mega.  None for a word that is no unit of dose."""
    if not unit:
        return 1.0
    for base, krad in _BASE.items():
        prefix = unit[: len(unit) - len(base)]
        if unit.lower().endswith(base) and prefix in _PREFIX:
            return krad * _PREFIX[prefix]
    return None


def _dose_columns(head: Sequence[str], remarks: list[str]) -> dict[str, tuple[int, float]]:
    """``dose`` and ``level`` -> (column, kRad of its unit)."""
    found: dict[str, tuple[int, float]] = {}
    for place, cell in enumerate(head):
        match = _DOSE.fullmatch(cell)
        if not match:
            continue
        factor = krad_per(match[2])
        if factor is None:
            remarks.append(f"column {cell}: {match[2]} is no unit of dose, so it was not used")
            continue
        found.setdefault("dose" if match[1].lower() == "dose" else "level", (place, factor))
        if factor != 1.0:
            remarks.append(f"column {cell}: brought to kRad, 1 {match[2]} = {factor:g} kRad")
    return found


def _time_column(head: Sequence[str], remarks: list[str]) -> tuple[int | None, float]:
    """Column of the time and seconds of its unit (seconds where none is stated)."""
    for place, cell in enumerate(head):
        match = _TIME.fullmatch(cell)
        if not match:
            continue
        unit = match[2].replace("\N{MICRO SIGN}", "u").lower()
        if unit and unit not in _SECONDS:
            remarks.append(f"column {cell}: {match[2]} is no unit of time, so it was not used")
            continue
        factor = _SECONDS.get(unit, 1.0)
        if factor != 1.0:
            remarks.append(f"column {cell}: brought to seconds, 1 {match[2]} = {factor:g} s")
        return place, factor
    return None, 1.0


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {mark: first.count(mark) for mark in ",;\t|"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _number(cell: str) -> float:
    text = cell.strip()
    if "," in text and "." not in text:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
