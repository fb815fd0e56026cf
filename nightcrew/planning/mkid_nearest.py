"""Which solution a photon table is read with: the nearest in time among those that are worth anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.sets import SetBuilder

_US = 1_000_000
_WORTHLESS = "D"


@dataclass(frozen=True)
class Chosen:
    """A solution, how many seconds away it is, and what is to be said about the choice ("" when nothing is)."""

    away_s: int
    planned: PlannedProduct
    note: str = ""


def nearest(builder: SetBuilder, solutions: Sequence[tuple[int, PlannedProduct]], one_us: int, what: str) -> Chosen | None:
    """The solution nearest to ``one_us``; those of grade D, or that a person marked bad, only where there is no other.

    ``solutions`` are (middle of its exposures in Unix microseconds, product).  One that is not made yet counts as good: what is
    read with it waits for it, and the choice is made anew when its grade is known.  None when none can be made.
    """
    able = [(abs(middle - one_us) // _US, planned.key, planned) for middle, planned in solutions if planned.status != "failed"]
    able.sort(key=lambda item: item[:2])
    if not able:
        return None
    worth = [item for item in able if not _worthless(builder, item[2])]
    away_s, key, planned = worth[0] if worth else able[0]
    passed = [f"{name} ({_why(builder, other)})" for _, name, other in able[: able.index((away_s, key, planned))]]
    note = f"the nearer {what} {', '.join(passed)} was passed over for {key}" if passed else ""
    return Chosen(int(away_s), planned, note)


def _worthless(builder: SetBuilder, planned: PlannedProduct) -> bool:
    row = builder.snapshot.products.get(planned.fingerprint)
    return row is not None and row.state == "made" and (row.grade == _WORTHLESS or not row.usable)


def _why(builder: SetBuilder, planned: PlannedProduct) -> str:
    row = builder.snapshot.products.get(planned.fingerprint)
    return f"grade {_WORTHLESS}" if row is not None and row.grade == _WORTHLESS else "marked bad"
