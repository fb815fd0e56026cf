"""The balance of a night's files, and the causes why some were not used."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

from nightcrew.frames.kinds import UNKNOWN_TYPE
from nightcrew.frames.model import KINDS
from nightcrew.io.source import shown
from nightcrew.ledger.arrivals import PathRow
from nightcrew.planning.model import Plan, PlannedProduct
from nightcrew.planning.set_states import is_of_one_file
from nightcrew.recipes.catalogue import RECIPES
from reports.model import STATES, BalanceRow, Cause
from reports.night_data import name_of, readable, why
from reports.tables import columns
from reports.values import NumberTable
from reports.verdict import FAULT

NAMED = 200  # files of one cause that stand on the page; all of them are in the saved numbers
_ORDER = (*KINDS, "rejected", "foreign", "ignored")
_TYPES_MEND = (
    "nothing is made of them until the profile of the instrument says what they are: kinds by their spelling in [values] kind, by the "
    "file name in [[filename.kind]], or [values] default_kind for all"
)
_KIND_WORDS = {"rejected": "unreadable"}
# States of a frame say when its own unit failed; these failures show in no frame.
_OWN_FRAMES = ("bias_master", "dark_master", "thermal_master", "flat_master", "reduce_light", "photometry")


class FilesOf(Protocol):
    """A scope's files and the plan over them: a night of one instrument, or a set."""

    @property
    def instrument(self) -> str:
        """The scope's instrument, "" for a set."""

    @property
    def files(self) -> tuple[PathRow, ...]:
        """All its files."""

    @property
    def plan(self) -> Plan:
        """What should exist."""


def balance(scopes: Sequence[FilesOf]) -> tuple[BalanceRow, ...]:
    """Files by instrument and kind; those that are no frame of any instrument come last."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for data in scopes:
        for row in data.files:
            counts[(data.instrument if row.kind in KINDS else "", _kind_of(row))][row.state] += 1
    ordered = sorted(counts, key=lambda key: (key[0] == "", key[0], _ORDER.index(key[1]) if key[1] in _ORDER else 99, key[1]))
    return tuple(_balance_row(instrument, kind, counts[(instrument, kind)]) for instrument, kind in ordered)


def _kind_of(row: PathRow) -> str:
    return row.kind or ("not read yet" if row.to_read else "ignored")


def _balance_row(instrument: str, kind: str, counted: Counter[str]) -> BalanceRow:
    states: dict[str, Any] = {state: counted.get(state, 0) for state in STATES}
    return BalanceRow(instrument=instrument, kind=_KIND_WORDS.get(kind, kind), seen=counted.total(), **states)


def causes(scopes: Sequence[FilesOf]) -> tuple[Cause, ...]:
    """Why files are not done, grouped by cause, and which products failed."""
    found: list[Cause] = []
    for data in scopes:
        groups: dict[tuple[str, str, str], list[tuple[PathRow, str]]] = defaultdict(list)
        for row in data.files:
            if row.state != "done":
                reason = _without_name(row)
                groups[(row.state, _kind_of(row), likeness(reason))].append((row, reason))
        found += [_cause(state, kind, rows) for (state, kind, _), rows in sorted(groups.items())]
        found += _failed(data)
    return tuple(found)


@lru_cache(maxsize=10_000)  # thousands of files share a reason
def likeness(reason: str) -> str:
    """A reason without what differs from file to file: file names, hashes and numbers."""
    text = re.sub(r"'[^']*'|\S+\.(fits?|fts|gz|fz|bz2|cr2|tiff?)\b", "@", reason, flags=re.IGNORECASE)
    text = re.sub(r"\b[0-9a-f]{8,}\b", "@", text)
    return re.sub(r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", "#", text)


def _cause(state: Any, kind: str, rows: list[tuple[PathRow, str]]) -> Cause:
    """``rows``: files with the reason of each."""
    several = len({reason for _, reason in rows}) > 1
    named = [f"{name_of(row)}: {reason}" if several else name_of(row) for row, reason in rows[:NAMED]]
    first = rows[0][1] or "no reason was recorded"
    cause = f"{first} (and alike)" if several else first
    return Cause(
        state=state,
        cause=cause,
        count=len(rows),
        files=tuple(named),
        command=why(name_of(rows[0][0])),
        kind=_KIND_WORDS.get(kind, kind),
        mend=_TYPES_MEND if state == "set_aside" and UNKNOWN_TYPE in first else "",
    )


def _without_name(row: PathRow) -> str:
    """The reason without the file's own name before it: the name stands beside it anyway."""
    return readable(row.reason.removeprefix(f"{shown(row.path.decode(errors='surrogateescape'))}: "))


def _failed(data: FilesOf) -> Iterable[Cause]:
    groups: dict[str, list[PlannedProduct]] = defaultdict(list)
    for planned in data.plan.with_status("failed"):
        inherited = planned.reason.startswith("its input ")
        told = planned.recipe in _OWN_FRAMES or (RECIPES[planned.recipe].is_optional and FAULT not in planned.reason)
        if not told and not inherited and not is_of_one_file(planned):
            groups[f"{RECIPES[planned.recipe].title}: {likeness(planned.reason)}"].append(planned)
    state: Literal["failed"] = "failed"
    for _, members in sorted(groups.items()):
        first = members[0]
        names = tuple(f"{RECIPES[p.recipe].title} {p.key.replace('_', ' ')}" for p in members)
        text = f"{RECIPES[first.recipe].title}: {first.reason}"
        yield Cause(state=state, cause=text, count=len(members), files=names[:NAMED], command=why(first.fingerprint[:12]), kind="product")


def file_table(scopes: Sequence[FilesOf]) -> NumberTable:
    """Every file of the night with its state and reason."""
    rows = tuple(
        (name_of(row), data.instrument, row.kind, row.state, row.reason, row.size, row.sha256) for data in scopes for row in data.files
    )
    return NumberTable(name="files", columns=columns("file", "instrument", "kind", "state", "reason", "size|byte", "sha256"), rows=rows)
