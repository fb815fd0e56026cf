"""Observing logs: which exposures there were, one line each, written as the night goes on.

Comma-separated text with a heading.  ``name``, ``type``, ``start`` and ``stop`` are needed, ``wavelength_nm`` for lasers; other columns
are kept.  Times are Unix seconds or ISO 8601 in UTC; windows are half-open.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.source import shown
from nightcrew.mkid.seconds import Rejected

TYPES = ("laser", "dark", "flat", "science")
_NEEDED = ("name", "type", "start", "stop")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")  # becomes part of a file name
_LONGEST_US = 86_400_000_000
_MOST_BYTES = 16 << 20
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_YEAR_2100_US = 4_102_444_800_000_000


@dataclass(frozen=True)
class LoggedExposure:
    """One line of the log; the window is half-open, in Unix microseconds."""

    name: str
    kind: str
    start_us: int
    stop_us: int
    wavelength_nm: float | None
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ObservingLog:
    """The exposures in order of time, and the lines that were not understood."""

    exposures: list[LoggedExposure] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def time_us(text: str) -> int:
    """Unix microseconds of Unix seconds or ISO 8601 (UTC without a zone); ``ValueError`` when it is neither."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        moment = datetime.datetime.fromisoformat(text.strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
    if not value.is_finite() or not 0 <= value < _YEAR_2100_US // 1_000_000:  # a product of 1e999999 would overflow
        raise ValueError(f"{text} is no time")
    return int((value * 1_000_000).to_integral_value())


def read_log(path: Path) -> ObservingLog:
    """Read a log.  Lines that are wrong, or overlap an earlier exposure, are named and left out; the rest goes on.

    Raises :class:`RejectedInput` when there is no heading, :class:`TransientError` when the file cannot be read.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    except OSError as error:
        raise TransientError(f"{shown(path)}: the observing log cannot be read ({error.strerror})") from error
    return parse_log(data.decode("utf-8", "replace"), shown(path))


def parse_log(text: str, name: str) -> ObservingLog:
    """As :func:`read_log`, from text."""
    reader = csv.DictReader(io.StringIO(text.replace("\0", "\N{REPLACEMENT CHARACTER}")), skipinitialspace=True)
    try:
        absent = [word for word in _NEEDED if word not in (reader.fieldnames or ())]
        if absent:
            raise RejectedInput(f"{name}: is no observing log, its first line has no {', '.join(absent)}")
        log = ObservingLog()
        for row in reader:
            _take(log, row, f"{name} line {reader.line_num}")
    except csv.Error as error:
        raise RejectedInput(f"{name}: is no observing log ({error})") from error
    log.exposures.sort(key=lambda one: one.start_us)
    return log


def _take(log: ObservingLog, row: Mapping[str | None, object], where: str) -> None:
    try:
        exposure = _exposure({key: value.strip() for key, value in row.items() if isinstance(key, str) and isinstance(value, str)})
        for other in log.exposures:
            if exposure.name == other.name:
                raise RejectedInput(f"there is an exposure {exposure.name} already")
            if exposure.start_us < other.stop_us and other.start_us < exposure.stop_us:
                raise RejectedInput(f"{exposure.name} overlaps {other.name}")
    except RejectedInput as error:
        log.rejected.append(Rejected(where, f"{where}: {error}"))
        return
    log.exposures.append(exposure)


def _exposure(values: Mapping[str, str]) -> LoggedExposure:
    name, kind = values.get("name", ""), values.get("type", "")
    if not _NAME.fullmatch(name):
        raise RejectedInput(f"{shown(name) or 'nothing'} is no name for an exposure (letters, digits, _ . + -)")
    if kind not in TYPES:
        raise RejectedInput(f"the type of {name} is {kind!r}, not one of {', '.join(TYPES)}")
    try:
        start_us, stop_us = time_us(values.get("start", "")), time_us(values.get("stop", ""))
    except (ValueError, OverflowError) as error:
        raise RejectedInput(f"{name} has no start and stop as Unix seconds or ISO 8601") from error
    if not 0 < stop_us - start_us <= _LONGEST_US:
        raise RejectedInput(f"{name} stops before it starts, or is longer than a day")
    others = {key: value for key, value in values.items() if key not in (*_NEEDED, "wavelength_nm")}
    return LoggedExposure(name, kind, start_us, stop_us, _wavelength(name, kind, values.get("wavelength_nm", "")), others)


def _wavelength(name: str, kind: str, text: str) -> float | None:
    if not text and kind != "laser":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 100 <= value <= 10_000:
        raise RejectedInput(f"{name} needs its wavelength_nm, between 100 and 10000")
    return value
