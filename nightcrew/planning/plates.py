"""Plate solutions in a night's plan: a small product before each light, which the light takes where there is one.

A light is planned with its solution when that was made, and exactly as without plate solving when it was not needed (the
header has valid coordinates) or could not be made: a solver that fails changes nothing.  Since a failure is a row of the ledger
like any other, ``nightcrew rerun`` forgives it and the solver is asked again; then just the lights that it solves are made anew.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from nightcrew.ledger.rows import FrameRow
from nightcrew.planning.builder import Builder, Draft
from nightcrew.planning.model import RAW_IS_GONE, Input, PlannedProduct
from nightcrew.recipes.parameters import as_dict

RECIPE = "plate_solution"
ROLE = "light_to_solve"
HEADER, SOLVED = "header", "solved"
"""What ``metrics["source"]`` of a made plate solution says: the header's coordinates are valid, or the solver gave them."""
KEPT = "kept as it is: the plate solver is not there now"


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
        draft = Draft(RECIPE, key, [Input(ROLE, frame.sha256, frame)], parameters=self._parameters, facts=facts)
        planned = self._planned(draft, frame)
        if planned is None:
            return []
        # What an earlier solver gave stands until a later one gives something, too.
        row = self._builder.current_row(RECIPE, key) if planned.status == "failed" else self._builder.product_row(planned.fingerprint)
        if row is not None and row.state == "made":
            return [Input(RECIPE, row.fingerprint)] if row.metrics.get("source") == SOLVED else []
        return [] if planned.status == "failed" else [Input(RECIPE, planned.fingerprint)]

    def _planned(self, draft: Draft, frame: FrameRow) -> PlannedProduct | None:
        """A solution that is there or is to be made; nothing is asked anew of what is gone, old, or without a solver."""
        builder = self._builder
        if not builder.is_made(builder.fingerprint_of(draft)):
            if self._plates is None or self._plates.unavailable:
                return builder.keep_current(draft, KEPT)
            if frame.absent == "gone" or not builder.snapshot.remake:
                return builder.keep_current(draft, RAW_IS_GONE if frame.absent == "gone" else KEPT_OLD)
        return builder.add(draft)


KEPT_OLD = "kept as it is: the night is an old one"
