"""What became of every file of a set: one state and one sentence, from the plan and what was made.  The balance closes."""

from __future__ import annotations

from nightcrew.ledger.database import storable
from nightcrew.planning.model import Plan, PlannedProduct
from nightcrew.planning.sets import SetFile, SetSnapshot
from nightcrew.planning.states import FrameState, to_be_made
from nightcrew.recipes.catalogue import RECIPES


def file_states(snapshot: SetSnapshot, plan: Plan) -> dict[int, FrameState]:
    """State of every file of the set, by its row's id; those that ingest decided are not among them."""
    users: dict[int, list[PlannedProduct]] = {}
    for product in plan.products:
        for item in product.inputs:
            if item.file is not None:
                users.setdefault(item.file.id, []).append(product)
    return {file.id: _state(snapshot, plan, file, users.get(file.id, [])) for file in snapshot.files}


def _state(snapshot: SetSnapshot, plan: Plan, file: SetFile, users: list[PlannedProduct]) -> FrameState:
    if file.id in plan.rejected:
        return FrameState("rejected", plan.rejected[file.id])
    if file.id in plan.excluded:
        return FrameState("set_aside", plan.excluded[file.id])
    made = [product for product in users if product.status in ("present", "adopt")]
    if made:
        return _of_made(snapshot, file, made)
    if file.id in plan.gone:
        return FrameState("set_aside", plan.gone[file.id])
    under_way = next((product for product in users if product.status != "failed"), None)
    if under_way is not None:
        return FrameState("waiting", under_way.reason or to_be_made(_title(under_way), under_way, snapshot.hindrances))
    if users:
        # Of one file a product is that file's affair; what is made of many may fail for any of them, or for none.
        own = next((product for product in users if is_of_one_file(product)), None)
        first = own or users[0]
        return FrameState("rejected" if own else "waiting", f"{_title(first)}{'' if own else ' could not be made'}: {first.reason}")
    if file.id in plan.waiting:
        return FrameState("waiting", plan.waiting[file.id])
    if snapshot.closed:
        return FrameState("set_aside", "the set is complete, and its analysis has no use for this file")
    return FrameState("waiting", "no plan takes it yet")


def _of_made(snapshot: SetSnapshot, file: SetFile, made: list[PlannedProduct]) -> FrameState:
    out: list[str] = []
    for product in made:
        row = snapshot.products[product.fingerprint]
        reason = snapshot.left_out.get(row.id, {}).get(storable(file.relative))
        if reason is None:
            name = _title(product)
            kept = f" ({product.kept})" if product.kept else ""
            return FrameState("done", f"in {name}{kept}")
        out.append(f"left out of {_title(product)}: {reason}")
    return FrameState("set_aside", out[0])


def _title(product: PlannedProduct) -> str:
    title = RECIPES[product.recipe].title
    return title if is_of_one_file(product) or product.key == product.night else f"{title} {product.key}"


def is_of_one_file(product: PlannedProduct) -> bool:
    """Is it made of a single file of the set and nothing else?"""
    return len(product.inputs) == 1 and product.inputs[0].file is not None
