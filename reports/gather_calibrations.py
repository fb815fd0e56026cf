"""The calibration grid: what the lights of a night asked for, and whether it existed, was borrowed, came late or is missing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from nightcrew.ledger.rows import FrameRow, ProductRow, worst
from nightcrew.planning.model import Choice, Considered, PlannedProduct
from nightcrew.recipes.catalogue import MASTERS
from reports.gather_masters import KIND_WORDS, exposure, label_of, set_up_of, temperature
from reports.model import CalibrationCell, CellState
from reports.night_data import ScopeData, readable, why
from reports.text import by_wavelength, joined, plural

_MENDS = {
    "bias_master": "take bias frames with this camera set-up",
    "dark_master": "take darks of this exposure and temperature",
    "thermal_master": "take darks and bias frames at this temperature",
    "flat_master": "take flats in this filter",
    "bad_pixel_mask": "take darks",
}
_CHOICES_ASKED = 3  # lights that lack the same calibration lack it for the same reasons
_MISSING_WORDS = {"dark_master": "no dark of", "flat_master": "no flat", "bias_master": "no bias"}


@dataclass
class _Wanted:
    """A calibration with the lights that asked for it."""

    recipe: str
    choices: list[Choice] = field(default_factory=list)
    lights: list[FrameRow] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, choice: Choice, light: FrameRow, reasons: Iterable[str]) -> None:
        """One more light asked for it."""
        self.choices.append(choice)
        self.lights.append(light)
        self.reasons += reasons


def calibrations(data: ScopeData) -> tuple[CalibrationCell, ...]:
    """The cells of a scope: bias, darks, thermal rates, flats, bad pixels, each once."""
    found, missing = _asked_for(data)
    masters = {row.fingerprint: row for row in (*data.snapshot.elsewhere, *data.snapshot.products.values())}
    history = _History(data)
    own = data.current(*MASTERS)
    several = len({set_up_of(master.facts) for master in own}) > 1
    cells = [_found_cell(data, masters[print_], wanted, history, several=several) for print_, wanted in found.items() if print_ in masters]
    cells += [_missing_cell(data, wanted) for wanted in missing.values()]
    users = _users(data)
    cells += [
        _spare_cell(data, row, users.get(row.fingerprint, set()), several=several)
        for row in own
        if row.usable and row.fingerprint not in found
    ]
    return tuple(sorted(cells, key=_order))


def _order(cell: CalibrationCell) -> tuple[int, float, tuple[int, str], bool]:
    leading = re.match(r"[0-9.]+", cell.label)
    exposure_s = float(leading.group()) if leading and cell.kind == "dark" else 0.0
    return (list(KIND_WORDS.values()).index(cell.kind), exposure_s, by_wavelength(cell.label), cell.state == "missing")


def _asked_for(data: ScopeData) -> tuple[dict[str, _Wanted], dict[tuple[str, str], _Wanted]]:
    """Chosen masters by fingerprint, and missing ones by recipe and what tells them apart."""
    found: dict[str, _Wanted] = {}
    missing: dict[tuple[str, str], _Wanted] = {}
    for light, choices, reasons in _needs(data):
        for choice in choices:
            recipe = _recipe_of(choice.need)
            if choice.found:
                found.setdefault(choice.fingerprint, _Wanted(recipe)).add(choice, light, ())
            elif recipe:
                words = _MISSING_WORDS.get(recipe, "")
                own = [reason for reason in reasons if words and reason.startswith(words)]
                missing.setdefault((recipe, _apart(recipe, light)), _Wanted(recipe)).add(choice, light, own)
    return found, missing


def _apart(recipe: str, light: FrameRow) -> str:
    """What tells missing calibrations of one recipe apart; temperatures do not, they are shown as a range."""
    header = light.header
    return {"flat_master": header.filter, "dark_master": exposure(header.exposure_s)}.get(recipe, "")


def _needs(data: ScopeData) -> Iterator[tuple[FrameRow, Sequence[Choice], Sequence[str]]]:
    planned = set()
    for product in data.plan.products:
        if product.recipe != "reduce_light":
            continue
        light = next((item.frame for item in product.inputs if item.frame is not None), None)
        if light is not None:
            planned.add(light.id)
            yield light, (*product.choices, *_mask_choice(product)), product.grade_reasons
    for frame_id, choices in data.plan.choices.items():
        if frame_id not in planned and frame_id in data.frames:
            yield data.frames[frame_id], choices, ()


def _mask_choice(product: PlannedProduct) -> Iterator[Choice]:
    """A light's bad-pixel mask: chosen by the same rules, but no decision of its own in the plan."""
    for item in product.inputs:
        if item.role == "bad_pixel_mask":
            yield Choice("bad pixel mask", item.fingerprint, "A")


@lru_cache(maxsize=1000)  # a night's lights have few needs
def _recipe_of(need: str) -> str:
    return next((recipe for recipe in MASTERS if need.startswith(recipe.replace("_", " "))), "")


def _missing_label(recipe: str, lights: Sequence[FrameRow]) -> str:
    """Filter, or exposure and the range of temperatures, of the lights that went without."""
    header = lights[0].header
    if recipe == "flat_master":
        return label_of(recipe, {"filter": header.filter})
    celsius = sorted({light.header.temperature_c for light in lights if light.header.temperature_c is not None})
    coldest, warmest = (temperature(celsius[0]), temperature(celsius[-1])) if celsius else ("", "")
    degrees = warmest if warmest == coldest else f"{coldest.removesuffix(' °C')} to {warmest}"
    return ", ".join(part for part in (exposure(header.exposure_s) if recipe == "dark_master" else "", degrees) if part)


