"""One night as the ledger knows it: its scopes with their files, frames, plan and products, read in one go."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from nightcrew.frames.profiles import Rules
from nightcrew.ledger import arrivals, scopes
from nightcrew.ledger.arrivals import PathRow
from nightcrew.ledger.database import Database
from nightcrew.ledger.rows import FrameRow, ProductRow, ScopeRow
from nightcrew.planning import snapshot as snapshots
from nightcrew.planning.model import OUTDATED, Plan, PlannedProduct, Snapshot
from nightcrew.planning.night import plan_night
from nightcrew.recipes.parameters import NightParameters
from nightcrew.settings import Settings
from reports.commands import command
from reports.keep import NOTHING_KEPT, Keep


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where a report takes its contents from."""

    database: Database
    settings: Settings
    rules_for: Callable[[str], Rules]
    parameters: NightParameters
    keep: Keep = NOTHING_KEPT

    @property
    def products_root(self) -> Path:
        """The folder that product rows name their files below."""
        return self.settings.products.root


@dataclass(frozen=True, kw_only=True)
class ScopeData:
    """A night of one instrument: rows of the ledger and the plan over them."""

    scope: ScopeRow
    snapshot: Snapshot
    plan: Plan
    files: tuple[PathRow, ...]
    frames: dict[int, FrameRow] = field(repr=False)

    @property
    def outdated(self) -> int:
        """Current products that stand although the rules ask for others now: those of an old night are not remade unasked."""
        return sum(product.kept == OUTDATED for product in self.plan.outdated)

    @property
    def instrument(self) -> str:
        """The scope's instrument."""
        return self.scope.instrument

    def current(self, *recipes: str) -> list[ProductRow]:
        """Current products of these recipes that exist, sorted by recipe and key."""
        prints = sorted((recipe, key, fingerprint) for (recipe, key), fingerprint in self.snapshot.current.items() if recipe in recipes)
        rows = (self.snapshot.products[fingerprint] for _, _, fingerprint in prints)
        return [row for row in rows if row.state == "made"]

    def row_of(self, planned: PlannedProduct) -> ProductRow | None:
        """The made product of a planned one; while that is being made, the older one that is still current."""
        row = self.snapshot.products.get(planned.fingerprint)
        if row is not None and row.state == "made":
            return row
        older = self.snapshot.current.get((planned.recipe, planned.key))
        return self.snapshot.products.get(older) if older is not None else None

    def name_of_frame(self, frame_id: int) -> str:
        """The file name of a frame."""
        frame = self.frames.get(frame_id)
        return "" if frame is None else PurePosixPath(os.fsdecode(frame.path)).name


def read_night(archive: Archive, kind: str, name: str, as_of: str) -> tuple[ScopeData, ...]:
    """All scopes of a night, by instrument; each is read in one consistent view."""
    with archive.database.read() as connection:
        found = sorted(scopes.find(connection, kind=kind, name=name), key=lambda scope: scope.instrument)
    data = []
    for scope in found:
        with archive.database.read() as connection:
            remade = scopes.is_remade_unasked(connection, scope.id, archive.settings.night.remake_nights)
            snapshot = snapshots.load(connection, scope.id, archive.parameters, archive.rules_for(scope.instrument), remake=remade)
            files = tuple(arrivals.of_scope(connection, scope.id))
        plan = plan_night(snapshot, as_of)
        data.append(ScopeData(scope=snapshot.scope, snapshot=snapshot, plan=plan, files=files, frames={f.id: f for f in snapshot.frames}))
    return tuple(data)


def name_of(row: PathRow) -> str:
    """The name of a file as people see it: below its watched folder, bytes that are no UTF-8 as surrogates."""
    path, folder = os.fsdecode(row.path), f"{row.folder.rstrip('/')}/"
    return path.removeprefix(folder) if row.folder and path.startswith(folder) else path.rpartition("/")[2]


@lru_cache(maxsize=10_000)  # thousands of files share a reason
def readable(reason: str) -> str:
    """A reason with masters named for people: ``dark master 120s -18.7C`` instead of the whole key."""
    return re.sub(
        r"\b(bias|dark|thermal|flat)[_ ]master (\S+?)_\d+x\d+[^\s:;,]*", lambda m: f"{m[1]} master {m[2].replace('_', ' ')}", reason
    )


def why(name: str) -> str:
    """The command that shows why something is as it is."""
    return command("why", name)
