"""Unit of work for a stack: register the night's lights of one target and filter on the earliest, and average them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightcrew.errors import RejectedInput
from nightcrew.io.cardtext import Card
from nightcrew.io.images import ImageFile
from nightcrew.io.products import read_image_product
from nightcrew.ledger.rows import NewProduct, ProductRow
from nightcrew.lights.registration import Registration, identity, register
from nightcrew.lights.stack import StackInput, stack
from nightcrew.planning.model import PlannedProduct
from tasks.catalogues import Stars, stars_of
from tasks.context import UnitContext
from tasks.images_out import write_image
from tasks.sky import between, product_wcs

# Cards of the first light that do not hold for a stack.
_DROPPED = ("NCDARK", "NCFRAME", "NCCOSMIC", "NCRECIPE", "NCVERS", "NCPRINT", "NCGRADE", "AIRMASS", "CCD-TEMP")


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
    members, unregistered = _members(context, planned)
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
    n = len(members)
    cards: list[Card] = [
        ("NCFRAMES", n, "lights in the stack"),
        ("NCUNREG", len(unregistered), "lights left out: no registration"),
        ("NCTOTEXP", float(planned.facts.get("exposure_s") or 0.0) * n, "[s] total exposure"),
        ("EXPTIME", float(planned.facts.get("exposure_s") or 0.0), "[s] exposure of one light: the stack is a mean"),
    ]
    reasons = [*planned.grade_reasons, *(f"left out of the stack: {name}: {why}" for name, why in sorted(unregistered.items()))]
    dropped = (*_DROPPED, *(k for k in reference.cards if k.startswith(("NCIN", "NCPAR", "NCWHY"))))
    file = write_image(
        context,
        planned,
        science=done.science,
        uncertainty=done.uncertainty,
        mask=done.mask,
        unit=reference.unit,
        cards=cards,
        reasons=reasons,
        source_header=reference.raw_header,
        drop=dropped,
        count=done.coverage,
    )
    metrics: dict[str, Any] = {**done.facts, "unit": reference.unit, "left_out": unregistered, "registration": [_facts(m) for m in members]}
    return NewProduct(files=(file,), metrics=metrics, grade=planned.grade, grade_reasons=tuple(reasons))


def _facts(member: Member) -> dict[str, Any]:
    r = member.registration
    return {"light": member.row.key, "rms_px": r.rms_px, "matched": r.n_matched, "rotation_deg": r.rotation_deg, "shift_px": r.shift_px}


def _level(row: ProductRow) -> float | None:
    value = row.metrics.get("background")
    return float(value) if value is not None else None


def _members(context: UnitContext, planned: PlannedProduct) -> tuple[list[Member], dict[str, str]]:
    """Lights in order of time, registered on the first that shows three stars; those that fail, with the reason."""
    rows = [context.product(i.fingerprint) for i in planned.inputs if i.role == "reduce_light"]
    if not rows:
        raise RejectedInput("no light could be reduced")
    if not planned.parameters["register"] or len(rows) == 1:
        return [Member(row, None, identity()) for row in rows], {}
    catalogues = {i.fingerprint: context.product(i.fingerprint) for i in planned.inputs if i.role == "photometry"}
    stars = {row.key: stars_of(context.file(row, "catalogue")) for row in catalogues.values()}
    first = next((row for row in rows if len(stars[row.key].flux) >= 3), rows[0])
    systems = {row.key: product_wcs(context.file(row, "image")) for row in rows}
    members, failed = [Member(first, stars[first.key], identity())], {}
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
    return members, failed
