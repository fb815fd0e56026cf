"""Running one unit of work: claim, make, record.  A failure is a ledger row; only transients and bugs travel on.

The same function serves both executors.  Nothing is planned here, and nothing of Prefect is known.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import traceback
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nightcrew import failpoints
from nightcrew.errors import MissingCalibration, NightcrewError, PutOff, Refused, RejectedInput, TransientError
from nightcrew.io.atomic import FinalExistsError, passing
from nightcrew.io.patience import check_answer, folders_of, while_they_answer
from nightcrew.io.room import room_of
from nightcrew.ledger import arrivals, claims, comparisons, history, products
from nightcrew.ledger.claims import Claimed
from nightcrew.ledger.products import InputRow, Recorded
from nightcrew.ledger.rows import NewProduct, ProductRow
from nightcrew.planning.model import Input, PlannedProduct
from nightcrew.recipes.catalogue import RECIPES
from tasks import naming
from tasks.context import UnitContext
from tasks.frames_in import ChangedError, GoneError, checked_path, file_of
from tasks.registry import unit_for
from tasks.set_units import make_set_product

log = logging.getLogger(__name__)
_LEAST_MEMORY_BYTES = 10_000_000
_ANSWER_S = 10.0  # how long a folder of raw files is waited for before anything is begun with them


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unit of work."""

    recipe: str
    key: str
    fingerprint: str
    # made, failed, without (what is optional failed or was put off: its users do without it), again, died (no memory: tried with less),
    # taken (someone else has it), overtaken (our claim was lost)
    state: str
    reason: str = ""


def run_unit(context: UnitContext, planned: PlannedProduct) -> Outcome:
    """Make one planned product and record it.

    Raw files on a share that does not answer hold nobody up: before the start nothing is claimed; in the middle the work is left behind,
    and since its claim is ended it can neither record anything nor take away what a later one wrote.

    Raises
    ------
    TransientError
        After recording the attempt; the caller retries with back-off.
    Exception
        Any bug, after recording the failure with its trace.
    """
    _check_room(context)
    raw = folders_of(where for item in planned.inputs if (where := _raw_path(item)))
    check_answer(raw, _ANSWER_S)
    claimed = claims.take(context.database, planned.scope_id, planned.recipe, planned.key, planned.fingerprint)
    if claimed is None:
        return _outcome(planned, "taken", "another worker makes it")
    failpoints.reach("claim.taken")
    try:
        context = _with_less_memory(context, planned)
        with claims.beating(context.database, claimed):
            made = while_they_answer(partial(_make, context, planned, claimed), raw)
        failpoints.reach("product.unrecorded")
        row = products.commit(context.database, claimed, recorded(planned), made, remake_scopes=context.remake_scopes)
    except GoneError as error:
        claims.end(context.database, claimed, "again", reason=str(error))
        if error.alone:  # else a disk may be away, and the walk through the folders knows what that means
            arrivals.mark_vanished(context.database, [error.path])
        return _outcome(planned, "again", str(error))
    except (RejectedInput, MissingCalibration) as error:
        state = "failed" if isinstance(error, RejectedInput) else "again"
        claims.end(context.database, claimed, state, reason=str(error))
        log.warning("%s: %s", planned.name, error)
        if state == "failed" and RECIPES[planned.recipe].is_optional:
            state = "without"
        return _outcome(planned, state, str(error))
    except PutOff as error:
        reason = f"{history.PUT_OFF if error.tried else history.NOT_TRIED}{error}"
        claims.end(context.database, claimed, "again", reason=reason)
        log.log(logging.WARNING if error.tried else logging.DEBUG, "%s: %s", planned.name, reason)
        return _outcome(planned, "without", reason)
    except TransientError as error:
        claims.end(context.database, claimed, "again", reason=str(error))
        if isinstance(error, ChangedError):
            comparisons.doubt(context.database, [error.path])
        raise
    except MemoryError:
        reason = f"{history.NO_MEMORY} ({context.memory_bytes / 1e6:.0f} MB for its buffers)"
        claims.end(context.database, claimed, "died", reason=reason)  # counts as a death: the next try is alone and smaller
        log.warning("%s: %s", planned.name, reason)
        return _outcome(planned, "died", reason)
    except Exception as error:  # the one edge: a bug is recorded with its trace, then fails loudly
        if cause := _hindrance(error):
            reason = f"{planned.name} cannot be written now ({cause})" + ("; it waits for room" if _is_full(error) else "")
            claims.end(context.database, claimed, "again", reason=reason)
            raise TransientError(reason) from error
        sentence = f"a fault in Nightcrew: {type(error).__name__}: {error}"
        claims.end(context.database, claimed, "failed", reason=sentence, trace=traceback.format_exc())
        log.exception("%s: %s", planned.name, sentence)
        if isinstance(error, NightcrewError):
            return _outcome(planned, "failed", sentence)
        raise
    except BaseException:  # stopped from outside: nothing is said of the product, and the claim must not outlive its work
        claims.end(context.database, claimed, "again", reason="stopped before it was made")
        raise
    if row is None:
        return _outcome(planned, "overtaken", "the claim was taken meanwhile; the newer row stands")
    failpoints.reach("product.unlinked")
    for path in naming.named(row.files):
        naming.point_at(context.products_root, path)
    log.info("%s: made %s of %s", planned.name, row.files[0].path if row.files else "its numbers", _sources(planned))
    return _outcome(planned, "made")


