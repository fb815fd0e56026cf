"""Running a scope's plan until nothing is left: plan, make what is ready, plan again.

The loop is the same for both executors; they differ only in ``make``, which runs a list of units.  The local one is
here (in this process, or in a pool of processes for big nights); the Prefect one is in ``flows.executor``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from nightcrew import failpoints
from nightcrew.errors import TransientError
from nightcrew.ledger import claims, history, messages, scopes, versions
from nightcrew.ledger.database import iso
from nightcrew.planning.model import Plan, PlannedProduct, Snapshot
from nightcrew.planning.sets import SetSnapshot
from nightcrew.recipes.catalogue import RECIPES, STEPS
from nightcrew.recipes.parameters import NightParameters, SetOptions
from tasks.context import UnitContext
from tasks.run import Outcome, run_unit
from tasks.standing import AnySnapshot, apply_changes, changes_of, lost_inputs, mark_lost, mend_names, notice_lost_files, notice_returned
from tasks.ways import NightWay, RulesFor, Way, way_of

log = logging.getLogger(__name__)
Make = Callable[[Sequence[PlannedProduct]], Sequence[Outcome]]
_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 3600.0
_ROUNDS = 50  # a plan settles in about six; more means that something is made again and again


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person or the dispatcher asks of a scope; the plan is always made anew.

    ``from_step`` and ``only`` leave out recipes of earlier steps / of other names; ``retry`` forgives failures;
    ``outdated`` remakes what is stale in an old night, too, which nobody does unasked.
    """

    from_step: str = ""
    only: tuple[str, ...] = ()
    retry: bool = False
    outdated: bool = True

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
    context: UnitContext,
    scope_id: int,
    parameters: NightParameters,
    rules_for: RulesFor,
    make: Make,
    wish: Wish | None = None,
    options: SetOptions | None = None,
) -> ScopeRun:
    """Plan and make until nothing is left that the wish includes; then write every file's state.

    One running plan a scope: when another process has it, ``busy`` is returned at once -- that process reads the mark
    that we would have acted on before it ends.

    Raises
    ------
    Refused
        The ledger holds products of newer recipes than this checkout has.
    """
    database, wish = context.database, wish or Wish()
    versions.check(database, {recipe.name: recipe.version for recipe in RECIPES.values()})
    held = claims.take(database, scope_id, claims.PLAN, "", "")
    if held is None:
        return ScopeRun(scope_id, busy=True)
    try:
        with claims.beating(database, held):
            if wish.retry:
                with database.write() as connection:
                    history.forgive(connection, scope_id)
                    scopes.look_again(connection, [scope_id])  # it stays due until what was forgiven has been tried, whoever dies now
            with database.read() as connection:
                way = way_of(scopes.get(connection, scope_id), parameters, rules_for, options or SetOptions())
            return _Run(context, scope_id, way, make, wish).until_nothing_is_left()
    finally:
        failpoints.reach("plan.unended")
        try:
            claims.end(database, held, "done")
        except TransientError as error:
            log.warning("the end of the plan could not be written, the next one will see that it is over: %s", error)


