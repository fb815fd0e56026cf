"""Association: which master serves a frame, by rules that are data; never "any".

Every candidate leaves a line saying which rule it failed with both values, so that ``nightcrew why`` can print it.
The grade of a choice is the worst of temperature distance, age and the master's own effective grade.  The best wins, then
the nearest in time, then the fingerprint (so that ties do not depend on order).  That a master changed against its
predecessor lowers the grade and asks a person, but it loses to no older master for that: the change may be the sky's truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.ledger.rows import worst
from nightcrew.planning.groups import EQUAL_FACTS, Equal, equal_keys, exposure_text, known_temperature, temperature_text
from nightcrew.planning.model import Choice, Considered

Judged = tuple[str, tuple[str, ...]]
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
    """A master as association sees it: made or about to be made, of this night or borrowed.

    ``grade`` is what it was made with.  ``judge`` gives its effective grade (with what the comparison against its
    predecessor says) and the reasons; it is asked only of the master that is chosen.
    """

    recipe: str
    key: str
    fingerprint: str
    facts: dict[str, Any]
    grade: str
    judge: Callable[[], Judged]
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
    bias_off: bool = False  # of a frame that holds no bias: a dark that holds its own would take it off again

    def __str__(self) -> str:
        words = [self.recipe.replace("_", " ")]
        if self.filter:
            words.append(self.filter)
        if self.exposure_s is not None:
            words.append(exposure_text(self.exposure_s))
        if self.bias_off:
            words.append("without bias")
        if self.temperature_c is not None and self.recipe != "flat_master":
            words.append(temperature_text(self.temperature_c))
        return " ".join(words)


def need_of(recipe: str, header: FrameHeader) -> Need:
    """What a frame of this header needs of a recipe."""
    return Need(
        recipe,
        equal_keys(header),
        known_temperature(header),
        header.time_utc[:13],
        header.exposure_s if recipe == "dark_master" else None,
        header.filter if recipe == "flat_master" else "",
        header.bias_subtracted and recipe == "dark_master",
    )


class Association:
    """Candidates by recipe, with the decisions remembered."""

    def __init__(self, masters: Iterable[Master], rules: Rules) -> None:
        self.rules = rules
        self._by_recipe: dict[str, list[Master]] = {}
        self._memory: dict[Need, Choice] = {}
        self._alike: dict[tuple[object, ...], list[Master]] = {}
        for master in masters:
            self.add(master)

    def add(self, master: Master) -> None:
        """Another candidate; decisions are forgotten."""
        self._by_recipe.setdefault(master.recipe, []).append(master)
        self._memory.clear()
        self._alike.clear()

    def choose(self, need: Need) -> Choice:
        """The master for a need, or a choice that found none; its candidates are told on request."""
        known = self._memory.get(need)
        if known is None:
            known = self._memory[need] = self._choose(need)
        return known

    def _choose(self, need: Need) -> Choice:
        fitting = self._ranked(need)
        candidates = partial(self._considered, need)
        if not fitting:
            return Choice(str(need), candidates=candidates)
        grade, reasons = self._judged(need, fitting[0])
        return Choice(str(need), fitting[0].fingerprint, grade, reasons, candidates)

    def _ranked(self, need: Need) -> list[Master]:
        """The masters that fit, the best first."""
        fitting = [master for master in self._same(need) if not self._failed_tolerance(need, master)]

        def rank(master: Master) -> tuple[str, float, str]:
            grade = worst(master.grade, *(grade for grade, _ in self._distances(need, master)))
            return grade, hours_between(need.time_utc, _time_of(master)), master.fingerprint

        return sorted(fitting, key=rank)

    def _judged(self, need: Need, master: Master) -> Judged:
        """The grade of a master for a need, with every reason."""
        own, why = master.judge()
        distances = self._distances(need, master)
        return worst(own, *(grade for grade, _ in distances)), (*why, *(reason for _, reason in distances))

    def _same(self, need: Need) -> list[Master]:
        """Masters that only temperature or age can rule out: a small part of an archive, found once."""
        key = (need.recipe, need.equal, need.exposure_s, need.filter, need.bias_off)
        known = self._alike.get(key)
        if known is None:
            known = self._alike[key] = [m for m in self._by_recipe.get(need.recipe, ()) if not self._failed_equality(need, m)]
        return known

    def _considered(self, need: Need) -> tuple[Considered, ...]:
        """Every candidate: those that failed with the rule and both values, then those that fit, the chosen one first."""
        told: list[Considered] = []
        for master in self._by_recipe.get(need.recipe, ()):
            failed = self._failed_equality(need, master) or self._failed_tolerance(need, master)
            if failed:
                told.append(Considered(master.fingerprint, master.name, "", failed, _MENDS.get(need.recipe, "")))
        fitting = self._ranked(need)
        for place, master in enumerate(fitting):
            verdict = f"{fitting[0].name} is nearer or better" if place else ""
            told.append(Considered(master.fingerprint, master.name, self._judged(need, master)[0], verdict))
        return tuple(told)

    def _failed_equality(self, need: Need, master: Master) -> str:
        if master.barred:
            return master.barred
        for name, wanted, offered in zip(_EQUAL_NAMES, need.equal, master.equal, strict=True):
            if wanted != offered:
                return f"{name} differs: the frame has '{wanted}', the master '{offered}'"
        if need.filter != (master.facts.get("filter") or "") and need.recipe == "flat_master":
            return f"filter differs: the frame has '{need.filter}', the master '{master.facts.get('filter') or ''}'"
        if need.bias_off and master.facts.get("bias") != "removed":
            return "it holds its bias, which was taken off the frame before it came"
        if need.recipe == "dark_master":
            return self._failed_exposure(need.exposure_s, master.facts.get("exposure_s"))
        return ""

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
        days = hours_between(need.time_utc, _time_of(master)) / 24
        oldest = self._ages(need.recipe)[2]
        if days > oldest:
            return f"it lies {days:.0f} days from the frame (limit {oldest:g} days)"
        return ""

    def _temperature_distance(self, need: Need, master: Master) -> float | None:
        theirs = master.facts.get("temperature_c")
        if need.recipe == "flat_master" or need.temperature_c is None or theirs is None:
            return None
        return round(abs(need.temperature_c - float(theirs)), 6)  # 1.1 - 0.1 is a little more than 1

    def _ages(self, recipe: str) -> tuple[float, ...]:
        if recipe == "bias_master":
            return tuple(self.rules.bias_age_days)
        return tuple(self.rules.flat_age_days if recipe == "flat_master" else self.rules.dark_age_days)

    def _distances(self, need: Need, master: Master) -> list[tuple[str, str]]:
        """(grade, reason) of what keeps a master that fits from being the best."""
        return [*self._temperature_grade(need, master), *self._age_grade(need, master)]

    def _temperature_grade(self, need: Need, master: Master) -> list[tuple[str, str]]:
        distance = self._temperature_distance(need, master)
        if distance is not None:
            far = distance > self.rules.temperature_a_c
            return [("B", f"{master.name}: {distance:.1f} C from the frame's temperature")] if far else []
        one_known = (need.temperature_c is None) != (master.facts.get("temperature_c") is None)
        if need.recipe != "flat_master" and one_known:
            return [("B", f"{master.name}: temperature known of only one of frame and master")]
        return []

    def _age_grade(self, need: Need, master: Master) -> list[tuple[str, str]]:
        if master.borrowed_from and not (need.time_utc and _time_of(master)):
            return [("B", f"{master.name}: its age is not known, a time is missing")]
        days = hours_between(need.time_utc, _time_of(master)) / 24
        best, acceptable, _ = self._ages(need.recipe)
        if days <= best:
            return []
        return [("C" if days > acceptable else "B", f"{master.name}: {days:.0f} days from the frame")]


def _time_of(master: Master) -> str:
    return master.facts.get("time_utc") or ""


def hours_between(one: str, other: str) -> float:
    """Hours between two ISO times; 0 when one is not known."""
    if not one or not other:
        return 0.0
    return abs((_moment(one) - _moment(other)).total_seconds()) / 3600


@lru_cache(maxsize=10_000)
def _moment(time: str) -> datetime:
    if "T" not in time:
        return datetime.fromisoformat(f"{time}T00:00:00")
    return datetime.fromisoformat(time + ":00:00" if len(time) == len("2026-03-14T22") else time)
