"""Logs of an attempt, one row a frame: any delimiter, byte-order mark, empty cells, NaN, ``0.0`` as frame number.

Columns become header keywords by an explicit table of names, never by a part of a name.  Numbers are brought to the units of the
keywords by the unit that the column's name states (``Temperature (K)``, ``ExpTime [ms]``, ``TimeStamp_ms``).  Without one, exposures are
microseconds and all others are in the keyword's unit; values of a unit that is not known are undefined, with a warning.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from nightcrew.errors import RejectedInput
from nightcrew.frames.units import to_celsius, unit_named
from nightcrew.io.headers import HeaderValue
from nightcrew.io.source import shown
from nightcrew.lab.config import decode_text
from nightcrew.lab.dates import looks_like_moments, read_moments

FRAME_LOGS = ("temperatureLog.csv", "radiationLog.csv", "radiationLogCompleto.csv")
"""Logs that have a row a frame, in the order in which the first one that exists is taken."""

ALIASES: dict[str, tuple[str, ...]] = {
    "FRAMENUM": ("framenum", "framenumber", "frame"),
    "TIMESTAMP": ("timestamp", "datetime"),
    "EXPTIME": ("exptime", "exposuretime"),
    "REXPTIME": ("realexptime", "realexposuretime"),
    "GAIN": ("expgain", "gain"),
    "TEMP": ("temperature", "ccdtemp", "ccdtemperature", "chiptemp", "chiptemperature", "temp"),
    "EQTEMP": ("exttemperature", "exttemp", "eqtemp"),
    "TEMP_0": ("initialtemp", "initialtemperature", "temp0"),
    "DELTMP": ("deltatemperature", "deltatemp", "deltmp"),
    "POWCONS": ("powercons", "powerconsumption", "powcons"),
    "DOSE": ("dose",),
    "RADIATIONLEVEL": ("radiationlevel",),
}
"""Keyword -> names of columns, lower-case without blanks and underscores; the first one that has a value counts."""

COMMENTS: dict[str, str] = {
    "FRAMENUM": "number in the log",
    "TIMESTAMP": "s, by the log",
    "EXPTIME": "s, exposure",
    "REXPTIME": "s, exposure as carried out",
    "GAIN": "gain setting",
    "TEMP": "deg C, of the detector",
    "EQTEMP": "deg C, of the equipment",
    "TEMP_0": "deg C, at the beginning",
    "DELTMP": "K, temperature change",
    "POWCONS": "W, power consumption",
    "DOSE": "kRad, by the log",
    "RADIATIONLEVEL": "radiation level by the log",
}
_MICROSECONDS = frozenset({"EXPTIME", "REXPTIME"})
_DOSES_KRAD = {
    "krad": 1.0,
    "krads": 1.0,
    "kr": 1.0,
    "rad": 1e-3,
    "rads": 1e-3,
    "Mrad": 1e3,
    "Gy": 0.1,
    "kGy": 100.0,
    "mGy": 1e-4,
    "cGy": 1e-3,
}
_POWERS_W = {"w": 1.0, "watt": 1.0, "mw": 1e-3, "kw": 1e3}
_LONG_S = {"min": 60.0, "h": 3600.0}
_IN_A_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
DIMENSIONS: dict[str, str] = {
    "EXPTIME": "time",
    "REXPTIME": "time",
    "TIMESTAMP": "time",
    "TEMP": "temperature",
    "EQTEMP": "temperature",
    "TEMP_0": "temperature",
    "DELTMP": "difference",
    "POWCONS": "power",
    "DOSE": "dose",
}
"""What a keyword's numbers are; of others no unit is known, and they are kept as they stand."""
_KEYWORD_OF = {alias: keyword for keyword, names in ALIASES.items() for alias in names}
_RANK = {alias: rank for names in ALIASES.values() for rank, alias in enumerate(names)}
_UNIT_RE = re.compile(r"\s*[(\[]([^)\]]*)[)\]]\s*$")
_TAIL_RE = re.compile(r"(.+?)[_ ]([A-Za-z°µμ]{1,7})\s*$")
MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class LogRow:
    """Values of one frame by FITS keyword (upper case, seconds, C); None: written, but not a finite number.  ``line`` counts from 1."""

    frame: int
    values: dict[str, HeaderValue]
    line: int