def _hindrance(error: Exception) -> str:
    """Why a write failed that may succeed later: a full disk, or a folder whose permissions a person will mend; "" for a bug."""
    if isinstance(error, Refused):
        return str(error) if isinstance(error.__cause__, OSError) else ""
    if isinstance(error, PermissionError):
        return error.strerror or str(error)
    return "" if isinstance(error, NightcrewError) else passing(error)


def _is_full(error: BaseException | None) -> bool:
    """Did a write fail for want of room, or of a quota's?"""
    return error is not None and ((isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or _is_full(error.__cause__))


def _with_less_memory(context: UnitContext, planned: PlannedProduct) -> UnitContext:
    """A quarter of the memory, and one thread, after each death: the kernel kills what takes too much without a word."""
    with context.database.read() as connection:
        died = history.deaths_of(connection, planned.fingerprint)
    if not died:
        return context
    return replace(context, memory_bytes=max(_LEAST_MEMORY_BYTES, context.memory_bytes // 4**died), threads=1)


def _sources(planned: PlannedProduct) -> str:
    """What a product is made of, for the log: raw files by name, the first of many."""
    names = [os.fsdecode(path).rpartition("/")[2] for item in planned.inputs if (path := _raw_path(item))]
    first = next((name if name.isprintable() else repr(name) for name in names), "other products")
    return first if len(names) < 2 else f"{first} and {len(names) - 1} more"


def _raw_path(item: Input) -> bytes:
    """Where the raw file of an input lies, nothing for a product."""
    raw = item.frame or item.file
    return b"" if raw is None else raw.path


def _make(context: UnitContext, planned: PlannedProduct, claimed: Claimed) -> NewProduct:
    """Run the unit; what was made of a raw file that changed meanwhile does not count."""
    failpoints.reach("unit.started")
    unit = unit_for(planned.recipe) if planned.kind == "night" else make_set_product
    try:
        made = unit(context, planned)
    except FinalExistsError:
        # Its final name is taken: by what a worker wrote that died before it could record it, or by a damaged file.
        if not _clear(context, planned, claimed):
            raise
        made = unit(context, planned)
    try:
        for item in planned.inputs:
            if item.frame is not None and item.frame.id not in made.left_out:
                file_of(item.frame)
            if item.file is not None:
                checked_path(item.file)
    except TransientError:
        _clear(context, planned, claimed)
        raise
    return made


def _clear(context: UnitContext, planned: PlannedProduct, claimed: Claimed) -> bool:
    """Take away files under this product's final names that no product owns; only who holds the claim may."""
    with context.database.read() as connection:
        row: ProductRow | None = products.by_fingerprint(connection, planned.fingerprint)
        if not claims.holds(connection, claimed) or (row is not None and row.state == "made"):
            return False
    if planned.kind != "night":
        return _clear_folder(context.products_root / naming.set_folder(planned))
    folder = context.products_root / naming.folder(planned)
    left = list(folder.glob(f"*.{planned.fingerprint[:12]}.*"))
    for path in left:
        log.warning("taking away %s: no product owns it", path.name)
        path.unlink(missing_ok=True)
    return bool(left)


def _clear_folder(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    log.warning("taking away %s: no product owns it", folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _outcome(planned: PlannedProduct, state: str, reason: str = "") -> Outcome:
    return Outcome(planned.recipe, planned.key, planned.fingerprint, state, reason)


def recorded(planned: PlannedProduct) -> Recorded:
    """What the ledger keeps of a plan's decision."""
    return Recorded(
        recipe=planned.recipe,
        version=planned.version,
        key=planned.key,
        instrument=planned.instrument,
        night=planned.night,
        fingerprint=planned.fingerprint,
        parameters=planned.parameters,
        facts=planned.facts,
        inputs=[
            InputRow(role=i.role, fingerprint=i.fingerprint, frame_id=i.frame.id if i.frame else None, is_file=i.file is not None)
            for i in planned.inputs
        ],
        time_utc=str(planned.facts.get("time_utc") or ""),
        serves_other_scopes=RECIPES[planned.recipe].is_master,
    )


def _check_room(context: UnitContext) -> None:
    """Pause before writing, not in the middle of it."""
    try:
        context.products_root.mkdir(parents=True, exist_ok=True)
        room = room_of(context.products_root, context.disk_reserve_bytes)
    except OSError as error:
        raise TransientError(f"{context.products_root} cannot be written now ({error.strerror})") from error
    if not room.enough:
        raise TransientError(f"the disk is nearly full ({room.words}): paused")
