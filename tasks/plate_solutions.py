"""Unit of work for the plate solution of one light: the raw frame's stars go to the solver, a checked WCS becomes a product.

The solution is a row of the ledger (its cards are among the metrics); the reduced light writes them into its header.  That
there is no solution is a failure with its reason; the light is then planned without it (see ``nightcrew.planning.plates``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from nightcrew.astrometry.cards import facts_of
from nightcrew.astrometry.hints import hint_of
from nightcrew.astrometry.program import Solver
from nightcrew.astrometry.solve import TIME_IS_OVER, Solution, solve
from nightcrew.astrometry.sources import sources_of
from nightcrew.errors import PutOff, RejectedInput, TransientError
from nightcrew.frames.wcs import sky_of
from nightcrew.ledger import history, messages
from nightcrew.ledger.database import Database, iso
from nightcrew.ledger.rows import NewProduct
from nightcrew.lights.overscan import trimmed
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.plates import HEADER, RECIPE, ROLE, SOLVED, made_of
from tasks.context import UnitContext
from tasks.frames_in import pixels_of

MOST_TIME_BOXES = 3
"""So many lights in a row may use the solver's time box up; then it is not asked for a while."""
MOST_TIME_BOXES_OF_ONE_THAT_WORKS = 20
"""The same where it solved a light of the night in that while: it is there, and the sky may be cloudy."""
REST = timedelta(hours=1)
MOST_PUT_OFFS = 2
"""So often a light is put off that could not be asked about, or not to the end; the next time it fails for good."""
NOT_ASKED = "the solver was not asked"
_SIGN = "plate solver"


def solve_light(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """The plate solution of one light; RejectedInput when there is none, PutOff when there is none for now, with the reason."""
    frame = next((item.frame for item in planned.inputs if item.role == ROLE), None)
    if frame is None:
        raise RejectedInput("no light among the inputs")
    header = frame.header
    raw, _, hdu = pixels_of(frame)
    sky = sky_of(hdu)
    if sky.valid:
        return _made(planned, {"source": HEADER, "made_of": made_of(header)})
    solver = context.solver
    if solver is None:
        raise PutOff(f"{NOT_ASKED}: it is not installed, or has no index files", tried=False)
    _check_breaker(context, planned, solver)
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
    stars = sources_of(image)
    try:
        found = solve(stars, (image.shape[0], image.shape[1]), hint, solver, work=context.work)
    except TransientError as error:
        raise _for_now(context, planned, str(error)) from error
    if not isinstance(found, Solution):
        raise _for_now(context, planned, found.reason) if found.passing else RejectedInput(found.reason)
    return _made(planned, {"source": SOLVED, "made_of": made_of(header), "shape": [*image.shape], **facts_of(found)})


def _made(planned: PlannedProduct, metrics: dict[str, Any]) -> NewProduct:
    return NewProduct(files=(), metrics=metrics, grade=planned.grade, grade_reasons=planned.grade_reasons)


def _for_now(context: UnitContext, planned: PlannedProduct, reason: str) -> PutOff | RejectedInput:
    """The end of a try that another one may overcome; not for ever."""
    with context.database.read() as connection:
        tries = history.put_offs(connection, planned.fingerprint)
    return RejectedInput(f"{reason}; so {tries + 1} times") if tries >= MOST_PUT_OFFS else PutOff(reason)


def _check_breaker(context: UnitContext, planned: PlannedProduct, solver: Solver) -> None:
    """A solver that hung on the last lights hangs on all: their time boxes would add up to hours."""
    since, after = iso(context.database.clock() - REST), _last_start_of_another(context.database, solver)
    with context.database.read() as connection:
        ends = history.ends(connection, planned.scope_id, RECIPE, since, after)
    wasted = wasted_boxes(ends)
    if wasted:
        raise PutOff(f"{NOT_ASKED}: it used its time box up for {wasted} lights in a row", tried=False)


def _last_start_of_another(database: Database, solver: Solver) -> int:
    """The last start of a unit before this program, its indexes or its time box came: what another wasted is not its fault."""
    mine = f"{solver.identity} {solver.time_box_s:g}"
    with database.read() as connection:
        known, after = json.loads(messages.signs_of_life(connection).get(_SIGN, ("", ""))[1] or '["", 0]')
        last = history.last_start(connection) if known and known != mine else 0
    if known != mine:
        messages.alive(database, _SIGN, json.dumps([mine, last]))
        return last
    return int(after)


def wasted_boxes(ends: Sequence[tuple[str, str, str]]) -> int:
    """How many time boxes in a row brought nothing, where that is too many; else 0.  ``ends`` as of ``history.ends``, latest first."""
    asked = [
        (state, reason)
        for state, reason, metrics in ends
        if state == "failed"
        or (state == "again" and reason.startswith(TIME_IS_OVER))
        or (state == "done" and json.loads(metrics or "{}").get("source") == SOLVED)
    ]
    works = any(state == "done" for state, _ in asked)
    in_a_row = next((n for n, (_, reason) in enumerate(asked) if not reason.startswith(TIME_IS_OVER)), len(asked))
    return in_a_row if in_a_row >= (MOST_TIME_BOXES_OF_ONE_THAT_WORKS if works else MOST_TIME_BOXES) else 0
