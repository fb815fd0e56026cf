"""``summary.json``: the one machine-readable form beside every report, checked before it is written.

Form 1: ``{"format": 1, "recipe", "inputs", "grade", "quantities": [{"name", "value", "error", "unit", "where", "note"}],
"warnings": [...]}``.  A value that could not be determined is ``null`` with its reason in ``note``; never NaN.  A quantity whose error is
not Gaussian has ``"interval": {"low", "high", "level"}`` besides: from low to high the truth lies in at least the share ``level`` of cases.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from nightcrew.errors import NightcrewError
from reports.text import visible

if TYPE_CHECKING:
    from nightcrew.quality.intervals import Interval  # loads numpy, which the page of a night does without

FORMAT = 1
FILE_NAME = "summary.json"
_NAME = re.compile(r"^[a-z][a-z0-9_.]*$")
_GRADES = ("", "A", "B", "C", "D")

Plain = str | int | float | bool | None
_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


class BadSummaryError(NightcrewError):
    """A summary that breaks the form; the text names the quantity and the rule."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One measured or counted quantity; ``where`` holds the conditions, such as ``{"temperature_c": -10}``."""

    name: str
    value: float | int | None
    error: float | None = None
    unit: str = ""
    where: Mapping[str, Plain] = field(default_factory=dict)
    note: str = ""
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All quantities of one report.  ``inputs`` are file names with their hashes, sorted by the writer."""

    recipe: str
    inputs: tuple[Mapping[str, str], ...]
    grade: str
    quantities: tuple[Quantity, ...]
    warnings: tuple[str, ...] = ()


def determined(
    name: str,
    value: float | None,
    why_not: str,
    *,
    error: float | None = None,
    unit: str = "",
    where: Mapping[str, Plain] | None = None,
    interval: Interval | None = None,
) -> Quantity:
    """A quantity whose ``value`` may be NaN or None: it becomes ``null`` with ``why_not`` as its note."""
    good = value is not None and math.isfinite(value)
    kept = error if good and error is not None and math.isfinite(error) else None
    note, between = ("", interval) if good else (why_not, None)
    return Quantity(name=name, value=value if good else None, error=kept, unit=unit, where=where or {}, note=note, interval=between)


def as_json(summary: Summary) -> str:
    """The checked summary as JSON text, the same bytes for the same content; ``BadSummaryError`` when it breaks the form."""
    check(summary)
    body = {
        "format": FORMAT,
        "recipe": summary.recipe,
        "inputs": sorted((_clean(dict(item)) for item in summary.inputs), key=lambda item: json.dumps(item, sort_keys=True)),
        "grade": summary.grade,
        "quantities": _rows(summary.quantities),
        "warnings": [visible(text) for text in summary.warnings],
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _rows(quantities: Sequence[Quantity]) -> list[dict[str, Any]]:
    """Quantities under the same conditions, such as all of one file, share them."""
    known: dict[int, dict[str, Any]] = {}
    for quantity in quantities:
        if id(quantity.where) not in known:
            known[id(quantity.where)] = _conditions(quantity)
    return [_row(quantity, known[id(quantity.where)]) for quantity in quantities]


def as_row(quantity: Quantity) -> dict[str, Any]:
    """One quantity as it stands in the JSON text."""
    return _row(quantity, _conditions(quantity))


def _conditions(quantity: Quantity) -> dict[str, Any]:
    return _clean(dict(sorted(quantity.where.items())))


def _row(quantity: Quantity, where: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": quantity.name,
        "value": quantity.value,
        "error": quantity.error,
        "unit": visible(quantity.unit),
        "where": where,
        "note": visible(quantity.note),
    }
    return body if quantity.interval is None else {**body, "interval": asdict(quantity.interval)}


def _clean(values: Mapping[str, Any]) -> dict[str, Any]:
    return {visible(key): visible(value) if isinstance(value, str) else value for key, value in values.items()}


def check(summary: Summary) -> None:
    """Raise ``BadSummaryError`` for the first rule of the form that ``summary`` breaks."""
    if summary.grade not in _GRADES:
        raise BadSummaryError(f"grade {summary.grade!r} is none of A, B, C, D or empty")
    if not _NAME.match(summary.recipe):
        raise BadSummaryError(f"recipe {summary.recipe!r} is no plain name")
    seen: set[tuple[str, str]] = set()
    known: dict[int, str] = {}  # conditions that several quantities share are looked at once
    for quantity in summary.quantities:
        _check_quantity(quantity)
        place = id(quantity.where)
        if place not in known:
            _check_plain(quantity.name, quantity.where.items())
            known[place] = repr(sorted(quantity.where.items()))
        key = (quantity.name, known[place])
        if key in seen:
            raise BadSummaryError(f"quantity {quantity.name!r} stands twice for {dict(quantity.where)}")
        seen.add(key)


def _check_quantity(quantity: Quantity) -> None:
    name = quantity.name
    if not _NAME.match(name):
        raise BadSummaryError(f"quantity {name!r}: names are lower-case letters, digits, '_' and '.'")
    _check_plain(name, (("value", quantity.value), ("error", quantity.error)))
    if quantity.value is None and not quantity.note.strip():
        raise BadSummaryError(f"quantity {name!r}: a value that is null needs its reason in note")
    if quantity.value is None and quantity.error is not None:
        raise BadSummaryError(f"quantity {name!r}: an error without a value")
    if quantity.error is not None and quantity.error < 0:
        raise BadSummaryError(f"quantity {name!r}: error {quantity.error} is negative")
    if quantity.interval is not None:
        _check_interval(quantity, quantity.interval)


def _check_plain(name: str, values: Iterable[tuple[str, Any]]) -> None:
    for label, value in values:
        kind = type(value)
        if kind not in _PLAIN_TYPES:
            raise BadSummaryError(f"quantity {name!r}: {label} is a {kind.__name__}, not a plain number or text")
        if kind is float and not math.isfinite(value):
            raise BadSummaryError(f"quantity {name!r}: {label} is {value}; write null and the reason in note")


def _check_interval(quantity: Quantity, interval: Interval) -> None:
    numbers = (interval.low, interval.high, interval.level)
    if any(type(value) not in (int, float) or not math.isfinite(value) for value in numbers) or not 0 < interval.level < 1:
        raise BadSummaryError(f"quantity {quantity.name!r}: the interval {numbers} is none of numbers at a level between 0 and 1")
    if quantity.value is None or not interval.low <= quantity.value <= interval.high:
        raise BadSummaryError(f"quantity {quantity.name!r}: its interval from {interval.low} to {interval.high} does not hold its value")


def _read(item: Mapping[str, Any]) -> Quantity:
    from nightcrew.quality.intervals import Interval

    interval = item.get("interval")
    return Quantity(**{**item, "interval": None if interval is None else Interval(**interval)})


def parse(text: str) -> Summary:
    """A checked ``Summary`` from JSON text; ``BadSummaryError`` when it is of another form."""
    try:
        body = json.loads(text)
        if body["format"] != FORMAT:
            raise BadSummaryError(f"format {body['format']!r} is not {FORMAT}")
        found = Summary(
            recipe=body["recipe"],
            inputs=tuple(body["inputs"]),
            grade=body["grade"],
            quantities=tuple(_read(item) for item in body["quantities"]),
            warnings=tuple(body["warnings"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadSummaryError(f"no summary of form {FORMAT}: {error}") from error
    check(found)
    return found
