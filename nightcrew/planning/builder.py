"""The state of one planning: the products planned so far, and association over them and the borrowed masters."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from nightcrew.ledger.rows import FrameRow, ProductRow, worst
from nightcrew.planning.associate import Association, Judged, Master
from nightcrew.planning.changes import Predecessors
from nightcrew.planning.fingerprints import UsedValues, canonical, canonical_facts, fingerprint
from nightcrew.planning.groups import in_order, quiet_since
from nightcrew.planning.model import OUTDATED, RAW_IS_GONE, Choice, Input, Plan, PlannedProduct, Snapshot, Status
from nightcrew.recipes.catalogue import RECIPES

GONE = "gone from its folder before it was used"
STANDS = "stands while more of its frames are coming in"


class Draft(NamedTuple):
    """A product that the rules ask for, before its fingerprint and status are known; ``reasons`` of its grade, each once."""

    recipe: str
    key: str
    inputs: Sequence[Input]
    parameters: dict[str, Any]
    facts: dict[str, Any]
    grade: str = "A"
    reasons: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()


def _as_planned(product: PlannedProduct) -> Judged:
    """The grade of a master that is not made yet."""
    return product.grade, product.grade_reasons


class Builder:
    """Collects planned products; knows which are made, and what may serve as a calibration."""

    def __init__(self, snapshot: Snapshot, as_of: str) -> None:
        self.snapshot = snapshot
        self.as_of = as_of
        self.products: dict[str, PlannedProduct] = {}
        self.waiting: dict[int, str] = {}
        self.excluded: dict[int, str] = {}
        self.gone: dict[int, str] = {}
        self.light_choices: dict[int, tuple[Choice, ...]] = {}
        self.held: set[tuple[str, str]] = set()
        self.wakes: list[str] = []
        self.elsewhere = {row.fingerprint: row for row in snapshot.elsewhere}
        if snapshot.models is not None:
            self.elsewhere[snapshot.models.fingerprint] = snapshot.models
        self.of_kind: defaultdict[str, list[FrameRow]] = defaultdict(list)
        for frame in snapshot.frames:
            self.of_kind[frame.header.kind].append(frame)
        self._own = {row.fingerprint for row in snapshot.products.values() if row.state == "made"}
        self._standing = set(snapshot.current.values())
        self._used = UsedValues()
        self._texts: dict[int, tuple[object, str]] = {}
        self._facts: dict[int, tuple[object, str, dict[str, Any]]] = {}
        scope = snapshot.scope
        self._what = {r.name: f"{r.name}\0{r.version}\0{scope.name}\0{scope.instrument}" for r in RECIPES.values()}
        self._keys: set[tuple[str, str]] = set()
        self._judged: dict[str, Judged] = {}
        masters = [row for row in snapshot.products.values() if RECIPES[row.recipe].is_master]
        self._predecessors = Predecessors((*snapshot.elsewhere, *masters), snapshot.rules)
        self.association = Association((self._borrowed(row) for row in snapshot.elsewhere), snapshot.rules)

    def _borrowed(self, row: ProductRow) -> Master:
        return Master(
            recipe=row.recipe,
            key=row.key,
            fingerprint=row.fingerprint,
            facts=row.facts,
            grade=row.grade,
            judge=partial(self.effective_grade, row),
            # One whose file was deleted comes back: what needs it waits for it.
            barred="" if row.state == "lost" and row.certified and not row.marked_bad else row.barred_because,
            borrowed_from=str(row.facts.get("night", "another night")),
        )

    def effective_grade(self, row: ProductRow) -> Judged:
        """A made master's grade with what the comparison against its predecessor says."""
        known = self._judged.get(row.fingerprint)
        if known is None:
            change = self._predecessors.change_of(row)
            known = (worst(row.grade, "B" if change else "A"), (*row.grade_reasons, *((change,) if change else ())))
            self._judged[row.fingerprint] = known
        return known

    def is_quiet(self, frames: Sequence[FrameRow], quiet_s: float | None = None) -> bool:
        """Did nothing join the group for a while (or is the night closed)?  Otherwise the plan asks to be woken."""
        if self.snapshot.closed:
            return True
        quiet = quiet_since(frames, self.snapshot.parameters.group_quiet_s if quiet_s is None else quiet_s)
        if quiet <= self.as_of:
            return True
        self.wakes.append(quiet)
        return False

    def offer(self, frames: Sequence[FrameRow], draft_of: Callable[[Sequence[FrameRow]], Draft]) -> PlannedProduct | None:
        """Plan what ``draft_of`` asks for of these frames, or of those that are left.

        A raw file that vanished makes nothing stale: a product that was made with it stands.  What is not made yet is
        made of the frames that are there; with none of them an earlier product is kept, if there is one.
        """
        whole = draft_of(frames)
        left = [f for f in frames if f.absent != "gone"]
        if len(left) == len(frames) or self._is_own(self.fingerprint_of(whole)):
            return self.add(whole)
        if left:
            self.gone |= {f.id: GONE for f in frames if f.absent == "gone"}
            return self.add(draft_of(left))
        kept = self._keep(whole, RAW_IS_GONE)
        if kept is None:
            self.gone |= {f.id: GONE for f in frames}
        return kept

    def add(self, draft: Draft) -> PlannedProduct:
        """Plan a product; masters become candidates of association at once."""
        draft = self._with_own_key(draft)
        print_ = self.fingerprint_of(draft)
        if not self.snapshot.remake and not self._is_own(print_):
            kept = self._keep(draft, OUTDATED)
            if kept is not None:
                return kept
        status, reason = self._status(draft, print_)
        if draft.recipe == "reduce_light":
            draft = self._as_made(draft, print_)
        scope = self.snapshot.scope
        return self._enter(
            PlannedProduct(
                recipe=draft.recipe,
                version=RECIPES[draft.recipe].version,
                scope_id=scope.id,
                night=scope.name,
                instrument=scope.instrument,
                key=draft.key,
                fingerprint=print_,
                inputs=tuple(draft.inputs),
                parameters=draft.parameters,
                facts=self._facts[id(draft.facts)][2],
                grade=draft.grade,
                grade_reasons=draft.reasons,
                status=status,
                reason=reason,
                choices=draft.choices,
            )
        )

    def _as_made(self, draft: Draft, print_: str) -> Draft:
        """The draft with the grade that the light got when its pixels were seen: what is made of it is no better."""
        row = self.snapshot.products.get(print_)
        if row is None or row.state != "made" or row.grade == draft.grade:
            return draft
        return draft._replace(grade=row.grade, reasons=row.grade_reasons)

    def _with_own_key(self, draft: Draft) -> Draft:
        """Two names that are spelled alike in a file name (``H alpha`` and ``H-alpha``) must not share a key."""
        name = (draft.recipe, draft.key)
        if name in self._keys:
            told = hashlib.sha256(canonical_facts(draft.facts).encode()).hexdigest()[:6]
            draft = draft._replace(key=f"{draft.key}-{told}")
            name = (draft.recipe, draft.key)
        self._keys.add(name)
        return draft

    def fingerprint_of(self, draft: Draft) -> str:
        """What the product's fingerprint is or would be."""
        head = (
            self._what[draft.recipe],
            draft.key,
            self._text_of_parameters(draft.parameters),
            self._text_of_facts(draft.facts),
            draft.grade,
            "\1".join(draft.reasons),
        )
        return fingerprint(head, draft.inputs, self._used)

    def _text_of_parameters(self, value: dict[str, Any]) -> str:
        """Canonical text of a dictionary that is not changed any more; several products share one."""
        known = self._texts.get(id(value))
        if known is None:
            known = self._texts[id(value)] = (value, canonical(value))
        return known[1]

    def _text_of_facts(self, value: dict[str, Any]) -> str:
        """The same of a draft's facts; what the product's facts will be is remembered beside it."""
        known = self._facts.get(id(value))
        if known is None:
            known = self._facts[id(value)] = (value, canonical_facts(value), {**value, "night": self.snapshot.scope.name})
        return known[1]

    def know_facts(self, facts: dict[str, Any], text: str) -> None:
        """The canonical text of facts whose planner had it at hand."""
        self._facts[id(facts)] = (facts, text, {**facts, "night": self.snapshot.scope.name})

    def _is_own(self, print_: str) -> bool:
        return print_ in self._own

    def _keep(self, draft: Draft, why: str) -> PlannedProduct | None:
        """The current product of the draft's key in place of the one that the rules ask for; None without one."""
        row = self.snapshot.products.get(self.snapshot.current.get((draft.recipe, draft.key), ""))
        if row is None or row.state != "made":
            return None
        return self._as_it_is(row, draft.inputs, draft.choices, kept=why)

    def keep_current(self, draft: Draft, why: str) -> PlannedProduct | None:
        """The current product of the draft's key, whatever it was made of, where none is to be made; None without one."""
        return self._keep(self._with_own_key(draft), why)

    def hold(self, recipe: str, role: str, frames: Sequence[FrameRow], reason: str) -> None:
        """Frames of a group that is not complete wait; a current master that was made of some of them stands meanwhile.

        So neither this night's lights nor other nights turn to a worse master for as long as frames come in.
        """
        by_id = {f.id: f for f in frames}
        for print_, ids in self.snapshot.parts.items():
            row = self.snapshot.products.get(print_)
            if row is not None and row.recipe == recipe and row.state == "made" and ids and ids <= by_id.keys():
                used = in_order(by_id.pop(frame_id) for frame_id in ids)
                self._keys.add((row.recipe, row.key))
                self._as_it_is(row, [Input(role, f.sha256, f) for f in used], (), reason=STANDS)
        self.waiting |= dict.fromkeys(by_id, reason)

    def _as_it_is(
        self, row: ProductRow, inputs: Sequence[Input], choices: tuple[Choice, ...], *, kept: str = "", reason: str = ""
    ) -> PlannedProduct:
        return self._enter(
            PlannedProduct(
                recipe=row.recipe,
                version=row.version,
                scope_id=row.scope_id,
                night=self.snapshot.scope.name,
                instrument=row.instrument,
                key=row.key,
                fingerprint=row.fingerprint,
                inputs=tuple(inputs),
                parameters=row.parameters,
                facts=row.facts,
                grade=row.grade,
                grade_reasons=row.grade_reasons,
                status="present",
                reason=reason,
                choices=choices,
                kept=kept,
            )
        )

    def _enter(self, product: PlannedProduct) -> PlannedProduct:
        self.products[product.fingerprint] = product
        if RECIPES[product.recipe].is_master:
            self.association.add(self._own_master(product))
        return product

    def _own_master(self, product: PlannedProduct) -> Master:
        made = self.snapshot.products.get(product.fingerprint)
        judge, barred = partial(_as_planned, product), ""
        if made is not None and made.state == "made":
            judge, barred = partial(self.effective_grade, made), made.barred_because
        elif made is not None and made.marked_bad:
            barred = made.barred_because
        elif product.status == "failed":
            barred = f"could not be made: {product.reason}"
        return Master(
            recipe=product.recipe,
            key=product.key,
            fingerprint=product.fingerprint,
            facts=product.facts,
            grade=made.grade if made is not None and made.state == "made" else product.grade,
            judge=judge,
            barred=barred,
        )

    def _status(self, draft: Draft, print_: str) -> tuple[Status, str]:
        if self._is_own(print_):
            return ("present" if print_ in self._standing else "adopt"), ""
        failure = self.snapshot.failures.get(print_)
        if failure is not None:
            return "failed", failure.reason
        if self.is_put_off(print_):
            later = self.snapshot.put_off[print_]
            self.wakes.append(later.until)
            return "pending", later.reason
        for item in draft.inputs:
            if item.frame is not None:
                if item.frame.absent:
                    name = item.frame.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace")
                    return "pending", f"{name} changed and is read again first"
            elif not self.is_made(item.fingerprint):
                return self._waits_for(item)
        return "ready", ""

    def _waits_for(self, item: Input) -> tuple[Status, str]:
        before = self.products.get(item.fingerprint)
        if before is not None and before.status == "failed":
            return "failed", f"its input {before.name} could not be made: {before.reason}"
        lost = self.elsewhere.get(item.fingerprint)
        if lost is not None:
            return "pending", f"waits for {lost.recipe} {lost.key} of {lost.facts.get('night')}, whose file was lost"
        return "pending", f"waits for {before.name if before else item.role}"

    def is_made(self, print_: str) -> bool:
        """Does the product exist now?"""
        row = self.snapshot.products.get(print_) or self.elsewhere.get(print_)
        return row is not None and row.state == "made"

    def facts_of_choice(self, print_: str) -> dict[str, Any]:
        """What association compares of a chosen master, planned here or borrowed."""
        planned = self.products.get(print_)
        return planned.facts if planned is not None else self.elsewhere[print_].facts

    def is_put_off(self, print_: str) -> bool:
        """Is this not tried now, so that its users do without it?"""
        later = self.snapshot.put_off.get(print_)
        return later is not None and later.until > self.as_of

    def product_row(self, print_: str) -> ProductRow | None:
        """The made product of that fingerprint."""
        return self.snapshot.products.get(print_)

    def current_row(self, recipe: str, key: str) -> ProductRow | None:
        """What the ledger has as current under a key, planned anew or not."""
        return self.snapshot.products.get(self.snapshot.current.get((recipe, key), ""))

    def plan(self) -> Plan:
        """The finished plan."""
        return Plan(
            scope=self.snapshot.scope,
            products=tuple(self.products.values()),
            waiting=self.waiting,
            excluded=self.excluded,
            gone=self.gone,
            choices=self.light_choices,
            held=frozenset(self.held),
            wake_at=min(self.wakes, default=""),
        )