@dataclass(frozen=True, slots=True)
class FrameLog:
    """A read log: every row in file order, and ``by_frame``, the last row of each frame number."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[LogRow, ...]
    by_frame: dict[int, LogRow]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    keyword: str
    rank: int
    unit: str  # as the name states it, "" when it states none


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).lower()


def split_unit(name: str) -> tuple[str, str]:
    """A name without its unit, and the unit: in brackets, or as the last word where the rest is a name of the table (``ExpTime_ms``)."""
    bracketed = _UNIT_RE.search(name)
    if bracketed:
        return _UNIT_RE.sub("", name), bracketed[1].strip()
    tail = _TAIL_RE.fullmatch(name.strip())
    if tail and _squeezed(name) not in _KEYWORD_OF and _squeezed(tail[1]) in _KEYWORD_OF:
        return tail[1], tail[2]
    return name, ""


def bare(name: str) -> str:
    """A column's name as the table of aliases knows it: without unit, blanks and underscores, lower-case."""
    return _squeezed(split_unit(name)[0])


def in_keyword_unit(value: float, keyword: str, unit: str) -> float | None:
    """A number in the unit of its keyword (s, C, K, W, kRad); None when the unit is not known.  Keywords without unit keep theirs."""
    dimension = DIMENSIONS.get(keyword, "")
    if not dimension or not unit:
        return value
    if dimension == "time":
        named = unit_named(unit, "time")
        return None if not named else value * _LONG_S[named] if named in _LONG_S else value / _IN_A_SECOND[named]
    if dimension in ("temperature", "difference"):
        named = unit_named(unit, "temperature")
        if not named:
            return None
        if dimension == "temperature":
            return to_celsius(value, named)
        return value / 1.8 if named == "F" else value
    table = _DOSES_KRAD if dimension == "dose" else _POWERS_W
    factor = table.get(unit) or (None if unit in ("mrad", "MGy") else table.get(unit.lower()))
    return None if factor is None else float(f"{value * factor:.12g}")


def _column(name: str) -> _Column:
    plain = bare(name)
    keyword = _KEYWORD_OF.get(plain) or re.sub(r"[^A-Z0-9_-]+", "_", split_unit(name)[0].strip().upper()).strip("_")
    unit = split_unit(name)[1] or ("us" if keyword in _MICROSECONDS else "")
    return _Column(keyword, _RANK.get(plain, 0), unit)


def delimiter_of(lines: list[str]) -> str:
    """The delimiter that splits the first lines most evenly into most columns; blanks where no other does."""
    best, most = ",", 0
    for sign in (",", ";", "\t", "|"):
        counts = [line.count(sign) for line in lines[:20]]
        if counts and counts[0] > most and sum(count == counts[0] for count in counts) * 2 >= len(counts):
            best, most = sign, counts[0]
    return best if most else (" " if lines and len(lines[0].split()) > 1 else ",")


