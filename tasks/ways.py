"""How scopes are read, planned and told: one way for nights, one for sets; the executor knows neither."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from sqlalchemy import Connection

from nightcrew.frames.profiles import Rules
from nightcrew.ledger import states
from nightcrew.ledger.database import Database
from nightcrew.ledger.rows import ScopeRow
from nightcrew.planning import set_snapshot
from nightcrew.planning import snapshot as snapshots
from nightcrew.planning.model import Plan, Snapshot
from nightcrew.planning.night import plan_night
from nightcrew.planning.set_plan import held_by_fault, plan_set
from nightcrew.planning.set_states import file_states
from nightcrew.planning.sets import SetSnapshot
from nightcrew.planning.states import FrameState, frame_states
from nightcrew.recipes.parameters import NightParameters, SetOptions
from tasks import kinds
from tasks.standing import AnySnapshot

log = logging.getLogger(__name__)
RulesFor = Callable[[str], Rules]


class Way(Protocol):
    """What the executor needs to know of a scope's kind."""

    def load(self, connection: Connection, scope: ScopeRow, *, remake: bool) -> AnySnapshot:
        """Everything that a plan may look at."""

    def plan(self, seen: AnySnapshot, as_of: str) -> Plan:
        """What should exist."""

    def tell(self, database: Database, seen: AnySnapshot, plan: Plan) -> int:
        """Write what became of every file; how many rows changed."""


class NightWay:
    """Nights: frames of one instrument, masters of others."""

    def __init__(self, parameters: NightParameters, rules_for: RulesFor) -> None:
        self._parameters, self._rules_for = parameters, rules_for

    def load(self, connection: Connection, scope: ScopeRow, *, remake: bool) -> AnySnapshot:
        """See :class:`Way`."""
        return snapshots.load(connection, scope.id, self._parameters, self._rules_for(scope.instrument), remake=remake)

    def plan(self, seen: AnySnapshot, as_of: str) -> Plan:
        """See :class:`Way`."""
        return plan_night(_night(seen), as_of)

    def tell(self, database: Database, seen: AnySnapshot, plan: Plan) -> int:
        """See :class:`Way`."""
        return states.apply(database, seen.scope.id, _plain(frame_states(_night(seen), plan)))


class SetWay:
    """Sets: files of one folder, planned by the rules of their kind."""

    def __init__(self, options: SetOptions) -> None:
        self._options = options

    def load(self, connection: Connection, scope: ScopeRow, *, remake: bool) -> AnySnapshot:
        """See :class:`Way`."""
        return set_snapshot.load(connection, scope.id, self._options, remake=remake)

    def plan(self, seen: AnySnapshot, as_of: str) -> Plan:
        """See :class:`Way`; a fault in a kind's own rules makes its files wait with the fault as the reason."""
        mine = _set(seen)
        try:
            rules, keeps_copies = kinds.planner_of(mine.scope.kind)
            return plan_set(mine, rules, as_of, keeps_copies=keeps_copies)
        except Exception as error:  # the one edge: a bug in one kind's rules must not lose its sets, nor stop the others
            log.exception("the plan of %s", mine.scope.title)
            return held_by_fault(mine, error)

    def tell(self, database: Database, seen: AnySnapshot, plan: Plan) -> int:
        """See :class:`Way`."""
        return states.apply_to_files(database, _plain(file_states(_set(seen), plan)))


def way_of(scope: ScopeRow, parameters: NightParameters, rules_for: RulesFor, options: SetOptions) -> Way:
    """The way of a scope's kind."""
    return NightWay(parameters, rules_for) if scope.kind == "night" else SetWay(options)


def _plain(found: Mapping[int, FrameState]) -> dict[int, tuple[str, str]]:
    return {id_: (state.state, state.reason) for id_, state in found.items()}


def _night(seen: AnySnapshot) -> Snapshot:
    if not isinstance(seen, Snapshot):
        raise TypeError("a snapshot of a night was expected")
    return seen


def _set(seen: AnySnapshot) -> SetSnapshot:
    if not isinstance(seen, SetSnapshot):
        raise TypeError("a snapshot of a set was expected")
    return seen
