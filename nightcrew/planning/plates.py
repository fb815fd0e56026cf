"""Plate solutions in a night's plan: a small product before each light, which the light takes where there is one.

A light is planned with its solution when that was made, and exactly as without plate solving when it was not needed (the
header has valid coordinates) or could not be made: a solver that fails changes nothing.  Since a failure is a row of the ledger
like any other, ``nightcrew rerun`` forgives it and the solver is asked again; then just the lights that it solves are made anew.
The same holds for what was put off and is tried by itself later.

What an earlier solver gave stands while the one of today has nothing, but only for the pixels that it was made of and within the
limits that are asked for today; and never when a person marked it bad.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from nightcrew.frames.model import FrameHeader
from nightcrew.ledger.rows import FrameRow, ProductRow
from nightcrew.planning.builder import Builder, Draft
from nightcrew.planning.fingerprints import used_values
from nightcrew.planning.model import RAW_IS_GONE, Input
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import as_dict

RECIPE = "plate_solution"
ROLE = "light_to_solve"
HEADER, SOLVED = "header", "solved"
"""What ``metrics["source"]`` of a made plate solution says: the header's coordinates are valid, or the solver gave them."""
KEPT = "kept as it is: the plate solver is not there now"
KEPT_OLD = "kept as it is: the night is an old one"
NOT_FITTING = "not used: it was made of other pixels or with other limits, and nothing could be asked anew"


def made_of(header: FrameHeader) -> str:
    """The values of a frame's header that a plate solution holds for: what its metrics have under that name."""
    return used_values(ROLE, header)


class PlatePlanner:
    """Plans the plate solutions of a night's lights; without plate solving it does nothing."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._plates = builder.snapshot.parameters.plates
        if self._plates is not None:
            self._parameters = as_dict(dataclasses.replace(self._plates, unavailable=""))
            del self._parameters["unavailable"]

    def solution_of(self, frame: FrameRow, key: str, facts: dict[str, Any]) -> list[Input]:
        """What the light takes besides its calibrations: its plate solution, or nothing."""
        if self._plates is None:
            return []
        builder = self._builder
        draft = Draft(RECIPE, key, [Input(ROLE, frame.sha256, frame)], parameters=self._parameters, facts=facts)
        made = builder.product_row(builder.fingerprint_of(draft))
        if made is not None and made.state == "made":
            builder.add(draft)
            return _taken(made)
        # What an earlier solver gave stands until a later one gives something, too.
        earlier = builder.current_row(RECIPE, key)
        standing = earlier if earlier is not None and self._stands(earlier, frame) else None
        why = self._why_not_asked(frame)
        if why:  # nothing is asked anew of what is gone, old, or without a solver
            builder.keep_current(draft, why if standing is not None else NOT_FITTING)
            return _taken(standing)
        planned = builder.add(draft)
        does_without = planned.status == "failed" or (planned.status == "pending" and builder.is_put_off(planned.fingerprint))
        return _taken(standing) if does_without else [Input(RECIPE, planned.fingerprint)]

    def _why_not_asked(self, frame: FrameRow) -> str:
        if self._plates is None or self._plates.unavailable:
            return KEPT
        if frame.absent == "gone":
            return RAW_IS_GONE
        return "" if self._builder.snapshot.remake else KEPT_OLD

    def _stands(self, row: ProductRow, frame: FrameRow) -> bool:
        """Does an earlier solution hold for the light of today, and within the limits of today (of an old night: of its own)?"""
        if row.state != "made" or row.metrics.get("made_of") != made_of(frame.header):
            return False
        same = row.version == RECIPES[RECIPE].version and _limits(row.parameters) == _limits(self._parameters)
        return same or not self._builder.snapshot.remake


def _limits(parameters: dict[str, Any]) -> dict[str, Any]:
    """What was asked of the solver, whichever it is."""
    return {name: value for name, value in parameters.items() if name != "solver"}


def _taken(row: ProductRow | None) -> list[Input]:
    if row is None or row.barred_because or row.metrics.get("source") != SOLVED:
        return []
    return [Input(RECIPE, row.fingerprint)]
