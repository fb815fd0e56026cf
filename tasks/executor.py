"""Running a scope's plan until nothing is left: plan, make what is ready, plan again.

The loop is the same for both executors; they differ only in ``make``, which runs a list of units.  The local one is
here (in this process, or in a pool of processes for big nights); the Prefect one is in ``flows.executor``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from nightcrew.errors import TransientError
from nightcrew.frames.profiles import Rules
from nightcrew.ledger import claims, products, scopes, states
from nightcrew.ledger.database import Database, iso
from nightcrew.planning import snapshot as snapshots
from nightcrew.planning.model import Plan, PlannedProduct, Snapshot
from nightcrew.planning.night import plan_night
from nightcrew.planning.states import frame_states
from nightcrew.recipes.catalogue import RECIPES, STEPS
from nightcrew.recipes.parameters import NightParameters
from tasks.context import UnitContext
from tasks.run import Outcome, run_unit

log = logging.getLogger(__name__)
Make = Callable[[Sequence[PlannedProduct]], Sequence[Outcome]]
RulesFor = Callable[[str], Rules]
_PAUSE_S = 30.0
_ROUNDS = 50  # a plan settles in about six; more means that something is made again and again


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person or the dispatcher asks of a scope; the plan is always made anew.

    ``from_step`` and ``only`` leave out recipes of earlier steps / of other names; ``retry`` forgives failures.
    """

    from_step: str = ""
    only: tuple[str, ...] = ()
    retry: bool = False

    def takes(self, planned: PlannedProduct) -> bool:
        """Does the wish include this product?"""
        step = RECIPES[planned.recipe].step
        if self.from_step and STEPS.index(step) < STEPS.index(self.from_step):
            return False
        return not self.only or planned.recipe in self.only or planned.key in self.only or planned.fingerprint.startswith(self.only)


@dataclass(frozen=True, slots=True)
class ScopeRun:
    """What one run over a scope did."""

    scope_id: int
    made: int = 0
    failed: int = 0
    again: int = 0
    busy: bool = False  # another process plans this scope; it will see our mark
    outcomes: tuple[Outcome, ...] = ()
    plan: Plan | None = field(default=None, repr=False)


def make_locally(context: UnitContext) -> Make:
    """Run units one after the other in this process."""

    def make(units: Sequence[PlannedProduct]) -> list[Outcome]:
        done = []
        for unit in units:
            try:
                done.append(run_unit(context, unit))
            except TransientError as error:
                done.append(Outcome(unit.recipe, unit.key, unit.fingerprint, "again", str(error)))
            except Exception as error:  # noqa: BLE001 -- a bug in one unit must not stop its siblings; it is recorded with its trace
                done.append(Outcome(unit.recipe, unit.key, unit.fingerprint, "failed", str(error)))
        return done

    return make


def run_scope(
    context: UnitContext, scope_id: int, parameters: NightParameters, rules_for: RulesFor, make: Make, wish: Wish | None = None
) -> ScopeRun:
    """Plan and make until nothing is left that the wish includes; then write every file's state.

    One running plan a scope: when another process has it, ``busy`` is returned at once -- that process reads the mark
    that we would have acted on before it ends.
    """
    database, wish = context.database, wish or Wish()
    held = claims.take(database, scope_id, claims.PLAN, "", "")
    if held is None:
        return ScopeRun(scope_id, busy=True)
    try:
        if wish.retry:
            with database.write() as connection:
                claims.forgive(connection, scope_id)
        return _until_nothing_is_left(context, scope_id, parameters, rules_for, make, wish)
    finally:
        claims.end(database, held, "done")


def _until_nothing_is_left(
    context: UnitContext, scope_id: int, parameters: NightParameters, rules_for: RulesFor, make: Make, wish: Wish
) -> ScopeRun:
    outcomes: list[Outcome] = []
    tried: set[str] = set()
    for _ in range(_ROUNDS):
        seen, plan = look(context, scope_id, parameters, rules_for)
        ready = [p for p in plan.with_status("ready") if wish.takes(p) and p.fingerprint not in tried]
        if not ready:
            if _settled(context.database, seen, plan, again=any(o.state == "again" for o in outcomes)):
                break
            continue
        batch = _first_kind(ready)
        done = make(batch)
        outcomes += done
        tried |= {o.fingerprint for o in done if o.state in ("again", "taken", "failed", "overtaken")}
    made = [o for o in outcomes if o.state == "made"]
    return ScopeRun(
        scope_id,
        made=len(made),
        failed=sum(o.state == "failed" for o in outcomes),
        again=sum(o.state == "again" for o in outcomes),
        outcomes=tuple(outcomes),
        plan=plan,
    )


def _first_kind(ready: list[PlannedProduct]) -> list[PlannedProduct]:
    """All ready units of the first ready step: masters before lights, so that nothing is made with what is being replaced."""
    first = min(STEPS.index(RECIPES[p.recipe].step) for p in ready)
    return [p for p in ready if STEPS.index(RECIPES[p.recipe].step) == first]


def look(context: UnitContext, scope_id: int, parameters: NightParameters, rules_for: RulesFor) -> tuple[Snapshot, Plan]:
    """A fresh snapshot and its plan; products whose files are gone are noticed, and earlier ones that fit are adopted."""
    database = context.database
    notice_lost_files(context, scope_id)
    with database.read() as connection:
        instrument = scopes.get(connection, scope_id).instrument
        seen = snapshots.load(connection, scope_id, parameters, rules_for(instrument))
    plan = plan_night(seen, database.now())
    adopted = plan.with_status("adopt")
    gone = set(seen.current) - plan.keys
    if adopted or gone:
        with database.write() as connection:
            products.dismiss(connection, scope_id, gone)
            for product in adopted:
                products.make_current(connection, scope_id, product.recipe, product.key, seen.products[product.fingerprint].id)
        now_current = {**seen.current, **{(p.recipe, p.key): p.fingerprint for p in adopted}}
        seen = replace(seen, current={k: v for k, v in now_current.items() if k not in gone})
        plan = plan_night(seen, database.now())
    return seen, plan


def notice_lost_files(context: UnitContext, scope_id: int) -> int:
    """Current products whose file was deleted are marked ``lost``, so that they come back; the number of them."""
    with context.database.read() as connection:
        current = products.current_of_scope(connection, scope_id)
    lost = [row for row in current if row.state == "made" and not all(_is_there(context.products_root / f.path, f.size) for f in row.files)]
    if lost:
        with context.database.write() as connection:
            for row in lost:
                products.set_state(connection, row.id, "lost")
    return len(lost)


def _is_there(path: Path, size: int) -> bool:
    with suppress(OSError):
        return path.stat().st_size == size
    return False


def _settled(database: Database, seen: Snapshot, plan: Plan, *, again: bool) -> bool:
    """Write states and the mark that was read; False when something changed meanwhile (look again).

    ``again``: something failed for a passing reason, so the scope asks to be woken.
    """
    wakes = [plan.wake_at] if plan.wake_at else []
    if again:
        wakes.append(iso(database.clock() + timedelta(seconds=_PAUSE_S)))
    states.apply(database, seen.scope.id, {frame: (s.state, s.reason) for frame, s in frame_states(seen, plan).items()})
    with database.write() as connection:
        scopes.planned(connection, seen.scope.id, read_mark=seen.scope.mark, wake_at=min(wakes, default=""))
        return scopes.get(connection, seen.scope.id).mark == seen.scope.mark