def to_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """The number that a cell holds, ``nan`` and ``inf`` included; None when it holds none."""
    if decimal_comma and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def parse_log(text: str, name: str = "temperatureLog.csv") -> FrameLog:
    """Read the text of a log; RejectedInput when it has no header or no row with a frame number."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise RejectedInput(f"{name}: is empty")
    sign = delimiter_of(lines)
    try:
        table = [line.split() for line in lines] if sign == " " else list(csv.reader(lines, delimiter=sign, skipinitialspace=True))
    except csv.Error as error:
        raise RejectedInput(f"{name}: is no table that can be read ({error})") from error
    names = [cell.strip() for cell in table[0]]
    if all(to_number(cell) is not None for cell in names):
        raise RejectedInput(f"{name}: has no line with the names of its columns")
    columns = [_column(cell) for cell in names]
    warnings: list[str] = []
    _dates_to_seconds(table, columns, name, warnings)
    warnings += [
        f"{name}: the unit of the column {cell!r:.40} is not known; its values are undefined"
        for cell, column in zip(names, columns, strict=True)
        if in_keyword_unit(1.0, column.keyword, column.unit) is None
    ]
    key = next((i for alias in ALIASES["FRAMENUM"] for i, cell in enumerate(names) if bare(cell) == alias), None)
    if key is None:
        warnings.append(f"{name}: has no column FrameNum; the first column, {names[0]!r:.40}, is taken for it")
    rows = _rows(table[1:], columns, key or 0, sign != ",", name, warnings)
    by_frame: dict[int, LogRow] = {}
    contradicting: list[int] = []
    for row in rows:
        if row.frame in by_frame and by_frame[row.frame].values != row.values:
            contradicting.append(row.frame)
        by_frame[row.frame] = row
    if contradicting:
        warnings.append(f"{name}: {_some(contradicting)} stand there more than once with other values; the last row counts")
    if not by_frame:
        raise RejectedInput(f"{name}: has no row with a frame number")
    return FrameLog(name, tuple(names), tuple(rows), by_frame, tuple(warnings))


def _dates_to_seconds(table: list[list[str]], columns: list[_Column], name: str, warnings: list[str]) -> None:
    """Moments written as dates become seconds since 1970 in the table's cells; refused ones are undefined, with a warning."""
    for place, column in enumerate(columns):
        rows = [row for row in table[1:] if place < len(row)]
        cells = [row[place] for row in rows]
        if column.keyword != "TIMESTAMP" or not looks_like_moments(cells):
            continue
        found = read_moments(cells)
        for row, seconds in zip(rows, found.seconds, strict=True):
            row[place] = repr(seconds) if math.isfinite(seconds) else ("nan" if row[place].strip() else "")
        columns[place] = _Column(column.keyword, column.rank, "s")
        text = f"{name}: column {table[0][place].strip()!r:.40}"
        if found.refused:
            warnings.append(f"{text}: {found.refused}, so its times were not used")
        elif not found.zoned:
            warnings.append(f"{text}: its dates have no time zone and are taken as UTC")


def _rows(table: list[list[str]], columns: list[_Column], key: int, decimal_comma: bool, name: str, warnings: list[str]) -> list[LogRow]:
    rows, no_number, odd = [], [], []
    for line, cells in enumerate(table, 2):
        number = to_number(cells[key]) if key < len(cells) else None
        if number is None or not math.isfinite(number) or number != int(number) or number < 0:
            no_number.append(line)
            continue
        values: dict[str, HeaderValue] = {}
        ranks: dict[str, int] = {}
        for column, cell in zip(columns, map(str.strip, cells), strict=False):
            if not cell or not column.keyword or ranks.get(column.keyword, 99) <= column.rank:
                continue
            value = _value(cell, column, decimal_comma)
            if value is None:
                odd.append(int(number))
                if column.keyword in values:
                    continue
            else:
                ranks[column.keyword] = column.rank
            values[column.keyword] = value
        values["FRAMENUM"] = int(number)
        rows.append(LogRow(int(number), values, line))
    if no_number:
        warnings.append(f"{name}: {len(no_number)} rows have no frame number and were left out (first: row {no_number[0]})")
    if odd:
        warnings.append(f"{name}: {_some(sorted(set(odd)))}: NaN or infinite values are undefined")
    return rows


def _value(cell: str, column: _Column, decimal_comma: bool) -> HeaderValue:
    number = to_number(cell, decimal_comma=decimal_comma)
    if number is None:
        return cell if column.keyword not in COMMENTS else None
    return in_keyword_unit(number, column.keyword, column.unit) if math.isfinite(number) else None


def _some(frames: list[int]) -> str:
    text = ", ".join(str(frame) for frame in frames[:5])
    return f"frame {text}" if len(frames) == 1 else f"frames {text}" + (f" and {len(frames) - 5} more" if len(frames) > 5 else "")


def read_log(path: Path) -> FrameLog:
    """Read a log file; RejectedInput when it is no text, too large or no table."""
    name = shown(path)
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise RejectedInput(f"{name}: is larger than {MOST_BYTES >> 20} MB")
    text, warnings = decode_text(data, name)
    log = parse_log(text, name)
    return FrameLog(log.name, log.columns, log.rows, log.by_frame, (*warnings, *log.warnings))
