"""Why: what became of a file or a product, with every candidate that was considered and the rule that it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.history import Attempt
from nightcrew.ledger.origins import NamedInput
from nightcrew.ledger.rows import FrameRow, ProductRow
from nightcrew.planning.model import Choice, Plan, PlannedProduct, Snapshot
from nightcrew.planning.set_states import file_states
from nightcrew.planning.sets import SetSnapshot
from nightcrew.planning.states import frame_states
from nightcrew.recipes.catalogue import RECIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An answer: a sentence, facts, what was chosen, and for each need the candidates.

    ``products`` are made from the subject; ``inputs`` are what it was made from, when it is a product itself.
    """

    subject: str
    verdict: str
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    inputs: tuple[NamedInput, ...] = ()
    products: tuple[dict[str, Any], ...] = ()
    choices: tuple[Choice, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "subject": self.subject,
            "verdict": self.verdict,
            "facts": self.facts,
            "notes": list(self.notes),
            "inputs": [asdict(one) for one in self.inputs],
            "products": list(self.products),
            "choices": [
                {
                    "need": c.need,
                    "chosen": c.fingerprint,
                    "grade": c.grade,
                    "reasons": list(c.reasons),
                    "candidates": [
                        {"name": x.name, "fingerprint": x.fingerprint, "grade": x.grade, "verdict": x.verdict or "chosen", "mend": x.mend}
                        for x in c.considered
                    ],
                }
                for c in self.choices
            ],
        }


_SHOWN = (
    "kind",
    "instrument",
    "profile",
    "night",
    "time_utc",
    "exposure_s",
    "temperature_c",
    "filter",
    "target",
    "gain_setting",
    "geometry",
)


def explain_file(row: PathRow, snapshot: Snapshot | None, plan: Plan | None) -> Explanation:
    """Explain a file of the ledger; ``snapshot`` and ``plan`` are those of its scope, None when it has none."""
    name = row.path.decode("utf-8", "backslashreplace")
    frame = None
    if snapshot is not None and row.frame_id is not None:
        frame = next((f for f in snapshot.frames if f.id == row.frame_id), None)
    if frame is None or snapshot is None or plan is None or frame.path != row.path:
        return Explanation(subject=name, verdict=_sentence(row.state, row.reason), facts={"size": row.size, "sha256": row.sha256})
    state = frame_states(snapshot, plan)[frame.id]
    users = [p for p in plan.products if any(i.frame is not None and i.frame.id == frame.id for i in p.inputs)]
    return Explanation(
        subject=name,
        verdict=_sentence(state.state, state.reason),
        facts=_facts(frame),
        notes=frame.header.notes,
        products=tuple(_product(p, snapshot) for p in users),
        choices=plan.choices.get(frame.id) or _choices_of(users),
    )


def explain_set_file(row: PathRow, seen: SetSnapshot, plan: Plan) -> Explanation:
    """Explain a file of a set: its state, and every product that takes it."""
    name = row.path.decode("utf-8", "backslashreplace")
    state = file_states(seen, plan).get(row.id)
    users = [p for p in plan.products if any(i.file is not None and i.file.id == row.id for i in p.inputs)]
    return Explanation(
        subject=name,
        verdict=_sentence(row.state, row.reason) if state is None or row.to_read else _sentence(state.state, state.reason),
        facts={"set": seen.scope.title, "kind": row.kind, "size": row.size, "sha256": row.sha256},
        notes=(f"the plan of the set failed: {plan.fault}",) if plan.fault else (),
        products=tuple(_product(p, seen) for p in users),
    )


def explain_attempts(tries: Sequence[Attempt]) -> Explanation:
    """Explain a product that was begun and never made: how each start ended."""
    last = tries[-1]
    ends = [f"{one.started_at}: {one.state}" + (f": {one.reason}" if one.reason else "") for one in tries]
    return Explanation(
        subject=f"{last.recipe} {last.key}",
        verdict=_sentence({"again": "to be tried again", "running": "being made"}.get(last.state, last.state), last.reason),
        facts={"fingerprint": last.fingerprint},
        notes=(*ends, *(last.trace.splitlines() if last.trace else ())),
    )


def _sentence(state: str, reason: str) -> str:
    return state.replace("_", " ") + (f": {reason}" if reason else "")


def _facts(frame: FrameRow) -> dict[str, Any]:
    facts = {name: getattr(frame.header, name) for name in _SHOWN}
    return {"sha256": frame.sha256, **{k: v for k, v in facts.items() if v not in (None, "")}}


def _choices_of(users: list[PlannedProduct]) -> tuple[Choice, ...]:
    return tuple({c.need: c for product in users for c in product.choices}.values())


def _product(product: PlannedProduct, snapshot: Snapshot | SetSnapshot) -> dict[str, Any]:
    made = snapshot.products.get(product.fingerprint)
    barred = made.barred_because if made is not None and made.state == "made" and product.status in ("present", "adopt") else ""
    return {
        "recipe": product.recipe,
        "key": product.key,
        "fingerprint": product.fingerprint,
        "status": "not used" if barred else product.status,
        "grade": "" if barred else product.grade,  # the grade of what nobody may use misleads
        "reason": barred or product.reason or (snapshot.hindrances.get(product.fingerprint, "") if product.status == "ready" else ""),
        "files": [f.path for f in made.files] if made is not None else [],
    }


def explain_product(row: ProductRow, plan: Plan | None, dependants: Sequence[ProductRow], inputs: Sequence[NamedInput] = ()) -> Explanation:
    """Explain a product: is it current, what is it made from, what depends on it."""
    planned = next((p for p in plan.products if p.fingerprint == row.fingerprint), None) if plan is not None else None
    if planned is not None and planned.status in ("pending", "failed"):
        verdict = f"to be made anew, but {planned.reason}"
    elif planned is not None:
        verdict = f"current, grade {row.grade}" if row.usable else f"not used: {row.barred_because}"
        verdict += f"; {planned.kept}" if planned.kept else ""
    elif row.version != RECIPES[row.recipe].version:
        verdict = f"superseded: made by version {row.version} of its recipe, which is at {RECIPES[row.recipe].version}"
    else:
        verdict = "superseded: the rules choose other inputs or parameters now"
    return Explanation(
        subject=f"{row.recipe} {row.key}",
        verdict=verdict,
        facts={
            "fingerprint": row.fingerprint,
            "made_at": row.made_at,
            "files": [f.path for f in row.files],
            **{name: value for name, value in row.facts.items() if value not in (None, "")},
        },
        notes=row.grade_reasons,
        inputs=tuple(inputs),
        products=tuple(_dependant(d) for d in dependants),
        choices=planned.choices if planned is not None else (),
    )


def _dependant(row: ProductRow) -> dict[str, Any]:
    return {
        "recipe": row.recipe,
        "key": row.key,
        "fingerprint": row.fingerprint,
        "status": f"not used: {row.barred_because}" if row.barred_because else row.state,
        "grade": "" if row.barred_because else row.grade,
    }
