"""What stands: products whose files were lost, raw files that came back, and what is current after a plan."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nightcrew.errors import TransientError
from nightcrew.io.patience import SilentError, folders_of, while_they_answer
from nightcrew.io.sameness import has_hash
from nightcrew.ledger import arrivals, messages, products, scopes
from nightcrew.ledger.arrivals import Seen
from nightcrew.ledger.rows import FileRow, FrameRow, ProductRow
from nightcrew.planning.model import Plan, PlannedProduct, Snapshot
from nightcrew.planning.sets import SetFile, SetSnapshot
from nightcrew.recipes.catalogue import RECIPES
from tasks import naming
from tasks.context import UnitContext

log = logging.getLogger(__name__)
AnySnapshot = Snapshot | SetSnapshot


def notice_lost_files(context: UnitContext, scope_id: int) -> int:
    """Current products whose file was deleted or damaged are marked ``lost``, so that they come back; the number of them."""
    with context.database.read() as connection:
        current = products.current_of_scope(connection, scope_id)
    return len(mark_lost(context, current))


def mark_lost(context: UnitContext, rows: Iterable[ProductRow], *, by_hash: bool = False) -> list[ProductRow]:
    """Those of the rows whose files are not there any more, now marked ``lost``; their scopes look again.

    ``by_hash``: or do not hold what was written; else their sizes tell.

    Raises
    ------
    TransientError
        The whole folder of products is away: its disk is not mounted, and nothing is lost.
    """
    made = [row for row in rows if row.state == "made" and row.files]
    lost = [row for row in made if not all(_is_there(context.products_root / f.path, f, by_hash=by_hash) for f in row.files)]
    if not lost:
        return []
    if not _has_something(context.products_root):
        raise TransientError(f"{context.products_root} is empty although products are known; is its disk mounted?")
    with context.database.write() as connection:
        for row in lost:
            products.set_state(connection, row.id, "lost")
        scopes.look_again(connection, {row.scope_id for row in lost})
    for row in lost:
        log.warning("%s %s: its file was deleted or damaged", row.recipe, row.key)
    _tell_of_lost(context, lost)
    return lost


def _tell_of_lost(context: UnitContext, lost: Sequence[ProductRow]) -> None:
    """A person may want to know that somebody, or a disk, takes products away: told on the page of their night or set."""
    for scope_id in sorted({row.scope_id for row in lost}):
        rows = [row for row in lost if row.scope_id == scope_id]
        with context.database.read() as connection:
            title = scopes.get(connection, scope_id).title
        count = "a product" if len(rows) == 1 else f"{len(rows)} products"
        first = RECIPES[rows[0].recipe].title if rows[0].recipe in RECIPES else rows[0].recipe
        text = f"files of {count} of {title} were deleted or damaged, they are made again: {first} {rows[0].key}"
        messages.happened(context.database, "service", "warning", text, scope_id)


def _is_there(path: Path, file: FileRow, *, by_hash: bool) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != file.size or not by_hash:
        return status.st_size == file.size
    try:
        return has_hash(path, status, file.sha256)
    except TransientError:  # a bad block, or rights: who uses it compares it, and its scope is planned for all that
        return True


def _has_something(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def mend_names(context: UnitContext, seen: AnySnapshot) -> None:
    """Plain names lead to what is current, and to nothing else: a process that died may have left them behind the ledger."""
    current, root = set(seen.current.values()), context.products_root
    for row in seen.products.values():
        for path in naming.named(row.files) if row.files else ():
            if row.fingerprint not in current:
                naming.point_away(root, path)
            elif row.state == "made" and not (naming.points_at(root, path) or naming.point_at(root, path)):
                return  # there are no links here: said once, not for every product


def notice_returned(context: UnitContext, frames: Iterable[FrameRow | SetFile]) -> int:
    """Raw files that are said to be gone and are there: a share was away for a moment; how many."""
    gone = [frame for frame in frames if frame.absent == "gone"]
    try:
        back = while_they_answer(partial(_back_of, gone), folders_of(frame.path for frame in gone))
    except SilentError as error:
        log.warning("whether files are there again that were gone cannot be seen now: %s", error)
        return 0
    arrivals.record(context.database, back)
    return len(back)


def _back_of(gone: Iterable[FrameRow | SetFile]) -> list[Seen]:
    """Those that are there."""
    back = []
    for frame in gone:
        with suppress(OSError):
            status = Path(os.fsdecode(frame.path)).stat()
            if (status.st_size, status.st_mtime_ns) == (frame.size, frame.mtime_ns):
                seen = Seen(path=frame.path, folder="", size=frame.size, mtime_ns=frame.mtime_ns, ctime_ns=status.st_ctime_ns)
                back.append(seen)
    return back


def lost_inputs(context: UnitContext, seen: AnySnapshot, ready: Sequence[PlannedProduct]) -> list[ProductRow]:
    """Borrowed masters that ready products need and whose files are gone; they are marked, and their nights remake them."""
    wanted = {item.fingerprint for product in ready for item in product.inputs if item.is_product}
    return mark_lost(context, [row for row in seen.elsewhere if row.fingerprint in wanted])


@dataclass(frozen=True, slots=True)
class Changes:
    """What a plan changes of what is current: products that fit again, and keys that nobody asks for any more."""

    adopted: tuple[PlannedProduct, ...]
    dismissed: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.adopted or self.dismissed)


def changes_of(seen: AnySnapshot, plan: Plan) -> Changes:
    """Compare what is current with a plan; what is held is planned again soon, and a lost product that cannot be made is gone."""
    gone = set(seen.current) - plan.keys - plan.held
    gone |= {
        (p.recipe, p.key)
        for p in plan.with_status("failed")
        if (row := seen.products.get(seen.current.get((p.recipe, p.key), ""))) is not None and row.state == "lost"
    }
    return Changes(tuple(plan.with_status("adopt")), tuple(sorted(gone)))


def apply_changes(context: UnitContext, seen: AnySnapshot, changes: Changes) -> None:
    """Write what is current now; other nights look again when masters changed, and plain names follow."""
    scope_id = seen.scope.id
    with context.database.write() as connection:
        products.dismiss(connection, scope_id, changes.dismissed)
        for product in changes.adopted:
            products.make_current(connection, scope_id, product.recipe, product.key, seen.products[product.fingerprint].id)
        recipes = {p.recipe for p in changes.adopted} | {recipe for recipe, _ in changes.dismissed}
        if any(recipe in RECIPES and RECIPES[recipe].is_master for recipe in recipes):
            scopes.look_again(connection, scopes.siblings(connection, scope_id, context.remake_scopes))
        if recipes & products.SERVE_NIGHTS:
            scopes.look_again(connection, scopes.latest_nights(connection, context.remake_scopes))
    for key in changes.dismissed:
        row = seen.products.get(seen.current[key])
        for path in naming.named(row.files) if row is not None else ():
            naming.point_away(context.products_root, path)
    for product in changes.adopted:
        for path in naming.named(seen.products[product.fingerprint].files):
            naming.point_at(context.products_root, path)
