"""Association: which master serves a frame, by rules that are data; never "any".

Every candidate leaves a line saying which rule it failed with both values, so that ``nightcrew why`` can print it.
Grades of a choice: the worst of temperature distance, age and the master's own effective grade.  The best grade wins,
then the nearest in time, then the fingerprint (so that ties do not depend on order).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.ledger.rows import worst
from nightcrew.planning.groups import EQUAL_FACTS, Equal, equal_keys, exposure_text, temperature_text
from nightcrew.planning.model import Choice, Considered

_EQUAL_NAMES = tuple(name.replace("_", " ") for name in EQUAL_FACTS)
_MENDS = {
    "bias_master": "take bias frames with this camera set-up",
    "dark_master": "take darks of this exposure and temperature",
    "thermal_master": "take darks (any exposure) and bias frames at this temperature",
    "flat_master": "take flats in this filter",
    "bad_pixel_mask": "take darks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """A master as association sees it: made or about to be made, of this night or borrowed."""

    recipe: str
    key: str
    fingerprint: str
    facts: dict[str, Any]
    grade: str  # effective: with what certification and its predecessor say
    reasons: tuple[str, ...]
    barred: str = ""  # why it must not be used
    borrowed_from: str = ""  # the night, "" for this one

    @property
    def equal(self) -> Equal:
        """The keys that must be equal."""
        return tuple(self.facts.get(name, "") for name in EQUAL_FACTS)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.recipe} {self.key}" + (f" of {self.borrowed_from}" if self.borrowed_from else "")


@dataclass(frozen=True, slots=True)
class Need:
    """What a frame needs: hashable, so that frames with equal needs share one decision."""

    recipe: str
    equal: Equal
    temperature_c: float | None
    time_utc: str  # to the hour
    exposure_s: float | None = None
    filter: str = ""

    def __str__(self) -> str:
        words = [self.recipe.replace("_", " ")]
        if self.filter:
            words.append(self.filter)
        if self.exposure_s is not None:
            words.append(exposure_text(self.exposure_s))
        if self.temperature_c is not None and self.recipe != "flat_master":
            words.append(temperature_text(self.temperature_c))
        return " ".join(words)


def need_of(recipe: str, header: FrameHeader) -> Need:
    """What a frame of this header needs of a recipe."""
    temperature = None if header.temperature_c is None else round(header.temperature_c, 2)
    return Need(
        recipe,
        equal_keys(header),
        temperature,
        header.time_utc[:13],
        header.exposure_s if recipe == "dark_master" else None,
        header.filter if recipe == "flat_master" else "",
    )


class Association:
    """Candidates indexed by recipe and equal keys, with the decisions remembered."""

    def __init__(self, masters: Iterable[Master], rules: Rules) -> None:
        self.rules = rules
        self._by_recipe: dict[str, list[Master]] = {}
        self._memory: dict[Need, Choice] = {}
        for master in masters:
            self.add(master)

    def add(self, master: Master) -> None:
        """Another candidate; decisions are forgotten."""
        self._by_recipe.setdefault(master.recipe, []).append(master)
        self._memory.clear()

    def choose(self, need: Need) -> Choice:
        """The master for a need, or a choice that found none; with every candidate that was considered."""
        known = self._memory.get(need)
        if known is None:
            known = self._memory[need] = self._choose(need)
        return known

    def _choose(self, need: Need) -> Choice:
        fitting: list[tuple[str, float, str, Master, tuple[str, ...]]] = []
        considered: list[Considered] = []
        for master in self._by_recipe.get(need.recipe, ()):
            failed = self._failed_rule(need, master)
            if failed:
                considered.append(Considered(master.fingerprint, master.name, "", failed, _MENDS.get(need.recipe, "")))
                continue
            grade, reasons = self._grade(need, master)
            fitting.append((grade, _hours_between(need.time_utc, master.facts.get("time_utc", "")), master.fingerprint, master, reasons))
        if not fitting:
            return Choice(str(need), considered=tuple(considered))
        fitting.sort(key=lambda row: row[:3])
        grade, _, fingerprint, best, reasons = fitting[0]
        considered += [
            Considered(row[2], row[3].name, row[0], "" if row is fitting[0] else f"{best.name} is nearer or better") for row in fitting
        ]
        return Choice(str(need), fingerprint, grade, reasons, tuple(considered))

    def _failed_rule(self, need: Need, master: Master) -> str:
        if master.barred:
            return master.barred
        for name, wanted, offered in zip(_EQUAL_NAMES, need.equal, master.equal, strict=True):
            if wanted != offered:
                return f"{name} differs: the frame has '{wanted}', the master '{offered}'"
        if need.filter != (master.facts.get("filter") or "") and need.recipe == "flat_master":
            return f"filter differs: the frame has '{need.filter}', the master '{master.facts.get('filter') or ''}'"
        if need.recipe == "dark_master":
            failed = self._failed_exposure(need.exposure_s, master.facts.get("exposure_s"))
            if failed:
                return failed
        return self._failed_tolerance(need, master)

    def _failed_exposure(self, wanted: float | None, offered: float | None) -> str:
        if wanted is None or offered is None:
            return "the exposure time of the frame or of the master is not known"
        if abs(wanted - offered) > self.rules.exposure_tolerance * max(wanted, offered):
            return f"exposure differs: the frame has {wanted:g} s, the master {offered:g} s (tolerance {self.rules.exposure_tolerance:.2%})"
        return ""

    def _failed_tolerance(self, need: Need, master: Master) -> str:
        distance = self._temperature_distance(need, master)
        if distance is not None and distance > self.rules.temperature_b_c:
            both = f"{need.temperature_c:.1f} and {master.facts['temperature_c']:.1f} C"
            return f"temperature differs by {distance:.1f} C: {both} (limit {self.rules.temperature_b_c:g} C)"
        days = _hours_between(need.time_utc, master.facts.get("time_utc", "")) / 24
        oldest = self._ages(need.recipe)[2]
        if days > oldest:
            return f"it lies {days:.0f} days from the frame (limit {oldest:g} days)"
        return ""

    def _temperature_distance(self, need: Need, master: Master) -> float | None:
        theirs = master.facts.get("temperature_c")
        if need.recipe == "flat_master" or need.temperature_c is None or theirs is None:
            return None
        return abs(need.temperature_c - float(theirs))

    def _ages(self, recipe: str) -> tuple[float, ...]:
        if recipe == "bias_master":
            return tuple(self.rules.bias_age_days)
        return tuple(self.rules.flat_age_days if recipe == "flat_master" else self.rules.dark_age_days)

    def _grade(self, need: Need, master: Master) -> tuple[str, tuple[str, ...]]:
        grades, reasons = [master.grade], list(master.reasons)
        distance = self._temperature_distance(need, master)
        if distance is not None and distance > self.rules.temperature_a_c:
            grades.append("B")
            reasons.append(f"{master.name}: {distance:.1f} C from the frame's temperature")
        elif (
            distance is None
            and need.recipe != "flat_master"
            and (need.temperature_c is None) != (master.facts.get("temperature_c") is None)
        ):
            grades.append("B")
            reasons.append(f"{master.name}: temperature known of only one of frame and master")
        days = _hours_between(need.time_utc, master.facts.get("time_utc", "")) / 24
        for grade, limit in zip("BC", self._ages(need.recipe), strict=False):
            if days > limit:
                grades.append(grade)
        if days > self._ages(need.recipe)[0]:
            reasons.append(f"{master.name}: {days:.0f} days from the frame")
        return worst(*grades), tuple(reasons)


def _hours_between(one: str, other: str) -> float:
    """Hours between two ISO times; 0 when one is not known (nothing can be said of its age)."""
    if not one or not other:
        return 0.0
    pad = "T00:00:00"
    a, b = (datetime.fromisoformat(t + ":00:00" if len(t) == 13 else t if "T" in t else t + pad) for t in (one, other))
    return abs((a - b).total_seconds()) / 3600
