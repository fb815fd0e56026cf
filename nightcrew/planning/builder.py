"""The state of one planning: the products planned so far, and association over them and the borrowed masters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nightcrew.ledger.rows import FrameRow, ProductRow, worst
from nightcrew.planning.associate import Association, Master
from nightcrew.planning.changes import change_against_predecessor
from nightcrew.planning.fingerprints import fingerprint
from nightcrew.planning.groups import quiet_since
from nightcrew.planning.model import Choice, Input, Plan, PlannedProduct, Snapshot, Status
from nightcrew.recipes.catalogue import RECIPES


class Builder:
    """Collects planned products; knows which are made, and what may serve as a calibration."""

    def __init__(self, snapshot: Snapshot, as_of: str) -> None:
        self.snapshot = snapshot
        self.as_of = as_of
        self.products: dict[str, PlannedProduct] = {}
        self.waiting: dict[int, str] = {}
        self.excluded: dict[int, str] = {}
        self.light_choices: dict[int, tuple[Choice, ...]] = {}
        self.wakes: list[str] = []
        self._change_grades: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.association = Association((self._borrowed(row) for row in snapshot.elsewhere), snapshot.rules)

    def _borrowed(self, row: ProductRow) -> Master:
        grade, reasons = self.effective_grade(row)
        return Master(
            recipe=row.recipe,
            key=row.key,
            fingerprint=row.fingerprint,
            facts=row.facts,
            grade=grade,
            reasons=reasons,
            barred=row.barred_because,
            borrowed_from=str(row.facts.get("night", "another night")),
        )

    def effective_grade(self, row: ProductRow) -> tuple[str, tuple[str, ...]]:
        """A made master's grade with what the comparison against its predecessor says."""
        known = self._change_grades.get(row.fingerprint)
        if known is None:
            others = [*self.snapshot.elsewhere, *self.snapshot.products.values()]
            change = change_against_predecessor(row, others, self.snapshot.rules)
            known = (worst(row.grade, "B" if change else "A"), (*row.grade_reasons, *((change,) if change else ())))
            self._change_grades[row.fingerprint] = known
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

    def add(
        self,
        recipe: str,
        key: str,
        inputs: Sequence[Input],
        *,
        parameters: dict[str, Any],
        facts: dict[str, Any],
        grade: str = "A",
        reasons: Sequence[str] = (),
        choices: tuple[Choice, ...] = (),
    ) -> PlannedProduct:
        """Plan a product; masters become candidates of association at once."""
        declared = RECIPES[recipe]
        unique_reasons = tuple(dict.fromkeys(reasons))
        print_ = fingerprint(recipe, declared.version, key, parameters, facts, inputs, grade + "\0".join(unique_reasons))
        status, reason = self._status(recipe, key, print_, inputs)
        scope = self.snapshot.scope
        product = PlannedProduct(
            recipe=recipe,
            version=declared.version,
            scope_id=scope.id,
            night=scope.name,
            instrument=scope.instrument,
            key=key,
            fingerprint=print_,
            inputs=tuple(inputs),
            parameters=parameters,
            facts={**facts, "night": scope.name},
            grade=grade,
            grade_reasons=unique_reasons,
            status=status,
            reason=reason,
            choices=choices,
        )
        self.products[print_] = product
        if declared.is_master:
            self.association.add(self._own_master(product))
        return product

    def _own_master(self, product: PlannedProduct) -> Master:
        made = self.snapshot.products.get(product.fingerprint)
        if made is not None and made.state == "made":
            grade, reasons = self.effective_grade(made)
            barred = made.barred_because
        else:
            grade, reasons = product.grade, product.grade_reasons
            barred = made.barred_because if made is not None and made.marked_bad else ""
            if product.status == "failed":
                barred = f"could not be made: {product.reason}"
        return Master(
            recipe=product.recipe,
            key=product.key,
            fingerprint=product.fingerprint,
            facts=product.facts,
            grade=grade,
            reasons=reasons,
            barred=barred,
        )

    def _status(self, recipe: str, key: str, print_: str, inputs: Sequence[Input]) -> tuple[Status, str]:
        made = self.snapshot.products.get(print_)
        if made is not None and made.state == "made":
            return ("present" if self.snapshot.current.get((recipe, key)) == print_ else "adopt"), ""
        failure = self.snapshot.failures.get(print_)
        if failure is not None:
            return "failed", failure.reason
        for item in inputs:
            if item.frame is None and not self.is_made(item.fingerprint):
                before = self.products.get(item.fingerprint)
                if before is not None and before.status == "failed":
                    return "failed", f"its input {before.name} could not be made: {before.reason}"
                return "pending", f"waits for {before.name if before else item.role}"
        return "ready", ""

    def is_made(self, print_: str) -> bool:
        """Does the product exist now?"""
        row = self.snapshot.products.get(print_)
        if row is not None:
            return row.state == "made"
        return any(other.fingerprint == print_ and other.state == "made" for other in self.snapshot.elsewhere)

    def product_row(self, print_: str) -> ProductRow | None:
        """The made product of that fingerprint."""
        return self.snapshot.products.get(print_)

    def plan(self) -> Plan:
        """The finished plan."""
        return Plan(
            scope=self.snapshot.scope,
            products=tuple(self.products.values()),
            waiting=self.waiting,
            excluded=self.excluded,
            choices=self.light_choices,
            wake_at=min(self.wakes, default=""),
        )
