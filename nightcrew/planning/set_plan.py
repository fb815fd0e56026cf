"""The plan of a set from the rules of its kind: copies, files that are gone, plans that cannot be made now."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from datetime import datetime

from nightcrew.ledger.database import storable
from nightcrew.planning.builder import GONE
from nightcrew.planning.model import Plan
from nightcrew.planning.sets import PlanSet, SetBuilder, SetFile, SetSnapshot, TextNotNow, later

_POSTPONED_S, _LONGEST_POSTPONED_S = 10.0, 600.0


KeepsCopies = Callable[[SetFile], bool]
"""Does a file count although another of the set has the same bytes?"""


def no_copies(_file: SetFile) -> bool:
    """The rule of kinds that say nothing of copies: one file counts."""
    return False


def plan_set(snapshot: SetSnapshot, rules: PlanSet | None, as_of: str, *, keeps_copies: KeepsCopies = no_copies) -> Plan:
    """The plan of a set; a pure function of the snapshot, of the texts that ``rules`` look at, and of the time.

    Parameters
    ----------
    rules
        The plan of the kind; None when it is not part of this Nightcrew: all files wait, what was made stands.
    as_of
        The time now, ledger text; decides only whether the set is quiet.
    keeps_copies
        Files of equal content that all count (configurations that are copied from folder to folder).
    """
    if rules is None:
        return _held(snapshot, f"the analysis of {snapshot.scope.kind} sets is not part of this Nightcrew", "")
    used = frozenset(name for print_ in snapshot.current.values() for name in snapshot.parts.get(print_, ()))
    gone: dict[int, SetFile] = {}
    while True:
        files, aside = without_copies([f for f in snapshot.files if f.id not in gone], keeps_copies, used)
        builder = SetBuilder(replace(snapshot, files=tuple(files)), as_of, snapshot.files)
        try:
            rules(builder)
        except TextNotNow as error:
            if error.file.absent == "changing" or error.file.id in gone:
                return _held(snapshot, str(error), later(as_of, _pause_s(snapshot, as_of)))
            lacking = {error.file.id}
        else:
            lacking = builder.lacking()
        if not lacking:
            break
        gone |= {file.id: file for file in files if file.id in lacking}
    builder.keep_what_was_made_of(gone.values())
    return Plan(
        scope=snapshot.scope,
        products=tuple(builder.products.values()),
        waiting=builder.waiting,
        excluded={**builder.aside, **aside},
        rejected=builder.rejected,
        gone=dict.fromkeys(gone, GONE),
        held=builder.held(),
        wake_at=min(builder.wakes, default=""),
    )


def _pause_s(snapshot: SetSnapshot, as_of: str) -> float:
    """How long a plan waits for a text: soon again for what just came, ever more rarely for one that nobody may read."""
    last = snapshot.scope.last_arrival_at
    since_s = (datetime.fromisoformat(as_of) - datetime.fromisoformat(last)).total_seconds() if last else 0.0
    return min(max(since_s / 10, _POSTPONED_S), _LONGEST_POSTPONED_S)


def _held(snapshot: SetSnapshot, reason: str, wake_at: str) -> Plan:
    """Nothing can be said of the set now: its files wait, and what is current stays so."""
    return Plan(
        scope=snapshot.scope,
        products=(),
        waiting={file.id: reason for file in snapshot.files},
        held=frozenset(snapshot.current),
        wake_at=wake_at,
    )


def held_by_fault(snapshot: SetSnapshot, error: Exception) -> Plan:
    """The plan when the kind's own rules fail by a fault of the program: nothing is lost, and every file says why it waits."""
    fault = f"{type(error).__name__}: {error}"
    return replace(_held(snapshot, f"a fault in Nightcrew while the set was planned: {fault}", ""), fault=fault)


def without_copies(
    files: Iterable[SetFile], keeps_copies: KeepsCopies = no_copies, used: Container[str] = ()
) -> tuple[list[SetFile], dict[int, str]]:
    """Of files with equal content the one that counts; why the others are set aside.

    The one that has the shortest name and sorts first, of those that are there; one that is gone counts still if a current product
    was made of it (``used``: their names as stored), so that its loss makes nothing anew under a copy's name.
    """
    first: dict[str, SetFile] = {}
    aside: dict[int, str] = {}
    kept: list[SetFile] = []
    for file in sorted(files, key=lambda f: (_is_lost(f, used), len(f.relative), f.relative)):
        if keeps_copies(file):
            kept.append(file)
            continue
        known = first.setdefault(file.sha256, file)
        if known is not file:
            aside[file.id] = f"duplicate: the same bytes as {known.relative}"
    return sorted([*kept, *first.values()], key=lambda file: file.relative), aside


def _is_lost(file: SetFile, used: Container[str]) -> bool:
    return file.absent == "gone" and storable(file.relative) not in used
