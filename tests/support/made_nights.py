"""Nights that exist in the ledger only: frames without files, and units of work that make nothing but rows.

What planning and the ledger decide depends on headers and hashes, so whole nights can be tried in milliseconds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from nightcrew.frames.identity import exposure_identity
from nightcrew.frames.model import FrameHeader
from nightcrew.frames.profiles import Rules
from nightcrew.ledger import arrivals, exposures, migrate, products, scopes
from nightcrew.ledger.arrivals import PathRow, Seen
from nightcrew.ledger.database import Database
from nightcrew.ledger.elections import Reading
from nightcrew.ledger.rows import NewProduct, ProductRow, ScopeRow
from nightcrew.planning.model import Plan, PlannedProduct, Snapshot
from nightcrew.planning.night import plan_night
from nightcrew.planning.snapshot import load
from nightcrew.recipes.parameters import NightParameters
from tasks import run as run_module
from tasks.context import UnitContext
from tasks.executor import ScopeRun, Wish, make_locally, run_scope
from tests.support.ledgers import lay_tables

FOLDER = "/watched"
NIGHT = "2026-03-14"
MORNING = datetime(2026, 3, 15, 18, 0, tzinfo=UTC)


def header(kind: str = "light", seconds: float = 0.0, *, night: str = NIGHT, **values: Any) -> FrameHeader:
    """A header of a camera at -20 C; ``seconds`` after 22:00 UTC of the night."""
    start = datetime.fromisoformat(f"{night}T22:00:00") + timedelta(seconds=seconds)
    usual: dict[str, Any] = {
        "kind": kind,
        "instrument": "NCSIM",
        "profile": "test",
        "camera": "Simulated 1",
        "nx": 64,
        "ny": 64,
        "gain_setting": "100",
        "exposure_s": {"bias": 0.0, "dark": 60.0, "flat": 2.0}.get(kind, 60.0),
        "temperature_c": -20.0,
        "filter": "V" if kind in ("light", "flat") else "",
        "target": "Crew 1" if kind == "light" else "",
        "time_utc": start.isoformat(timespec="milliseconds"),
        "night": night,
        "gain_e_per_adu": 1.5,
        "read_noise_e": 6.0,
        "saturation_adu": 60_000.0,
    }
    return FrameHeader(**{**usual, **values})


@dataclass(frozen=True, slots=True)
class Made:
    """A file that never was: its name, its header, and what stands for its bytes ("" = the name)."""

    name: str
    header: FrameHeader | None
    content: str = ""
    mtime_ns: int = 1_000

    @property
    def path(self) -> bytes:
        """Absolute path."""
        return os.fsencode(f"{FOLDER}/{self.name}")

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        return hashlib.sha256((self.content or self.name).encode()).hexdigest()


def series(kind: str, count: int, first_s: float = 0.0, *, name: str = "", **values: Any) -> list[Made]:
    """``count`` frames of a kind, a minute apart."""
    stem = name or f"{kind}-{values.get('filter', '')}{values.get('exposure_s', '')}{values.get('night', '')}"
    return [Made(f"{stem}-{n:04d}.fit", header(kind, first_s + 60.0 * n, **values)) for n in range(count)]


def small_night(night: str = NIGHT, *, filters: Sequence[str] = ("B", "V"), lights: int = 2, **values: Any) -> list[Made]:
    """3 bias, 3 darks of 60 s and of 2 s, 3 flats and some lights a filter."""
    frames = series("bias", 3, 0.0, night=night, **values) + series("dark", 3, 600.0, night=night, **values)
    frames += series("dark", 3, 1200.0, night=night, exposure_s=2.0, **values)
    for n, name in enumerate(filters):
        frames += series("flat", 3, 3000.0 + 300.0 * n, night=night, filter=name, **values)
        frames += series("light", lights, 6000.0 + 3600.0 * n, night=night, filter=name, **values)
    return frames


def _hasten(connection: Any, _record: Any) -> None:
    """A test's ledger need not outlive a power cut."""
    connection.execute("PRAGMA synchronous=OFF")