class _Run:
    """One run over a scope; see ``run_scope``."""

    def __init__(self, context: UnitContext, scope_id: int, way: Way, make: Make, wish: Wish) -> None:
        self._context, self._scope_id, self._way, self._make, self._wish = context, scope_id, way, make, wish
        self._outcomes: list[Outcome] = []
        self._tried: set[str] = set()
        with context.database.read() as connection:
            self._remake = wish.outdated or scopes.is_remade_unasked(connection, scope_id, context.remake_scopes)

    def until_nothing_is_left(self) -> ScopeRun:
        """Plan and make, round by round; one round more whenever something changed meanwhile."""
        rounds = 0
        while rounds < _ROUNDS:
            seen, plan = look_by(self._way, self._context, self._scope_id, remake=self._remake)
            ready = [p for p in plan.with_status("ready") if self._wish.takes(p) and p.fingerprint not in self._tried]
            rounds += 1
            if ready and lost_inputs(self._context, seen, ready):
                continue  # borrowed masters that are gone: planned anew, their lights wait for them
            if ready:
                batch = self._untried_first(_first_kind(ready))
                careful = self._cautious(batch)
                done = self._do(careful)
                if careful != batch and any(outcome.state == "died" for outcome in done):
                    rounds -= 1  # of these there may be many; each ends after three deaths
            elif self._settled(seen, plan):
                break
        return self._told(plan)

    def _untried_first(self, batch: list[PlannedProduct]) -> list[PlannedProduct]:
        """What is optional and was tried in vain comes after what was not: a few that always fail must not hold up the others."""
        optional = {p.recipe for p in batch if RECIPES[p.recipe].is_optional}
        if not optional:
            return batch
        with self._context.database.read() as connection:
            tries = {print_: n for name in optional for print_, n in history.tried_in_vain(connection, self._scope_id, name).items()}
        return sorted(batch, key=lambda p: tries.get(p.fingerprint, 0)) if tries else batch

    def _cautious(self, batch: list[PlannedProduct]) -> list[PlannedProduct]:
        """What was being made when a process died is made alone: then only the culprit dies again, not what ran beside it."""
        with self._context.database.read() as connection:
            deaths = history.deaths(connection, self._scope_id)
        return [p for p in batch if p.fingerprint in deaths][:1] or batch

    def _do(self, batch: Sequence[PlannedProduct]) -> Sequence[Outcome]:
        done = self._make(batch)
        self._outcomes += done
        self._tried |= {o.fingerprint for o in done if o.state not in ("made", "died")}
        return done

    def _settled(self, seen: AnySnapshot, plan: Plan) -> bool:
        """Write states and the mark that was read; False when something changed meanwhile (look again)."""
        database = self._context.database
        failpoints.reach("states.unwritten")
        self._way.tell(database, self._with_hindrances(seen), plan)
        failpoints.reach("states.written")
        mend_names(self._context, seen)
        left_out = any(not self._wish.takes(p) for p in plan.with_status("ready"))
        with database.write() as connection:
            if not left_out:  # else it stays due for what this wish did not include
                scopes.planned(connection, self._scope_id, read_mark=seen.scope.mark, wake_at=self._wake_at(seen, plan))
            return scopes.get(connection, self._scope_id).mark == seen.scope.mark

    def _with_hindrances(self, seen: AnySnapshot) -> AnySnapshot:
        """What this run could not make, with its reason: a disk below its reserve stops a product before it is begun."""
        mine = {outcome.fingerprint: outcome.reason for outcome in self._outcomes if outcome.state == "again"}
        return replace(seen, hindrances={**seen.hindrances, **mine}) if mine else seen

    def _wake_at(self, seen: AnySnapshot, plan: Plan) -> str:
        """When to look again though nothing arrives: a group becomes quiet, or what failed for a passing reason may pass."""
        wakes = [plan.wake_at] if plan.wake_at else []
        stuck = {p.fingerprint for p in plan.with_status("ready") if p.fingerprint in self._tried}
        lost = {row.fingerprint for row in seen.elsewhere if row.state == "lost"}
        if stuck or any(item.fingerprint in lost for p in plan.with_status("pending") for item in p.inputs):
            with self._context.database.read() as connection:
                tries = history.most_tries(connection, self._scope_id, stuck)
            pause_s = min(_PAUSE_S * 2 ** max(tries - 1, 0), _LONGEST_PAUSE_S)
            wakes.append(iso(self._context.database.clock() + timedelta(seconds=pause_s)))
        return min(wakes, default="")

    def _told(self, plan: Plan) -> ScopeRun:
        def count(state: str) -> int:
            return sum(outcome.state == state for outcome in self._outcomes)

        self._tell_of_hindrances([outcome.reason for outcome in self._outcomes if outcome.state == "again"])

        return ScopeRun(
            self._scope_id,
            made=count("made"),
            failed=count("failed"),
            again=count("again"),
            outcomes=tuple(self._outcomes),
            plan=plan,
        )

    def _tell_of_hindrances(self, reasons: Sequence[str]) -> None:
        """Products that wait for room or for a share are no failure of the run, yet a person may want to know why they wait."""
        if not reasons:
            return
        database = self._context.database
        with database.read() as connection:
            title = scopes.get(connection, self._scope_id).title
        text = f"products of {title} could not be made for now, tried again by itself ({len(reasons)} in all, the first: {reasons[0]})"
        messages.happened_again(database, "service", "warning", text, self._scope_id)


def _first_kind(ready: list[PlannedProduct]) -> list[PlannedProduct]:
    """All ready units of the first ready step: masters before lights, so that nothing is made with what is being replaced."""
    first = min(STEPS.index(RECIPES[p.recipe].step) for p in ready)
    return [p for p in ready if STEPS.index(RECIPES[p.recipe].step) == first]


def look(
    context: UnitContext,
    scope_id: int,
    parameters: NightParameters,
    rules_for: RulesFor,
    *,
    remake: bool = True,
) -> tuple[Snapshot, Plan]:
    """A fresh snapshot of a night and its plan; see :func:`look_by`."""
    seen, plan = look_by(NightWay(parameters, rules_for), context, scope_id, remake=remake)
    if not isinstance(seen, Snapshot):
        raise TypeError("the scope is no night")
    return seen, plan


def look_by(way: Way, context: UnitContext, scope_id: int, *, remake: bool = True) -> tuple[AnySnapshot, Plan]:
    """A fresh snapshot and its plan.

    Before it, dead workers and products whose files are gone are noticed; after it, earlier products that fit again are
    adopted and those that nobody asks for are no longer current.
    """
    database = context.database
    claims.bury_the_dead(database, scope_id)
    notice_lost_files(context, scope_id)
    seen = _load(way, context, scope_id, remake=remake)
    if notice_returned(context, seen.files if isinstance(seen, SetSnapshot) else seen.frames):
        seen = _load(way, context, scope_id, remake=remake)
    plan = way.plan(seen, database.now())
    if mark_lost(context, [seen.products[p.fingerprint] for p in plan.with_status("adopt")], by_hash=True):
        seen = _load(way, context, scope_id, remake=remake)
        plan = way.plan(seen, database.now())
    changes = changes_of(seen, plan)
    if changes:
        apply_changes(context, seen, changes)
        now_current = {**seen.current, **{(p.recipe, p.key): p.fingerprint for p in changes.adopted}}
        seen = replace(seen, current={key: print_ for key, print_ in now_current.items() if key not in changes.dismissed})
        plan = way.plan(seen, database.now())
    return seen, plan


def _load(way: Way, context: UnitContext, scope_id: int, *, remake: bool) -> AnySnapshot:
    with context.database.read() as connection:
        return way.load(connection, scopes.get(connection, scope_id), remake=remake)
