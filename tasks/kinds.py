"""The kinds of sets: which module plans them and which makes their products, both imported when first asked for.

One line a kind.  A kind whose modules are not there harms nothing: its files wait and say so.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nightcrew.planning.set_plan import KeepsCopies, no_copies
from nightcrew.planning.sets import PlanSet

if TYPE_CHECKING:
    from tasks.set_units import SetResult, SetUnit

log = logging.getLogger(__name__)
MakeSet = Callable[["SetUnit"], "SetResult"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sets: ``planner`` has ``plan(builder)`` (and may have ``keeps_copies(file)``), ``units`` has ``units``."""

    name: str
    title: str
    planner: str
    units: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("sensor", "sensor", "nightcrew.planning.set_sensor", "tasks.set_sensor"),
        Kind("lab", "laboratory", "nightcrew.planning.set_lab", "tasks.set_lab"),
        Kind("campaign", "irradiation campaign", "nightcrew.planning.set_campaign", "tasks.set_campaign"),
        Kind("mkid", "photon lists", "nightcrew.planning.set_mkid", "tasks.set_mkid"),
    )
}


def is_set(kind: str) -> bool:
    """Is a scope of this kind a set?"""
    return kind in KINDS


def planner_of(kind: str) -> tuple[PlanSet | None, KeepsCopies]:
    """The plan of a kind and which files count although they are copies; None for the plan when its modules are not there."""
    known = KINDS[kind]
    if not (_is_there(known.planner) and _is_there(known.units)):
        return None, no_copies
    module = import_module(known.planner)
    return cast(PlanSet, module.plan), cast(KeepsCopies, getattr(module, "keeps_copies", no_copies))


def unit_of(kind: str, recipe: str) -> MakeSet:
    """What makes a recipe's products; KeyError when nobody does."""
    units: Mapping[str, MakeSet] = import_module(KINDS[kind].units).units
    return units[recipe]


def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def rules_digest() -> str:
    """Changes when a kind's rules do: a set whose plan failed by a fault of the program is looked at again by the mended one."""
    found = hashlib.sha256()
    for kind in sorted(KINDS):
        place = find_spec(KINDS[kind].planner)
        if place is not None and place.origin is not None:
            found.update(Path(place.origin).read_bytes())
    return found.hexdigest()