class Shelf:
    """A ledger with made frames."""

    def __init__(self, url: str, *, rules: Rules | None = None, parameters: NightParameters | None = None) -> None:
        self.now = MORNING
        self.database = Database(url, clock=lambda: self.now)
        if self.database.is_sqlite:
            event.listen(self.database.engine, "connect", _hasten)
        lay_tables(url)
        migrate.upgrade(self.database)
        self.rules = rules or Rules()
        self.parameters = parameters or NightParameters(group_quiet_s=0.0)

    @classmethod
    def on_disk(cls, folder: Path, **values: Any) -> Shelf:
        """An SQLite ledger in a folder."""
        return cls(f"sqlite:///{folder / 'ledger.sqlite'}", **values)

    def see(self, frames: Iterable[Made]) -> None:
        """Record the files as arrivals."""
        seen = [Seen(path=f.path, folder=FOLDER, size=len(f.name), mtime_ns=f.mtime_ns) for f in frames]
        arrivals.record(self.database, seen)

    def rows(self) -> dict[bytes, PathRow]:
        """Every file of the ledger by its path."""
        with self.database.read() as connection:
            everything = [*arrivals.without_scope(connection)]
            everything += [row for scope in scopes.find(connection) for row in arrivals.of_scope(connection, scope.id)]
        return {row.path: row for row in everything}

    def read(self, frames: Sequence[Made]) -> set[int]:
        """Store what reading the files gives; they were seen before."""
        with self.database.read() as connection:
            fresh = {row.path: row.id for row in arrivals.to_read(connection, 100_000)}
            ids = {f.path: fresh.get(f.path) or arrivals.find(connection, f.path)[0].id for f in frames}
        return exposures.store(self.database, [reading_of(f, ids[f.path]) for f in frames])

    def put(self, frames: Sequence[Made]) -> set[int]:
        """See and read."""
        self.see(frames)
        return self.read(frames)

    def file(self, name: str) -> PathRow:
        """The row of a file."""
        return self.rows()[os.fsencode(f"{FOLDER}/{name}")]

    def scope(self, night: str = NIGHT, instrument: str = "NCSIM") -> ScopeRow:
        """A night."""
        with self.database.read() as connection:
            return scopes.find(connection, name=night, instrument=instrument)[0]

    def close(self) -> None:
        """Close every scope."""
        with self.database.write() as connection:
            for scope in scopes.find(connection):
                scopes.close(connection, scope.id, self.database.now())

    def snapshot(self, night: str = NIGHT, instrument: str = "NCSIM") -> Snapshot:
        """Everything that a plan of the night may look at."""
        scope = self.scope(night, instrument)
        with self.database.read() as connection:
            return load(connection, scope.id, self.parameters, self.rules)

    def plan(self, night: str = NIGHT, instrument: str = "NCSIM") -> Plan:
        """The plan of a night, now."""
        return plan_night(self.snapshot(night, instrument), self.database.now())

    def current(self, night: str = NIGHT, instrument: str = "NCSIM") -> list[ProductRow]:
        """The current products of a night."""
        with self.database.read() as connection:
            return products.current_of_scope(connection, self.scope(night, instrument).id)


class Crew(Shelf):
    """A shelf whose plans are run with fake units (``units`` by recipe; ``fake_unit`` for the others)."""

    def __init__(self, url: str, root: Path, **values: Any) -> None:
        super().__init__(url, **values)
        self.units: dict[str, Callable[[object, PlannedProduct], NewProduct]] = {}
        self.context = UnitContext(database=self.database, products_root=root, durable=False)
        self.made: list[str] = []

    @classmethod
    def in_folder(cls, folder: Path, **values: Any) -> Crew:
        """An SQLite ledger and a folder of products."""
        return cls(f"sqlite:///{folder / 'ledger.sqlite'}", folder / "products", **values)

    def unit(self, context: object, planned: PlannedProduct) -> NewProduct:
        """Make a product, or rather its row."""
        self.made.append(planned.name)
        return self.units.get(planned.recipe, fake_unit)(context, planned)

    def run(self, night: str = NIGHT, instrument: str = "NCSIM", wish: Wish | None = None) -> ScopeRun:
        """Run a night's plan."""
        scope = self.scope(night, instrument)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "unit_for", lambda _recipe: self.unit)
            patch.setattr(run_module, "file_of", lambda frame: Path(os.fsdecode(frame.path)))  # there is no file to look at
            return run_scope(self.context, scope.id, self.parameters, lambda _: self.rules, make_locally(self.context), wish)

    def run_all(self) -> None:
        """Run every night that is due, newest first, until none is."""
        for _ in range(20):
            with self.database.read() as connection:
                due = scopes.due(connection, self.database.now())
            if not due:
                return
            self.run(due[0].name, due[0].instrument)
        raise AssertionError("the nights do not come to rest")

    def picture(self) -> dict[tuple[str, str, str], tuple[str, str]]:
        """(night, recipe, key) -> (fingerprint, grade) of everything that is current."""
        with self.database.read() as connection:
            found = scopes.find(connection)
            return {
                (scope.name, row.recipe, row.key): (row.fingerprint, row.grade)
                for scope in found
                for row in products.current_of_scope(connection, scope.id)
            }

    def states(self) -> dict[str, tuple[str, str]]:
        """State and reason of every file."""
        return {path.decode().removeprefix(FOLDER + "/"): (row.state, row.reason) for path, row in self.rows().items()}


def reading_of(made: Made, path_id: int) -> Reading:
    """What reading a made file gives; without a header it is rejected."""
    base = Reading(path_id=path_id, size=len(made.name), mtime_ns=made.mtime_ns, sha256=made.sha256)
    if made.header is None:
        return replace(base, kind="rejected", state="rejected", reason="not a frame")
    return replace(
        base,
        kind=made.header.kind,
        header=made.header,
        identity=exposure_identity(made.header, made.sha256),
        scope_name=made.header.night or "undated",
    )


def fake_unit(_context: object, planned: PlannedProduct) -> NewProduct:
    """A unit of work that writes no file; its numbers depend on what it was made from alone."""
    number = int(hashlib.sha256("".join(sorted(i.fingerprint for i in planned.inputs)).encode()).hexdigest()[:6], 16)
    return NewProduct(
        files=(),
        metrics={"level_adu": 1000.0 + number / 2**26, "noise_adu": 5.0, "n_frames": len(planned.inputs), "background": 1.0},
        grade=planned.grade,
        grade_reasons=planned.grade_reasons,
    )
