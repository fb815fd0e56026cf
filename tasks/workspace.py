"""One opened Nightcrew: settings, ledger, profiles and folders together; what flows and commands work with."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.astrometry.program import NoSolverError, Solver, find_solver
from nightcrew.frames.profiles import Profile, Rules, load_profiles
from nightcrew.frames.site import Site, night_span
from nightcrew.ingest import Door, Ingested, ingest_batch, renormalise
from nightcrew.ingest_sets import SetFolder, adopt_set_files, changed_kinds, folders_of, folders_text, set_folders
from nightcrew.ledger import arrivals, messages, migrate, scopes
from nightcrew.ledger.database import Clock, Database, iso, utc_now
from nightcrew.ledger.rows import ScopeRow
from nightcrew.planning.snapshot import profile_of_instrument
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import NightParameters, SetOptions, from_settings, set_options
from nightcrew.settings import PlateSolvingSettings, Settings
from reports.keep import FOLDER
from tasks import kinds
from tasks.context import UnitContext
from tasks.standing import notice_lost_files

if TYPE_CHECKING:
    from tasks.executor import Make, ScopeRun, Wish

log = logging.getLogger(__name__)
_FOLDERS = "set folders"
_SWEEPS = 2  # a folder that was not swept for so many of them does not answer


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything that a run needs; cheap to make in each process."""

    settings: Settings
    database: Database
    profiles: dict[str, Profile]
    site: Site
    parameters: NightParameters
    context: UnitContext
    options: SetOptions = field(default_factory=SetOptions)

    @classmethod
    def open(
        cls, settings: Settings, *, clock: Clock = utc_now, make_tables: bool = False, parameters: NightParameters | None = None
    ) -> Workspace:
        """Open the ledger of a configuration.

        Raises
        ------
        Refused
            The ledger's schema does not fit this code (only ``make_tables`` makes or upgrades it).
        """
        database = Database(settings.ledger_url, clock=clock)
        if make_tables:
            migrate.upgrade(database)
        else:
            migrate.check(database)
        folder = settings.instruments.folder
        site = settings.site
        return cls(
            settings=settings,
            database=database,
            profiles=load_profiles(folder if folder.is_dir() else None),
            site=Site(
                longitude_deg=site.longitude_deg, latitude_deg=site.latitude_deg, elevation_m=site.elevation_m, timezone=site.timezone
            ),
            parameters=parameters or from_settings(settings),
            context=UnitContext(
                database=database,
                products_root=settings.products.root,
                memory_bytes=settings.limits.memory_bytes,
                threads=settings.limits.threads,
                disk_reserve_bytes=settings.limits.disk_reserve_bytes,
                remake_scopes=settings.night.remake_nights,
                work=settings.products.work,
                solver=solver_of(settings.plate_solving),
                pictures=settings.state.root / FOLDER,
            ),
            options=set_options(settings),
        )

    @property
    def door(self) -> Door:
        """What ingest needs."""
        return Door(
            profiles=self.profiles,
            site=self.site,
            instruments={str(folder.path): folder.instrument for folder in self.settings.folders},
            max_file_bytes=self.settings.limits.max_file_bytes,
            threads=self.settings.limits.threads,
            sets=set_folders(self.settings.folders, self._known_folders()),
        )

    def _known_folders(self) -> dict[str, SetFolder]:
        """The watched folders of sets that the ledger remembers."""
        if all(folder.kind == "night" for folder in self.settings.folders):
            return {}
        with self.database.read() as connection:
            return folders_of(messages.signs_of_life(connection).get(_FOLDERS, ("", ""))[1])

    def _remember_folders(self) -> None:
        """Write down which folder's sets are called how; a folder whose kind was changed is told, once."""
        known = self._known_folders()
        text = folders_text(known, set_folders(self.settings.folders, known))
        if text == folders_text(known, {}):
            return
        for sentence in changed_kinds(self.settings.folders, known):
            messages.happened(self.database, "service", "problem", sentence)
        messages.alive(self.database, _FOLDERS, text)

    def scope(self, scope_id: int) -> ScopeRow:
        """The scope of that id, as it is now."""
        with self.database.read() as connection:
            return scopes.get(connection, scope_id)

    def rules_for(self, instrument: str) -> Rules:
        """Association rules of an instrument: those of the profile that its frames were read with, else of the generic one."""
        with self.database.read() as connection:
            name = profile_of_instrument(connection, instrument)
        profile = self.profiles.get(name) or self.profiles.get("generic")
        return profile.rules if profile is not None else Rules()

    def ingest(self, limit: int | None = None) -> Ingested:
        """One bounded ingest run; headers are read again when a profile was mended."""
        self.renormalise()
        return ingest_batch(self.database, self.door, limit or self.settings.limits.burst_files)

    def run(self, scope_id: int, *, wish: Wish | None = None, make: Make | None = None) -> ScopeRun:
        """Plan and make until nothing is left."""
        if wish is not None and wish.outdated and scope_id not in self._remade_unasked():
            renormalise(self.database, self.door, [scope_id])  # profiles may have been mended since
        if self.scope(scope_id).kind != "night":
            adopt_set_files(self.database, self.door.sets)  # ignored files that came after all others
        from tasks.executor import make_locally, run_scope  # what only looks at a night need not load what reduces it

        make = make or make_locally(self.context)
        return run_scope(self.context, scope_id, self.parameters, self.rules_for, make, wish, self.options)

    def renormalise(self) -> int:
        """Look again where a mended profile, another parameter, a new recipe or mended rules may change something; the number of scopes.

        That are the open scopes and the last ``night.remake_nights`` closed ones; older ones wait for ``nightcrew rerun``.
        """
        self._remember_folders()
        profiles = _digest(p.model_dump_json() for _, p in sorted(self.profiles.items()))
        decisions = _digest(
            (
                profiles,
                repr(self.parameters),
                repr(self.options.values),
                *(f"{recipe.name} {recipe.version}" for recipe in RECIPES.values()),
                kinds.rules_digest(),
            )
        )
        with self.database.read() as connection:
            signs = messages.signs_of_life(connection)
        touched: set[int] = set()
        known, _, waiting = signs.get("profiles", ("", ""))[1].partition(" ")
        if known != profiles or waiting:
            unread: tuple[int, ...] = ()
            if known:
                only = {int(path_id) for path_id in waiting.split(",")} if known == profiles else None
                done = renormalise(self.database, self.door, self._remade_unasked(), only)
                touched, unread = touched | done.scopes, done.unread
            messages.alive(self.database, "profiles", f"{profiles} {','.join(map(str, unread))}".rstrip())
        known = signs.get("decisions", ("", ""))[1]
        if known != decisions:
            asked = self._remade_unasked() if known else []
            with self.database.write() as connection:
                scopes.look_again(connection, asked)
            touched |= set(asked)
            messages.alive(self.database, "decisions", decisions)
        return len(touched)

    def _remade_unasked(self) -> list[int]:
        """Open scopes and the newest closed ones: of every instrument by night, of every kind of sets by their last arrival."""
        with self.database.read() as connection:
            found = sorted(scopes.find(connection), key=lambda scope: scope.last_arrival_at if scope.kind != "night" else "", reverse=True)
        places: Counter[tuple[str, str]] = Counter()
        remade = []
        for scope in found:
            if scope.state == "open" or places[scope.kind, scope.instrument] < self.settings.night.remake_nights:
                remade.append(scope.id)
            places[scope.kind, scope.instrument] += 1
        return remade

    def notice_lost_products(self) -> list[str]:
        """Mark the scopes whose current products lost their files (open ones and the newest closed ones); their titles."""
        lost = [scope_id for scope_id in self._remade_unasked() if notice_lost_files(self.context, scope_id)]
        with self.database.read() as connection:
            return [scopes.get(connection, scope_id).title for scope_id in lost]

    def notice_returned_files(self) -> int:
        """Raw files that are said to be gone and are there count again (open scopes and the newest closed ones); how many.

        Only folders are asked that the watcher swept just now: one whose server is gone would keep whoever asks for hours.
        """
        since = iso(self.database.clock() - timedelta(seconds=_SWEEPS * self.settings.watch.sweep_s))
        with self.database.read() as connection:
            signs = messages.signs_of_life(connection)
        folders = {str(folder.path) for folder in self.settings.folders}
        answering = {folder for folder in folders if signs.get(messages.sweep_sign(folder), ("",))[0] >= since}
        return arrivals.returned(self.database, self._remade_unasked(), answering)

    def close_what_is_over(self) -> list[ScopeRow]:
        """Close every open night whose noon has passed and that has been quiet, and those that a person asked to close."""
        with self.database.read() as connection:
            over = [scope for scope in scopes.find(connection, state="open") if self._is_over(scope)]
        closed: list[ScopeRow] = []
        for scope in over:
            with self.database.write() as connection:
                now = scopes.get(connection, scope.id)
                if now.state == "open" and self._is_over(now):  # nothing arrived between our two looks
                    scopes.close(connection, scope.id, self.database.now())
                    closed.append(now)
        return closed

    def _is_over(self, scope: ScopeRow) -> bool:
        if scope.close_asked:
            return True
        now = self.database.clock()
        if scope.kind != "night":
            return self._set_is_over(scope, now)
        quiet = scope.last_arrival_at <= iso(now - timedelta(seconds=self.settings.night.quiet_s))
        try:
            return quiet and night_span(scope.name, self.site)[1] <= now
        except ValueError:
            return quiet  # "undated": nothing to wait for

    def _set_is_over(self, scope: ScopeRow, now: datetime) -> bool:
        with self.database.read() as connection:
            folder = arrivals.folder_of_scope(connection, scope.id)
        return scope.last_arrival_at <= iso(now - timedelta(seconds=self.options.quiet_of(folder)))

    def close_all(self, scope_ids: Sequence[int]) -> None:
        """Close these scopes now (``nightcrew reduce``: the folder is all there is)."""
        with self.database.write() as connection:
            for scope_id in scope_ids:
                scopes.close(connection, scope_id, self.database.now())


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def solver_of(plates: PlateSolvingSettings) -> Solver | None:
    """The plate solver, when one is wanted and there; why there is none stands in the night's parameters."""
    if not plates.enabled:
        return None
    try:
        return find_solver(plates.program, plates.index_folder, plates.time_box_s)
    except NoSolverError as error:
        _tell_once(str(error))
        return None


@lru_cache(maxsize=16)
def _tell_once(sentence: str) -> None:
    log.warning("%s: lights without world coordinates stay without them", sentence)


def folder_of(settings: Settings, path: Path) -> str:
    """The watched folder that a path lies in, "" for none."""
    return next((str(f.path) for f in settings.folders if path.is_relative_to(f.path)), "")
