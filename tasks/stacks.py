"""Unit of work for a stack: register the night's lights of one target and filter on the earliest, and average them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.cardtext import Card
from nightcrew.io.images import ImageFile
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import NewProduct, ProductRow, worst
from nightcrew.lights.registration import Registration, identity, register
from nightcrew.lights.stack import StackInput, stack
from nightcrew.planning.model import PlannedProduct
from tasks.catalogues import Stars, stars_of
from tasks.context import UnitContext
from tasks.images_out import write_image
from tasks.sky import between, product_wcs

# Cards of the first light that do not hold for a stack.
_DROPPED = ("NCDARK", "NCFRAME", "NCCOSMIC", "NCRECIPE", "NCVERS", "NCPRINT", "NCGRADE", "AIRMASS", "CCD-TEMP")


Scale = tuple[str, float | None]  # unit, gain [e-/ADU]
_GAINS_APART = 0.02  # of frames of one gain setting: more is no rounding


class ProductRows:
    """Rows of a reduced light, from its file."""

    def __init__(self, context: UnitContext, row: ProductRow) -> None:
        path = context.file(row, "image")
        self._planes = [ImageFile(path, name) for name in ("SCI", "UNCERT", "MASK")]

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx)."""
        return self._planes[0].shape

    def rows(self, y0: int, y1: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
        """Rows y0:y1 of science, uncertainty and mask."""
        science, uncertainty, mask = (plane.read_rows(y0, y1) for plane in self._planes)
        return science, uncertainty, mask

    def close(self) -> None:
        """Close the files."""
        for plane in self._planes:
            plane.close()


@dataclass(frozen=True, slots=True)
class Member:
    """A light of the stack: its row, its stars, how it lies on the reference."""

    row: ProductRow
    stars: Stars | None
    registration: Registration


def make_stack(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """A stack on the grid of the earliest light that shows stars; lights that do not register are left out and named."""
    members, unregistered, told = _members(context, planned)
    opened = [ProductRows(context, member.row) for member in members]
    try:
        inputs = [
            StackInput(rows=rows, matrix=member.registration.matrix if planned.parameters["register"] else None, level=_level(member.row))
            for rows, member in zip(opened, members, strict=True)
        ]
        done = stack(inputs, method="median" if planned.parameters["method"] == "median" else "mean")
    finally:
        for rows in opened:
            rows.close()
    reference = read_image_product(context.file(members[0].row, "image"))
    n, grade = len(members), worst(planned.grade, "C" if told else "A")
    cards: list[Card] = [
        ("NCFRAMES", n, "lights in the stack"),
        ("NCUNREG", len(unregistered), "lights left out: no registration"),
        ("NCTOTEXP", float(planned.facts.get("exposure_s") or 0.0) * n, "[s] total exposure"),
        ("EXPTIME", float(planned.facts.get("exposure_s") or 0.0), "[s] exposure of one light: the stack is a mean"),
    ]
    reasons = [*planned.grade_reasons, *told, *(f"left out of the stack: {name}: {why}" for name, why in sorted(unregistered.items()))]
    dropped = (*_DROPPED, *(k for k in reference.cards if k.startswith(("NCIN", "NCPAR", "NCWHY"))))
    file = write_image(
        context,
        planned,
        science=done.science,
        uncertainty=done.uncertainty,
        mask=done.mask,
        unit=reference.unit,
        cards=cards,
        grade=grade,
        reasons=reasons,
        source_header=reference.raw_header,
        drop=dropped,
        count=done.coverage,
    )
    metrics: dict[str, Any] = {**done.facts, "unit": reference.unit, "left_out": unregistered, "registration": [_facts(m) for m in members]}
    return NewProduct(files=(file,), metrics=metrics, grade=grade, grade_reasons=tuple(reasons))


def _facts(member: Member) -> dict[str, Any]:
    r = member.registration
    return {"light": member.row.key, "rms_px": r.rms_px, "matched": r.n_matched, "rotation_deg": r.rotation_deg, "shift_px": r.shift_px}


def _level(row: ProductRow) -> float | None:
    value = row.metrics.get("background")
    return float(value) if value is not None else None


def _members(context: UnitContext, planned: PlannedProduct) -> tuple[list[Member], dict[str, str], list[str]]:
    """Lights in order of time, registered on the first that shows three stars; those left out, with the reason; what else is to be told."""
    rows = [context.product(i.fingerprint) for i in planned.inputs if i.role == "reduce_light"]
    if not rows:
        raise RejectedInput("no light could be reduced")
    rows, failed, told = _of_one_scale(context, rows)
    twins = _given_again(context, rows)
    failed |= twins
    rows = [row for row in rows if row.key not in twins]
    if not planned.parameters["register"] or len(rows) == 1:
        return [Member(row, None, identity()) for row in rows], failed, told
    catalogues = {i.fingerprint: context.product(i.fingerprint) for i in planned.inputs if i.role == "photometry"}
    stars = {row.key: stars_of(context.file(row, "catalogue")) for row in catalogues.values()}
    first = next((row for row in rows if len(stars[row.key].flux) >= 3), rows[0])
    systems = {row.key: product_wcs(context.file(row, "image")) for row in rows}
    members = [Member(first, stars[first.key], identity())]
    for row in rows:
        if row is first:
            continue
        mine, reference = stars[row.key], stars[first.key]
        guess = between(systems[row.key], systems[first.key])
        found = register(mine.positions, mine.flux, reference.positions, reference.flux, guess=guess)
        if found.ok:
            members.append(Member(row, mine, found))
        else:
            failed[row.key] = found.reason
    return members, failed, told


def _of_one_scale(context: UnitContext, rows: Sequence[ProductRow]) -> tuple[list[ProductRow], dict[str, str], list[str]]:
    """The lights whose numbers are on one scale, the others with the reason, and what is to be told where nobody can say which is right.

    They share a gain setting; still a header may lack the gain (its light is in ADU then), or say another.  The scale of most counts,
    of as many that in electrons, then the earliest.
    """
    groups: list[tuple[Scale, list[ProductRow]]] = []
    for row in rows:
        scale = _scale(context, row)
        fitting = next((members for known, members in groups if _alike(known, scale)), None)
        if fitting is None:
            groups.append((scale, [row]))
        else:
            fitting.append(row)
    if len(groups) == 1:
        return list(rows), {}, []
    best, kept = max(groups, key=lambda group: (len(group[1]), group[0][0] == "electron"))  # the first of those that are alike
    others = {
        row.key: f"{_words(scale)}, others {_words(best)}: no one scale"
        for scale, members in groups
        for row in members
        if scale is not best
    }
    if 2 * len(kept) > len(rows):
        return kept, others, []
    return kept, others, [f"its lights are on several scales, and which is right is not known: {_words(best)} was taken"]


def _scale(context: UnitContext, row: ProductRow) -> Scale:
    """Unit and gain of a reduced light."""
    with ImageFile(context.file(row, "image"), "SCI") as image:
        gain = image.cards.get("NCGAIN")
    return str(row.metrics.get("unit") or ""), float(gain) if isinstance(gain, int | float) else None


def _alike(one: Scale, other: Scale) -> bool:
    if one[0] != other[0] or one[0] != "electron" or one[1] is None or other[1] is None:
        return one[0] == other[0]
    return abs(one[1] - other[1]) <= _GAINS_APART * max(one[1], other[1])


def _words(scale: Scale) -> str:
    unit, gain = scale
    return f"in {unit or 'an unknown unit'}" + ("" if gain is None else f" by a gain of {gain:g} e-/ADU")


def _given_again(context: UnitContext, rows: Sequence[ProductRow]) -> dict[str, str]:
    """Lights that hold the very pixels of an earlier one, with the reason: a camera gave one read-out under two times."""
    first: dict[tuple[object, ...], ProductRow] = {}
    found = {}
    for row in rows:
        numbers = (row.metrics.get("background"), row.metrics.get("background_sigma"), row.metrics.get("saturated_pixels"))
        twin = first.setdefault(numbers, row)
        if twin is not row and np.array_equal(_pixels(context, row), _pixels(context, twin), equal_nan=True):
            found[row.key] = f"its pixels are those of {twin.key} one by one: the camera gave one read-out under two times, it counts once"
    return found


def _pixels(context: UnitContext, row: ProductRow) -> NDArray[np.float32]:
    return read_image_product(context.file(row, "image")).science
