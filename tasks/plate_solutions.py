"""Unit of work for the plate solution of one light: the raw frame's stars go to the solver, a checked WCS becomes a product.

The solution is a row of the ledger (its cards are among the metrics); the reduced light writes them into its header.  That
there is no solution is a failure with its reason; the light is then planned without it (see ``nightcrew.planning.plates``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from nightcrew.astrometry.cards import facts_of
from nightcrew.astrometry.hints import hint_of
from nightcrew.astrometry.solve import TIME_IS_OVER, Solution, solve
from nightcrew.astrometry.sources import sources_of
from nightcrew.errors import RejectedInput
from nightcrew.frames.wcs import sky_of
from nightcrew.ledger import claims
from nightcrew.ledger.database import iso
from nightcrew.ledger.rows import NewProduct
from nightcrew.lights.overscan import trimmed
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.plates import HEADER, RECIPE, ROLE, SOLVED
from tasks.context import UnitContext
from tasks.frames_in import pixels_of

MOST_TIME_BOXES = 3
"""So many lights in a row may use the solver's time box up; then it is not asked for a while."""
REST = timedelta(hours=1)
NOT_ASKED = "the solver was not asked"


def solve_light(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """The plate solution of one light; RejectedInput when there is none, with the reason."""
    frame = next((item.frame for item in planned.inputs if item.role == ROLE), None)
    if frame is None:
        raise RejectedInput("no light among the inputs")
    header = frame.header
    raw, _, hdu = pixels_of(frame)
    sky = sky_of(hdu)
    if sky.valid:
        return _made(planned, {"source": HEADER})
    solver = context.solver
    if solver is None:
        raise RejectedInput(f"{NOT_ASKED}: it is not installed, or has no index files")
    _check_breaker(context, planned)
    image = trimmed(raw, header.trim)
    asked = planned.parameters
    hint = hint_of(
        hdu.cards,
        ra_deg=header.ra_deg,
        dec_deg=header.dec_deg,
        radius_deg=asked["radius_deg"],
        scale_low=asked["scale_low"],
        scale_high=asked["scale_high"],
        binning=max(header.binning_x, header.binning_y),
    )
    found = solve(sources_of(image), (image.shape[0], image.shape[1]), hint, solver)
    if not isinstance(found, Solution):
        raise RejectedInput(found.reason)
    return _made(planned, {"source": SOLVED, **facts_of(found)})


def _made(planned: PlannedProduct, metrics: dict[str, Any]) -> NewProduct:
    return NewProduct(files=(), metrics=metrics, grade=planned.grade, grade_reasons=planned.grade_reasons)


def _check_breaker(context: UnitContext, planned: PlannedProduct) -> None:
    """A solver that hung on the last lights hangs on all: their time boxes would add up to hours."""
    since = iso(context.database.clock() - REST)
    with context.database.read() as connection:
        ends = claims.ends(connection, planned.scope_id, RECIPE, since)
    asked = [(state, reason) for state, reason in ends if not reason.startswith(NOT_ASKED)]
    latest = asked[:MOST_TIME_BOXES]
    if len(latest) == MOST_TIME_BOXES and all(reason.startswith(TIME_IS_OVER) for _, reason in latest):
        raise RejectedInput(f"{NOT_ASKED}: it used its time box up for {MOST_TIME_BOXES} lights in a row")
