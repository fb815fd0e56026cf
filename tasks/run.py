"""Running one unit of work: claim, make, record.  A failure is a ledger row; only transients and bugs travel on.

The same function serves both executors.  Nothing is planned here, and nothing of Prefect is known.
"""

from __future__ import annotations

import logging
import shutil
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from nightcrew.errors import MissingCalibration, NightcrewError, RejectedInput, TransientError
from nightcrew.ledger import claims, products
from nightcrew.ledger.claims import Claimed
from nightcrew.ledger.database import Database
from nightcrew.ledger.products import InputRow, Recorded
from nightcrew.planning.model import PlannedProduct
from nightcrew.recipes.catalogue import RECIPES
from tasks import naming
from tasks.context import UnitContext
from tasks.registry import unit_for

log = logging.getLogger(__name__)
_HEARTBEAT_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unit of work."""

    recipe: str
    key: str
    fingerprint: str
    state: str  # made, failed, again, taken (someone else has it), overtaken (our claim was lost)
    reason: str = ""


def run_unit(context: UnitContext, planned: PlannedProduct) -> Outcome:
    """Make one planned product and record it.

    Raises
    ------
    TransientError
        After recording the attempt; the caller retries with back-off.
    Exception
        Any bug, after recording the failure with its trace.
    """
    _check_room(context)
    claimed = claims.take(context.database, planned.scope_id, planned.recipe, planned.key, planned.fingerprint)
    if claimed is None:
        return _outcome(planned, "taken", "another worker makes it")
    try:
        with _heartbeat(context.database, claimed):
            made = unit_for(planned.recipe)(context, planned)
        row = products.commit(context.database, claimed, _recorded(planned), made, remake_scopes=context.remake_scopes)
    except (RejectedInput, MissingCalibration) as error:
        state = "failed" if isinstance(error, RejectedInput) else "again"
        claims.end(context.database, claimed, state, reason=str(error))
        log.warning("%s: %s", planned.name, error)
        return _outcome(planned, state, str(error))
    except TransientError as error:
        claims.end(context.database, claimed, "again", reason=str(error))
        raise
    except Exception as error:  # the one edge: a bug is recorded with its trace, then fails loudly
        sentence = f"a fault in Nightcrew: {type(error).__name__}: {error}"
        claims.end(context.database, claimed, "failed", reason=sentence, trace=traceback.format_exc())
        log.exception("%s: %s", planned.name, sentence)
        if isinstance(error, NightcrewError):
            return _outcome(planned, "failed", sentence)
        raise
    if row is None:
        return _outcome(planned, "overtaken", "the claim was taken meanwhile; the newer row stands")
    for file in row.files:
        naming.point_at(context.products_root, PurePosixPath(file.path))
    return _outcome(planned, "made")


def _outcome(planned: PlannedProduct, state: str, reason: str = "") -> Outcome:
    return Outcome(planned.recipe, planned.key, planned.fingerprint, state, reason)


def _recorded(planned: PlannedProduct) -> Recorded:
    return Recorded(
        recipe=planned.recipe,
        version=planned.version,
        key=planned.key,
        instrument=planned.instrument,
        night=planned.night,
        fingerprint=planned.fingerprint,
        parameters=planned.parameters,
        facts=planned.facts,
        inputs=[InputRow(role=i.role, fingerprint=i.fingerprint, frame_id=i.frame.id if i.frame else None) for i in planned.inputs],
        time_utc=str(planned.facts.get("time_utc") or ""),
        serves_other_scopes=RECIPES[planned.recipe].is_master,
    )


def _check_room(context: UnitContext) -> None:
    """Pause before writing, not in the middle of it."""
    context.products_root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(context.products_root).free
    if free < context.disk_reserve_bytes:
        raise TransientError(f"only {free / 1e9:.1f} GB are free, the reserve is {context.disk_reserve_bytes / 1e9:.1f} GB: paused")


@contextmanager
def _heartbeat(database: Database, claimed: Claimed) -> Iterator[None]:
    """Move the claim's counter while the unit works, so that other hosts see that we live."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_HEARTBEAT_S):
            try:
                if not claims.beat(database, claimed):
                    return
            except TransientError:
                log.warning("the heartbeat of %s %s could not be written", claimed.recipe, claimed.key)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
