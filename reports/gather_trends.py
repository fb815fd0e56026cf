"""Trends over the last nights: what the camera measured of itself, and how sharp, dark and deep the lights were."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.lights import NO_BIAS
from reports.gather_masters import exposure, label_of, temperature
from reports.gather_queries import Catalogued, Measured
from reports.model import Trend, TrendPoint
from reports.night_data import ScopeData
from reports.trends import trend

NIGHTS = 30
_LEAST_POINTS = 2
_WORDS = {
    "bias_noise": "Noise of a bias frame",
    "dark_rate": "Dark rate",
    "gain": "Gain",
    "read_noise_adu": "Read noise",
    "read_noise": "Read noise",
}
_LIGHT_WORDS = (("fwhm_px", "FWHM", "px"), ("background", "Sky background", "e-/s"), ("depth_5sigma_mag", "Depth", "mag"))


def trends(data: ScopeData, measured: Sequence[Measured], catalogued: Sequence[Catalogued]) -> tuple[Trend, ...]:
    """The trends of a scope's instrument that have a point this night and one before, each with its learned limits."""
    night, instrument = data.scope.name, data.instrument
    series = (*_of_camera(measured), *_of_masters(data), *_of_lights(catalogued))
    made = (trend(name, label, unit, instrument, points, night) for name, label, unit, points in series)
    return tuple(one for one in made if one.tonight and len(one.points) >= _LEAST_POINTS)


Series = tuple[str, str, str, list[TrendPoint]]


def _of_camera(measured: Sequence[Measured]) -> Iterator[Series]:
    groups: dict[tuple[str, ...], list[Measured]] = defaultdict(list)
    for one in measured:
        if one.quantity in _WORDS and not (one.quantity == "read_noise" and one.unit != "e-"):
            groups[(one.quantity, one.unit, *_condition(one.where))].append(one)
    for (quantity, unit, *condition), members in sorted(groups.items()):
        words = ", ".join(word for word in condition if word)
        label = f"{_WORDS[quantity]}{f' ({words})' if words and _is_divided(groups, quantity) else ''}"
        yield "_".join((quantity, *condition)), label, unit.replace("adu", "ADU"), _by_night((m.night, m.value, m.error) for m in members)


def _is_divided(groups: Iterable[tuple[str, ...]], quantity: str) -> bool:
    return sum(key[0] == quantity for key in groups) > 1


def _condition(where: dict[str, Any]) -> tuple[str, ...]:
    """What must agree for values to lie on one curve; temperatures to the nearest 2 C, as set points drift."""
    celsius = where.get("temperature_c")
    rounded = temperature(2 * round(celsius / 2)) if isinstance(celsius, int | float) else ""
    return (str(where.get("geometry") or ""), str(where.get("gain_setting") or ""), rounded, exposure(where.get("exposure_s")))


def _of_masters(data: ScopeData) -> Iterator[Series]:
    """Levels of bias masters: this night's and those of the nights before."""
    groups: dict[tuple[str, str], list[ProductRow]] = defaultdict(list)
    own = data.current("bias_master")
    for row in (*data.snapshot.elsewhere, *own):
        if row.recipe == "bias_master" and row.usable and row.metrics.get("level_adu") is not None:
            celsius = row.facts.get("temperature_c")
            near = {**row.facts, "temperature_c": 2 * round(celsius / 2)} if isinstance(celsius, int | float) else row.facts
            groups[(f"{row.facts.get('geometry')}|{row.facts.get('gain_setting')}", label_of("bias_master", near))].append(row)
    for (set_up, label), members in sorted(groups.items()):
        points = _by_night((str(row.facts.get("night", "")), float(row.metrics["level_adu"]), None) for row in members)
        yield f"bias_level_{set_up}_{label}", f"Bias level{f' ({label})' if len(groups) > 1 else ''}", "ADU", points


def _of_lights(catalogued: Sequence[Catalogued]) -> Iterator[Series]:
    """Medians over a night's lights: FWHM of all, background and depth of each filter."""
    for key, words, unit in _LIGHT_WORDS:
        groups: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for one in catalogued:
            value = _value(one, key)
            if value is not None:
                groups["" if key == "fwhm_px" else one.filter].append((one.night, value))
        for name, pairs in sorted(groups.items()):
            by_night: dict[str, list[float]] = defaultdict(list)
            for night, value in pairs:
                by_night[night].append(value)
            points = [TrendPoint(night=night, value=median(values), error=_error(values)) for night, values in sorted(by_night.items())]
            yield f"{key}_{name}", f"{words}{f' in {name}' if name else ''}", unit, points


def _value(one: Catalogued, key: str) -> float | None:
    value = one.metrics.get(key)
    if key == "background":
        if not one.exposure_s or value is None or one.metrics.get("unit") != "electron" or NO_BIAS in one.reasons:
            return None  # without a bias the camera's offset is still in it
        return float(value) / one.exposure_s
    return None if value is None or not math.isfinite(value) else float(value)


def _error(values: Sequence[float]) -> float | None:
    """Standard error of a median, from the scatter of the values; None for fewer than three."""
    if len(values) < 3:
        return None
    middle = median(values)
    return 1.2533 * 1.4826 * median(abs(value - middle) for value in values) / math.sqrt(len(values))


def _by_night(rows: Iterable[tuple[str, float, float | None]]) -> list[TrendPoint]:
    """One point a night: the median of several values, with the error of a single one."""
    groups: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for night, value, error in rows:
        groups[night].append((value, error))
    return [
        TrendPoint(night=night, value=median(value for value, _ in pairs), error=pairs[0][1] if len(pairs) == 1 else None)
        for night, pairs in sorted(groups.items())
    ]