def _found_cell(data: ScopeData, row: ProductRow, wanted: _Wanted, history: _History, *, several: bool) -> CalibrationCell:
    own = row.scope_id == data.scope.id
    state, remark = _own_state(row, wanted.lights, history) if own else ("borrowed", "")
    reasons = list(dict.fromkeys(reason for choice in wanted.choices for reason in choice.reasons))
    ages = [_days(light.header.time_utc, row.time_utc) for light in wanted.lights]
    known = [age for age in ages if age is not None]
    return CalibrationCell(
        instrument=data.instrument,
        kind=KIND_WORDS[row.recipe],
        label=_label(row, several=several),
        state=state,
        grade=worst(*(choice.grade or "A" for choice in wanted.choices)),  # type: ignore[arg-type]  # a letter from A to D
        age_days=0.0 if own else max(known, key=abs, default=None),
        origin=str(row.facts.get("night", "")),
        users=len(wanted.lights),
        reason=readable("; ".join([*([remark] if remark else []), *reasons[:2]])),
        command=why(row.fingerprint[:12]),
    )


def _label(row: ProductRow, *, several: bool) -> str:
    """``several``: the night's masters are of more than one set-up of the camera."""
    return label_of(row.recipe, row.facts) + (f" ({set_up_of(row.facts)})" if several else "")


def _own_state(row: ProductRow, lights: Sequence[FrameRow], history: _History) -> tuple[CellState, str]:
    """Did the lights have to wait for files that should have been there before them, or were they done again?"""
    redone = sum(history.was_redone(light, row) for light in lights)
    if redone:
        return "late", f"came after {plural(redone, 'light')} had been reduced, which {'was' if redone == 1 else 'were'} done again"
    members = [item.frame for item in history.inputs.get(row.fingerprint, ()) if item.frame is not None]
    if members:
        first = min(member.arrived_at for member in members)
        waited = sum(light.arrived_at < first and light.header.time_utc >= row.time_utc for light in lights)
        if waited:
            return "late", f"taken before the lights, but came after {plural(waited, 'light')}, which waited for it"
    return "existed", ""


class _History:
    """Which products each light had, and what each planned product is made of."""

    def __init__(self, data: ScopeData) -> None:
        self.inputs = {planned.fingerprint: planned.inputs for planned in data.plan.products}
        self._planned = {
            item.frame.id: planned
            for planned in data.plan.products
            if planned.recipe == "reduce_light"
            for item in planned.inputs
            if item.frame is not None
        }
        self._older: dict[str, list[ProductRow]] = defaultdict(list)
        for row in data.snapshot.products.values():
            if row.recipe == "reduce_light" and row.fingerprint not in self.inputs:
                self._older[row.key].append(row)

    def was_redone(self, light: FrameRow, master: ProductRow) -> bool:
        """An earlier product of the light, of a worse grade, was made before the master."""
        planned = self._planned.get(light.id)
        if planned is None:
            return False
        return any(row.made_at < master.made_at and row.grade > planned.grade for row in self._older.get(planned.key, ()))


def _missing_cell(data: ScopeData, wanted: _Wanted) -> CalibrationCell:
    different = list({choice.need: choice for choice in wanted.choices}.values())[:_CHOICES_ASKED]
    candidates = [(choice.need, candidate) for choice in different for candidate in choice.considered]
    nearest = max(candidates, key=lambda pair: _words_shared(*pair), default=("", None))[1]
    why_not = "no master of this kind is known" if nearest is None else f"{nearest.name}: {nearest.verdict}"
    scaled = [reason for reason in dict.fromkeys(wanted.reasons) if "scaled from" in reason][:1]
    return CalibrationCell(
        instrument=data.instrument,
        kind=KIND_WORDS[wanted.recipe],
        label=_missing_label(wanted.recipe, wanted.lights),
        state="missing",
        users=len(wanted.lights),
        reason=readable("; ".join([*scaled, why_not, f"to mend it, {_MENDS[wanted.recipe]}"])),
        command=why(data.name_of_frame(wanted.lights[0].id)),
    )


def _words_shared(need: str, candidate: Considered) -> int:
    """How alike the names of a need and a candidate are: the candidate of the same filter or exposure tells most."""
    return len(set(need.split()) & set(candidate.name.replace("_", " ").split()))


def _users(data: ScopeData) -> dict[str, set[str]]:
    """Fingerprint of an input -> the recipes of the planned products that take it."""
    users: dict[str, set[str]] = defaultdict(set)
    for product in data.plan.products:
        for item in product.inputs:
            users[item.fingerprint].add(product.recipe)
    return users


def _spare_cell(data: ScopeData, row: ProductRow, users: set[str], *, several: bool) -> CalibrationCell:
    words = [KIND_WORDS[recipe] for recipe in MASTERS if recipe in users]
    return CalibrationCell(
        instrument=data.instrument,
        kind=KIND_WORDS[row.recipe],
        label=_label(row, several=several),
        state="existed",
        grade=row.grade,  # type: ignore[arg-type]  # a letter from A to D
        age_days=0.0,
        origin=data.scope.name,
        reason=f"used for: {joined(words)}" if words else "no light asked for it",
        command=why(row.fingerprint[:12]),
    )


def _days(light_utc: str, master_utc: str) -> float | None:
    """Age of the master at the time of the light, in days; negative when it is younger."""
    try:
        return (datetime.fromisoformat(light_utc) - datetime.fromisoformat(master_utc)).total_seconds() / 86400
    except ValueError:
        return None
