"""Small simulated nights and a workspace over a folder, for tests that run the real plan without a server."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightcrew.ledger import arrivals, products, scopes
from nightcrew.ledger.arrivals import PathRow, Seen
from nightcrew.ledger.rows import ProductRow, ScopeRow
from nightcrew.settings import FolderSettings, LightsSettings, LimitsSettings, NightSettings, PhotometrySettings, Settings, SiteSettings
from nightcrew.simulate.detector import CameraModel
from nightcrew.simulate.night import simulate_night
from nightcrew.simulate.plan import DarkSeries, NightPlan, short_night
from nightcrew.simulate.truth import Truth
from tasks.executor import ScopeRun, Wish
from tasks.workspace import Workspace
from tests.support.ledgers import lay_tables

MORNING = datetime(2026, 5, 17, 18, 0, tzinfo=UTC)


def small_plan(night: str = "2026-05-16", *, pixels: int = 96, troubles: tuple[str, ...] = ()) -> NightPlan:
    """3 bias, 3 darks of 30 and 3 of 4 s, 3 flats in B and V, one target with 2 lights a filter."""
    plan = short_night(night)
    return replace(
        plan,
        camera=CameraModel(nx=pixels, ny=pixels),
        filters=plan.filters[:2],
        targets=(replace(plan.targets[0], repeats=2, n_stars=10),),
        n_bias=3,
        darks=(DarkSeries(exposure_s=30.0, count=3), DarkSeries(exposure_s=4.0, count=3)),
        n_flats=3,
        late_filter="V",
        separation_px=14.0,
        dither_px=2.0,
        troubles=troubles,
    )


def make_raw(out: Path, plan: NightPlan | None = None, seed: int = 3) -> Truth:
    """Simulate a small night into ``out``/raw."""
    return simulate_night(out, plan or small_plan(), seed)


def settings_for(folder: Path, root: Path, **sections: Any) -> Settings:
    """Settings of a workspace in ``root`` that watches ``folder``; no cosmic rays, no disk reserve, nothing waits."""
    values: dict[str, Any] = {
        "site": SiteSettings(longitude_deg=-70.4042, latitude_deg=-24.6272, elevation_m=2635.0, timezone="America/Santiago"),
        "folders": (FolderSettings(path=folder),),
        "lights": LightsSettings(cosmic_rays=False),
        "photometry": PhotometrySettings(star_figures=1),  # drawing takes the longest of a small night
        "limits": LimitsSettings(disk_reserve_bytes=0),
        "night": NightSettings(group_quiet_s=0.0, quiet_s=0.0),
    }
    return Settings(**{**values, **sections}).anchored(root)


class Bench:
    """A workspace over a folder, driven step by step."""

    def __init__(self, folder: Path, root: Path, **sections: Any) -> None:
        self.folder = folder
        self.settings = settings_for(folder, root, **sections)
        self.now = MORNING
        lay_tables(self.settings.ledger_url)
        self.space = Workspace.open(self.settings, clock=lambda: self.now, make_tables=True)

    def see(self, paths: Iterable[Path] | None = None) -> None:
        """Record arrivals, in the given order (all of the folder, sorted, without)."""
        rows = []
        for path in paths if paths is not None else sorted(self.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                stat = path.stat()
                hidden = "a hidden file" if path.name.startswith(".") else ""
                seen = Seen(path=os.fsencode(path), folder=str(self.folder), size=stat.st_size, mtime_ns=stat.st_mtime_ns, verdict=hidden)
                rows.append(replace(seen, ctime_ns=stat.st_ctime_ns))
        arrivals.record(self.space.database, rows)

    def ingest(self, limit: int = 500) -> None:
        """Ingest until nothing is left to read."""
        while (done := self.space.ingest(limit)).files or done.compared:
            pass

    def scopes(self) -> list[ScopeRow]:
        """All scopes."""
        with self.space.database.read() as connection:
            return scopes.find(connection)

    def close(self) -> None:
        """Close every scope."""
        self.space.close_all([scope.id for scope in self.scopes()])

    def run(self, wish: Wish | None = None) -> list[ScopeRun]:
        """Run every scope's plan."""
        return [self.space.run(scope.id, wish=wish) for scope in self.scopes()]

    def night(self, paths: Sequence[Path] | None = None) -> list[ScopeRun]:
        """All of it: see, ingest, close, run."""
        self.see(paths)
        self.ingest()
        self.close()
        return self.run()

    def products(self) -> list[ProductRow]:
        """The current products of all scopes."""
        with self.space.database.read() as connection:
            return [row for scope in self.scopes() for row in products.current_of_scope(connection, scope.id)]

    def files(self) -> list[PathRow]:
        """Every file of the ledger."""
        with self.space.database.read() as connection:
            return [*arrivals.without_scope(connection), *(row for s in self.scopes() for row in arrivals.of_scope(connection, s.id))]

    def content(self) -> dict[str, str]:
        """Path below the products root -> sha256 of every current product's file."""
        return {file.path: file.sha256 for row in self.products() for file in row.files}

    def state_of(self, name: str) -> tuple[str, str]:
        """State and reason of the file of that name."""
        row = next(row for row in self.files() if os.path.basename(os.fsdecode(row.path)) == name)  # noqa: PTH119 -- bytes path
        return row.state, row.reason


def shuffled(paths: Iterable[Path], seed: int) -> list[Path]:
    """The paths in a random order."""
    order = sorted(paths)
    random.Random(seed).shuffle(order)
    return order
