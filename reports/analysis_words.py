"""Quantities of an analysis as people read them: names, values with the digits that their errors give a meaning to, conditions."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from reports.analysis import AnalysisPage
from reports.summary import Quantity
from reports.text import DASH, adaptive, number, visible

if TYPE_CHECKING:
    from nightcrew.quality.intervals import Interval

SHOWN = 12
_WARNINGS = 5
_ACRONYMS = frozenset({"prnu", "dsnu", "emva", "snr", "mtf"})
_UNITS = {
    "c": "°C",
    "s": "s",
    "ms": "ms",
    "us": "µs",
    "nm": "nm",
    "um": "µm",
    "px": "px",
    "ev": "eV",
    "deg": "°",
    "krad": "krad",
    "v": "V",
    "k": "K",
}


def key_quantities(page: AnalysisPage) -> tuple[Quantity, ...]:
    """The quantities at the head of the page, in the order of ``page.key_quantities``; not more than fit there."""
    wanted = {name: place for place, name in enumerate(page.key_quantities)}
    chosen = sorted((q for q in page.summary.quantities if q.name in wanted), key=lambda q: wanted[q.name])
    return tuple(chosen[:SHOWN])


def key_words(page: AnalysisPage, most: int = 6) -> tuple[tuple[str, str], ...]:
    """The key quantities for index, mail and the night's page: (``Gain``, ``2.51 ± 0.01 e-/ADU``)."""
    return tuple((visible(f"{label(q.name)}{_aside(q)}"), visible(measured(q))) for q in key_quantities(page)[:most])


def _aside(quantity: Quantity) -> str:
    words = ": ".join(part for part in (conditions(quantity), quantity.note if quantity.value is None else "") if part)
    return f" ({words})" if words else ""


def needs_of(page: AnalysisPage) -> tuple[str, ...]:
    """What needs a person; a page that is not good and names nothing tells its warnings there, the first of them."""
    if page.needs_person or page.status == "good":
        return page.needs_person
    warnings = page.summary.warnings
    more = (f"{len(warnings) - _WARNINGS} more warnings stand below.",) if len(warnings) > _WARNINGS else ()
    return (*warnings[:_WARNINGS], *more)


def label(name: str) -> str:
    """A quantity's name as people read it: ``read_noise`` -> ``Read noise``."""
    words = " ".join(word.upper() if word in _ACRONYMS else word for word in name.replace("_", " ").replace(".", " ").split())
    return f"{words[:1].upper()}{words[1:]}"


def measured(quantity: Quantity) -> str:
    """Value, error and unit, with as many digits as the error gives a meaning to; a dash for what is not known."""
    value, error = quantity.value, quantity.error
    if value is None:
        return DASH
    unit = f"\N{NO-BREAK SPACE}{quantity.unit}" if quantity.unit and quantity.unit != "count" else ""
    if quantity.interval is not None:
        middle, ends = between(value, quantity.interval)
        return f"{middle}{unit} ({ends})"
    return f"{_shown(value, error)}{unit}"


def _shown(value: float, error: float | None) -> str:
    return _with_error(float(value), error) if error else adaptive(value) if isinstance(value, float) else number(value, 0)


def between(value: float, interval: Interval) -> tuple[str, str]:
    """``79 271`` and ``77 730 to 80 812, 95 %``: as many digits as the width of the interval gives a meaning to."""
    level, ends = f"{100 * interval.level:.3g}\N{NO-BREAK SPACE}%", (float(value), float(interval.low), float(interval.high))
    width = interval.high - interval.low
    if isinstance(value, int):
        digits: int | None = 0
    elif width <= 0 or not 1e-3 <= max(abs(value), width) < 1e7 or width < 1e-6 * abs(value):
        digits = None
    else:
        digits = max(0, 1 - math.floor(math.log10(width)))
    middle, low, high = (adaptive(one) if digits is None else number(one, digits) for one in ends)
    return middle, f"{low} to {high}, {level}"


def _with_error(value: float, error: float) -> str:
    """``6.562 ± 0.031``: two digits of the error; very large and small ones each in powers of ten."""
    size = max(abs(value), error)
    if not 1e-3 <= size < 1e7 or error < 1e-6 * size:
        return f"{adaptive(value)} ± {adaptive(error)}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{number(value, digits)} ± {number(error, digits)}"


def conditions(quantity: Quantity) -> str:
    """The conditions of a quantity in words: ``channel 2, temperature -10 °C``."""
    return ", ".join(_condition(name, value) for name, value in sorted(quantity.where.items()))


def _condition(name: str, value: object) -> str:
    stem, _, last = name.rpartition("_")
    unit = _UNITS.get(last, "") if stem and isinstance(value, int | float) and not isinstance(value, bool) else ""
    words = (stem if unit else name).replace("_", " ")
    shown = temperature(value) if unit == _UNITS["c"] and isinstance(value, float) else _word(value)
    return f"{words} {shown}" + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def temperature(value: float) -> str:
    """``-5.02``, ``0.01``: no more decimals than a thermometer has, however small the number."""
    shown = number(value, 2)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 0) if value.is_integer() and abs(value) < 1e7 else adaptive(value)
    return DASH if value is None else visible(value) if isinstance(value, str) else json.dumps(value)
