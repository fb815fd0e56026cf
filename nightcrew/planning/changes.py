"""How much a master changed against its predecessor: the nearest earlier one in observing time that passed its test.

A large change does not bar a master, it grades it B and asks a person to look.  The numbers are those that the
masters' own units measured (level, noise, and the medians of an 8 x 8 grid of blocks).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

from nightcrew.frames.profiles import Rules
from nightcrew.ledger.rows import ProductRow
from nightcrew.planning.groups import EQUAL_FACTS

# A level may drift by this fraction of the frame noise before a person is asked (bias levels drift with temperature).
_LEVEL_IN_NOISE = 1.0
_RELATIVE_DARK = 0.25
_FLAT_SHAPE_RMS = 0.01
_COMPARED = ("bias_master", "dark_master", "flat_master")


class Predecessors:
    """Masters by what makes them comparable, in order of time: finding a predecessor does not walk the archive."""

    def __init__(self, masters: Iterable[ProductRow], rules: Rules) -> None:
        self._rules = rules
        self._groups: dict[tuple[str, ...], list[ProductRow]] = defaultdict(list)
        for row in masters:
            if row.recipe in _COMPARED and row.usable:
                self._groups[_group(row)].append(row)
        self._nights: dict[tuple[str, ...], list[str]] = {}
        for name, group in self._groups.items():
            group.sort(key=lambda row: (_night(row), row.time_utc, row.fingerprint))
            self._nights[name] = [_night(row) for row in group]

    def of(self, row: ProductRow) -> ProductRow | None:
        """The master that ``row`` is compared with, None when there is none that is alike enough."""
        name = _group(row)
        if name not in self._groups:
            return None
        earlier = bisect_left(self._nights[name], _night(row))
        group = self._groups[name]
        return next((group[place] for place in range(earlier - 1, -1, -1) if _alike(row, group[place], self._rules)), None)

    def change_of(self, row: ProductRow) -> str:
        """One sentence on a large change of a master, "" when there is none (or nothing to compare with)."""
        if row.recipe not in _COMPARED:
            return ""
        before = self.of(row)
        if before is None:
            return ""
        return _flat_change(row, before) if row.recipe == "flat_master" else _level_change(row, before)


def predecessor(row: ProductRow, others: Iterable[ProductRow], rules: Rules) -> ProductRow | None:
    """The master that ``row`` is compared with, None when there is none that is alike enough."""
    return Predecessors(others, rules).of(row)


def change_against_predecessor(row: ProductRow, others: Iterable[ProductRow], rules: Rules) -> str:
    """One sentence on a large change of a master, "" when there is none (or nothing to compare with)."""
    return Predecessors(others, rules).change_of(row)


def _night(row: ProductRow) -> str:
    return str(row.facts.get("night", ""))


def _group(row: ProductRow) -> tuple[str, ...]:
    return (row.recipe, *(str(row.facts.get(name) or "") for name in (*EQUAL_FACTS, "filter", "bias")))


def _alike(row: ProductRow, other: ProductRow, rules: Rules) -> bool:
    a, b = row.facts, other.facts
    ta, tb = a.get("temperature_c"), b.get("temperature_c")
    if row.recipe != "flat_master" and ta is not None and tb is not None and abs(ta - tb) > rules.temperature_a_c:
        return False
    ea, eb = a.get("exposure_s"), b.get("exposure_s")
    if row.recipe == "dark_master" and ea is not None and eb is not None:
        return bool(abs(ea - eb) <= rules.exposure_tolerance * max(ea, eb))
    return True


def _level_change(row: ProductRow, before: ProductRow) -> str:
    now, then = row.metrics.get("level_adu"), before.metrics.get("level_adu")
    noise = row.metrics.get("noise_adu") or 0.0
    if now is None or then is None:
        return ""
    allowed = max(_LEVEL_IN_NOISE * noise, 1.0)
    if row.recipe == "dark_master":
        allowed = max(allowed, _RELATIVE_DARK * abs(then) * 0.1)
    if abs(now - then) <= allowed:
        return ""
    title = row.recipe.replace("_", " ")
    night = before.facts.get("night")
    return f"{title} {row.key}: level {now:.1f} ADU, {then:.1f} ADU on {night} (a change over {allowed:.1f} ADU asks a person)"


def _flat_change(row: ProductRow, before: ProductRow) -> str:
    now, then = row.metrics.get("grid") or [], before.metrics.get("grid") or []
    pairs = [(a, b) for a, b in zip(now, then, strict=False) if a and b]
    if not pairs or len(now) != len(then):
        return ""
    ratios = [a / b for a, b in pairs]
    mean = sum(ratios) / len(ratios)
    rms = math.sqrt(sum((r / mean - 1) ** 2 for r in ratios) / len(ratios))
    if rms <= _FLAT_SHAPE_RMS:
        return ""
    night = before.facts.get("night")
    return f"flat master {row.key}: its shape changed by {rms:.1%} rms against {night} (over {_FLAT_SHAPE_RMS:.0%} asks a person)"
