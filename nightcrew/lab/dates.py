"""Columns of dates in logs as seconds: ISO 8601 and the other forms that mean one moment; the rest is refused with a sentence.

A column is read as a whole: whether 03/04/2026 is a day in March or in April is only told by the other rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
_PACKED = r"(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2}(?:[.,]\d+)?)"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
_NAME = r"(?P<name>[A-Za-z]{3})[A-Za-z]*\.?"
_AFTER = r"(?:[T ,]\s*|,\s+)"
_FORMS = tuple(
    re.compile(text)
    for text in (
        rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}}){_AFTER}{_CLOCK}{_ZONE}",
        rf"(?P<year>(?:19|20)\d{{2}})(?P<month>\d{{2}})(?P<day>\d{{2}})[T_ ]?{_PACKED}{_ZONE}",
        rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.(?P<year>\d{{4}}){_AFTER}{_CLOCK}{_ZONE}",
        rf"(?P<day>\d{{1,2}})[- ]{_NAME}[- ](?P<year>\d{{4}}){_AFTER}{_CLOCK}{_ZONE}",
        rf"(?:[A-Za-z]{{3}},? +)?{_NAME} +(?P<day>\d{{1,2}}),? +(?P<year>\d{{4}}){_AFTER}{_CLOCK}{_ZONE}",
        rf"(?:[A-Za-z]{{3}},? +)?{_NAME} +(?P<day>\d{{1,2}}),? +{_CLOCK}{_ZONE} +(?P<year>\d{{4}})",
        rf"(?P<first>\d{{1,2}})(?P<mark>[-/])(?P<other>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_AFTER}{_CLOCK}{_ZONE}",
    )
)
_CLOCK_ALONE = re.compile(_CLOCK + _ZONE)
_PACKED_MOMENT = re.compile(r"(?:19|20)\d{12}(?:[.,]\d+)?")


@dataclass(frozen=True, slots=True)
class Moments:
    """Seconds since 1970-01-01 UTC of each cell, NaN where it holds no moment.

    ``refused``: why the whole column cannot be read ("" where it can; all is NaN then).  ``zoned``: whether the cells say their time zone;
    without one they are taken as UTC.
    """

    seconds: tuple[float, ...]
    refused: str = ""
    zoned: bool = True


def looks_like_moments(cells: Sequence[str]) -> bool:
    """Whether a column's cells are dates, times of day or other words rather than numbers (20260314223000 is a date)."""
    some = [cell.strip() for cell in cells if cell.strip()]
    if not some or all(_PACKED_MOMENT.fullmatch(cell) for cell in some):
        return bool(some)
    return not any(_is_number(cell) for cell in some) or any(_match(cell) is not None for cell in some if not _is_number(cell))


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def read_moments(cells: Sequence[str]) -> Moments:
    """Moments of a column of a log; ``refused`` where it does not tell them."""
    found = [_match(cell.strip()) for cell in cells]
    told = [one for one in found if one is not None]
    nothing = (math.nan,) * len(cells)
    if not told:
        return Moments(nothing, _why_none([cell.strip() for cell in cells if cell.strip()]))
    if any(_is_number(cell) for cell, one in zip(cells, found, strict=True) if one is None):
        return Moments(nothing, "it holds both dates and numbers")
    zones = {bool(one["zone"]) for one in told}
    if len(zones) > 1:
        return Moments(nothing, "some of its dates have a time zone and some have none")
    order, why = _order([one for one in told if "first" in one])
    if why:
        return Moments(nothing, why)
    seconds = tuple(math.nan if one is None else _seconds(one, order) for one in found)
    if not any(math.isfinite(value) for value in seconds):
        return Moments(nothing, "none of its dates is one of the calendar")
    return Moments(seconds, zoned=zones == {True})


def _match(cell: str) -> dict[str, str | None] | None:
    for form in _FORMS:
        match = form.fullmatch(cell)
        if match is not None:
            return match.groupdict()
    return None


def _why_none(cells: Sequence[str]) -> str:
    if cells and all(_CLOCK_ALONE.fullmatch(cell) for cell in cells):
        return "it holds times of day without their date"
    if cells and all(re.fullmatch(r"\d{1,4}[-/. ]\w{1,9}[-/. ]\d{1,4}", cell) for cell in cells):
        return "it holds dates without a time of day"
    return f"{cells[0]!r:.40} is neither a number nor a date of a known form" if cells else "it is empty"


def _order(told: Sequence[dict[str, str | None]]) -> tuple[str, str]:
    """``day`` or ``month``, what comes first in dates like 03/04/2026; or why that cannot be told."""
    pairs = [(int(one["first"] or 0), int(one["other"] or 0)) for one in told]
    day_first, month_first = any(a > 12 for a, _ in pairs), any(b > 12 for _, b in pairs)
    if day_first and month_first:
        return "", "its dates mix day/month and month/day"
    if pairs and not day_first and not month_first and any(a != b for a, b in pairs):
        return "", "its dates do not tell whether the day or the month comes first; write them as 2026-03-14 22:30:00"
    return "month" if month_first else "day", ""


def _seconds(one: dict[str, str | None], order: str) -> float:
    def number(name: str) -> int:
        return int(one.get(name) or 0)

    if "first" in one:
        day, month = (number("first"), number("other")) if order == "day" else (number("other"), number("first"))
    else:
        name = (one.get("name") or "").lower()
        day, month = number("day"), _MONTHS.index(name) + 1 if name in _MONTHS else number("month")
    hour, half = number("hour"), (one.get("half") or "").lower()
    if half:
        hour = (hour % 12) + (12 if half.startswith("p") else 0) if 1 <= hour <= 12 else 99
    second = float((one.get("second") or "0").replace(",", "."))
    try:
        moment = datetime(number("year"), month, day, hour, number("minute"), tzinfo=_zone(one["zone"] or ""))
    except ValueError:
        return math.nan
    return moment.timestamp() + second if second < 61 else math.nan


def _zone(text: str) -> timezone:
    if not text or text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(offset if text[0] == "+" else -offset)
