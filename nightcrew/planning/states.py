"""What became of every frame of a scope: one state and one sentence, from the plan and what was made.

Only an exposure's own file gets a state here; duplicates, foreign and rejected files were decided at ingest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nightcrew.ledger.rows import FileState, ProductRow
from nightcrew.planning.model import Plan, PlannedProduct, Snapshot

_USES = {
    "bias": ("bias_master",),
    "dark": ("dark_master",),
    "thermal": ("thermal_master",),
    "flat": ("flat_master",),
    "light": ("reduce_light", "photometry"),
}


@dataclass(frozen=True, slots=True)
class FrameState:
    """The state of a frame's file and the reason that a person reads."""

    state: FileState
    reason: str


def frame_states(snapshot: Snapshot, plan: Plan) -> dict[int, FrameState]:
    """State of every frame of the scope, by frame id."""
    users = _users(plan)
    rates = _rates(snapshot, plan)
    states: dict[int, FrameState] = {}
    for frame in snapshot.frames:
        if frame.id in plan.gone:
            # A calibration frame is one of many; a light that was never reduced is lost.
            states[frame.id] = FrameState("rejected" if frame.header.kind == "light" else "set_aside", plan.gone[frame.id])
        elif frame.id in plan.excluded:
            states[frame.id] = FrameState("set_aside", plan.excluded[frame.id])
        elif frame.id in plan.waiting:
            states[frame.id] = FrameState("waiting", plan.waiting[frame.id])
        else:
            states[frame.id] = _state(snapshot, frame.header.kind, frame.id, users.get(frame.id, []), rates)
    return states


def _users(plan: Plan) -> dict[int, list[PlannedProduct]]:
    users: dict[int, list[PlannedProduct]] = {}
    catalogues = {p.inputs[0].fingerprint: p for p in plan.products if p.recipe == "photometry"}
    for product in plan.products:
        for item in product.inputs:
            if item.frame is None or product.recipe not in _USES.get(item.frame.header.kind, ()):
                continue
            users.setdefault(item.frame.id, []).append(product)
            if product.recipe == "reduce_light" and product.fingerprint in catalogues:
                users[item.frame.id].append(catalogues[product.fingerprint])
    return users


def _rates(snapshot: Snapshot, plan: Plan) -> dict[str, str]:
    """Fingerprint of a dark master -> key of the usable thermal master that it is a point of."""
    found: dict[str, str] = {}
    for product in plan.products:
        row = snapshot.products.get(product.fingerprint)
        if product.recipe == "thermal_master" and row is not None and row.usable:
            found |= {item.fingerprint: product.key for item in product.inputs if item.role == "dark_master"}
    return found


def _state(snapshot: Snapshot, kind: str, frame_id: int, users: list[PlannedProduct], rates: dict[str, str]) -> FrameState:
    if not users:
        return FrameState("waiting", "no plan takes it yet")
    for product in users:
        if product.status == "failed":
            return FrameState("rejected", f"{product.recipe.replace('_', ' ')}: {product.reason}")
        if product.status != "present":
            return FrameState("waiting", product.reason or to_be_made(product.recipe.replace("_", " "), product, snapshot.hindrances))
    rows = [snapshot.products[product.fingerprint] for product in users]
    if kind == "light":
        return _light_state(rows[0], users[0].kept)
    return _calibration_state(snapshot, frame_id, rows[0], rates)


def to_be_made(title: str, product: PlannedProduct, hindrances: Mapping[str, str]) -> str:
    """Why a product that waits for nothing else is not there yet: what stood in the way the last time, or that nobody began."""
    hindrance = hindrances.get(product.fingerprint)
    return f"{title} could not be made for now, tried again by itself: {hindrance}" if hindrance else f"{title} is to be made"


def _light_state(row: ProductRow, kept: str) -> FrameState:
    reasons = "; ".join((*row.grade_reasons, *((kept,) if kept else ())))
    return FrameState("degraded" if row.grade in ("C", "D") else "done", f"grade {row.grade}" + (f": {reasons}" if reasons else ""))


def _calibration_state(snapshot: Snapshot, frame_id: int, row: ProductRow, rates: dict[str, str]) -> FrameState:
    left_out = snapshot.left_out.get(row.id, {}).get(frame_id)
    if left_out:
        return FrameState("set_aside", f"left out of {row.recipe.replace('_', ' ')} {row.key}: {left_out}")
    if not row.usable and row.fingerprint in rates:
        return FrameState("done", f"in thermal master {rates[row.fingerprint]}; its own dark master is not used: {row.barred_because}")
    if not row.usable:
        return FrameState("set_aside", f"in {row.recipe.replace('_', ' ')} {row.key}, which is not used: {row.barred_because}")
    return FrameState("done", f"in {row.recipe.replace('_', ' ')} {row.key}")
